"""Where outlines lie on the globe, as GeoJSON: across the antimeridian and around poles, too."""

import math
from collections.abc import Sequence
from typing import Any

Ring = list[tuple[float, float]]

_DIGITS = 7  # of a degree: about a centimetre


def footprint(outline: Sequence[tuple[float, float]]) -> tuple[dict[str, Any], list[float]]:
    """
    The geometry and the bounding box of an outline.

    Args:
        outline: Longitude and latitude in degrees, in order and not closed. From one point to the next it is less
            than 180 degrees; longitudes may jump by 360 and may be larger than 180.

    Returns:
        A Polygon, or a MultiPolygon that the antimeridian cuts; and west, south, east, north, where west is larger than
        east if it crosses the antimeridian.

    Source:
        RFC 7946, sections 3.1.9 and 5.2.
    """
    ring, winding = _unwrapped(outline)
    if abs(winding) > 180:
        # it goes around a pole, which then belongs to it
        pole = math.copysign(90.0, sum(latitude for _, latitude in ring))
        longitude, latitude = ring[0]
        ring += [(longitude + winding, latitude), (longitude + winding, pole), (longitude, pole)]
    west, east = min(x for x, _ in ring), max(x for x, _ in ring)
    south, north = min(y for _, y in ring), max(y for _, y in ring)
    turns = range(math.floor((west + 180) / 360), math.ceil((east + 180) / 360))
    pieces = [piece for turn in turns or [0] if (piece := _piece(ring, turn))]
    if east - west >= 360:
        west, east = -180.0, 180.0
    bbox = [_rounded(side) for side in (_within(west), south, _within(east), north)]
    if math.isclose(_within(west), 180.0) and west < east:
        bbox[0] = -180.0
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": [pieces[0]]}, bbox
    return {"type": "MultiPolygon", "coordinates": [[piece] for piece in pieces]}, bbox


def _unwrapped(outline: Sequence[tuple[float, float]]) -> tuple[Ring, float]:
    """Longitudes without jumps, and by how much the way around ends beside its beginning."""
    ring = [outline[0]]
    for longitude, latitude in [*outline[1:], outline[0]]:
        before = ring[-1][0]
        ring.append((longitude - 360 * round((longitude - before) / 360), latitude))
    end = ring.pop()
    return ring, end[0] - ring[0][0]


def _piece(ring: Ring, turn: int) -> list[list[float]] | None:
    """What of a ring lies in one turn around the globe, closed and counter-clockwise; None: nothing."""
    shift = 360 * turn
    moved = [(x - shift, y) for x, y in ring]
    inside = _clipped(_clipped(moved, -180.0, 1), 180.0, -1)
    area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(inside, inside[1:] + inside[:1], strict=True))
    if abs(area) < 1e-12:
        return None
    if area < 0:
        inside.reverse()
    return [[_rounded(x), _rounded(y)] for x, y in [*inside, inside[0]]]


def _clipped(ring: Ring, meridian: float, side: int) -> Ring:
    """The part of a ring that lies east (*side* 1) or west (-1) of a meridian. Source: Sutherland and Hodgman, 1974."""
    kept: Ring = []
    for (x1, y1), (x2, y2) in zip(ring[-1:] + ring[:-1], ring, strict=True):
        if (side * (x1 - meridian) >= 0) != (side * (x2 - meridian) >= 0):
            kept.append((meridian, y1 + (y2 - y1) * (meridian - x1) / (x2 - x1)))
        if side * (x2 - meridian) >= 0:
            kept.append((x2, y2))
    return kept


def _within(longitude: float) -> float:
    """From -180 to 180."""
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180


def _rounded(degrees: float) -> float:
    return round(degrees, _DIGITS) + 0.0
