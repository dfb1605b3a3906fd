"""Whole execute requests."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from math import isfinite
from sys import float_info
from typing import Any, Final

from pygeoapi_prefect.exceptions import InvalidInputsError, MissingJobParameterError, Violation
from pygeoapi_prefect.schemas.codes import ResponseForm
from pygeoapi_prefect.validation.inputs import MAX_VIOLATIONS, DescribedInput
from pygeoapi_prefect.validation.outputs import DescribedOutputs, check_subscriber, urls_of
from pygeoapi_prefect.validation.sentences import Step, listed, pointer, shortened

MAX_DEPTH: Final = 100
"""Arrays and objects within each other in a request. Below what any part of Python recurses into without failing."""

_LARGEST: Final = int(float_info.max)
"""What is beyond it becomes infinite, or fails, wherever somebody computes with it."""


class RequestValidator:
    """
    Holds execute requests against one process description. Thread-safe; schemas are compiled by their first use.

    A description without ``inputs`` takes any input, one whose ``inputs`` are empty takes none.
    """

    def __init__(self, process_id: str, description: Mapping[str, Any], *, strict: bool = True) -> None:
        """
        Args:
            process_id: For the log.
            description: Of the process, as OGC's ``process.yaml``.
            strict: Whether inputs are checked; else only the shape of the request is.
        """
        declared = description.get("inputs")
        self._takes_any = not isinstance(declared, Mapping)
        self._inputs = {
            name: DescribedInput(process_id, name, one)
            for name, one in (declared.items() if isinstance(declared, Mapping) else ())
        }
        self._outputs = DescribedOutputs(process_id, description)
        self._is_strict = strict
        self._process_id = process_id

    def check(self, body: Any) -> dict[str, Any]:
        """
        Check a request before a job is made of it. Members that the standard does not know are ignored.

        Args:
            body: As ``json.loads`` gave it.

        Returns:
            The request to be stored: ``inputs`` as sent, with the defaults of those that were not; ``outputs``, None
            for all or a mapping of ids to ``format`` and ``transmissionMode``; ``response``; the URLs of the
            ``subscriber`` by their names, or None.

        Raises:
            MissingJobParameterError: Inputs are missing and nothing else is wrong.
            InvalidInputsError: With every violation, up to :data:`MAX_VIOLATIONS`.
        """
        if not isinstance(body, dict):
            raise InvalidInputsError(violations=[Violation("#", "The body of the request must be a JSON object.")])
        _refuse([], list(islice(self._unwritable(body), MAX_VIOLATIONS)))
        inputs = body.get("inputs", {})
        wrong, missing = list(islice(self._check_rest(body), MAX_VIOLATIONS)), []
        if not isinstance(inputs, dict):
            wrong.insert(0, Violation("#/inputs", "'inputs' must be an object of input names and values."))
        elif self._is_strict:
            missing = [
                Violation(pointer(["inputs", name]), f"Input {name!r} is missing.")
                for name, one in self._inputs.items()
                if one.is_required and name not in inputs
            ]
            wrong = [*islice(self._check_inputs(inputs), MAX_VIOLATIONS), *wrong]
        _refuse(missing, wrong)
        return {
            "inputs": self._with_defaults(inputs),
            "outputs": self._outputs.selection(body.get("outputs")),
            "response": body.get("response", ResponseForm.RAW.value),
            "subscriber": urls_of(body.get("subscriber")),
        }

    def _unwritable(self, body: Any) -> Iterator[Violation]:
        """What Python reads, but JSON does not know, and what is nested so deeply that nobody can work with it."""
        if _is_writable(body):
            return
        level: list[tuple[tuple[Step, ...], Any]] = [((), body)]
        for _ in range(MAX_DEPTH):
            below: list[tuple[tuple[Step, ...], Any]] = []
            for path, container in level:
                for step, value in container.items() if isinstance(container, dict) else enumerate(container):
                    if isinstance(value, dict | list):
                        below.append(((*path, step), value))
                    elif isinstance(value, float | int) and not _is_finite(value):
                        place = self._shown((*path, step))
                        yield Violation(pointer(place), f"{_named(place)} must be a finite number.")
            if not below:
                return
            level = below
        # what lies deeper was not looked at
        place = level[0][0][:2]
        yield Violation(pointer(place), f"{_named(place)} is nested too deeply.")

    def _shown(self, path: tuple[Step, ...]) -> tuple[Step, ...]:
        """The part of a path that tells nothing of a secret."""
        if path[0] == "inputs" and len(path) > 2:
            described = self._inputs.get(str(path[1]))
            return path[:2] if described is not None and described.is_secret else path
        return path

    def _check_rest(self, body: Mapping[str, Any]) -> Iterator[Violation]:
        yield from self._outputs.check(body.get("outputs"))
        forms = [form.value for form in ResponseForm]
        if body.get("response", ResponseForm.RAW.value) not in forms:
            yield Violation("#/response", f"'response' must be {listed(forms)}.")
        yield from check_subscriber(body.get("subscriber"))

    def _check_inputs(self, inputs: Mapping[str, Any]) -> Iterator[Violation]:
        for name, value in inputs.items():
            if one := self._inputs.get(name):
                yield from one.check(value)
            elif not self._takes_any:
                known = f"It takes {listed(self._inputs)}." if self._inputs else "It takes none."
                detail = f"Input {shortened(name)!r} is not an input of this process. {known}"
                yield Violation(pointer(["inputs", name]), detail)

    def _with_defaults(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        defaults = {name: one.default() for name, one in self._inputs.items() if name not in inputs}
        return {**inputs, **{name: value for name, value in defaults.items() if value is not None}}

    def values(
        self,
        inputs: Mapping[str, Any],
        *,
        fetch: Callable[[str, Mapping[str, Any], Mapping[str, Any]], Any] | None,
    ) -> dict[str, Any]:
        """
        What the process computes with. To be called where the job runs: *fetch* may wait, and take much memory.

        Qualified values are unwrapped, also as items of a list, unless the schema itself takes such an object.

        Args:
            inputs: Of a request that passed the check.
            fetch: Called with the input's id, the link and the input's description for each reference; returns what
                stands there, which is then held against the schema. None leaves references as they were sent.

        Raises:
            InvalidInputsError: What stands at a reference does not fit.
            Exception: Whatever *fetch* raises.
        """
        violations: list[Violation] = []
        values = {
            name: (self._inputs.get(name) or DescribedInput(self._process_id, name, None)).value(
                value, fetch, violations
            )
            for name, value in inputs.items()
        }
        if self._is_strict:
            _refuse([], violations)
        return values


def _refuse(missing: list[Violation], wrong: list[Violation]) -> None:
    if wrong:
        raise InvalidInputsError(violations=[*missing, *wrong][:MAX_VIOLATIONS])
    if missing:
        raise MissingJobParameterError(violations=missing[:MAX_VIOLATIONS])


def _is_writable(body: Any) -> bool:
    """The same question without the places: nearly every request is, and some are large."""
    level = [body]
    for _ in range(MAX_DEPTH):
        below = []
        for container in level:
            for value in container.values() if type(container) is dict else container:
                if type(value) is float:
                    if not isfinite(value):
                        return False
                elif type(value) is int:
                    if not -_LARGEST <= value <= _LARGEST:
                        return False
                elif type(value) is list or type(value) is dict:
                    below.append(value)
        if not below:
            return True
        level = below
    return False


def _is_finite(number: float | int) -> bool:
    return isfinite(number) if isinstance(number, float) else -_LARGEST <= number <= _LARGEST


def _named(path: tuple[Step, ...]) -> str:
    match path:
        case ("inputs", name, *_):
            return f"Input {shortened(str(name))!r}"
        case (member, *_):
            return repr(shortened(str(member)))
        case _:
            return "The body"
