"""Calls of a workspace API in the name of one user."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlsplit
from uuid import NAMESPACE_URL, uuid5

import httpx
import stamina
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from slugify import slugify

from pygeoapi_prefect.exceptions import BackendUnavailableError, PygeoapiPrefectError
from pygeoapi_prefect.schemas.media_types import JSON_MEDIA_TYPE

MAX_ANSWER_BYTES = 1024 * 1024

MAX_NAME = 32
"""Characters of a user's name that a workspace's name takes. Source: EOEPCA's workspace API."""

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class WorkspaceUnavailableError(BackendUnavailableError):
    """The workspace API cannot be reached, does not answer in time, or has no credentials yet."""

    default_client_message = "Your workspace cannot be reached. Try again later."

    def __init__(self, msg: str, *, user_msg: str | None = None) -> None:
        # whoever reports it by user_msg or else str() never tells the operator's half
        super().__init__(msg, user_msg=user_msg or self.default_client_message)


class WorkspaceRefusedError(PygeoapiPrefectError):
    """The workspace API refuses what was asked of it, or answers what cannot be used; to ask again is useless."""

    http_status_code = HTTPStatus.BAD_GATEWAY
    default_client_message = "The workspace API refused what this job asked of it."

    def __init__(self, msg: str, *, user_msg: str | None = None) -> None:
        super().__init__(msg, user_msg=user_msg or self.default_client_message)


class WorkspaceForbiddenError(WorkspaceRefusedError):
    """The user may not do that, or has no workspace."""

    http_status_code = HTTPStatus.FORBIDDEN
    default_client_message = "The workspace API refuses your access token."


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


_Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]


class StorageCredentials(BaseModel):
    """
    What a workspace's object store is opened with. Answers may call it by other names, such as EOEPCA's.

    Attributes:
        access_key: Of the S3 API.
        secret_key: Likewise.
        session_token: Likewise, of temporary credentials.
        endpoint: URL of the S3 API; None: that of AWS.
        region: None: the driver's default.
        bucket: The user's.
        project_id: Of the provider.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    access_key: _Text = Field(validation_alias=AliasChoices("access_key", "access", "access_key_id"))
    secret_key: _Text = Field(validation_alias=AliasChoices("secret_key", "secret", "secret_access_key"))
    session_token: _Text | None = Field(default=None, validation_alias=AliasChoices("session_token", "session"))
    endpoint: _Text | None = Field(default=None, validation_alias=AliasChoices("endpoint", "endpoint_url"))
    region: _Text | None = None
    bucket: _Text | None = Field(default=None, validation_alias=AliasChoices("bucket", "bucketname", "bucket_name"))
    project_id: _Text | None = Field(default=None, validation_alias=AliasChoices("project_id", "projectid"))


class WorkspaceClient:
    """
    Asks a workspace API in the name of the user whose token it has.

    The token goes to this API only: redirects are not followed. Timeouts, lost connections and answers that mean
    "later" (408, 425, 429, 5xx) are tried again; other answers are not.

    Every call raises:
        WorkspaceUnavailableError: After the last attempt.
        WorkspaceForbiddenError: 401, 403, 404.
        WorkspaceRefusedError: Any other answer.

    Args:
        url: Of the API; the paths are below it.
        token: The user's access token, sent as bearer token.
        workspace: Name of a user's workspace; ``{username}`` stands for the user's name, made fit for host names.
        credentials_path: Where the credentials are; ``{workspace}`` and ``{username}`` are filled in.
        register_path: Where results are registered, likewise.
        registration_type: ``type`` of what is registered.
        attempts: How often a call is tried.
        timeout_seconds: Of each attempt.
        job_id: The same registration of the same job is sent with the same ``Idempotency-Key``.

    Source:
        EOEPCA's workspace API 1 and 2: ``GET /workspaces/{name}``, ``POST /workspaces/{name}/register``.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        workspace: str = "ws-{username}",
        credentials_path: str = "workspaces/{workspace}",
        register_path: str = "workspaces/{workspace}/register",
        registration_type: str = "stac-item",
        attempts: int = 5,
        timeout_seconds: float = 30.0,
        job_id: str = "",
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._workspace = workspace
        self._credentials_path = credentials_path
        self._register_path = register_path
        self._registration_type = registration_type
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._job_id = job_id

    def workspace_of(self, username: str) -> str:
        """
        The name of a user's workspace.

        Raises:
            WorkspaceForbiddenError: Nothing of the user's name is fit for one.
        """
        name = slugify(username, max_length=MAX_NAME)
        if not name:
            told = "The user's name has nothing that a workspace's name may have"
            raise WorkspaceForbiddenError(told, user_msg="Your name cannot be made the name of a workspace.")
        return self._workspace.format(username=name)

    def get_credentials(self, username: str) -> dict[str, str]:
        """The fields of :class:`StorageCredentials` that the API gives for a user's workspace."""
        url = self._url_of(self._credentials_path, username)
        answer = self._call("GET", url)
        storage = answer.get("storage") if isinstance(answer, Mapping) else None
        found = storage.get("credentials") if isinstance(storage, Mapping) else None
        if found is None and isinstance(answer, Mapping):
            found = answer.get("credentials", answer)
        try:
            credentials = StorageCredentials.model_validate(found)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False))
            # without its cause, which has the credentials
            raise WorkspaceUnavailableError(
                f"The workspace API at {url} gives no credentials that can be used: {places}. Is the workspace ready?",
                user_msg="Your workspace has no storage, or is not ready yet.",
            ) from None
        return credentials.model_dump(exclude_none=True)

    def register_catalog(self, *, username: str, catalog_url: str) -> None:
        """
        Register a result in a user's workspace. May be repeated: 409 means that it is done.

        Args:
            username: Whose workspace.
            catalog_url: Where the STAC document is to be had.
        """
        url = self._url_of(self._register_path, username)
        body = {"type": self._registration_type, "url": catalog_url}
        key = str(uuid5(NAMESPACE_URL, f"{self._job_id} {self._registration_type} {catalog_url}"))
        self._call("POST", url, body, headers={"Idempotency-Key": key}, done=HTTPStatus.CONFLICT)

    def _url_of(self, path: str, username: str) -> str:
        workspace = quote(self.workspace_of(username), safe="")
        return f"{self._url}/{path.format(workspace=workspace, username=quote(username, safe='')).lstrip('/')}"

    def _call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        done: HTTPStatus | None = None,
    ) -> Any:
        """The answer's JSON; None where it has none, or where its status is *done*."""
        retrying = stamina.RetryingCaller(
            attempts=self._attempts, timeout=None, wait_initial=_FIRST_WAIT_SECONDS, wait_max=_LONGEST_WAIT_SECONDS
        )
        with httpx.Client(
            headers={
                "Authorization": f"Bearer {self._token}",
                "Accept": JSON_MEDIA_TYPE,
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
            timeout=self._timeout_seconds,
            # the token is for this API only
            follow_redirects=False,
            verify=url.startswith("https:"),  # without TLS the authorities' certificates are not loaded: 22 ms
            # no proxy reaches the loopback interface of this machine
            trust_env=urlsplit(url).hostname not in {"127.0.0.1", "localhost", "::1"},
        ) as client:
            status, content = retrying(WorkspaceUnavailableError, self._try, client, method, url, body)
        if status == done or not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise WorkspaceRefusedError(f"The workspace API answers {method} {url} with what is no JSON") from error

    def _try(self, client: httpx.Client, method: str, url: str, body: Any) -> tuple[int, bytes]:
        """Status and content of an answer that no further attempt will change; 409 is left to the caller."""
        ends = time.monotonic() + self._timeout_seconds
        content = bytearray()
        try:
            with client.stream(method, url, json=body) as answer:
                # compressed answers, which may be of any size in the end, are not asked for and not read
                for piece in answer.iter_raw():
                    content += piece
                    if len(content) > MAX_ANSWER_BYTES:
                        raise WorkspaceRefusedError(f"The answer of {url} is larger than {MAX_ANSWER_BYTES} bytes")
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer does not end")
        except httpx.HTTPError as error:
            raise WorkspaceUnavailableError(
                f"The workspace API at {url} cannot be reached: {type(error).__name__}: {error}"
            ) from error
        _check_status(answer.status_code, f"{method} {url}")
        return answer.status_code, bytes(content)


def _check_status(status: int, call: str) -> None:
    told = f"The workspace API answers {call} with {status}"
    if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise WorkspaceUnavailableError(told)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise WorkspaceForbiddenError(f"{told}. Is the access token meant for it (audience, scopes)?")
    if status == HTTPStatus.NOT_FOUND:
        raise WorkspaceForbiddenError(f"{told}. Check the paths of the API.", user_msg="You have no workspace.")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise WorkspaceRefusedError(f"{told}: redirects are not followed. Set workspace_api_url to where it leads.")
    if status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.CONFLICT:
        raise WorkspaceRefusedError(told)
