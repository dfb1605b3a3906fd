"""The handler that makes STAC of what a process leaves."""

import base64
import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote, unquote

import pystac

from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.options import HandlerOptions
from pygeoapi_prefect.handlers.stac_io import is_relative
from pygeoapi_prefect.handlers.stac_items import ItemFactory, UnusableStacError, files_in
from pygeoapi_prefect.handlers.stac_options import StacOptions, StacSettings
from pygeoapi_prefect.handlers.stac_publication import StacPublisher, absolute_documents, canonical_link, token_of
from pygeoapi_prefect.handlers.stac_storage import STORAGE, scheme_of
from pygeoapi_prefect.handlers.stac_tree import (
    StacTree,
    documents_in,
    linked_documents,
    members_of,
    safe_file_name,
    write_document,
)
from pygeoapi_prefect.handlers.stac_validation import validate_stac
from pygeoapi_prefect.results.linked_files import folder_beside, public_address
from pygeoapi_prefect.schemas.media_types import essence, media_type_of_file

FILE: Final = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
LOGGER = logging.getLogger(__name__)

_RASTER_SUFFIXES: Final = {"image/tiff": ".tif", "image/jp2": ".jp2"}
_ROOTS: Final = ("catalog.json", "collection.json")
_MULTIHASH_SHA2_256: Final = "1220"  # code and length; source: multiformats/multihash
_PIECE_BYTES: Final = 1024 * 1024


class StacHandler(CommonExecutionHandler):
    """
    Makes STAC 1.1 of outputs: Items, ItemCollections and Collections.

    A folder, a raster, or a list of paths becomes Items that say what is read from the rasters. A STAC document that
    the process made is taken over, with the items, children and assets that it leads to. All of it is validated without
    a network, stored beside the output, and published to a STAC API where the options name one.

    Subclasses may extend :meth:`enhance_stac_catalog`, which changes the documents before they are validated and
    stored, and :meth:`publish_catalog`, which is called when the job's outputs are stored.

    Attributes:
        stac_hrefs: By output id, where others find its document: below ``public_url`` if there is one, else in the
            result store, or where another handler has put it instead. Handlers beside this one find them in
            ``conf["lenv"]["stac_hrefs"]``.
    """

    own_options: ClassVar[type[HandlerOptions]] = StacOptions

    def __init__(self, conf: dict[str, Any], outputs: dict[str, Any] | None = None) -> None:
        super().__init__(conf, outputs)
        self.stac_hrefs: dict[str, str] = conf["lenv"].setdefault("stac_hrefs", {})
        self._documents: dict[str, Path] = {}
        self._paths: dict[str, str] = {}

    @cached_property
    def settings(self) -> StacSettings:
        return StacOptions.of(self.options).stac

    def get_secrets(self) -> Mapping[str, Any]:
        token = token_of(self.settings.publish, self.conf["lenv"]) if self.settings.publish else None
        return {**super().get_secrets(), **({"stac_api_token": token} if token else {})}

    # ---------------------------------------------------------------- hooks

    def setOutput(self, outputName: str, values: MutableMapping[str, Any]) -> None:  # noqa: N802, N803 ZOO's names
        wanted = self.settings.outputs
        if wanted is None or outputName in wanted:
            values = self._with_stac(outputName, values, is_named=wanted is not None)
        super().setOutput(outputName, values)

    def enhance_stac_catalog(self, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """
        Add to each document what the operator wants there, and to each asset what its file says.

        Args:
            values: ``stac``, the path of the document, and ``folder``, where all of them are.

        Returns:
            The values that are stored.
        """
        folder = Path(values["folder"])
        for path, document in documents_in(folder):
            for member in members_of(document):
                self._enhance(member, path.parent)
            write_document(path, document)
        return values

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        super().post_execution_hook(log, output, usage_report, tool_logs)
        for name in self._documents:
            self.publish_catalog(name)

    def publish_catalog(self, output_name: str) -> None:
        """
        Publish the Items and Collections of an output, where the options name a STAC API.

        Raises:
            StacPublicationError: The API refuses them, or is away.
        """
        if (publication := self.settings.publish) is None:
            return
        document = self._documents[output_name]
        documents = absolute_documents(document, lambda path: self._public_href(output_name, path))
        collection = self._factory(output_name).collection((), (), self._description).to_dict(transform_hrefs=False)
        with StacPublisher(publication, token_of(publication, self.conf["lenv"])) as publisher:
            publisher.publish(documents, collection)

    # ---------------------------------------------------------------- making

    def _with_stac(self, name: str, values: MutableMapping[str, Any], *, is_named: bool) -> MutableMapping[str, Any]:
        """The values with a STAC document in a folder of its own; as they are where they hold nothing to make it of."""
        scratch = Path(self.conf["main"]["tmpPath"])
        # a flow may be tried again
        folder = Path(tempfile.mkdtemp(prefix=f"stac-{safe_file_name(name)}-", dir=scratch))
        allowed = [scratch, *map(Path, self.settings.asset_folders)]
        tree = StacTree(folder, allowed, self.settings.storage_options)
        document = self._written(name, values, tree, is_named=is_named)
        if document is None:
            folder.rmdir()
            return values
        made: MutableMapping[str, Any] = {
            "stac": str(document),
            "folder": str(folder),
            "mediaType": _media_type(document),
            "public_url": self.settings.public_url,
        }
        made = self.enhance_stac_catalog(made)
        self._link_to_publication(name, folder)
        self._validate(name, str(made["stac"]))
        self._documents[name] = Path(made["stac"])
        self._paths[name] = Path(made["stac"]).relative_to(folder).as_posix()
        self.stac_hrefs[name] = self._stored_href(name, self._paths[name])
        return made

    def _written(self, name: str, values: Mapping[str, Any], tree: StacTree, *, is_named: bool) -> Path | None:
        if "href" in values:
            # whatever link a process was given, it may return
            return tree.write_from(str(values["href"])) if self._is_ours(str(values["href"])) else None
        if "stac" in values:
            return tree.write_from(str(Path(values["stac"]).absolute()))
        value, media_type = _plain(values)
        if (document := _stac_in(value)) is not None:
            return tree.write({"collection.json" if "extent" in document else "stac.json": document})
        if isinstance(value, Path) and value.is_dir():
            if (root := next((value / one for one in _ROOTS if (value / one).is_file()), None)) is not None:
                return tree.write_from(str(root.absolute()))
            tree.allow(value)
            return self._made(name, files_in(value), tree, value)
        if isinstance(value, bytes) and (suffix := _RASTER_SUFFIXES.get(essence(media_type))):
            path = Path(tempfile.mkdtemp(dir=self.conf["main"]["tmpPath"])) / f"{safe_file_name(name)}{suffix}"
            path.write_bytes(value)
            return self._made(name, [path], tree)
        if paths := _paths_in(value):
            for one in [value] if isinstance(value, Path) else value:
                if isinstance(one, Path):
                    tree.allow(one)
            is_raster = is_named or any(essence(media_type_of_file(path)) in _RASTER_SUFFIXES for path in paths)
            return self._made(name, paths, tree, is_list=not isinstance(value, Path)) if is_raster else None
        if is_named:
            raise UnusableStacError(
                f"Output {name!r} is a {type(value).__name__}: neither STAC nor a folder, a raster or a list of paths",
                user_msg=f"The output {name!r} cannot be made STAC.",
            )
        return None

    def _is_ours(self, href: str) -> bool:
        """Whether a link leads to a JSON document where the operator lets this job take it from."""
        prefixes = tuple(f"{prefix.rstrip('/')}/" for prefix in self.settings.link_prefixes)
        return href.startswith(prefixes) and ".." not in href.split("/") and href.endswith((".json", ".geojson"))

    def _made(
        self, name: str, files: list[Path], tree: StacTree, root: Path | None = None, *, is_list: bool = False
    ) -> Path:
        factory = self._factory(name)
        items, others = factory.items(files, root)
        form = self.settings.document or ("collection" if root else "item-collection" if is_list else "item")
        if form == "collection":
            collection = factory.collection(items, others, self._description)
            return tree.write(linked_documents(collection))
        if form == "item" and len(items) == 1:
            factory.add_files(items[0], others)
            return tree.write({"item.json": items[0].to_dict(transform_hrefs=False)})
        if form == "item":
            raise UnusableStacError(
                f"Output {name!r} has {len(items)} rasters, which are no single Item. Set stac.document to "
                "item-collection or collection, or stac.item_of to folder.",
                user_msg=f"The output {name!r} has several rasters.",
            )
        if others:
            LOGGER.warning(
                "output %s: an ItemCollection has no place for %s", name, ", ".join(one.name for one in others)
            )
        return tree.write({"items.json": pystac.ItemCollection(items).to_dict(transform_hrefs=False)})

    def _factory(self, output: str) -> ItemFactory:
        return ItemFactory(self.settings, self._named(output), datetime.now(UTC))

    @property
    def _description(self) -> str:
        return f"Results of {self.conf['lenv']['process_id']}"

    def _named(self, output: str) -> Any:
        lenv = self.conf["lenv"]

        def named(template: str, name: str) -> str:
            return template.format(name=name, output=output, process_id=lenv["process_id"], job_id=lenv["job_id"])

        return named

    # ---------------------------------------------------------------- enhancing

    def _enhance(self, document: dict[str, Any], folder: Path) -> None:
        """Change one Item, Collection or Catalog in place; *folder*: where its file is."""
        settings = self.settings
        is_item = document["type"] == "Feature"
        if is_item:
            document["properties"] |= settings.properties
            user = self.conf["lenv"].get("user")
            if settings.user and user is not None:
                document["properties"]["user"] = user.get("name") or user["subject"]
            if settings.processing:
                document["properties"] |= {f"processing:{key}": value for key, value in settings.processing.items()}
                _extend(document, PROCESSING)
        if settings.providers and document["type"] != "Catalog":
            described = document["properties"] if is_item else document
            described.setdefault("providers", [dict(one) for one in settings.providers])
        for asset in document.get("assets", {}).values():
            self._describe(document, asset, folder)

    def _link_to_publication(self, name: str, folder: Path) -> None:
        """Let each document say where it will be published: if that fails, so does the job."""
        if (publication := self.settings.publish) is None:
            return
        collection_id = self._named(name)(self.settings.collection.id, "")
        for path, document in documents_in(folder):
            for member in members_of(document):
                if link := canonical_link(publication, member, collection_id):
                    member.setdefault("links", []).append(link)
            write_document(path, document)

    def _describe(self, document: dict[str, Any], asset: dict[str, Any], folder: Path) -> None:
        href = asset["href"]
        in_tree = is_relative(href)
        if in_tree:
            path = folder / unquote(href)
            asset.setdefault("type", media_type_of_file(path))
            if "file:checksum" not in asset:
                asset |= {"file:size": path.stat().st_size, "file:checksum": _multihash(path)}
                _extend(document, FILE)
        store_url = str(self.conf["main"]["tmpUrl"])
        scheme = scheme_of(store_url if in_tree else href, self.settings, of_result_store=in_tree)
        if scheme is not None and "storage:refs" not in asset:
            name, described = scheme
            schemes = document["properties"] if document["type"] == "Feature" else document
            schemes["storage:schemes"] = {**schemes.get("storage:schemes", {}), name: described}
            asset["storage:refs"] = [name]
            _extend(document, STORAGE)

    def _validate(self, name: str, document: str) -> None:
        if self.settings.validation == "off":
            return
        if violations := validate_stac(document, mode=self.settings.validation):
            raise UnusableStacError(
                f"Output {name!r} is no valid STAC: {'; '.join(violations)}",
                user_msg=f"The output {name!r} is no valid STAC: {'; '.join(violations[:3])}",
            )

    # ---------------------------------------------------------------- addresses

    def _location(self, name: str, path: str) -> str:
        return f"{folder_beside(self.conf['main']['resultFolder'], name)}/{path}"

    def _stored_href(self, name: str, path: str) -> str:
        location = self._location(name, path)
        if self.settings.public_url is not None:
            return public_address(self.settings.public_url, location)
        return f"{str(self.conf['main']['tmpUrl']).rstrip('/')}/{location}"

    def _public_href(self, name: str, path: str) -> str:
        """Where everybody who reads the STAC API finds a file of the tree."""
        document = self._paths[name]
        if (href := self.stac_hrefs[name]) != self._stored_href(name, document):
            # another handler has put the tree elsewhere
            return f"{href.removesuffix(quote(document))}{quote(path)}"
        publication = self.settings.publish
        if self.settings.public_url is None and publication is not None and publication.server_url is not None:
            job_id = self.conf["lenv"]["job_id"]
            return (
                f"{publication.server_url.rstrip('/')}/jobs/{job_id}/results?outputs={quote(f'{name}/{path}', safe='')}"
            )
        return self._stored_href(name, path)


def _extend(document: dict[str, Any], extension: str) -> None:
    extensions = document.setdefault("stac_extensions", [])
    if extension not in extensions:
        extensions.append(extension)


def _multihash(path: Path) -> str:
    with path.open("rb") as file:
        return _MULTIHASH_SHA2_256 + hashlib.file_digest(file, "sha256").hexdigest()


def _media_type(document: Path) -> str:
    kind = json.loads(document.read_bytes())["type"]
    return "application/geo+json" if kind in ("Feature", "FeatureCollection") else "application/json"


def _plain(values: Mapping[str, Any]) -> tuple[Any, str]:
    """The value and its media type; the bytes of one that is qualified, in base64, within a map of outputs."""
    value = values.get("value")
    if isinstance(value, Mapping) and value.get("encoding") == "base64" and isinstance(value.get("mediaType"), str):
        with suppress(ValueError, KeyError):
            return base64.b64decode(value["value"], validate=True), value["mediaType"]
    return value, str(values.get("mediaType"))


def _stac_in(value: Any) -> dict[str, Any] | None:
    """The STAC document that a value is, as an object of pystac or as a mapping."""
    if isinstance(value, pystac.STACObject | pystac.ItemCollection):
        document: dict[str, Any] = value.to_dict(transform_hrefs=False)
        return document
    if not isinstance(value, Mapping):
        return None
    members = value.get("features") if value.get("type") == "FeatureCollection" else [value]
    is_stac = bool(members) and all(isinstance(one, Mapping) and "stac_version" in one for one in members or ())
    return dict(value) if is_stac else None


def _paths_in(value: Any) -> list[Path]:
    """The files that a value names: a path, or a list of paths or of absolute paths as texts."""
    values = value if isinstance(value, list | tuple) else [value] if isinstance(value, Path) else []
    are_paths = all(isinstance(one, Path) or (isinstance(one, str) and Path(one).is_absolute()) for one in values)
    paths = [Path(one).absolute() for one in values] if are_paths else []
    return paths if all(path.is_file() for path in paths) else []
