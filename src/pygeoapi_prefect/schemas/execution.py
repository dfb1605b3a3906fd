"""
What a client asks of a process.

An input value is of one of five kinds, and each has ``root``, what the process computes with:

=============================  ===========================================  =================================
kind                           sent as                                      ``root``
=============================  ===========================================  =================================
:class:`QualifiedInputValue`   ``{"value": …, "mediaType": …}``             the value alone
:class:`InputReference`        ``{"href": …, "type": …}``                   the object as sent
:class:`BoundingBox`           ``{"bbox": [4 or 6 numbers], "crs": …}``     the object as sent
:class:`InputValueList`        a list with one of the above in it           the ``root`` of each item
:class:`InputValue`            everything else, other lists included        the value as sent
=============================  ===========================================  =================================

An object is of the first three kinds only when it has no members but theirs, with values of their types. So a GeoJSON
feature with a ``bbox`` or a STAC asset with an ``href`` is a plain object. Every kind is written as it was sent.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    PlainSerializer,
    RootModel,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from pygeoapi_prefect.schemas.codes import ResponseForm, TransmissionMode
from pygeoapi_prefect.schemas.model import OgcModel

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"


class _ObjectValue(BaseModel):
    """
    An input value that the standard gives members. Fields are given by the standard's names only.

    Strict types, because a union tries this kind before that of plain objects: "4" is no coordinate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="plain")
    def _as_sent(self) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            field.alias or name: getattr(self, name) for name, field in fields.items() if name in self.model_fields_set
        }

    @property
    def root(self) -> Any:
        """The object as sent."""
        return self.model_dump()


class QualifiedInputValue(_ObjectValue):
    """
    A value with its media type, encoding and schema; the only way to send an object in-line that no client may take
    for another kind. Binary values are base64 text here.

    A ``format`` member that holds the other three, as the standard's executable test suite sends it, is read as if
    they stood beside the value, and written so.

    Source:
        OGC 18-062r2, ``qualifiedInputValue.yaml`` and ``format.yaml``.
    """

    value: Any
    media_type: StrictStr | None = Field(default=None, alias="mediaType")
    encoding: StrictStr | None = None
    schema_: StrictStr | dict[str, Any] | None = Field(default=None, alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _lift_format(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.keys() == {"value", "format"} and isinstance(data["format"], dict):
            return {**data["format"], "value": data["value"]}
        return data

    @property
    def root(self) -> Any:
        """The value alone."""
        return self.value


class InputReference(_ObjectValue):
    """
    A value at a URL; ``type`` is its media type.

    A ``format`` member instead, as the standard's executable test suite sends it, is read as if its media type were
    ``type``, and written so.

    Source:
        OGC 18-062r2, ``link.yaml``.
    """

    href: StrictStr
    rel: StrictStr | None = None
    type: StrictStr | None = None
    hreflang: StrictStr | None = None
    title: StrictStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _lift_format(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.keys() == {"href", "format"} and isinstance(data["format"], dict):
            format_ = data["format"]
            if format_.keys() <= {"mediaType"}:
                return {"href": data["href"]} | ({"type": format_["mediaType"]} if format_ else {})
        return data


class BoundingBox(_ObjectValue):
    """
    A box: the lower, then the upper corner, each in the axis order and units of ``crs``.

    West may be greater than east: such a box crosses the antimeridian.

    Source:
        OGC 18-062r2, ``bbox.yaml``; without ``crs`` it is CRS84, or CRS84h where there are six numbers.
    """

    bbox: Annotated[list[StrictInt | StrictFloat], Field(min_length=4, max_length=6)]
    crs: StrictStr = Field(default_factory=lambda data: CRS84H if len(data.get("bbox", ())) == 6 else CRS84)

    @model_validator(mode="after")
    def _has_two_corners(self) -> "BoundingBox":
        if len(self.bbox) == 5:
            raise ValueError("a bbox has 4 or 6 numbers")
        return self


class InputValue(RootModel[Any]):
    """
    A string, number, boolean, null, list or plain object.

    Source:
        OGC 18-062r2, ``inputValue.yaml``. In-line objects are not in the standard, but pygeoapi's clients send them.
    """

    model_config = ConfigDict(frozen=True)


class InputValueList(BaseModel):
    """
    Several values of one input, at least one of which is qualified, a reference or a bounding box.

    Made from a list: ``InputValueList.model_validate([{"value": 1}, 2])``.

    Attributes:
        values: The items in the order sent.
    """

    model_config = ConfigDict(frozen=True)

    values: list[
        Annotated[QualifiedInputValue | InputReference | BoundingBox | InputValue, Field(union_mode="left_to_right")]
    ]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        # long lists of numbers are common, and stay one plain value
        if isinstance(data, list) and any(isinstance(item, dict | _ObjectValue) for item in data):
            return {"values": data}
        raise ValueError("no list, or a list of plain values")

    @model_validator(mode="after")
    def _is_no_plain_list(self) -> "InputValueList":
        if all(isinstance(item, InputValue) for item in self.values):
            raise ValueError("a list of plain values")
        return self

    @model_serializer(mode="plain")
    def _as_sent(self) -> list[Any]:
        return [item.model_dump() for item in self.values]

    @property
    def root(self) -> Any:
        """The ``root`` of each item."""
        return [item.root for item in self.values]


def _write_input(value: BaseModel, info: FieldSerializationInfo) -> Any:
    # a union would try the kinds one by one and take the first serializer that raises nothing
    return value.model_dump(mode=info.mode)


# plain values last, for they take everything, lists included
ExecutionInput = Annotated[
    InputValueList | QualifiedInputValue | InputReference | BoundingBox | InputValue,
    Field(union_mode="left_to_right"),
    PlainSerializer(_write_input),
    WithJsonSchema({"description": "Any JSON value."}),
]
"""The value of one input. Source: ``execute.yaml``, ``inputs``, and ``inlineOrRefData.yaml``."""


_KINDS: TypeAdapter[Any] = TypeAdapter(
    Annotated[QualifiedInputValue | InputReference | BoundingBox | InputValue, Field(union_mode="left_to_right")]
)


def kind_of(value: Any) -> QualifiedInputValue | InputReference | BoundingBox | InputValue:
    """The kind of one value, as it was sent; a list is a plain value here."""
    kind: QualifiedInputValue | InputReference | BoundingBox | InputValue = _KINDS.validate_python(value)
    return kind


class ExecutionFormat(OgcModel):
    """How an output shall be written; ``schema_`` is a URL or a JSON Schema. Source: ``format.yaml``."""

    media_type: str | None = Field(default=None, alias="mediaType")
    encoding: str | None = None
    schema_: str | dict[str, Any] | None = Field(default=None, alias="schema")


class ExecutionOutput(OgcModel):
    """How an output is wanted. Source: ``output.yaml``."""

    format: ExecutionFormat | None = None
    transmission_mode: TransmissionMode = Field(default=TransmissionMode.VALUE, alias="transmissionMode")


class Subscriber(OgcModel):
    """
    The client's URLs to be called at the job's success, progress and failure; one of them at least.

    Source:
        OGC 18-062r2, ``subscriber.yaml``, which asks for ``successUri`` in any case.
    """

    success_uri: str | None = Field(default=None, alias="successUri")
    in_progress_uri: str | None = Field(default=None, alias="inProgressUri")
    failed_uri: str | None = Field(default=None, alias="failedUri")

    @model_validator(mode="after")
    def _has_one(self) -> "Subscriber":
        if not (self.success_uri or self.in_progress_uri or self.failed_uri):
            raise ValueError("a subscriber has one of successUri, inProgressUri and failedUri")
        return self


class ExecuteRequest(OgcModel):
    """
    An execute request. It is not checked against any process description.

    ``outputs`` None, and an empty dictionary, stand for all outputs.

    Source:
        OGC 18-062r2, ``execute.yaml``.
    """

    inputs: dict[str, ExecutionInput] = Field(default_factory=dict)
    outputs: dict[str, ExecutionOutput] | None = None
    response: ResponseForm = ResponseForm.RAW
    subscriber: Subscriber | None = None
