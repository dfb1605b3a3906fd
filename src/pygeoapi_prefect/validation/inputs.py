"""One described input: how often it occurs, what kinds of values it takes, and what its schema says of them."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from itertools import islice
from math import inf
from typing import Any, Final

from jsonschema import ValidationError

from pygeoapi_prefect.exceptions import Violation
from pygeoapi_prefect.schemas.execution import InputReference, QualifiedInputValue, kind_of
from pygeoapi_prefect.validation.formats import is_web_url
from pygeoapi_prefect.validation.input_schema import InputSchema, is_offered
from pygeoapi_prefect.validation.secrets import holds_secret
from pygeoapi_prefect.validation.sentences import Step, leaves, listed, pointer, sentence, shortened

Fetch = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Any]
"""Takes the input's id, the link and the input's description, and returns what stands at the link."""

MAX_VIOLATIONS: Final = 100
"""That are told, and looked for; a request can be wrong in more ways than anybody reads."""

_TOO_DEEP: Final = "is nested too deeply"


class DescribedInput:
    """
    An input of a process.

    A value is one occurrence, or where ``maxOccurs`` exceeds 1 a list of them. Where the schema itself takes an array,
    such a list is one of arrays, and one flat array is one occurrence.

    Attributes:
        input_id: Its key in the process description.
        schema: Of one occurrence.
        is_required: Whether a request must have it.
    """

    def __init__(self, process_id: str, input_id: str, description: Any) -> None:
        self.input_id = input_id
        self._description: Mapping[str, Any] = description if isinstance(description, Mapping) else {}
        self.schema = InputSchema(self._description.get("schema"), f"input {input_id!r} of process {process_id!r}")
        self._min_occurs = _count(self._description.get("minOccurs"), 1)
        self._max_occurs = max(_count(self._description.get("maxOccurs"), 1), 1)
        self.is_required = self._min_occurs > 0 and not self.schema.has_default

    @cached_property
    def is_secret(self) -> bool:
        """Whether nothing of its value may be told."""
        return holds_secret(self._description.get("schema"))

    def default(self) -> Any:
        """A copy of the schema's; None where it has none, or null: the process then sees no value."""
        return deepcopy(self.schema.default)

    # ---------------------------------------------------------------- at the request

    def check(self, value: Any) -> Iterator[Violation]:
        """What is wrong with a value as it was sent. What stands at references is not known yet."""
        occurrences = self._occurrences(value)
        if len(occurrences) < self._min_occurs:
            yield self._violation((), f"must have at least {_values(self._min_occurs)}, not {len(occurrences)}")
        if len(occurrences) > self._max_occurs:
            yield self._violation((), f"must have at most {_values(self._max_occurs)}, not {len(occurrences)}")
        fits = self.schema.plain_check
        for path, occurrence in occurrences:
            if fits is None or not fits(occurrence):
                yield from self._check_occurrence(occurrence, path)

    def _occurrences(self, value: Any) -> list[tuple[tuple[Step, ...], Any]]:
        whole: list[tuple[tuple[Step, ...], Any]] = [((), value)]
        if self._max_occurs == 1 or not isinstance(value, list):
            return whole
        several: list[tuple[tuple[Step, ...], Any]] = [((index,), item) for index, item in enumerate(value)]
        if not self.schema.takes_array:
            return several
        if not value or not all(map(self._may_be_array, value)):
            return whole
        # an array of arrays: a list of values, unless only the whole fits
        is_list = not any(True for path, item in several for _ in self._check_occurrence(item, path))
        return several if is_list or any(True for _ in self._check_occurrence(value, ())) else whole

    def _check_occurrence(self, value: Any, path: tuple[Step, ...]) -> Iterator[Violation]:
        kind = self._kind(value)
        if isinstance(kind, InputReference):
            yield from self._check_reference(kind, path)
        elif isinstance(kind, QualifiedInputValue):
            yield from self._check_qualifiers(kind, value, path)
            yield from self._check_in_line(kind.value, (*path, "value"))
        else:
            yield from self._check_in_line(value, path)

    def _kind(self, value: Any) -> InputReference | QualifiedInputValue | None:
        """None also for an object that the schema itself takes."""
        kind = _sent_as(value)
        if kind is None:
            return None
        own = "href" if isinstance(kind, InputReference) else "value"
        return None if own in self.schema.members and self.schema.fits(value) else kind

    def _may_be_array(self, item: Any) -> bool:
        kind = self._kind(item)
        return isinstance(kind, InputReference) or isinstance(_plain(item, kind), list)

    def _kinds_of_items(self, array: list[Any]) -> list[InputReference | QualifiedInputValue | None] | None:
        """None where the items of an array value are what they look like, as long as that fits the schema."""
        kinds = [_sent_as(item) for item in array]
        said = [item for item, kind in zip(array, kinds, strict=True) if kind is not None]
        if not said:
            return None
        is_own = not {"value", "href"}.isdisjoint(self.schema.members)
        may_be_plain = is_own or all(item.keys() == {"value"} for item in said)
        return None if may_be_plain and self.schema.fits(array) else kinds

    def _check_reference(self, reference: InputReference, path: tuple[Step, ...]) -> Iterator[Violation]:
        if not is_web_url(reference.href):
            yield self._violation((*path, "href"), "must be an absolute http or https URL")
        if reference.type is not None and not is_offered(reference.type, self.schema.media_types):
            yield self._violation((*path, "type"), f"must be {listed(self.schema.offered_media_types)}")

    def _check_qualifiers(
        self, qualified: QualifiedInputValue, sent: Mapping[str, Any], path: tuple[Step, ...]
    ) -> Iterator[Violation]:
        if qualified.media_type is not None and not is_offered(qualified.media_type, self.schema.media_types):
            offered = listed(self.schema.offered_media_types)
            yield self._violation((*path, *_where(sent, "mediaType")), f"must have the media type {offered}")
        if qualified.encoding is not None and not _has_encoding(qualified.encoding, self.schema.encodings):
            offered = listed(sorted(self.schema.encodings or ()))
            yield self._violation((*path, *_where(sent, "encoding")), f"must have the encoding {offered}")

    def _check_in_line(self, value: Any, path: tuple[Step, ...]) -> Iterator[Violation]:
        if isinstance(value, list) and (kinds := self._kinds_of_items(value)) is not None:
            for index, (item, kind) in enumerate(zip(value, kinds, strict=True)):
                if isinstance(kind, InputReference):
                    yield from self._check_reference(kind, (*path, index))
                elif kind is not None:
                    yield from self._check_qualifiers(kind, item, (*path, index))
            if any(isinstance(kind, InputReference) for kind in kinds):
                return  # the array is checked when it is there
            value = [_plain(item, kind) for item, kind in zip(value, kinds, strict=True)]
        yield from self._check_schema(value, path)

    def _check_schema(self, value: Any, path: tuple[Step, ...]) -> Iterator[Violation]:
        try:
            errors = islice(self.schema.errors(value), MAX_VIOLATIONS)
            found = [leaf for error in errors for leaf in leaves(error)]
        except RecursionError:
            yield self._violation(path, _TOO_DEEP)
            return
        of_another_type = {leaf.json_path for leaf in found if leaf.validator == "type"}
        # a value of another type breaks every other rule as well
        told = [leaf for leaf in found if leaf.validator == "type" or leaf.json_path not in of_another_type]
        yield from dict.fromkeys(self._told((*path, *leaf.absolute_path), leaf) for leaf in told)

    # ---------------------------------------------------------------- where the job runs

    def value(self, sent: Any, fetch: Fetch | None, violations: list[Violation]) -> Any:
        """
        What the process computes with.

        Args:
            sent: As in the request.
            fetch: For references; None leaves them as they were sent.
            violations: What is wrong with values that were fetched is added here.
        """
        occurrences = self._occurrences(sent)
        if occurrences and occurrences[0][0] == ():
            return self._occurrence(sent, (), fetch, violations)
        return [self._occurrence(item, path, fetch, violations) for path, item in occurrences]

    def _occurrence(self, sent: Any, path: tuple[Step, ...], fetch: Fetch | None, violations: list[Violation]) -> Any:
        kind = self._kind(sent)
        if isinstance(kind, InputReference):
            if fetch is None:
                return sent
            fetched = fetch(self.input_id, sent, self._description)
            violations += self._check_schema(fetched, path)
            return fetched
        value = _plain(sent, kind)
        if not isinstance(value, list) or (kinds := self._kinds_of_items(value)) is None:
            return value
        links = [index for index, one in enumerate(kinds) if isinstance(one, InputReference)]
        items = [_plain(item, one) for item, one in zip(value, kinds, strict=True)]
        if fetch is not None and links:
            for index in links:
                items[index] = fetch(self.input_id, items[index], self._description_of_item)
            violations += self._check_schema(items, path)
        return items

    @cached_property
    def _description_of_item(self) -> Mapping[str, Any]:
        schema = self._description.get("schema")
        return {**self._description, "schema": schema.get("items") if isinstance(schema, Mapping) else None}

    # ---------------------------------------------------------------- words

    def _told(self, path: tuple[Step, ...], error: ValidationError) -> Violation:
        return self._violation(path, sentence(error, may_quote=not self.is_secret))

    def _violation(self, path: tuple[Step, ...], sentence: str) -> Violation:
        if self.is_secret:
            # names of members may be secret, too
            path = ()
        at = "/".join(shortened(str(step)) for step in path)
        where = f"Input {shortened(self.input_id)!r}" + (f" at {at}" if at else "")
        return Violation(pointer(("inputs", self.input_id, *path)), f"{where} {sentence}.")


def _sent_as(value: Any) -> InputReference | QualifiedInputValue | None:
    """None for values that are what they look like: bounding boxes, too."""
    if not isinstance(value, dict) or not ("value" in value or "href" in value):
        return None
    kind = kind_of(value)
    return kind if isinstance(kind, InputReference | QualifiedInputValue) else None


def _plain(sent: Any, kind: InputReference | QualifiedInputValue | None) -> Any:
    return kind.value if isinstance(kind, QualifiedInputValue) else sent


def _where(sent: Mapping[str, Any], qualifier: str) -> tuple[str, ...]:
    return (qualifier,) if qualifier in sent else ("format", qualifier)


def _has_encoding(encoding: str, offered: frozenset[str] | None) -> bool:
    return offered is None or encoding in offered


def _count(occurs: Any, default: float) -> float:
    """Of ``minOccurs`` and ``maxOccurs``; *default* where it is missing or no number."""
    if occurs == "unbounded":
        return inf
    try:
        return default if occurs is None or isinstance(occurs, bool) else max(int(occurs), 0)
    except (TypeError, ValueError, OverflowError):
        return default


def _values(count: float) -> str:
    return f"{count:.0f} value" if count == 1 else f"{count:.0f} values"
