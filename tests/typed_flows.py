"""Functions of which descriptions are made; with annotations that are texts until somebody asks for them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

from pydantic import BaseModel, Field, SecretStr

from pygeoapi_prefect.process.types import BBox, MediaType


class ProcessContext:
    """Something that the processor injects."""

    __process_context__ = True


class Clouds(BaseModel):
    """How much cloud."""

    cover: float = Field(gt=0, le=100, description="Percent.")
    sensors: list[str] = []


class Products(TypedDict):
    """
    What is made.

    Attributes:
        mean: Mean of the index.
    """

    mean: float
    raster: Annotated[Path, MediaType("image/tiff; application=geotiff")]
    note: NotRequired[str]


def vegetation_index(
    area: BBox,
    start: date,
    clouds: Clouds,
    token: Annotated[SecretStr, Field(min_length=8)],
    context: ProcessContext | None = None,
    scale: Annotated[int, Field(title="Scale", ge=1)] = 2,
) -> Products:
    """
    Vegetation index of an area.

    Computed from red and near infrared,
    over all scenes.

    Args:
        area: Where.
        start: First day of
            the period.
        token: For the catalogue.

    Returns:
        What is made.
    """
    raise NotImplementedError


def google(size: int) -> float:
    """Measure it.

    With care.

    Args:
        size (int): How large.

    Returns:
        The measure: in metres.
    """
    raise NotImplementedError


def numpy(size: int) -> float:
    """
    Measure it.

    With care.

    Parameters
    ----------
    size : int
        How large.

    Returns
    -------
    float
        The measure: in metres.
    """
    raise NotImplementedError


def rest(size: int) -> float:
    """
    Measure it.

    With care.

    :param size: How large.
    :returns: The measure: in metres.
    """
    raise NotImplementedError
