"""The handler of jobs that work in a workspace of their user's."""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveInt

from pygeoapi_prefect.exceptions import ConfigurationError, InvalidOutputsError, PygeoapiPrefectError
from pygeoapi_prefect.handlers.authenticated import AuthenticatedHandler
from pygeoapi_prefect.handlers.options import HandlerOptions

if TYPE_CHECKING:
    from pygeoapi_prefect.handlers.workspace_client import WorkspaceClient

LOGGER = logging.getLogger(__name__)

WORKSPACE_API_URL = "WORKSPACE_API_URL"
"""Environment variable: where the workspace API is, where the configuration does not say so."""

STORAGE_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "access_key",
    "AWS_SECRET_ACCESS_KEY": "secret_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AWS_ENDPOINT_URL_S3": "endpoint",
    "AWS_S3_ENDPOINT": "endpoint",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
    "WORKSPACE_BUCKET": "bucket",
}
"""Environment variables by what they hold. Those of the SDKs, of GDAL (``AWS_S3_ENDPOINT``), and one of ours."""


def _web_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an http or https URL without user, query and fragment")
    return url


def _template(*fields: str) -> AfterValidator:
    """A text in which *fields* may stand in braces."""

    def check(text: str) -> str:
        try:
            text.format(**dict.fromkeys(fields, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            known = ", ".join(f"{{{field}}}" for field in fields)
            raise ValueError(f"may have {known}, and no other braces") from error
        return text

    return AfterValidator(check)


class WorkspaceOptions(HandlerOptions):
    """
    Options of :class:`WorkspaceHandler`, beside those of its parents.

    Attributes:
        workspace_api_url: Where the API is; None: as the environment variable ``WORKSPACE_API_URL`` says.
        workspace: Name of a user's workspace; ``{username}`` stands for the user's name, made fit for host names.
        credentials_path: Below the API's URL: where the storage credentials are; may have ``{workspace}`` and
            ``{username}``.
        register_path: Below the API's URL: where results are registered, likewise.
        registration_type: ``type`` of what is registered.
        register_output: Output that is registered, where the job has it.
        catalog_url: What is registered: ``{output}`` is the output itself, a URL; and there are ``{job_id}``,
            ``{process_id}``, ``{workspace}`` and ``{bucket}``.
        registration: ``required``: the job fails where the output cannot be registered. ``best_effort``: it is logged.
            ``none``: nothing is registered.
        attempts: How often each call is tried.
        timeout_seconds: Of each attempt.
    """

    workspace_api_url: Annotated[str, AfterValidator(_web_url)] | None = None
    workspace: Annotated[str, _template("username")] = "ws-{username}"
    credentials_path: Annotated[str, _template("workspace", "username")] = "workspaces/{workspace}"
    register_path: Annotated[str, _template("workspace", "username")] = "workspaces/{workspace}/register"
    registration_type: str = "stac-item"
    register_output: str = "stac_catalog"
    catalog_url: Annotated[str, _template("output", "job_id", "process_id", "workspace", "bucket")] = "{output}"
    registration: Literal["required", "best_effort", "none"] = "required"
    attempts: PositiveInt = 5
    timeout_seconds: float = Field(default=30, gt=0)


class WorkspaceHandler(AuthenticatedHandler):
    """
    Gives a job the storage of its user's workspace, and registers its catalogue there.

    The credentials are in the environment of this one job, as S3 clients expect them, and in no message and no log.

    Attributes:
        workspace_api: Once :meth:`pre_execution_hook` has run.
        storage: The credentials, likewise.
    """

    own_options = WorkspaceOptions
    needs_access_token = True
    workspace_api: "WorkspaceClient | None" = None
    storage: Mapping[str, str] = {}  # replaced, never changed

    def pre_execution_hook(self) -> None:
        """
        Raises:
            UserRequiredError: As its parent.
            WorkspaceUnavailableError: The API cannot be reached, or has no credentials yet.
            WorkspaceRefusedError: It refuses them.
            ConfigurationError: Nothing says where it is.
        """
        super().pre_execution_hook()
        assert self.username is not None
        self.workspace_api = self.connect_workspace()
        self.storage = self.workspace_api.get_credentials(self.username)
        self.configure_storage(self.storage)

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """
        Raises:
            WorkspaceUnavailableError: The output cannot be registered.
            WorkspaceRefusedError: The API refuses that.
            InvalidOutputsError: It is nothing that could be registered.
        """
        super().post_execution_hook(log, output, usage_report, tool_logs)
        own = WorkspaceOptions.of(self.options)
        if own.registration == "none" or own.register_output not in output:
            return
        try:
            # what StacHandler has made is where others find it, and not where it was made
            placed = self.conf["lenv"].get("stac_hrefs", {})
            self._register(placed.get(own.register_output, output[own.register_output]), own)
        except PygeoapiPrefectError as error:
            if own.registration == "required":
                raise
            LOGGER.warning("the result is not registered in the workspace: %s", error)

    def get_secrets(self) -> Mapping[str, Any]:
        secret = [self.storage.get(name) for name in ("access_key", "secret_key", "session_token")]
        return {**super().get_secrets(), "storage": [text for text in secret if text]}

    def connect_workspace(self) -> "WorkspaceClient":
        """A client of the workspace API, in the user's name."""
        from pygeoapi_prefect.handlers.workspace_client import WorkspaceClient

        own = WorkspaceOptions.of(self.options)
        url = own.workspace_api_url or os.environ.get(WORKSPACE_API_URL)
        if not url:
            raise ConfigurationError(
                f"Nothing says where the workspace API is: set the handler's option workspace_api_url, or the "
                f"environment variable {WORKSPACE_API_URL} of the runner",
                user_msg="The server does not know where your workspace is.",
            )
        return WorkspaceClient(
            url,
            self.access_token,
            workspace=own.workspace,
            credentials_path=own.credentials_path,
            register_path=own.register_path,
            registration_type=own.registration_type,
            attempts=own.attempts,
            timeout_seconds=own.timeout_seconds,
            job_id=self.conf["lenv"]["job_id"],
        )

    def configure_storage(self, credentials: Mapping[str, str]) -> None:
        """
        Put the credentials into the environment of this job.

        Args:
            credentials: ``access_key`` and ``secret_key``, and where there are any ``session_token``, ``endpoint``,
                ``region`` and ``bucket``. What is not there is not taken from the server's own environment either.
        """
        for variable, name in STORAGE_VARIABLES.items():
            if value := credentials.get(name):
                os.environ[variable] = value
            else:
                os.environ.pop(variable, None)

    def _register(self, found: Any, own: WorkspaceOptions) -> None:
        assert self.workspace_api is not None
        assert self.username is not None
        lenv = self.conf["lenv"]
        catalog_url = own.catalog_url.format(
            output=found if isinstance(found, str) else "",
            job_id=lenv["job_id"],
            process_id=lenv["process_id"],
            workspace=self.workspace_api.workspace_of(self.username),
            bucket=self.storage.get("bucket", ""),
        )
        if not urlsplit(catalog_url).scheme:
            raise InvalidOutputsError(
                [f"The output {own.register_output!r} is no URL, so it cannot be registered in your workspace."]
            )
        self.workspace_api.register_catalog(username=self.username, catalog_url=catalog_url)
