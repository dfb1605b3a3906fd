"""Options of the handler that makes STAC of outputs."""

import re
from collections.abc import Mapping
from datetime import date
from string import Formatter
from typing import Annotated, Any, Literal, Self

import pystac.utils
from pydantic import Field, field_validator, model_validator

from pygeoapi_prefect.handlers.options import HandlerOptions
from pygeoapi_prefect.settings.section import Section

PLACEHOLDERS = frozenset({"name", "job_id", "process_id", "output"})


class CollectionSettings(Section):
    """
    The Collection that is made of a folder, or that published items belong to.

    Attributes:
        id: Placeholders as in item ids.
        title: Of the Collection.
        description: Of the Collection; None: the process's name.
        license: An SPDX identifier, or ``other``.
        keywords: Of the Collection.
    """

    id: str = "{process_id}_{job_id}"
    title: str | None = None
    description: str | None = None
    license: str = "other"
    keywords: tuple[str, ...] = ()

    @field_validator("id")
    @classmethod
    def _template(cls, template: str) -> str:
        return _checked(template)


class PublicationSettings(Section):
    """
    A STAC API with the Transaction extension.

    Attributes:
        url: Of its landing page.
        collection: Where items without a Collection of their own go; None: the one that ``collection`` describes.
        token: A bearer token for it.
        token_env: The environment variable that holds the token, where the job runs.
        as_user: Whether the access token of who submitted the job is sent.
        server_url: Of this server; published links lead there, where the result store has no ``public_url``.
        timeout: Seconds for each request.
        attempts: Requests for each document at most, where the API is away.
    """

    url: str = Field(pattern=r"^https?://\S+$")
    collection: str | None = None
    token: str | None = None
    token_env: str | None = None
    as_user: bool = False
    server_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    timeout: float = Field(default=30, gt=0)
    attempts: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if sum((self.token is not None, self.token_env is not None, self.as_user)) > 1:
            raise ValueError("only one of token, token_env and as_user can be the token")
        return self


class StacSettings(Section):
    """
    What becomes of outputs.

    Attributes:
        outputs: Ids of those that become STAC; None: each that is a STAC document, a folder, a raster, or a list of
            paths.
        document: What rasters become: an Item, an ItemCollection, or a Collection with Items. None: an Item of one, an
            ItemCollection of a list, a Collection of a folder.
        item_of: Whether each raster of a folder is an Item, or each folder with all its rasters.
        item_id: Of Items that are made; with the placeholders ``{name}`` of the file, ``{output}``, ``{process_id}``
            and ``{job_id}``.
        datetime: Of all Items that are made: a time, or two with a slash between them.
        datetime_pattern: A regular expression, searched in file names; the digits in what it finds, or in its first
            group, are a time from its year on.
        statistics: Whether pixels are read for the statistics of bands.
        validation: ``known``: STAC is held against the standard and known extensions. ``strict``: others are refused.
            ``off``: it is not.
        properties: Further ones of each Item.
        providers: As STAC has them, of each Collection and each Item without one.
        processing: Fields of the processing extension without their prefix, of each Item.
        user: Whether each Item has the name of who submitted the job, as its property ``user``.
        collection: The Collection that is made.
        public_url: Where clients find the files of the result store.
        storage: A scheme of the storage extension for the result store; None: S3 is told by its URL.
        asset_folders: Absolute paths of further folders that assets may stand in, but for the job's own.
        link_prefixes: fsspec URLs; an output that is a link to a STAC document below one of them is taken over.
        storage_options: Of the fsspec driver that reads those.
        publish: Where Items and Collections are published.
    """

    outputs: tuple[str, ...] | None = None
    document: Literal["item", "item-collection", "collection"] | None = None
    item_of: Literal["file", "folder"] = "file"
    item_id: str = "{name}_{job_id}"
    datetime: str | None = None
    datetime_pattern: str | None = None
    statistics: bool = False
    validation: Literal["known", "strict", "off"] = "known"
    properties: Mapping[str, Any] = Field(default_factory=dict)
    providers: tuple[Mapping[str, Any], ...] = ()
    processing: Mapping[str, Any] = Field(default_factory=dict)
    user: bool = False
    collection: CollectionSettings = CollectionSettings()
    public_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    storage: Mapping[str, Any] | None = None
    asset_folders: tuple[str, ...] = ()
    link_prefixes: tuple[Annotated[str, Field(pattern=r"^[a-z0-9]+://[^/]+")], ...] = ()
    storage_options: Mapping[str, Any] = Field(default_factory=dict)
    publish: PublicationSettings | None = None

    @field_validator("item_id")
    @classmethod
    def _template(cls, template: str) -> str:
        return _checked(template)

    @field_validator("datetime", mode="before")
    @classmethod
    def _read_by_yaml(cls, value: Any) -> Any:
        # YAML makes dates of texts that look like some
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("datetime")
    @classmethod
    def _moments(cls, value: str | None) -> str | None:
        if value is not None:
            parts = value.split("/")
            if len(parts) > 2:
                raise ValueError("must be a time, or two with a slash between them")
            for part in parts:
                pystac.utils.str_to_datetime(part)
        return value

    @field_validator("datetime_pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"must be a regular expression: {error}") from None
        return value


class StacOptions(HandlerOptions):
    """
    Of :class:`pygeoapi_prefect.handlers.stac.StacHandler`.

    Attributes:
        stac: All of them.
    """

    stac: StacSettings = StacSettings()


def _checked(template: str) -> str:
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"cannot be read: {error}") from None
    if unknown := names - PLACEHOLDERS:
        raise ValueError(f"has unknown placeholders: {', '.join(sorted(unknown))}")
    return template
