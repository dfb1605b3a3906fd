"""STAC documents read and written through fsspec."""

import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec
from pystac.stac_io import DefaultStacIO


class FsspecStacIO(DefaultStacIO):
    """
    Documents in local folders and behind every URL that fsspec has a driver for.

    Args:
        storage_options: Of the driver: endpoint, credentials. Not for local files.
    """

    def __init__(self, storage_options: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._options = dict(storage_options or {})

    def read_text_from_href(self, href: str) -> str:
        with self._open(href, "r") as file:
            return str(file.read())

    def write_text_to_href(self, href: str, txt: str) -> None:
        with self._open(href, "w") as file:
            file.write(txt)

    def exists(self, href: str) -> bool:
        """Whether there is a file."""
        file_system, path = fsspec.url_to_fs(href, **self._options_for(href))
        return bool(file_system.exists(path))

    def _open(self, href: str, mode: str) -> Any:
        return fsspec.open(href, mode, encoding="utf-8", **self._options_for(href)).open()

    def _options_for(self, href: str) -> dict[str, Any]:
        return self._options if is_remote(href) else {}


def is_remote(href: str) -> bool:
    """Whether a link names another machine's file."""
    return "://" in href and not href.startswith(("file://", "local://"))


def is_relative(href: str) -> bool:
    """Whether a link is one from the document's own place."""
    return not href.startswith("/") and not urlsplit(href).scheme


def target_of(href: str, base: str) -> str:
    """
    Where a relative link of a document leads.

    Args:
        href: The link; what is escaped in it is a name in a folder here.
        base: The document's own path or URL.
    """
    folder, root = posixpath.split(base)[0], ""
    if "://" in folder:
        scheme, _, folder = folder.partition("://")
        root = f"{scheme}://"
    return root + posixpath.normpath(posixpath.join(folder, unquote(urlsplit(href).path)))
