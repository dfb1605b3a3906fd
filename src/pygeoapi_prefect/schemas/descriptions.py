"""
What a process says of itself.

pygeoapi lets titles, descriptions and keywords be given by language and answers them in the client's; so texts may
be a dictionary here, by language code.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from pygeoapi_prefect.schemas.codes import JobControlOption, ProcessIOType, TransmissionMode
from pygeoapi_prefect.schemas.model import OgcModel

LocalizedText = str | dict[str, str]
LocalizedKeywords = list[str] | dict[str, list[str]]
# tells 0 from 0.0, so that a number is written as it was read
Number = int | float


class Link(OgcModel):
    """A link; ``type`` is the media type of what it leads to. Source: ``link.yaml``."""

    href: LocalizedText
    rel: str | None = None
    type: str | None = None
    hreflang: str | None = None
    title: LocalizedText | None = None


class Metadata(OgcModel):
    """A link to further metadata; ``role`` is a URI. Source: ``metadata.yaml``."""

    title: LocalizedText | None = None
    role: str | None = None
    href: LocalizedText | None = None


class AdditionalParameter(OgcModel):
    """A named list of values that the standard gives no meaning. Source: ``additionalParameter.yaml``."""

    name: str
    value: list[Any]


class AdditionalParameters(Metadata):
    """Source: ``descriptionType.yaml``, ``additionalParameters``."""

    parameters: list[AdditionalParameter] = Field(default_factory=list)


class DescriptionType(OgcModel):
    """What descriptions of processes, inputs and outputs have in common. Source: ``descriptionType.yaml``."""

    title: LocalizedText | None = None
    description: LocalizedText | None = None
    keywords: LocalizedKeywords | None = None
    metadata: list[Metadata] | None = None
    additional_parameters: AdditionalParameters | None = Field(default=None, alias="additionalParameters")


class ProcessIOSchema(OgcModel):
    """
    JSON Schema of an input or output value.

    The fields are the keywords that the standard knows; others (``examples``, ``$defs`` …) are kept as they are.
    ``exclusiveMinimum`` and ``exclusiveMaximum`` are switches in the standard and numbers in later JSON Schema; a list
    of types, ``["string", "null"]``, is also later JSON Schema. Both are accepted, but do not satisfy the standard.

    Source:
        OGC 18-062r2, ``schema.yaml`` and ``reference.yaml``.
    """

    ref: str | None = Field(default=None, alias="$ref")
    title: LocalizedText | None = None
    description: LocalizedText | None = None
    type: ProcessIOType | list[str] | None = None
    format: str | None = None
    enum: list[Any] | None = None
    default: Any = None
    example: Any = None

    multiple_of: Number | None = Field(default=None, alias="multipleOf")
    minimum: Number | None = None
    maximum: Number | None = None
    exclusive_minimum: bool | Number | None = Field(default=None, alias="exclusiveMinimum")
    exclusive_maximum: bool | Number | None = Field(default=None, alias="exclusiveMaximum")

    min_length: int | None = Field(default=None, alias="minLength")
    max_length: int | None = Field(default=None, alias="maxLength")
    pattern: str | None = None

    items: "ProcessIOSchema | bool | None" = None
    min_items: int | None = Field(default=None, alias="minItems")
    max_items: int | None = Field(default=None, alias="maxItems")
    unique_items: bool | None = Field(default=None, alias="uniqueItems")

    properties: "dict[str, ProcessIOSchema | bool] | None" = None
    additional_properties: "ProcessIOSchema | bool | None" = Field(default=None, alias="additionalProperties")
    required: list[str] | None = None
    min_properties: int | None = Field(default=None, alias="minProperties")
    max_properties: int | None = Field(default=None, alias="maxProperties")

    all_of: "list[ProcessIOSchema | bool] | None" = Field(default=None, alias="allOf")
    any_of: "list[ProcessIOSchema | bool] | None" = Field(default=None, alias="anyOf")
    one_of: "list[ProcessIOSchema | bool] | None" = Field(default=None, alias="oneOf")
    not_: "ProcessIOSchema | bool | None" = Field(default=None, alias="not")

    content_media_type: str | None = Field(default=None, alias="contentMediaType")
    content_encoding: str | None = Field(default=None, alias="contentEncoding")
    content_schema: "str | ProcessIOSchema | None" = Field(default=None, alias="contentSchema")

    nullable: bool | None = None
    read_only: bool | None = Field(default=None, alias="readOnly")
    write_only: bool | None = Field(default=None, alias="writeOnly")
    deprecated: bool | None = None


class ProcessInput(DescriptionType):
    """
    Description of an input.

    ``min_occurs`` 0 makes it optional; with ``max_occurs`` above 1 its value is a list.

    Source:
        OGC 18-062r2, ``inputDescription.yaml``.
    """

    schema_: ProcessIOSchema = Field(alias="schema")
    min_occurs: int = Field(default=1, alias="minOccurs")
    max_occurs: int | Literal["unbounded"] = Field(default=1, alias="maxOccurs")


class ProcessOutput(DescriptionType):
    """Description of an output. Source: ``outputDescription.yaml``."""

    schema_: ProcessIOSchema = Field(alias="schema")


class ProcessDescription(DescriptionType):
    """
    Description of a process, with its inputs and outputs by id.

    ``example`` is pygeoapi's: an execute request that its HTML pages show.

    Source:
        OGC 18-062r2, ``process.yaml``. The default of ``jobControlOptions`` is pygeoapi's.
    """

    # pygeoapi's list of processes takes both out of every description and fails where one is missing
    always_written: ClassVar[frozenset[str]] = frozenset({"inputs", "outputs"})

    id: str
    version: str
    job_control_options: list[JobControlOption] = Field(
        default=[JobControlOption.SYNC_EXECUTE], alias="jobControlOptions"
    )
    output_transmission: list[TransmissionMode] = Field(default=list(TransmissionMode), alias="outputTransmission")
    links: list[Link] = Field(default_factory=list)
    inputs: dict[str, ProcessInput] = Field(default_factory=dict)
    outputs: dict[str, ProcessOutput] = Field(default_factory=dict)
    example: dict[str, Any] | None = None
