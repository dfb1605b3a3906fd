"""From a token to the user whom it names, if it is to be believed."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from pygeoapi_prefect.exceptions import TokenRefusedError
from pygeoapi_prefect.identity.keys import keys_of
from pygeoapi_prefect.identity.user import User
from pygeoapi_prefect.settings import AuthSettings
from pygeoapi_prefect.settings.auth import NEEDED_CLAIMS

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Web servers allow 8 to 64 KiB for a header."""

MAX_SUBJECT_CHARACTERS = 255
"""Source: OpenID Connect Core 1.0, 2. With an issuer of 255, :attr:`User.key` has 511 at most."""

MAX_NAME_CHARACTERS = 255

_TYPES = ("JWT", "at+jwt", "application/at+jwt")
"""Tokens without a type of their own, and those for access. Source: RFC 8725, 3.11; RFC 9068, 4."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token is not for this server."),
    (jwt.InvalidIssuerError, "The token is of an issuer that this server does not know."),
    (jwt.MissingRequiredClaimError, "The token lacks a claim that this server needs."),
)
"""What a client may know. All of it is found only after the signature, so that nobody can probe with made-up tokens."""


class TokenVerifier:
    """
    Verifies JSON Web Tokens (RFC 7519) as RFC 8725 wants it.

    Of a token's header only ``typ``, ``alg`` and ``kid`` count, and the latter two choose among what the configuration
    allows: keys that a token brings itself or links to (``jwk``, ``jku``, ``x5c``, ``x5u``) are never looked at.
    Thread-safe.

    Args:
        settings: What tokens have to be like.
        clock: Seconds that never go back; of the age of keys, not of tokens.

    Raises:
        ConfigurationError: The key of the configuration cannot be used.
    """

    def __init__(self, settings: AuthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._keys = keys_of(settings, clock)

    def user(self, token: str) -> User:
        """
        The user whom a token names.

        Raises:
            TokenRefusedError: It is not to be believed.
            IdentityProviderUnavailableError: Its key is not known, and the issuer cannot be asked.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenRefusedError(f"The token is longer than {MAX_TOKEN_CHARACTERS} characters")
        return self._user(self._claims(token), token)

    def _claims(self, token: str) -> dict[str, Any]:
        settings = self.settings
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ", _TYPES[0]) not in _TYPES:
                raise TokenRefusedError("A token was issued for another use than access (typ)")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys.key_of(header),
                algorithms=settings.algorithms,
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={
                    "require": [*NEEDED_CLAIMS, *settings.required_claims],
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            reason = next((text for kind, text in _REASONS if isinstance(error, kind)), None)
            # it may have what the token says
            told = ascii(str(error)[:200])
            raise TokenRefusedError(f"A token is refused: {type(error).__name__}: {told}", user_msg=reason) from error
        return claims

    def _user(self, claims: dict[str, Any], token: str) -> User:
        subject = claims["sub"]
        if not isinstance(subject, str) or not _is_printable(subject, MAX_SUBJECT_CHARACTERS):
            raise TokenRefusedError("The subject (sub) of a token is no printable text of 1 to 255 characters")
        settings = self.settings
        name = claim_at(claims, settings.username_claim)
        roles = _texts(claim_at(claims, settings.roles_claim))
        return User(
            issuer=settings.issuer,
            subject=subject,
            name=name if isinstance(name, str) and _is_printable(name, MAX_NAME_CHARACTERS) else subject,
            roles=roles,
            groups=_texts(claim_at(claims, settings.groups_claim)),
            claims=claims,
            is_admin=not roles.isdisjoint(settings.admin_roles),
            token=token,
        )


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """
    A claim, or what stands within one; None where there is nothing.

    Args:
        claims: Of a token.
        path: Names with dots between them, such as ``realm_access.roles``. A claim whose own name is all of it comes
            first: some issuers have claims such as ``https://example.org/roles``.
    """
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> frozenset[str]:
    """Of a list, or of a text with blanks, as ``scope`` has it. Source: RFC 8693, 4.2."""
    values = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(one for one in values if isinstance(one, str))


def _is_printable(text: str, most: int) -> bool:
    return 1 <= len(text) <= most and text.isprintable()
