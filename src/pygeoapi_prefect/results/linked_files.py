"""
Files that stand beside an output, and its links to them.

A STAC catalogue is a document with links to further documents and to rasters. All of them stand in a folder of the
result store as they stood where the job ran, so that relative links hold there. In the manifest ``files`` has, by
output id, the path of its document in that folder (``document``), and each stored value by its path (``files``).

A client gets a file as it gets an output: its id is ``<output id>/<path>``. Relative links lead nowhere from the
address of a job's results, so each becomes one by which the client gets the file, whenever a document is answered.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pygeoapi_prefect.results.outputs import Output
from pygeoapi_prefect.results.store import Form, ResultStore, StoredValue


@dataclass(frozen=True, slots=True)
class FilesBeside:
    """
    The files beside one output.

    Attributes:
        document: Path of the output's own document among them.
        files: Stored values by path.
        public_url: Where clients find the files of the result store; None: by links of this server.
    """

    document: str
    files: Mapping[str, StoredValue]
    public_url: str | None = None

    def to_json(self) -> dict[str, Any]:
        files = {path: one.to_json() for path, one in self.files.items()}
        return {"document": self.document, "files": files, "public_url": self.public_url}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FilesBeside":
        files = {str(path): StoredValue.from_json(one) for path, one in values["files"].items()}
        return cls(str(values["document"]), files, values.get("public_url"))


def folder_beside(folder: str, output_id: str) -> str:
    """Path below the store of the folder for the files beside an output; *folder*: of the claim."""
    return f"{folder}/{ResultStore.safe_name(output_id)}.files"


def store_files(
    store: ResultStore, folder: str, source: Path, described: Callable[[Path], tuple[str, Form]]
) -> dict[str, StoredValue]:
    """
    Store all files of a local folder; what symbolic links lead to, too.

    Args:
        store: The result store.
        folder: Where they go, below the store.
        source: The local folder.
        described: The media type and the form of a file.

    Returns:
        The stored values by path.

    Raises:
        ResultStoreError: The store cannot be written.
    """
    stored = {}
    for path in sorted(source.rglob("*")):
        if path.is_file():
            name = path.relative_to(source).as_posix()
            with path.open("rb") as file:
                stored[name] = store.copy_to(f"{folder}/{name}", *described(path), file)
    return stored


def with_files(manifest: Mapping[str, Any], beside: Mapping[str, FilesBeside]) -> dict[str, Any]:
    """*manifest*, with the files beside its outputs."""
    if not beside:
        return dict(manifest)
    return {**manifest, "files": {output_id: one.to_json() for output_id, one in beside.items()}}


@dataclass(frozen=True, slots=True)
class LinkedFiles:
    """
    All files of a manifest.

    Attributes:
        beside: By output id.
    """

    beside: Mapping[str, FilesBeside] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "LinkedFiles":
        return cls({str(name): FilesBeside.from_json(one) for name, one in manifest.get("files", {}).items()})

    def stored(self) -> dict[str, StoredValue]:
        """Each file by its id."""
        return {f"{name}/{path}": value for name, one in self.beside.items() for path, value in one.files.items()}

    def resolved(self, output: Output, address_of: Callable[[str, StoredValue], str]) -> Output:
        """
        An output, or a file beside one, with its relative links made such that lead a client to the files.

        Args:
            output: As read from the store.
            address_of: Where a client gets the file of an id.
        """
        found = self._place_of(output.output_id)
        if found is None or not isinstance(output.content, Mapping):
            return output
        owner, path = found
        beside = self.beside[owner]

        def address(href: str) -> str | None:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(urlsplit(href).path)))
            if (stored := beside.files.get(target)) is None:
                return None
            if beside.public_url is not None:
                return public_address(beside.public_url, str(stored.location))
            return address_of(f"{owner}/{target}", stored)

        content = relinked(output.content, address)
        as_made = None if output.as_made is None else {**output.as_made, "value": content}
        return replace(output, content=content, as_made=as_made)

    def _place_of(self, output_id: str) -> tuple[str, str] | None:
        """The output whose document or file it is, and its path."""
        if output_id in self.beside:
            return output_id, self.beside[output_id].document
        return next(
            (
                (name, output_id.removeprefix(f"{name}/"))
                for name, one in self.beside.items()
                if output_id.removeprefix(f"{name}/") in one.files
            ),
            None,
        )


def public_address(public_url: str, location: str) -> str:
    """Where clients find a file of the result store that they reach at *public_url*."""
    return f"{public_url.rstrip('/')}/{quote(location)}"


def relinked(document: Mapping[str, Any], address: Callable[[str], str | None]) -> dict[str, Any]:
    """A copy of a STAC document with other relative links; those that have no address stay as they are."""
    made = dict(document)
    if isinstance(links := made.get("links"), list):
        made["links"] = [_with_address(one, address) for one in links]
    if isinstance(assets := made.get("assets"), Mapping):
        made["assets"] = {name: _with_address(one, address) for name, one in assets.items()}
    if isinstance(features := made.get("features"), list):
        made["features"] = [relinked(one, address) if isinstance(one, Mapping) else one for one in features]
    return made


def _with_address(link: Any, address: Callable[[str], str | None]) -> Any:
    href = link.get("href") if isinstance(link, Mapping) else None
    if not isinstance(href, str) or urlsplit(href).scheme or href.startswith("/"):
        return link
    found = address(href)
    return link if found is None else {**link, "href": found}


def copied_files(
    manifest: Mapping[str, Any], copied: Callable[[str, str, Mapping[str, Any]], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of ``files`` with each stored value as *copied* makes it of output id, path and what is stored."""
    for output_id, one in manifest.get("files", {}).items():
        files = {str(path): copied(str(output_id), str(path), value) for path, value in one["files"].items()}
        yield str(output_id), {**one, "files": files}
