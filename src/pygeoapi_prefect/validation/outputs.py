"""What a request asks of the outputs, and whom it wants called back."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pygeoapi_prefect.exceptions import InvalidInputsError, Violation
from pygeoapi_prefect.schemas.codes import TransmissionMode
from pygeoapi_prefect.validation.formats import is_web_url
from pygeoapi_prefect.validation.input_schema import InputSchema, is_offered
from pygeoapi_prefect.validation.sentences import listed, pointer, shortened

MAX_CALLBACK_URL: Final = 2048
"""Characters."""

_SUBSCRIBER_URIS: Final = ("successUri", "inProgressUri", "failedUri")
_FORMAT_MEMBERS: Final = {"mediaType": (str,), "encoding": (str,), "schema": (str, dict)}
_MEMBERS: Final = ("format", "transmissionMode")


class DescribedOutputs:
    """The outputs of a process that a request may select. Source: OGC 18-062r2, ``output.yaml``."""

    def __init__(self, process_id: str, description: Mapping[str, Any]) -> None:
        """
        Args:
            process_id: For the log.
            description: Of the process. Without ``outputs`` any may be selected.
        """
        declared = description.get("outputs")
        self._schemas: dict[str, InputSchema] | None = None
        if isinstance(declared, Mapping):
            self._schemas = {
                name: InputSchema(one.get("schema"), f"output {name!r} of process {process_id!r}")
                for name, one in declared.items()
                if isinstance(one, Mapping)
            }
        self._modes = [str(mode) for mode in description.get("outputTransmission") or TransmissionMode]

    def check(self, outputs: Any) -> Iterator[Violation]:
        """
        Args:
            outputs: As sent: None, an object, or the list of ids that pygeoapi's own clients send.
        """
        if outputs is None:
            return
        if isinstance(outputs, list) and all(isinstance(name, str) for name in outputs):
            for index, name in enumerate(outputs):
                yield from self._check_id(name, ("outputs", index))
        elif isinstance(outputs, dict):
            for name, wanted in outputs.items():
                yield from self._check_id(name, ("outputs", name))
                yield from self._check_wanted(name, wanted)
        else:
            yield Violation(pointer(["outputs"]), "'outputs' must be an object of output identifiers.")

    def _check_id(self, name: str, path: tuple[str | int, ...]) -> Iterator[Violation]:
        if self._schemas is not None and name not in self._schemas:
            known = f"It has {listed(self._schemas)}." if self._schemas else "It has none."
            yield Violation(pointer(path), f"Output {shortened(name)!r} is not an output of this process. {known}")

    def _check_wanted(self, name: str, wanted: Any) -> Iterator[Violation]:
        path, words = ("outputs", name), f"Output {shortened(name)!r}"
        if not isinstance(wanted, dict):
            yield Violation(pointer(path), f"{words} must be an object with format and transmissionMode.")
            return
        if "transmissionMode" in wanted and wanted["transmissionMode"] not in self._modes:
            detail = f"{words} must have the transmissionMode {listed(self._modes)}."
            yield Violation(pointer((*path, "transmissionMode")), detail)
        if "format" not in wanted:
            return
        if not isinstance(format_ := wanted["format"], dict):
            yield Violation(pointer((*path, "format")), f"{words}: the format must be an object.")
            return
        for member, types in _FORMAT_MEMBERS.items():
            if member in format_ and not isinstance(format_[member], types):
                takes = "a string" if types == (str,) else "a string or an object"
                yield Violation(pointer((*path, "format", member)), f"{words}: the {member} must be {takes}.")
        schema = (self._schemas or {}).get(name)
        media_type = format_.get("mediaType")
        if schema is not None and isinstance(media_type, str) and not is_offered(media_type, schema.media_types):
            detail = f"{words} must have the mediaType {listed(schema.offered_media_types)}."
            yield Violation(pointer((*path, "format", "mediaType")), detail)

    @staticmethod
    def selection(outputs: Any) -> dict[str, dict[str, Any]] | None:
        """Outputs that passed the check: None for all, else what is wanted of each by its id."""
        if outputs is None:
            return None
        if isinstance(outputs, list):
            return {name: {} for name in outputs}
        return {name: {key: wanted[key] for key in _MEMBERS if key in wanted} for name, wanted in outputs.items()}


def check_subscriber(subscriber: Any) -> Iterator[Violation]:
    """
    Whom to call back. The standard asks for ``successUri``; one of the three is enough here.

    Source:
        OGC 18-062r2, ``subscriber.yaml``.
    """
    if subscriber is None:
        return
    if not isinstance(subscriber, dict):
        yield Violation(pointer(["subscriber"]), "'subscriber' must be an object.")
        return
    given = urls_of(subscriber) or {}
    if not given:
        yield Violation(
            pointer(["subscriber"]), "'subscriber' must have a successUri, an inProgressUri or a failedUri."
        )
    for name, uri in given.items():
        if not _can_be_called(uri):
            must = f"must be an http or https URL without a user name, of at most {MAX_CALLBACK_URL} characters"
            yield Violation(pointer(["subscriber", name]), f"'subscriber/{name}' {must}.")


def subscriber_urls(subscriber: Any) -> dict[str, str] | None:
    """
    Whom to call back, whichever way it is given.

    Args:
        subscriber: The JSON object, pygeoapi's ``Subscriber``, or None.

    Returns:
        The URLs by their names in the standard; None for None.

    Raises:
        InvalidInputsError: It is no object, has none of the three URLs, or one that cannot be called. Whether the
            address may be called is found out by the runner.
    """
    if hasattr(subscriber, "success_uri"):
        uris = (subscriber.success_uri, subscriber.in_progress_uri, subscriber.failed_uri)
        subscriber = dict(zip(_SUBSCRIBER_URIS, uris, strict=True))
    if violations := list(check_subscriber(subscriber)):
        raise InvalidInputsError(violations=violations)
    return urls_of(subscriber)


def urls_of(subscriber: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The URLs of a subscriber that passed the check, by their names in the standard; None for None."""
    if subscriber is None:
        return None
    return {name: subscriber[name] for name in _SUBSCRIBER_URIS if subscriber.get(name) is not None}


def _can_be_called(url: Any) -> bool:
    # printable ASCII, as RFC 3986 has it: databases and headers take nothing else
    if not is_web_url(url) or len(url) > MAX_CALLBACK_URL or not url.isascii() or not url.isprintable():
        return False
    return "@" not in urlsplit(url).netloc
