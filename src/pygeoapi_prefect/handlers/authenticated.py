"""The handler of jobs that act for the user who submitted them."""

import os
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from pygeoapi_prefect.exceptions import ExecutionRefusedError
from pygeoapi_prefect.handlers.common import CommonExecutionHandler
from pygeoapi_prefect.handlers.options import HandlerOptions

TRUST_UNVERIFIED = "trust_unverified_access_tokens"
"""The option by which a token is believed whose signature nobody has checked."""

_ACCESS_TOKEN = "ACCESS_TOKEN"  # noqa: S105  # the name of an environment variable


class UserRequiredError(ExecutionRefusedError):
    """The job has no user, or not what it needs to act for one."""

    http_status_code = HTTPStatus.FORBIDDEN
    default_client_message = "This process is for known users only."


class AuthenticatedOptions(HandlerOptions):
    """
    Options of :class:`AuthenticatedHandler`.

    Attributes:
        username_claim: The claim that is the user's name; None: as ``server.manager.auth`` says.
        workspaces: Folder of the users' folders.
        trust_unverified_access_tokens: See there.
    """

    username_claim: str | None = None
    workspaces: str = "/workspaces"
    trust_unverified_access_tokens: bool = False


class AuthenticatedHandler(CommonExecutionHandler):
    """
    Refuses jobs of nobody, and tells the others whose they are.

    What it knows of the user was verified when the job was submitted; nothing is decoded here. A handler that needs the
    access token itself, to call others in the user's name, says ``needs_access_token = True``, or its entry in the
    configuration does; the token is kept for such jobs only, and the job is refused where there is none or it has
    expired meanwhile.

    Options: ``username_claim``, the claim that becomes :attr:`username` (by default it is the user's name, which
    ``server.manager.auth`` chooses; where users may change theirs at the issuer, take ``sub``); ``workspaces``, the
    folder of the users' folders (default ``/workspaces``); ``trust_unverified_access_tokens``: where no user is known,
    believe what the token in the environment variable ``ACCESS_TOKEN`` or in ``lenv["access_token"]`` says, though
    **anybody can write such a token**. That is for tests, and for places where something in front has verified it.

    Attributes:
        token: The verified claims of the user's token, once :meth:`pre_execution_hook` has run.
        username: The user's name, likewise.
        access_token: The token itself, likewise; empty where the handler has not asked for it.
    """

    own_options: ClassVar[type[HandlerOptions]] = AuthenticatedOptions
    token: Mapping[str, Any] | None = None
    username: str | None = None
    access_token: str = ""

    def pre_execution_hook(self) -> None:
        """
        Raises:
            UserRequiredError: Nobody is known, or what is needed of them is missing.
        """
        super().pre_execution_hook()
        user = self.conf["lenv"].get("user")
        if user is not None:
            claims, name = user["claims"], user["name"]
        elif self.options.get(TRUST_UNVERIFIED) is True:
            claims = _unverified(self._sent_token())
            name = claims.get("preferred_username")
        else:
            raise UserRequiredError(user_msg="This process is for known users only. Send a valid access token.")
        if claim := self.options.get("username_claim"):
            name = claims.get(claim)
        if not name or not str(name).isprintable():
            raise UserRequiredError(
                f"The user has no name that can be used: {claim or 'it'} is missing or cannot be printed",
                user_msg="Your access token does not say your name.",
            )
        self.token, self.username, self.access_token = claims, str(name), self._sent_token()
        if self.needs_access_token:
            self._require_valid_token()
        self.setup_user_environment()

    def setup_user_environment(self) -> None:
        """Set ``CURRENT_USER``, and ``USER_WORKSPACE``: a folder whose last part is the name, made fit for a path."""
        os.environ["CURRENT_USER"] = str(self.username)
        folder = str(self.options.get("workspaces", "/workspaces")).rstrip("/")
        os.environ["USER_WORKSPACE"] = f"{folder}/{path_segment(str(self.username))}"

    def get_secrets(self) -> Mapping[str, Any]:
        return {**super().get_secrets(), "access_token": self._sent_token()}

    def _sent_token(self) -> str:
        trusted = os.environ.get(_ACCESS_TOKEN) if self.options.get(TRUST_UNVERIFIED) is True else None
        return str(self.conf["lenv"].get("access_token") or trusted or "")

    def _require_valid_token(self) -> None:
        if not self.access_token:
            raise UserRequiredError(
                "The access token of the user is missing", user_msg="This process needs your access token."
            )
        assert self.token is not None
        expires = self.token.get("exp")
        if isinstance(expires, int | float) and expires <= time.time():
            raise UserRequiredError(
                "The access token of the user has expired",
                user_msg="Your access token has expired before the job began. Send the request with a new one.",
            )


def path_segment(name: str) -> str:
    """
    One segment of a path or a URL for a name: letters, digits and ``_-~@.`` stay, all else is percent-encoded.

    Different names have different segments, and none is ``.``, ``..`` or hidden.
    """
    encoded = quote(name, safe="@")
    return f"%2E{encoded[1:]}" if encoded.startswith(".") else encoded


def _unverified(token: str) -> dict[str, Any]:
    import jwt

    if not token:
        raise UserRequiredError(user_msg="This process needs your access token.")
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        # without its cause, whose words may quote the token
        raise UserRequiredError(user_msg="Your access token cannot be read.") from None
    return claims
