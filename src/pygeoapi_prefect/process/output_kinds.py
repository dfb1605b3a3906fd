"""What a value of some type is as an output: text, bytes, a file, a STAC document, or JSON."""

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from pygeoapi_prefect.exceptions import PygeoapiPrefectError
from pygeoapi_prefect.process.json_form import JsonForm, without_metadata
from pygeoapi_prefect.process.types import GEOJSON_MEDIA_TYPE, GEOJSON_TYPES, MediaType
from pygeoapi_prefect.schemas.media_types import media_type_of_file

JSON: Final = "application/json"
TEXT: Final = "text/plain"
BINARY: Final = "application/octet-stream"


class UnusableOutputError(PygeoapiPrefectError):
    """A function returned what its annotation does not declare, or what cannot be an output."""


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """
    One output of a process.

    Attributes:
        value: Text, bytes, anything that ``json.dumps`` takes, or the absolute :class:`~pathlib.Path` of a file or
            folder that exists.
        media_type: What the value is in.
    """

    value: Any
    media_type: str


class Kind(ABC):
    """How values of some types become outputs."""

    types: tuple[type, ...] = ()
    schema: dict[str, Any]

    @abstractmethod
    def output_of(self, output_id: str, value: Any) -> Output: ...

    def require(self, output_id: str, value: Any) -> None:
        if not isinstance(value, self.types):
            names = " or ".join(kind.__name__ for kind in self.types)
            raise UnusableOutputError(
                user_msg=f"The process returned a {type(value).__name__} as its output {output_id!r}, not a {names}. "
                "Its annotation and what it returns must agree."
            )


class _Text(Kind):
    types = (str,)

    def __init__(self, media_type: str | None) -> None:
        self._media_type = media_type or TEXT
        self.schema = {"type": "string", "contentMediaType": self._media_type}

    def output_of(self, output_id: str, value: Any) -> Output:
        self.require(output_id, value)
        return Output(str(value), self._media_type)


class _Bytes(Kind):
    types = (bytes, bytearray, memoryview)

    def __init__(self, media_type: str | None) -> None:
        self._media_type = media_type or BINARY
        self.schema = {"type": "string", "contentEncoding": "binary", "contentMediaType": self._media_type}

    def output_of(self, output_id: str, value: Any) -> Output:
        self.require(output_id, value)
        return Output(bytes(value), self._media_type)


class _File(Kind):
    types = (Path,)

    def __init__(self, media_type: str | None) -> None:
        self._media_type = media_type
        self.schema = {"type": "string", "contentEncoding": "binary"}
        if media_type:
            self.schema["contentMediaType"] = media_type

    def output_of(self, output_id: str, value: Any) -> Output:
        self.require(output_id, value)
        path = value.absolute()
        # whether a folder can be stored is for handlers and the result store to say
        if not path.exists():
            raise UnusableOutputError(
                f"The process returned {path} as its output {output_id!r}, which does not exist. Write the file before "
                "returning its path.",
                user_msg=f"The process returned a file that does not exist as its output {output_id!r}.",
            )
        return Output(path, self._media_type or media_type_of_file(path))


class _Stac(Kind):
    """Objects of pystac. They are written with their links as they are: nothing is fetched or made relative."""

    def __init__(self, kind: type, media_type: str | None) -> None:
        import pystac  # costs a web process what only some processes need

        self.types = (kind,)
        if issubclass(kind, pystac.Item):
            self._media_type, word = GEOJSON_MEDIA_TYPE, "geojson-feature"
        elif issubclass(kind, pystac.ItemCollection):
            self._media_type, word = GEOJSON_MEDIA_TYPE, "geojson-feature-collection"
        elif issubclass(kind, pystac.Collection):
            self._media_type, word = JSON, "stac-collection"
        elif issubclass(kind, pystac.Catalog):
            self._media_type, word = JSON, "stac-catalog"
        else:
            raise TypeError("of pystac, only Item, ItemCollection, Collection and Catalog are documents")
        self._media_type = media_type or self._media_type
        self.schema = {"type": "object", "format": word, "contentMediaType": self._media_type}

    def output_of(self, output_id: str, value: Any) -> Output:
        self.require(output_id, value)
        return Output(value.to_dict(transform_hrefs=False), self._media_type)


class _Json(Kind):
    types = (object,)

    def __init__(self, annotation: Any, media_type: str | None) -> None:
        self._form = JsonForm(annotation, "serialization")
        self._media_type = media_type or (GEOJSON_MEDIA_TYPE if is_geojson(annotation) else JSON)
        self.schema = dict(self._form.schema)
        if self._media_type != JSON:
            self.schema["contentMediaType"] = self._media_type

    def output_of(self, output_id: str, value: Any) -> Output:
        value = _without_numpy(value)
        try:
            try:
                fitting = self._form.from_python(value)
            except ValidationError:
                # what has the same JSON fits too: a list for a tuple, a dictionary for its model
                fitting = self._form.from_json(to_json(value, inf_nan_mode="null").decode())
            return Output(self._form.to_json(fitting), self._media_type)
        except ValidationError as error:
            first, *others = error.errors(include_url=False, include_input=False, include_context=False)
            path = "/".join(str(step) for step in first["loc"][1:])
            reason = (f"at {path}: " if path else "") + first["msg"]
            reason += f" (and {len(others)} more)" if others else ""
        except (PydanticSerializationError, ValueError, TypeError) as error:
            reason = str(error)
        raise UnusableOutputError(
            user_msg=f"The process returned a {type(value).__name__} that does not fit its output {output_id!r}: "
            f"{reason.rstrip('.')}. Its annotation and what it returns must agree."
        )


class _Undeclared(Kind):
    """What there is no annotation for: each value becomes what it would be with the annotation of its own type."""

    types = (object,)
    schema: dict[str, Any]

    def __init__(self, media_type: str | None) -> None:
        self._media_type = media_type
        self.schema = {"contentMediaType": media_type} if media_type else {}

    def output_of(self, output_id: str, value: Any) -> Output:
        return self._kind_for(value).output_of(output_id, value)

    def _kind_for(self, value: Any) -> Kind:
        if isinstance(value, str):
            return _Text(self._media_type)
        if isinstance(value, _Bytes.types):
            return _Bytes(self._media_type)
        if isinstance(value, Path):
            return _File(self._media_type)
        if _is_of(type(value), "pystac"):
            return _Stac(type(value), self._media_type)
        return _Json(Any, self._media_type)


class _OneOf(Kind):
    """A union with members that are not all JSON; the first whose type a value has decides."""

    def __init__(self, kinds: list[Kind]) -> None:
        self._kinds = kinds
        self.types = tuple(kind for one in kinds for kind in one.types)
        self.schema = {"anyOf": [kind.schema for kind in kinds]}

    def output_of(self, output_id: str, value: Any) -> Output:
        self.require(output_id, value)
        return next(kind for kind in self._kinds if isinstance(value, kind.types)).output_of(output_id, value)


def kind_of(annotation: Any) -> Kind:
    """
    How returns of a type become outputs.

    Raises:
        TypeError: One output cannot be of that type.
        Exception: One of :data:`~pygeoapi_prefect.process.json_form.NO_JSON_FORM`.
    """
    bare, metadata = without_metadata(annotation)
    media_type = media_type_in(metadata)
    if bare in (Any, object):
        return _Undeclared(media_type)
    members = [member for member in arms_of(bare) if member is not NoneType]
    kinds: list[Kind] = []
    of_json = []
    for member in members:
        arm, inner = without_metadata(member)
        if kind := _kind_beside_json(arm, media_type_in(inner) or media_type):
            kinds.append(kind)
        elif _is_tuple(arm):
            raise TypeError("the items of a tuple have no names: return a NamedTuple, a dataclass or a list")
        else:
            of_json.append(member)
    if not kinds:
        only_json = _union(members)
        return _Json(Annotated[only_json, *metadata] if metadata else only_json, media_type)
    if of_json:
        kinds.append(_Json(_union(of_json), media_type))
    return kinds[0] if len(kinds) == 1 else _OneOf(kinds)


def _kind_beside_json(bare: Any, media_type: str | None) -> Kind | None:
    if bare is str:
        return _Text(media_type)
    if bare in _Bytes.types:
        return _Bytes(media_type)
    if isinstance(bare, type) and issubclass(bare, PurePath):
        return _File(media_type)
    if isinstance(bare, type) and _is_of(bare, "pystac"):
        return _Stac(bare, media_type)
    return None


def _union(members: list[Any]) -> Any:
    return Union[tuple(members)]  # noqa: UP007 of a list


def arms_of(bare: Any) -> tuple[Any, ...]:
    """The members of a union; a type that is none alone."""
    if get_origin(bare) in (Union, UnionType):
        return get_args(bare)
    return (NoneType,) if bare is None else (bare,)


def media_type_in(metadata: list[Any]) -> str | None:
    """The media type that an annotation's metadata declare."""
    return next((one.value for one in metadata if isinstance(one, MediaType)), None)


def is_geojson(annotation: Any) -> bool:
    """Whether all values of an annotation are GeoJSON: types of ours or of geojson-pydantic."""
    bare, _ = without_metadata(annotation)
    arms = [without_metadata(arm)[0] for arm in arms_of(bare)]
    if arms == [bare]:
        origin = get_origin(bare) or bare
        return origin in GEOJSON_TYPES or (isinstance(origin, type) and _is_of(origin, "geojson_pydantic"))
    return all(is_geojson(arm) for arm in arms if arm is not NoneType)


def _is_of(kind: type, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in kind.__mro__)


def _is_tuple(bare: Any) -> bool:
    return (get_origin(bare) or bare) is tuple


def _without_numpy(value: Any) -> Any:
    """numpy's numbers and arrays, which neither pydantic nor JSON knows, as Python's."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if type(value) is list:
        return [_without_numpy(item) for item in value]
    if type(value) is dict:
        return {key: _without_numpy(item) for key, item in value.items()}
    return value
