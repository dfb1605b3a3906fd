"""STAC Items of the files that a process left."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
from pystac.utils import str_to_datetime

from pygeoapi_prefect.exceptions import PygeoapiPrefectError
from pygeoapi_prefect.handlers.stac_options import StacSettings
from pygeoapi_prefect.handlers.stac_rasters import RasterFacts, raster_facts
from pygeoapi_prefect.schemas.media_types import essence, is_json, media_type_of_file

_SIDE_FILES = frozenset({".ovr", ".aux", ".tmp", ".lock"})
_TEXTS = frozenset({"application/xml", "text/xml", "text/plain", "text/markdown", "text/html", "application/pdf"})
_WHOLE_EARTH = [-180.0, -90.0, 180.0, 90.0]


class UnusableStacError(PygeoapiPrefectError):
    """What a process left cannot be made STAC, or is no valid STAC."""


@dataclass(frozen=True, slots=True)
class ItemFactory:
    """
    Makes Items of files.

    Attributes:
        settings: What the operator wants of them.
        named: Fills a template in, with ``name`` of a file.
        now: The time of Items that have none else.
    """

    settings: StacSettings
    named: Callable[[str, str], str]
    now: datetime

    def items(self, files: Sequence[Path], root: Path | None = None) -> tuple[list[pystac.Item], list[Path]]:
        """
        Items of rasters, with the files beside each that have its name.

        Args:
            files: Absolute paths.
            root: The folder that they come from; None: each stands for itself.

        Returns:
            The Items, with absolute paths as the links of their assets; and the files that belong to none of them.

        Raises:
            UnusableStacError: There is no raster.
            ConfigurationError: rasterio is not installed.
        """
        found = {path: raster_facts(path, statistics=self.settings.statistics) for path in files}
        rasters = {path: facts for path, facts in found.items() if facts is not None}
        if not rasters:
            raise UnusableStacError(
                f"None of {', '.join(map(str, files)) or 'no files'} is a raster that says where it is",
                user_msg="The process left no raster that says where it is.",
            )
        groups: dict[Path, list[Path]] = defaultdict(list)
        for path in files:
            groups[self._group(path)].append(path)
        items, others, ids = [], [], set()
        for group, members in groups.items():
            own = {path: rasters[path] for path in members if path in rasters}
            if not own:
                others += members
                continue
            # files of one name in different folders
            name = group.name if root is None else "-".join(group.relative_to(root).parts) or group.name
            item = self._item(self.named(self.settings.item_id, name), own, [one for one in members if one not in own])
            if item.id in ids:
                raise UnusableStacError(
                    f"Two Items have the id {item.id!r}. Let stac.item_id have {{name}} in it, and name "
                    "files differently.",
                    user_msg=f"The process left two rasters for the STAC Item {item.id!r}.",
                )
            ids.add(item.id)
            items.append(item)
        return items, others

    def collection(self, items: Sequence[pystac.Item], others: Iterable[Path], description: str) -> pystac.Collection:
        """A Collection of Items, with files that belong to none of them as its assets; of none: of all the earth."""
        settings = self.settings.collection
        boxes = [item.bbox for item in items if item.bbox]
        moments = [moment for item in items for moment in _moments_of(item)]
        collection = pystac.Collection(
            id=self.named(settings.id, ""),
            title=settings.title,
            description=settings.description or description,
            license=settings.license,
            keywords=list(settings.keywords) or None,
            extent=pystac.Extent(
                pystac.SpatialExtent([_around(boxes)]),
                pystac.TemporalExtent([[min(moments, default=None), max(moments, default=None)]]),
            ),
        )
        collection.add_items(items)
        self.add_files(collection, others)
        return collection

    @staticmethod
    def add_files(owner: pystac.Item | pystac.Collection, files: Iterable[Path]) -> None:
        """Make files that are no rasters assets of an Item or a Collection."""
        for path in files:
            owner.add_asset(path.name, _asset(path, media_type_of_file(path)))

    def _group(self, path: Path) -> Path:
        # "a.tif" and "a.tif.json" and "a.png" are of one scene
        return path.parent if self.settings.item_of == "folder" else path.with_name(path.name.split(".")[0])

    def _item(self, item_id: str, rasters: dict[Path, RasterFacts], others: Sequence[Path]) -> pystac.Item:
        facts = list(rasters.values())
        first = next((one for one in facts if one.geometry), facts[0])
        start, end = self._moment(list(rasters), facts)
        boxes = [one.bbox for one in facts if one.bbox]
        item = pystac.Item(
            id=item_id,
            geometry=first.geometry if len(boxes) == 1 else _boxes_geometry(facts),
            bbox=_around(boxes) if boxes else None,
            datetime=start if start == end else None,
            start_datetime=None if start == end else start,
            end_datetime=None if start == end else end,
            properties={"created": pystac.utils.datetime_to_str(self.now)},
            stac_extensions=list(first.extensions),
        )
        same = all(one.projection == first.projection for one in facts)
        item.properties |= first.projection if same else {}
        for path, one in rasters.items():
            fields = {"bands": one.bands} | ({} if same else one.projection)
            key = "data" if len(rasters) == 1 else path.stem
            key = path.name if key in item.assets else key
            item.add_asset(key, _asset(path, one.media_type, ["data"], fields))
        self.add_files(item, others)
        return item

    def _moment(self, paths: Sequence[Path], facts: Sequence[RasterFacts]) -> tuple[datetime, datetime]:
        if self.settings.datetime is not None:
            parts = [str_to_datetime(part) for part in self.settings.datetime.split("/")]
            return parts[0], parts[-1]
        moments = [moment for path in paths if (moment := self._moment_in(path.name)) is not None]
        moments = moments or [one.moment for one in facts if one.moment is not None] or [self.now]
        return min(moments), max(moments)

    def _moment_in(self, name: str) -> datetime | None:
        if self.settings.datetime_pattern is None or (found := re.search(self.settings.datetime_pattern, name)) is None:
            return None
        digits = re.sub(r"\D", "", (found.groups() or (found.group(),))[0] or "")
        for length, layout in ((14, "%Y%m%d%H%M%S"), (12, "%Y%m%d%H%M"), (8, "%Y%m%d"), (6, "%Y%m"), (4, "%Y")):
            if len(digits) >= length:
                try:
                    return datetime.strptime(digits[:length], layout).replace(tzinfo=UTC)
                except ValueError:
                    return None
        return None


def files_in(folder: Path) -> list[Path]:
    """The files below a folder, in their order, without hidden ones and those that drivers leave beside rasters."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.name.endswith(".aux.xml")
        and path.suffix not in _SIDE_FILES
    ]


def _asset(
    path: Path, media_type: str, roles: list[str] | None = None, fields: dict[str, Any] | None = None
) -> pystac.Asset:
    return pystac.Asset(str(path), media_type=media_type, roles=roles or _roles(path, media_type), extra_fields=fields)


def _roles(path: Path, media_type: str) -> list[str]:
    name = essence(media_type)
    if name in ("image/png", "image/jpeg", "image/webp"):
        is_small = any(word in path.stem.lower() for word in ("thumb", "quicklook", "preview"))
        return ["thumbnail"] if is_small else ["overview"]
    is_about = is_json(name) and name != "application/geo+json"
    return ["metadata"] if is_about or name in _TEXTS else ["data"]


def _around(boxes: Sequence[list[float]]) -> list[float]:
    """The box around boxes; all around the globe where one of several crosses the antimeridian."""
    if not boxes:
        return _WHOLE_EARTH
    if len({tuple(box) for box in boxes}) == 1:
        return list(boxes[0])
    west, east = min(box[0] for box in boxes), max(box[2] for box in boxes)
    if any(box[0] > box[2] for box in boxes):
        west, east = -180.0, 180.0
    return [west, min(box[1] for box in boxes), east, max(box[3] for box in boxes)]


def _boxes_geometry(facts: Sequence[RasterFacts]) -> dict[str, Any] | None:
    """The places of several rasters: each once."""
    polygons: list[Any] = []
    for one in facts:
        if one.geometry is not None:
            coordinates = one.geometry["coordinates"]
            parts = coordinates if one.geometry["type"] == "MultiPolygon" else [coordinates]
            polygons += [part for part in parts if part not in polygons]
    if not polygons:
        return None
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _moments_of(item: pystac.Item) -> list[datetime]:
    common = item.common_metadata
    return [one for one in (item.datetime, common.start_datetime, common.end_datetime) if one is not None]
