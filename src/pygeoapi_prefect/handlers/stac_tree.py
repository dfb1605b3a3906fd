"""
STAC documents and their assets as one folder, whose relative links hold.

Assets are not copied there: symbolic links lead to them. Documents are new files; what a process left stays as it is.
"""

import json
import posixpath
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import fsspec
import pystac

from pygeoapi_prefect.handlers.outputs import stac_document
from pygeoapi_prefect.handlers.stac_io import FsspecStacIO, is_relative, is_remote, target_of
from pygeoapi_prefect.handlers.stac_items import UnusableStacError

STAC_VERSION: Final = "1.1.0"
_DOWNWARDS: Final = frozenset({"item", "child"})
_BETWEEN_DOCUMENTS: Final = frozenset({"item", "child", "root", "parent", "collection"})


class StacTree:
    """
    A folder with one STAC document and all that belongs to it.

    Args:
        folder: Where it is made; empty or not there yet.
        asset_folders: Local files may be assets only below these, and what :meth:`allow` adds.
        storage_options: Of the fsspec driver, for documents and assets that are not local.
    """

    def __init__(self, folder: Path, asset_folders: Sequence[Path], storage_options: Mapping[str, Any]) -> None:
        self._folder = folder
        self._asset_folders = [one.resolve() for one in asset_folders]
        self._options = dict(storage_options)
        self._stac_io = FsspecStacIO(storage_options)
        self._taken: set[str] = set()

    def allow(self, path: Path) -> None:
        """Let a file, or those of a folder, be assets, for the process itself has named it, and not its client."""
        self._asset_folders.append(path.resolve())

    def write_from(self, href: str) -> Path:
        """
        Take over the document of a file, with the items and children below its folder, and their assets.

        Args:
            href: A path or fsspec URL.

        Returns:
            The document's path in the folder.

        Raises:
            UnusableStacError: A document cannot be read, or an asset is none that may be given to clients.
        """
        base, _, name = href.rpartition("/")
        if not is_remote(href):
            self.allow(Path(base))
        documents: dict[str, dict[str, Any]] = {}
        waiting = deque([name])
        while waiting:
            path = waiting.popleft()
            if path in documents:
                continue
            documents[path] = document = self._read(f"{base}/{path}")
            for link in _links(document):
                if link.get("rel") in _DOWNWARDS and (target := _below(base, path, str(link.get("href")))) is not None:
                    waiting.append(target)
        return self.write(documents, base=base)

    def write(self, documents: Mapping[str, Mapping[str, Any]], base: str | None = None) -> Path:
        """
        Write documents, and put their assets beside them.

        Args:
            documents: By their paths in the folder; the first one is the root.
            base: The folder that they come from; None: they were not in files, and all links are absolute.

        Returns:
            The root's path. Raises as :meth:`write_from`.
        """
        self._taken |= set(documents)
        for path, document in documents.items():
            write_document(self._folder / path, self._placed(path, _latest(document), base, documents))
        return self._folder / next(iter(documents))

    def _read(self, href: str) -> dict[str, Any]:
        try:
            document = json.loads(self._stac_io.read_text(href))
        except (OSError, ValueError) as error:
            raise UnusableStacError(
                f"The STAC document {href} cannot be read: {error}",
                user_msg=f"A STAC document of the process, {posixpath.basename(href)}, cannot be read.",
            ) from error
        if not isinstance(document, dict):
            raise UnusableStacError(f"{href} is no STAC document", user_msg="The process left no STAC document.")
        return document

    # ---------------------------------------------------------------- links

    def _placed(
        self, path: str, document: Mapping[str, Any], base: str | None, documents: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A copy of a document with the links that it has in the folder."""
        made = dict(document)
        links = [self._link(path, one, base, documents) for one in _links(made)]
        if "links" in made or links:
            made["links"] = [one for one in links if one is not None]
        if isinstance(assets := made.get("assets"), Mapping):
            made["assets"] = {
                name: {**one, "href": self._asset(path, name, str(one.get("href")), base)}
                for name, one in assets.items()
            }
        if isinstance(features := made.get("features"), list):
            made["features"] = [self._placed(path, one, base, {}) for one in features]
        if "collection" in made and not any(one["rel"] == "collection" for one in made.get("links", [])):
            # an item without the collection's link is no valid one
            del made["collection"]
        return made

    def _link(
        self, path: str, link: Mapping[str, Any], base: str | None, documents: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The link in the folder; None for one that leads nowhere from there."""
        href = str(link.get("href"))
        if link.get("rel") == "self":
            return None
        target = _below(base, path, href) if base is not None else posixpath.normpath(unquote(href))
        if target in documents and link.get("rel") in _BETWEEN_DOCUMENTS:
            return {**link, "href": _from(path, str(target))}
        return dict(link) if is_remote(href) else None

    def _asset(self, path: str, name: str, href: str, base: str | None) -> str:
        if is_relative(href):
            if base is None:
                raise UnusableStacError(
                    f"Asset {name!r} has the relative link {href!r}, but its document is no file. Leave the document "
                    "as a file beside its assets, or give their absolute paths.",
                    user_msg=f"The asset {name!r} has a link that leads nowhere.",
                )
            href = target_of(href, f"{base}/{path}")
        if is_remote(href):
            if base is None or not href.startswith(f"{base}/"):
                return href
            target = href.removeprefix(f"{base}/")
            self._download(href, target)
            return _from(path, target)
        source = Path(unquote(urlsplit(href).path) if href.startswith("file:") else href)
        return _from(path, self._linked(path, name, source, base))

    def _linked(self, path: str, name: str, source: Path, base: str | None) -> str:
        """Let the folder have a local file; its path there."""
        real = source.resolve()
        if not any(real.is_relative_to(folder) for folder in self._asset_folders):
            raise UnusableStacError(
                f"Asset {name!r} is {source}, which is in none of {', '.join(map(str, self._asset_folders))}. Name its "
                "folder in stac.asset_folders if clients may have it.",
                user_msg=f"The asset {name!r} is no file of the job.",
            )
        if not real.is_file():
            raise UnusableStacError(
                f"Asset {name!r} is {source}, which is no file", user_msg=f"The asset {name!r} is not there."
            )
        if base is not None and str(source).startswith(f"{base}/"):
            target = str(source).removeprefix(f"{base}/")
        else:
            target = self._free(posixpath.join(posixpath.dirname(path), source.name), real)
        place = self._folder / target
        if not place.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(real)
        self._taken.add(target)
        return target

    def _free(self, wanted: str, source: Path) -> str:
        """*wanted*, with a number where another file has that path."""
        stem, suffix = posixpath.splitext(wanted)
        target, number = wanted, 1
        while target in self._taken and (self._folder / target).resolve() != source:
            number += 1
            target = f"{stem}-{number}{suffix}"
        return target

    def _download(self, href: str, target: str) -> None:
        place = self._folder / target
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            file_system, source = fsspec.url_to_fs(href, **self._options)
            file_system.get_file(source, str(place))
        except Exception as error:
            raise UnusableStacError(
                f"The asset {href} cannot be read: {error}",
                user_msg=f"An asset of the process, {posixpath.basename(target)}, cannot be read.",
            ) from error


def documents_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The STAC documents of a folder, with their paths."""
    for path in sorted(folder.rglob("*.json")):
        # assets are links to files that are not to be changed
        if not path.is_symlink() and (document := stac_document(path)) is not None:
            yield path, document


def members_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of an ItemCollection; any other document alone."""
    members: list[dict[str, Any]] = document["features"] if document.get("type") == "FeatureCollection" else [document]
    return members


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document as JSON, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2))


def safe_file_name(text: str) -> str:
    """*text* as a name that any file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip(".") or "item"


def linked_documents(collection: pystac.Collection) -> dict[str, dict[str, Any]]:
    """A Collection and its Items as documents by path, the Collection's first, with links to each other."""
    documents = {"collection.json": collection.to_dict(transform_hrefs=False)}
    up = {"href": "collection.json", "type": "application/json"}
    links = [{"rel": "root", **up}]
    for item in collection.get_items():
        name = safe_file_name(item.id)
        path = f"{name}/{name}.json"
        document = item.to_dict(transform_hrefs=False) | {
            "collection": collection.id,
            "links": [{"rel": rel, **up} for rel in ("root", "parent", "collection")],
        }
        documents[path] = document
        links.append({"rel": "item", "href": path, "type": "application/geo+json"})
    documents["collection.json"]["links"] = links
    return documents


def _links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    return [one for one in links if isinstance(one, Mapping)] if isinstance(links, list) else []


def _below(base: str, path: str, href: str) -> str | None:
    """The path below *base* that a link of the document at *path* leads to; None: it leads elsewhere."""
    target = target_of(href, f"{base}/{path}") if is_relative(href) else href.removeprefix("file://")
    return target.removeprefix(f"{base}/") if target.startswith(f"{base}/") else None


def _from(path: str, target: str) -> str:
    """A link from one path of the folder to another."""
    relative = posixpath.relpath(target, posixpath.dirname(path) or ".")
    return quote(relative if relative.startswith("..") else f"./{relative}")


def _latest(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as one of STAC 1.1."""
    if document.get("type") == "FeatureCollection":
        return {**document, "features": [_latest(one) for one in document.get("features", [])]}
    if document.get("geometry", ...) is None and not document.get("bbox", ...):
        # as pystac writes an item without a place; the standard takes no empty box
        document = {name: value for name, value in document.items() if name != "bbox"}
    if document.get("stac_version") == STAC_VERSION:
        return dict(document)
    try:
        migrated: dict[str, Any] = pystac.read_dict(dict(document)).to_dict(
            include_self_link=False, transform_hrefs=False
        )
    except Exception as error:
        raise UnusableStacError(
            f"A document of the process is no STAC: {error}", user_msg="The process left a document that is no STAC."
        ) from error
    return migrated
