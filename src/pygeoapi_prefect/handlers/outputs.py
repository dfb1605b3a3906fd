"""An output of a process as ``setOutput`` sees it, and back."""

import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pygeoapi_prefect.results.outputs import stored_outputs
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.results.store import Form, ResultStore, StoredValue
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE, media_type_of_file

_JSON_SUFFIXES = {".json", ".geojson"}


def shown_output(media_type: str, value: Any) -> dict[str, Any]:
    """The ``values`` of an output that a process returned."""
    if isinstance(value, Path) and _is_stac(value):
        return {"stac": str(value), "mediaType": media_type}
    if _is_link(value):
        return {"href": value["href"], "mediaType": value.get("type", media_type)}
    return {"value": value, "mediaType": media_type}


def output_of(name: str, values: Mapping[str, Any], made_of: Any) -> tuple[str, Any]:
    """
    The media type and the value to store.

    Args:
        name: Of the output.
        values: As the handlers left them.
        made_of: What the process returned; a link that nobody changed keeps all its members.

    Raises:
        UnusableReturnError: A handler left nothing to store.
    """
    media_type = str(values.get("mediaType") or JSON_MEDIA_TYPE)
    if "href" in values:
        link = made_of if _is_link(made_of) else {}
        return JSON_MEDIA_TYPE, {**link, "href": values["href"], "type": media_type}
    if "stac" in values:
        return media_type, Path(values["stac"])
    if "value" in values:
        return media_type, values["value"]
    raise UnusableReturnError(
        f"A handler left neither href nor stac nor value in the values of output {name!r}",
        user_msg=f"The output {name!r} has no value.",
    )


def kept_outputs(store: ResultStore, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """
    The outputs of a manifest by id: path or URL of one that stands in a file or is a link, the value of any other.

    Raises:
        ResultStoreError: The store cannot be read.
    """
    return {
        name: _unlinked(stored.inline) if stored.location is None else _place(store, stored)
        for name, stored in stored_outputs(store, manifest).items()
    }


def described_files(folder: Path) -> Callable[[Path], tuple[str, Form]]:
    """The media type and the form of each file in a folder: STAC documents say what they and their assets are."""
    documents: dict[Path, str] = {}
    assets: dict[str, str] = {}
    for path in folder.rglob("*"):
        if path.suffix not in _JSON_SUFFIXES or (document := stac_document(path)) is None:
            continue
        is_geojson = document.get("type") in ("Feature", "FeatureCollection")
        documents[path] = "application/geo+json" if is_geojson else JSON_MEDIA_TYPE
        for one in (document, *document.get("features", ())):
            for asset in one.get("assets", {}).values():
                if asset.get("type"):
                    assets[posixpath.normpath(f"{path.parent.as_posix()}/{asset['href']}")] = asset["type"]

    def described(path: Path) -> tuple[str, Form]:
        if path in documents:
            return documents[path], "json"
        return assets.get(path.as_posix()) or media_type_of_file(path), "binary"

    return described


def stac_document(path: Path) -> dict[str, Any] | None:
    """The STAC document that a file is; None for any other file."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict):
        return None
    features = document.get("features") if document.get("type") == "FeatureCollection" else None
    members = features if isinstance(features, list) and features else [document]
    is_stac = all(isinstance(one, dict) and "stac_version" in one for one in members)
    return document if is_stac else None


def _place(store: ResultStore, stored: StoredValue) -> str:
    scheme, is_url, _ = store.url.partition("://")
    if is_url and scheme not in ("file", "local"):
        return f"{store.url.rstrip('/')}/{stored.location}"
    return f"{store.root}/{stored.location}"


def _unlinked(value: Any) -> Any:
    return value["href"] if _is_link(value) else value


def _is_link(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("href"), str)


def _is_stac(path: Path) -> bool:
    return path.suffix in _JSON_SUFFIXES and stac_document(path) is not None
