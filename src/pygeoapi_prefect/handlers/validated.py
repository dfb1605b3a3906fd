"""The handler that holds a job against rules: its inputs and its resources before, its outputs after."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from pygeoapi_prefect.exceptions import (
    ConfigurationError,
    InvalidOutputsError,
    MissingJobParameterError,
    ResourcesMissingError,
)
from pygeoapi_prefect.handlers.common import VALUES_SET, CommonExecutionHandler
from pygeoapi_prefect.handlers.job_resources import NeededResources, lacking
from pygeoapi_prefect.handlers.looked_into import StoredOutput, UnreadableOutputError
from pygeoapi_prefect.handlers.output_rules import OutputRules, violations
from pygeoapi_prefect.results.outputs import WHOLE
from pygeoapi_prefect.results.store import ResultStore
from pygeoapi_prefect.schemas.media_types import is_json

MAX_STAC_BYTES = 64 * 1024 * 1024
"""Larger documents are not looked at for being STAC, unless the configuration says that they are."""


class ValidatedOptions(NeededResources):
    """
    Options of :class:`ValidatedHandler`, beside the resources that the job needs.

    Attributes:
        required_inputs: Ids of inputs that must be there, and not empty.
        rules: For outputs, by their ids.
        stac_outputs: Ids of outputs that must be STAC.
        validate_stac: Whether outputs that are STAC are validated.
    """

    required_inputs: Sequence[str] = ()
    rules: Mapping[str, OutputRules] = Field(default_factory=dict)
    stac_outputs: Sequence[str] = ()
    validate_stac: bool = True


class ValidatedHandler(CommonExecutionHandler):
    """
    Refuses jobs without what they need, and fails those whose outputs are not what they should be.

    All that is wrong with the outputs is in the job's message. Where a class has rules that cannot be declared it
    overwrites :meth:`validate_outputs`, and adds sentences for the client to :attr:`violations`.

    Attributes:
        violations: What is wrong with the outputs, once :meth:`post_execution_hook` has begun.
    """

    own_options = ValidatedOptions
    violations: list[str]

    def pre_execution_hook(self) -> None:
        """
        Raises:
            MissingJobParameterError: Inputs are missing.
            ResourcesMissingError: Resources are.
            ConfigurationError: A rule is for an output that the process does not have.
        """
        super().pre_execution_hook()
        self._check_rules()
        self.validate_inputs()
        self.validate_resources()

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """
        Raises:
            InvalidOutputsError: With all violations.
        """
        super().post_execution_hook(log, output, usage_report, tool_logs)
        self.violations = []
        is_valid = self.validate_outputs(output)
        self.validate_stac_catalog(output)
        if self.violations or not is_valid:
            raise InvalidOutputsError(self.violations)

    # ---------------------------------------------------------------- what a class may overwrite

    def validate_inputs(self) -> None:
        """Raise MissingJobParameterError where a required input is missing, null or empty."""
        inputs = self.conf["lenv"]["inputs"]
        if missing := [name for name in self._own.required_inputs if inputs.get(name) in (None, "", [], {})]:
            raise MissingJobParameterError(user_msg=" ".join(f"The input {name!r} is missing." for name in missing))

    def validate_resources(self) -> None:
        """Raise ResourcesMissingError where the place of the job lacks what the options ask for."""
        needed = self._own
        if any(rules.raster is not None for rules in self._rules().values()):
            needed = needed.model_copy(update={"modules": [*needed.modules, "rasterio"]})
        found = list(lacking(needed, self.conf["main"]["tmpPath"]))
        if found:
            kinds = list(dict.fromkeys(kind for kind, _ in found))
            raise ResourcesMissingError(
                f"The job lacks resources: {'; '.join(told for _, told in found)}",
                user_msg=f"The server lacks what this job needs: {', '.join(kinds)}.",
            )

    def quality_rules(self) -> Mapping[str, OutputRules | Mapping[str, Any]]:
        """The rules for outputs by their ids, each as the option ``rules`` has it; by default the option itself."""
        return self._own.rules

    def validate_outputs(self, output: Mapping[str, Any]) -> bool:
        """
        Hold the outputs against the rules, and add what is wrong to :attr:`violations`.

        Returns:
            Whether nothing is wrong.
        """
        found = list(self._rule_violations(output))
        self.violations += found
        return not found

    def validate_stac_catalog(self, output: Mapping[str, Any]) -> None:
        """Validate the outputs that are STAC, offline, and add what is wrong to :attr:`violations`."""
        if self._own.validate_stac:
            self.violations += self._stac_violations(output)

    # ---------------------------------------------------------------- rules

    @property
    def _own(self) -> ValidatedOptions:
        return ValidatedOptions.of(self.options)

    def _rules(self) -> dict[str, OutputRules]:
        return {
            name: rules if isinstance(rules, OutputRules) else OutputRules.parse(rules, f"quality_rules.{name}")
            for name, rules in self.quality_rules().items()
        }

    def _check_rules(self) -> None:
        declared = self.conf["lenv"].get("declared_outputs")
        unknown = {*self._rules(), *self._own.stac_outputs} - {*(declared or ()), WHOLE}
        if declared and unknown:
            raise ConfigurationError(
                f"There are rules for outputs that the process does not have: {', '.join(sorted(unknown))}. It has "
                f"{', '.join(declared)}."
            )

    def _rule_violations(self, output: Mapping[str, Any]) -> Iterator[str]:
        for name, rules in self._rules().items():
            if name in output:
                yield from violations(self._stored(name, output[name]), rules)
            elif rules.required and self._is_wanted(name):
                yield f"The output {name!r} is missing."

    def _stac_violations(self, output: Mapping[str, Any]) -> Iterator[str]:
        must_be = set(self._own.stac_outputs)
        yield from (f"The output {name!r} is missing." for name in must_be - set(output) if self._is_wanted(name))
        for name, value in output.items():
            stored = self._stored(name, value)
            document = _stac_document(stored, must_be=name in must_be)
            if document is not None:
                from pygeoapi_prefect.handlers.stac_validation import validate_stac

                found = validate_stac(stored.left_at or document)
                yield from (f"The output {name!r} is no valid STAC: {one}" for one in found)
            elif name in must_be:
                yield f"The output {name!r} is no STAC document."

    def _is_wanted(self, name: str) -> bool:
        """Whether the client asked for an output; for all of them, where nothing is known of any."""
        return name in self.outputs or not self.outputs

    def _stored(self, name: str, value: Any) -> StoredOutput:
        shown: Mapping[str, Any] = self.__dict__.get(VALUES_SET, {}).get(name, {})
        store = self.result_store or ResultStore(self.conf["main"]["tmpUrl"])
        return StoredOutput(name, value, shown, store=store, job_id=self.conf["lenv"]["job_id"])


def _stac_document(output: StoredOutput, *, must_be: bool) -> Mapping[str, Any] | None:
    """A STAC document or a collection of Items; None where the output is none."""
    if output.is_link or not is_json(output.media_type) or (output.size > MAX_STAC_BYTES and not must_be):
        return None
    try:
        document = output.document
    except UnreadableOutputError:
        return None
    if not isinstance(document, Mapping):
        return None
    features = document.get("features")
    members = features if isinstance(features, list) and features else [document]
    return document if all(isinstance(one, Mapping) and "stac_version" in one for one in members) else None
