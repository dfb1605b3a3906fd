"""STAC documents held against the schemas of the standard and its extensions, without a network."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema_specifications import REGISTRY
from referencing import Registry
from referencing.jsonschema import DRAFT7

from pygeoapi_prefect.handlers.stac_io import FsspecStacIO, is_relative, target_of

Mode = Literal["known", "strict"]
"""``known``: extensions without a schema here are passed over. ``strict``: they are violations."""

_KINDS: Final = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}
_FOLLOWED: Final = frozenset({"item", "child"})
_MAX_SENTENCE: Final = 300


def validate_stac(
    href_or_object: Any, *, mode: Mode = "known", storage_options: Mapping[str, Any] | None = None
) -> list[str]:
    """
    Hold a STAC Item, Catalog, Collection or ItemCollection against the standard, with all that belongs to it.

    Of a document in a file, the items and children below its folder are looked at too, and files that relative links
    name must be there. What links lead out of that folder is not read, and nothing is fetched but by *href*.

    Args:
        href_or_object: A path or fsspec URL; an object of pystac; or the document as a mapping.
        mode: What becomes of extensions that there is no schema for.
        storage_options: Of the fsspec driver that reads a URL.

    Returns:
        A sentence for each violation, in the order of the documents; empty for a valid one. A document that cannot be
        read is a violation.
    """
    stac_io = FsspecStacIO(storage_options)
    if isinstance(href_or_object, str | Path):
        return list(_violations_below(str(href_or_object), stac_io, mode))
    document = href_or_object if isinstance(href_or_object, Mapping) else _document_of(href_or_object)
    return [sentence for one in _members(document) for sentence in _violations(one, mode)]


def known_extensions() -> frozenset[str]:
    """The addresses of the extensions whose schemas are here."""
    return frozenset(uri for uri in _schemas() if "stac-extensions" in uri and uri.endswith("/schema.json"))


def _document_of(stac_object: Any) -> Mapping[str, Any]:
    document: Mapping[str, Any] = stac_object.to_dict(transform_hrefs=False)
    return document


def _violations_below(root: str, stac_io: FsspecStacIO, mode: Mode) -> Iterator[str]:
    folder = root.rpartition("/")[0]
    waiting, seen = deque([root]), {root}
    while waiting:
        href = waiting.popleft()
        try:
            document = json.loads(stac_io.read_text(href))
        except (OSError, ValueError) as error:
            yield f"{_below(href, folder)} cannot be read: {type(error).__name__}"
            continue
        for one in _members(document):
            yield from _violations(one, mode)
            for rel, relative in _relative_hrefs(one):
                target = target_of(relative, href)
                is_below = target.startswith(f"{folder}/") or not folder
                if rel in _FOLLOWED and is_below and target not in seen:
                    seen.add(target)
                    waiting.append(target)
                elif is_below and target not in seen and not stac_io.exists(target):
                    yield f"{_name_of(one)}: {rel}: there is no file {unquote(relative)!r}"


def _below(href: str, folder: str) -> str:
    return href.removeprefix(f"{folder}/")


def _members(document: Any) -> Iterator[Any]:
    """The items of an ItemCollection; any other document itself."""
    if isinstance(document, Mapping) and document.get("type") == "FeatureCollection":
        features = document.get("features")
        yield from features if isinstance(features, list) else [document]
    else:
        yield document


def _violations(document: Any, mode: Mode) -> Iterator[str]:
    name = _name_of(document)
    if not isinstance(document, Mapping) or (kind := _KINDS.get(str(document.get("type")))) is None:
        yield f"{name}: no STAC Item, Catalog or Collection"
        return
    # tuples are arrays to JSON, and to a schema no arrays
    plain = json.loads(json.dumps(document))
    version = plain.get("stac_version")
    core = f"https://schemas.stacspec.org/v{version}/{kind}-spec/json-schema/{kind}.json"
    if core not in _schemas():
        yield f"{name}: stac_version: {version!r} is not known"
        return
    declared = plain.get("stac_extensions")
    extensions = [uri for uri in declared if isinstance(uri, str)] if isinstance(declared, list) else []
    for uri in [core, *extensions]:
        if uri in _schemas():
            # schemas share definitions, so several may say the same
            yield from dict.fromkeys(f"{name}: {_sentence(error)}" for error in _validator(uri).iter_errors(plain))
        elif mode == "strict":
            yield f"{name}: stac_extensions: there is no schema of {uri} here"


def _name_of(document: Any) -> str:
    named = document.get("id") if isinstance(document, Mapping) else None
    return str(named or "a document without id")


def _sentence(error: ValidationError) -> str:
    nearest = best_match([error]) or error
    path = "/".join(str(step) for step in nearest.absolute_path)
    message = nearest.message
    if nearest.context:
        # none of several ways fits: what each of them lacks
        message = "; or ".join(dict.fromkeys(one.message for one in nearest.context))
    if len(message) > _MAX_SENTENCE:
        message = f"{message[:_MAX_SENTENCE]} …"
    return f"{path}: {message}" if path else message


def _relative_hrefs(document: Any) -> Iterator[tuple[str, str]]:
    """What relative links a document has: the relation, or the name of the asset."""
    if not isinstance(document, Mapping):
        return
    links, assets = document.get("links"), document.get("assets")
    named = [(str(one.get("rel")), one) for one in links if isinstance(one, Mapping)] if isinstance(links, list) else []
    if isinstance(assets, Mapping):
        named += [(f"asset {name!r}", one) for name, one in assets.items() if isinstance(one, Mapping)]
    for name, one in named:
        href = one.get("href")
        if isinstance(href, str) and is_relative(href):
            yield name, href


@cache
def _validator(uri: str) -> Draft7Validator:
    return Draft7Validator(_schemas()[uri], registry=_registry())


@cache
def _registry() -> Registry[Any]:
    """The schemas by their addresses. What is not among them cannot be retrieved."""
    registry: Registry[Any] = REGISTRY
    return registry.with_resources((uri, DRAFT7.create_resource(schema)) for uri, schema in _schemas().items())


@cache
def _schemas() -> dict[str, Any]:
    root = files(__package__) / "stac_schemas"
    return {f"https://{path}": json.loads(file.read_text()) for path, file in _files_below(root, "")}


def _files_below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _files_below(one, f"{prefix}{one.name}/")
        elif one.name.endswith(".json"):
            yield prefix + one.name, one
