"""What an output has to be: declared in the configuration or by a method, and held against what is stored."""

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, Field, NonNegativeInt

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.looked_into import StoredOutput, UnreadableOutputError
from pygeoapi_prefect.handlers.options import Range
from pygeoapi_prefect.handlers.raster_rules import RasterRules, raster_violations
from pygeoapi_prefect.schemas.media_types import essence
from pygeoapi_prefect.settings.section import Section

MAX_SCHEMA_VIOLATIONS = 10
"""Of one output so many are told."""


def _checked_schema(schema: Any) -> Any:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    from pygeoapi_prefect.validation.keywords import Validator

    try:
        validator_for(schema, default=Validator).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"is no JSON Schema: {error.message}") from error
    return schema


def _checked_pointer(pointer: str) -> str:
    from jsonpointer import JsonPointer, JsonPointerException

    try:
        JsonPointer(pointer)
    except JsonPointerException as error:
        raise ValueError(f"is no JSON Pointer: {error}") from error
    return pointer


class OutputRules(Section):
    """
    Rules for one output.

    Attributes:
        required: Whether it has to be there when it was requested.
        non_empty: Whether it has to have content: no bytes, ``null``, ``[]``, ``{}`` and ``""`` are none.
        media_type: That it has to have; parameters do not count.
        min_bytes: Smallest size.
        max_bytes: Largest size.
        json_schema: ``schema`` in the configuration: JSON Schema of the document. References lead nowhere but into the
            schema itself and to the schemas of OGC API - Processes and GeoJSON.
        ranges: Least and greatest number by JSON Pointer (RFC 6901); each may be null. The pointer leads to a number
            or to an array of numbers.
        raster: Rules for the content as a raster; needs rasterio where the job runs.
    """

    required: bool = True
    non_empty: bool = True
    media_type: str | None = None
    min_bytes: NonNegativeInt | None = None
    max_bytes: NonNegativeInt | None = None
    json_schema: Annotated[Any, AfterValidator(_checked_schema)] = Field(default=None, alias="schema")
    ranges: Mapping[Annotated[str, AfterValidator(_checked_pointer)], Range] = Field(default_factory=dict)
    raster: RasterRules | None = None

    @property
    def needs_content(self) -> bool:
        """Whether a rule can be held against nothing but the content itself."""
        sizes = (self.min_bytes, self.max_bytes)
        return bool(self.ranges) or any(rule is not None for rule in (*sizes, self.json_schema, self.raster))


def violations(output: StoredOutput, rules: OutputRules) -> Iterator[str]:
    """
    What an output lacks, as sentences for the client.

    Raises:
        ResultStoreError: It cannot be read.
    """
    for complaint in _complaints(output, rules):
        yield f"The output {output.name!r} {complaint}."


def _complaints(output: StoredOutput, rules: OutputRules) -> Iterator[str]:
    if rules.media_type is not None and essence(output.media_type) != essence(rules.media_type):
        yield f"is {essence(output.media_type)}, not {essence(rules.media_type)}"
    if output.is_link:
        if rules.needs_content:
            yield "is a link, whose content is not looked at"
        return
    size = output.size
    if rules.min_bytes is not None and size < rules.min_bytes:
        yield f"has {size} bytes, less than {rules.min_bytes}"
    if rules.max_bytes is not None and size > rules.max_bytes:
        yield f"has {size} bytes, more than {rules.max_bytes}"
    try:
        if rules.non_empty and output.is_empty:
            yield "is empty"
        if rules.json_schema is not None:
            yield from _schema_complaints(output.document, rules.json_schema)
        for pointer, limits in rules.ranges.items():
            yield from _range_complaints(output.document, pointer, limits)
        if rules.raster is not None:
            with output.raster() as dataset:
                yield from raster_violations(dataset, rules.raster)
    except UnreadableOutputError as error:
        yield str(error)


def _schema_complaints(document: Any, schema: Any) -> Iterator[str]:
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    from pygeoapi_prefect.validation.formats import FORMATS
    from pygeoapi_prefect.validation.keywords import Validator
    from pygeoapi_prefect.validation.known_schemas import known_schemas
    from pygeoapi_prefect.validation.sentences import leaves, pointer, sentence

    validator = validator_for(schema, default=Validator)(schema, registry=known_schemas(), format_checker=FORMATS)
    try:
        errors = islice(validator.iter_errors(document), MAX_SCHEMA_VIOLATIONS)
        for error in (leaf for one in errors for leaf in leaves(one)):
            yield f"{sentence(error, may_quote=False)} at {pointer(error.absolute_path)}"
    except Unresolvable as error:
        raise ConfigurationError(f"The schema of an output refers to something that is not known: {error}") from error
    except RecursionError as error:
        raise UnreadableOutputError("is nested too deeply") from error


def _range_complaints(document: Any, pointer: str, limits: Range) -> Iterator[str]:
    from jsonpointer import JsonPointerException, resolve_pointer

    try:
        found = resolve_pointer(document, pointer)
    except JsonPointerException:
        yield f"has nothing at {pointer}"
        return
    for value in found if isinstance(found, list) else [found]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            yield f"has something at {pointer} that is no number"
            return
        if not limits.holds(value):
            yield f"has {value:.12g} at {pointer}, which is not {limits}"
            return
