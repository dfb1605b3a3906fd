"""
The errors of this package, in one tree. (``PrefectRefusedError`` and ``UnusableReturnError`` stand where they arise.)

::

    PygeoapiPrefectError
    ├─ ConfigurationError (ValueError)              at start, names the YAML key
    ├─ ExecutionRefusedError (ProcessorExecuteError)
    │  ├─ InvalidInputsError 400
    │  │  └─ MissingJobParameterError
    │  ├─ MalformedRequestError 400
    │  ├─ RequestTooLargeError 413
    │  ├─ UnsupportedMediaTypeError 415
    │  ├─ JobExistsError 409
    │  ├─ IdempotencyKeyReusedError 422
    │  ├─ ReferenceRefusedError 400
    │  ├─ ReferenceFailedError 400
    │  │  ├─ ReferenceTooLargeError
    │  │  └─ ReferenceUnavailableError 502
    │  ├─ ProcessUnavailableError 503
    │  ├─ SecretKeyError 503
    │  └─ QueueFullError 503
    │     └─ UserQueueFullError 429
    ├─ IdentityError                                answered with a challenge (RFC 6750)
    │  ├─ AuthenticationError 401
    │  │  └─ TokenRefusedError
    │  ├─ AmbiguousCredentialsError 400
    │  └─ AuthorizationError 403
    │     └─ JobOfAnotherError                       it is seen, for it is shared; not to be changed
    ├─ NotAcceptableError 406
    ├─ JobFailedError (ProcessorExecuteError)       a synchronous job failed; its own status
    ├─ SyncWaitEndedError (ProcessorExecuteError) 503
    ├─ InvalidParameterError 400                    of a query
    ├─ UnknownProcessError 404                      (pygeoapi's class of that name)
    ├─ UnknownJobError (JobNotFoundError) 404
    ├─ ResultNotReadyError 404                      (JobResultNotFoundError)
    ├─ ResultNotAvailableError                      (JobResultNotFoundError)
    ├─ UnknownOutputError 404                       (JobResultNotFoundError)
    ├─ ResultStoreError 503
    ├─ JobSecretsLostError                          of a job that waited
    ├─ InvalidOutputsError 500                      the outputs of a job do not pass its checks
    ├─ StageOutError 502
    ├─ OutputTooLargeError 507
    └─ BackendUnavailableError (ProcessorExecuteError) 503
       ├─ IdentityProviderUnavailableError
       ├─ JobStoreUnavailableError
       ├─ ResourcesMissingError
       └─ PrefectUnavailableError

In parentheses stand the host's classes, so that pygeoapi catches what it already knows. Everything else that
leaves a job route is mapped by the error boundary in :mod:`pygeoapi_prefect.ogcapi`.

An error speaks twice: ``str(error)`` is for the log and the operator and may name files, hosts and remedies;
:attr:`PygeoapiPrefectError.client_message` is for the HTTP client and tells nothing of the inside.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from pygeoapi.process import base as host

OGC_EXCEPTIONS = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
"""Base of the exception types. Source: OGC 18-062r2, requirements ``no-such-process``, ``no-such-job`` …"""

REALM = "OGC API - Processes"
"""What tokens are asked for. Source: RFC 9110, 11.5."""

_TOLD = 5
"""Violations that are told in one sentence."""

_LONGEST_PLACE = 100


@dataclass(frozen=True, slots=True)
class Violation:
    """
    One thing that is wrong with an execute request.

    Attributes:
        pointer: Where in its body: a JSON pointer as URI fragment, ``#/inputs/name/0``. Source: RFC 6901, 6.
        detail: A sentence for the client that names the input or output.
    """

    pointer: str
    detail: str


class PygeoapiPrefectError(Exception):
    """
    Base of every error that this package raises on purpose.

    Attributes:
        http_status_code: The HTTP status that a front end answers with.
        ogc_exception_code: The problem's ``type``: a URI of the standard where it has one, else ``about:blank``.
        default_client_message: What the client reads unless the instance was given its own *user_msg*.
    """

    http_status_code: int = HTTPStatus.INTERNAL_SERVER_ERROR
    ogc_exception_code = "about:blank"
    default_client_message = "The server could not answer this request."
    user_msg: str | None = None

    def __init__(self, msg: str | None = None, *, user_msg: str | None = None) -> None:
        """
        Args:
            msg: For the log: what is wrong and what to do about it.
            user_msg: For the HTTP client, when it may know more than the class says.
        """
        super().__init__(msg or user_msg or self.default_client_message)
        self.user_msg = user_msg

    @property
    def client_message(self) -> str:
        """What an HTTP client may read."""
        return self.user_msg or self.default_client_message

    @property
    def message(self) -> str:
        """The name under which pygeoapi asks its own errors for :attr:`client_message`."""
        return self.client_message


class ConfigurationError(PygeoapiPrefectError, ValueError):
    """The configuration is wrong; the message names the YAML key and what it takes."""

    default_client_message = (
        "This process is not configured correctly on the server. Its operator finds the reason in the log."
    )


class ExecutionRefusedError(PygeoapiPrefectError, host.ProcessorExecuteError):
    """An execute request that makes no job."""

    http_status_code = HTTPStatus.BAD_REQUEST
    default_client_message = "The request to execute this process was refused."


class InvalidInputsError(ExecutionRefusedError):
    """
    The execute request does not fit the process description.

    Attributes:
        violations: All that is wrong, where that is known.
    """

    ogc_exception_code = "InvalidParameterValue"
    default_client_message = "The inputs do not fit the process description."

    def __init__(
        self, msg: str | None = None, *, user_msg: str | None = None, violations: Iterable[Violation] = ()
    ) -> None:
        """
        Args:
            msg: For the log.
            user_msg: For the HTTP client; by default what the first violations say.
            violations: For the HTTP client.
        """
        self.violations = tuple(violations)
        if not msg and self.violations:
            # values are no matter of the log
            msg = f"The request does not fit the process description at {_places(self.violations)}"
        super().__init__(msg, user_msg=user_msg or _summary(self.violations))


def _places(violations: tuple[Violation, ...]) -> str:
    told = ", ".join(one.pointer[:_LONGEST_PLACE] for one in violations[:_TOLD])
    return told if len(violations) <= _TOLD else f"{told} and {len(violations) - _TOLD} more places"


def _summary(violations: tuple[Violation, ...]) -> str | None:
    if not violations:
        return None
    told = " ".join(one.detail for one in violations[:_TOLD])
    left = len(violations) - _TOLD
    return told if left <= 0 else f"{told} And {left} more: see 'errors'."


class MissingJobParameterError(InvalidInputsError):
    """
    An input that the process needs was not given. Flows may raise it; the job fails with 400.

    They write their one text for the client, and did so before errors spoke twice: *msg* stands for *user_msg*, too.
    """

    ogc_exception_code = "MissingParameterValue"
    default_client_message = "An input that the process needs is missing."

    def __init__(
        self, msg: str | None = None, *, user_msg: str | None = None, violations: Iterable[Violation] = ()
    ) -> None:
        super().__init__(msg, user_msg=user_msg or msg, violations=violations)


class MalformedRequestError(ExecutionRefusedError):
    """The request cannot be read: its body is no JSON object, or a header is not as its standard says."""

    ogc_exception_code = "InvalidParameterValue"
    default_client_message = "The body of the request must be a JSON object."


class RequestTooLargeError(ExecutionRefusedError):
    """The body is larger than ``max_request_bytes``, or has more in it than ``max_request_items``."""

    http_status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_client_message = "The body of the request is too large. Give large inputs by reference."


class UnsupportedMediaTypeError(ExecutionRefusedError):
    """The body is something else than JSON, or compressed."""

    http_status_code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    default_client_message = "An execute request is JSON: send it with 'Content-Type: application/json'."


class JobExistsError(ExecutionRefusedError):
    """The client proposed the id of a job that exists, or a name that is taken in the result store."""

    http_status_code = HTTPStatus.CONFLICT
    default_client_message = "There is a job of that identifier already."


class IdempotencyKeyReusedError(ExecutionRefusedError):
    """The client sent another request with an idempotency key that it has used."""

    http_status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    default_client_message = "This Idempotency-Key was used for another request. Send a new key with a new request."


class ReferenceRefusedError(ExecutionRefusedError):
    """A client named an address that this server may not ask. The client is not told what its name resolved to."""

    ogc_exception_code = "InvalidParameterValue"
    default_client_message = "This server may not ask that address."

    def __init__(self, msg: str | None = None, *, user_msg: str | None = None) -> None:
        # whoever reports it by user_msg or else str() never tells the operator's half
        super().__init__(msg, user_msg=user_msg or self.default_client_message)


class ReferenceFailedError(ExecutionRefusedError):
    """An input by reference cannot be had: there is no such thing, or it is not what it should be."""

    ogc_exception_code = "InvalidParameterValue"
    default_client_message = "An input could not be fetched."


class ReferenceTooLargeError(ReferenceFailedError):
    """There is more at a reference than is fetched."""


class ReferenceUnavailableError(ReferenceFailedError):
    """The server of an input by reference does not answer, or not as it should. The same request may succeed later."""

    http_status_code = HTTPStatus.BAD_GATEWAY
    ogc_exception_code = "about:blank"


class ProcessUnavailableError(ExecutionRefusedError):
    """The process is configured, but its processor could not be imported or constructed."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "This process is not available at the moment."


class SecretKeyError(ExecutionRefusedError):
    """There is no key to keep a job's secrets with, or it is none. The message tells how to make one."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "The server cannot keep secret inputs and access tokens at the moment."


class QueueFullError(ExecutionRefusedError):
    """As many jobs wait as ``server.manager.max_waiting`` allows."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "Too many jobs are waiting. Try again later."


class UserQueueFullError(QueueFullError):
    """As many jobs of one user wait as ``server.manager.max_waiting_per_user`` allows."""

    http_status_code = HTTPStatus.TOO_MANY_REQUESTS
    default_client_message = "Too many of your jobs are waiting. Try again later."


class IdentityError(PygeoapiPrefectError):
    """
    Who sends the request is not known well enough for it.

    The words for the client stand in a header, too: printable ASCII without quotation marks and backslashes. They are
    the same for everything that may be wrong with a signature, so that nobody learns how to make a better one.

    Attributes:
        bearer_error: ``error`` of the challenge; None where the request has no token. Source: RFC 6750, 3.1.
    """

    http_status_code = HTTPStatus.UNAUTHORIZED
    bearer_error: str | None = None

    @property
    def challenge(self) -> str:
        """The header ``WWW-Authenticate``. Source: RFC 6750, 3."""
        challenge = f'Bearer realm="{REALM}"'
        if self.bearer_error is not None:
            challenge += f', error="{self.bearer_error}", error_description="{self.client_message}"'
        return challenge


class AuthenticationError(IdentityError):
    """The request needs a user, and has no token."""

    default_client_message = "This needs a token: send it with 'Authorization: Bearer'."


class TokenRefusedError(AuthenticationError):
    """The token of the request is not to be believed."""

    bearer_error = "invalid_token"
    default_client_message = "The token cannot be verified."


class AmbiguousCredentialsError(IdentityError):
    """The request has more than one header ``Authorization``."""

    http_status_code = HTTPStatus.BAD_REQUEST
    bearer_error = "invalid_request"
    default_client_message = "The request has more than one Authorization header."


class AuthorizationError(IdentityError):
    """The user is known, and may not do this."""

    http_status_code = HTTPStatus.FORBIDDEN
    bearer_error = "insufficient_scope"
    default_client_message = "You may not do this."


class JobOfAnotherError(AuthorizationError):
    """The job is shared with the client, who may read it and nothing more."""

    default_client_message = "This job is shared with you. Only its owner may dismiss it."


class NotAcceptableError(PygeoapiPrefectError):
    """The request's ``Accept`` excludes everything that the resource can be answered in."""

    http_status_code = HTTPStatus.NOT_ACCEPTABLE
    default_client_message = "This is answered as application/json or text/html only."


class JobFailedError(PygeoapiPrefectError, host.ProcessorExecuteError):
    """
    A job that was executed synchronously failed, or a failed job's results were asked for.

    Args:
        reason: The job's message, already fit for the client.
        job_id: The job; the boundary answers its ``Location``.
        http_status_code: From the job's stored problem.
        ogc_exception_code: From the job's stored problem.
    """

    def __init__(self, reason: str, *, job_id: str, http_status_code: int, ogc_exception_code: str) -> None:
        super().__init__(user_msg=reason)
        self.job_id = job_id
        self.http_status_code = http_status_code
        self.ogc_exception_code = ogc_exception_code


class SyncWaitEndedError(PygeoapiPrefectError, host.ProcessorExecuteError):
    """
    A synchronous request cannot be waited for any longer, and the process has no asynchronous mode.

    Attributes:
        job_id: The job, which goes on; the boundary answers its ``Location``.
    """

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "The job goes on, but this request cannot wait for it any longer. Follow its Location."

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id


class InvalidParameterError(PygeoapiPrefectError):
    """A query parameter is not as the standard says; the client's message names it."""

    http_status_code = HTTPStatus.BAD_REQUEST
    ogc_exception_code = "InvalidParameterValue"
    default_client_message = "A parameter of the request cannot be read."


class UnknownProcessError(PygeoapiPrefectError, host.UnknownProcessError):
    """No process of that id is configured."""

    http_status_code = HTTPStatus.NOT_FOUND
    ogc_exception_code = f"{OGC_EXCEPTIONS}/no-such-process"
    default_client_message = "There is no process of that identifier."


class UnknownJobError(PygeoapiPrefectError, host.JobNotFoundError):
    """No job of that id is stored."""

    http_status_code = HTTPStatus.NOT_FOUND
    ogc_exception_code = f"{OGC_EXCEPTIONS}/no-such-job"
    default_client_message = "There is no job of that identifier."


class ResultNotReadyError(PygeoapiPrefectError, host.JobResultNotFoundError):
    """The job has not ended yet."""

    http_status_code = HTTPStatus.NOT_FOUND
    ogc_exception_code = f"{OGC_EXCEPTIONS}/result-not-ready"
    default_client_message = "The job has not ended yet."


class ResultNotAvailableError(PygeoapiPrefectError, host.JobResultNotFoundError):
    """The job ended without a result (dismissed), or its stored outputs are gone."""

    http_status_code = HTTPStatus.NOT_FOUND
    ogc_exception_code = f"{OGC_EXCEPTIONS}/result-not-available"
    default_client_message = "The job has no result."


class UnknownOutputError(PygeoapiPrefectError, host.JobResultNotFoundError):
    """The job has results, but not this output."""

    http_status_code = HTTPStatus.NOT_FOUND
    ogc_exception_code = f"{OGC_EXCEPTIONS}/no-such-output"
    default_client_message = "The job has no output of that identifier."


class ResultStoreError(PygeoapiPrefectError):
    """The result store cannot be read or written."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "The result store cannot be reached. Try again later."


class JobSecretsLostError(PygeoapiPrefectError):
    """The secrets of a job that has waited cannot be opened any more."""

    default_client_message = (
        "What the request kept secret cannot be read any more: the server's key has changed. Send the request again."
    )


class InvalidOutputsError(PygeoapiPrefectError):
    """
    The process has succeeded, but its outputs are not what they should be.

    Args:
        violations: All that is wrong, as sentences for the client.
    """

    default_client_message = "The outputs of the process did not pass the checks."

    def __init__(self, violations: Iterable[str] = ()) -> None:
        self.violations = tuple(violations)
        super().__init__(user_msg=" ".join(self.violations) or None)


class StageOutError(PygeoapiPrefectError):
    """A store that must have the outputs of a job does not have them."""

    http_status_code = HTTPStatus.BAD_GATEWAY
    default_client_message = "The outputs could not be stored where they should be."


class OutputTooLargeError(PygeoapiPrefectError):
    """A job has more output than ``max_output_bytes`` lets it store."""

    http_status_code = HTTPStatus.INSUFFICIENT_STORAGE
    default_client_message = "The outputs of this job are larger than this server stores."


class BackendUnavailableError(PygeoapiPrefectError, host.ProcessorExecuteError):
    """Something that the answer needs cannot be reached at the moment. Never means "not found"."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_client_message = "The server cannot reach a part of itself. Try again later."


class IdentityProviderUnavailableError(BackendUnavailableError):
    """The issuer of tokens does not tell its keys, and a token is of one that is not known."""

    default_client_message = "The token cannot be verified at the moment. Try again later."


class JobStoreUnavailableError(BackendUnavailableError):
    """The job store's database cannot be reached, or refused the connection."""

    default_client_message = "The job store cannot be reached. Try again later."


class ResourcesMissingError(BackendUnavailableError):
    """The place where a job runs lacks what the job needs; the same request may succeed later, or elsewhere."""

    default_client_message = "The server lacks what this job needs. Try again later."


class PrefectUnavailableError(BackendUnavailableError):
    """The Prefect API cannot be reached, or answered with a server error."""

    default_client_message = "Prefect cannot be reached. Try again later."
