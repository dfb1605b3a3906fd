"""Who sends a request: the header ``Authorization`` (RFC 6750, 2.1). Tokens in URLs and bodies are not looked for."""

import re
from typing import TYPE_CHECKING, Protocol

from werkzeug.datastructures import Headers

from pygeoapi_prefect.exceptions import AmbiguousCredentialsError, AuthenticationError, TokenRefusedError
from pygeoapi_prefect.identity import User, current_user

if TYPE_CHECKING:
    from pygeoapi_prefect.identity.tokens import TokenVerifier

_TOKEN = re.compile("[A-Za-z0-9._~+/-]+=*")
"""Source: RFC 6750, 2.1."""


class AuthenticatingManager(Protocol):
    """What is needed of the manager."""

    @property
    def verifier(self) -> "TokenVerifier | None": ...


def user_of(manager: AuthenticatingManager, headers: Headers, *, describes: bool) -> User | None:
    """
    The user who sends a request.

    A token that is sent must be good, also where none is needed: who sends one wants to be known.

    Args:
        manager: Without a verifier the user is whom an application around this one has named, if it did.
        headers: Of the request.
        describes: Whether it asks for descriptions of processes only.

    Returns:
        The user; None: nobody is known, and need not be.

    Raises:
        AuthenticationError: There is no good token.
        AmbiguousCredentialsError: There are several.
        IdentityProviderUnavailableError: It cannot be told whether the token is good.
    """
    verifier = manager.verifier
    if verifier is None:
        return current_user()
    values = headers.getlist("Authorization")
    if len(values) > 1:
        raise AmbiguousCredentialsError()
    if not values:
        if verifier.settings.required and not (describes and verifier.settings.public_descriptions):
            raise AuthenticationError("The request has no token")
        return None
    scheme, _, token = values[0].strip().partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationError("The request has credentials of another scheme than Bearer")
    if "," in token:
        # WSGI's servers make one header of several
        raise AmbiguousCredentialsError()
    if not _TOKEN.fullmatch(token.strip()):
        raise TokenRefusedError("What the request has as a token is none")
    return verifier.user(token.strip())
