"""The keys that tokens are verified with: one from the configuration, or those that the issuer publishes."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
from jwt import PyJWK, PyJWKSet

from pygeoapi_prefect.exceptions import ConfigurationError, IdentityProviderUnavailableError, TokenRefusedError
from pygeoapi_prefect.settings import AUTH_KEY, AuthSettings

LOGGER = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"
"""Source: OpenID Connect Discovery 1.0, 4."""

MAX_DOCUMENT_BYTES = 1024 * 1024

_PIECE_BYTES = 64 * 1024


class Keys(Protocol):
    """Where the key of a token comes from."""

    def key_of(self, header: Mapping[str, Any]) -> Any:
        """
        The key that PyJWT verifies a token with.

        Args:
            header: The token's, which anybody may have written.

        Raises:
            TokenRefusedError: There is no such key.
            IdentityProviderUnavailableError: Nobody knows whether there is.
        """


def keys_of(settings: AuthSettings, clock: Callable[[], float]) -> Keys:
    """
    Args:
        settings: Of the tokens.
        clock: Seconds that never go back.

    Raises:
        ConfigurationError: The key of the configuration cannot be used.
    """
    return FixedKey(settings) if settings.has_fixed_key else IssuerKeys(settings, clock)


class FixedKey:
    """
    The key of the configuration, whatever key the token names.

    Raises:
        ConfigurationError: It cannot be read, or fits none of the algorithms.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._key = _key_text(settings)
        if "PRIVATE KEY-----" in self._key:
            raise ConfigurationError(
                f"{AUTH_KEY}.key is a private key: only the issuer may have it. Give its public one"
            )
        complaints = [_complaint(name, self._key) for name in settings.algorithms]
        if all(complaints):
            raise ConfigurationError(f"{AUTH_KEY}.key fits none of the algorithms: {complaints[0]}")

    def key_of(self, header: Mapping[str, Any]) -> str:
        """See :meth:`Keys.key_of`."""
        return self._key


def _key_text(settings: AuthSettings) -> str:
    if settings.key_file is None:
        return (settings.key or "").strip()
    try:
        return settings.key_file.read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{AUTH_KEY}.key_file cannot be read: {error}") from error


def _complaint(algorithm: str, key: str) -> str | None:
    """Why the key is none for the algorithm."""
    rules = jwt.get_algorithm_by_name(algorithm)
    try:
        complaint = rules.check_key_length(rules.prepare_key(key))
    except Exception as error:
        # by what is in the file, of several libraries
        complaint = f"{type(error).__name__}: {error}"
    return complaint and f"{algorithm}: {complaint}"


class IssuerKeys:
    """
    The keys that an issuer publishes, as they were last published.

    Known keys hold while the issuer cannot be reached, however long that is: an outage of it is none of this server.
    Tokens of other keys are refused. The issuer is asked again when the keys are old, or when a token names a key that
    is not among them; but at most once in ``keys_min_age`` seconds, so that nobody can have it asked by made-up tokens.
    Thread-safe; one request waits for the issuer, others use what is known.
    """

    def __init__(self, settings: AuthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._asked: float | None = None
        self._answered: float | None = None
        self._is_answering = False

    def key_of(self, header: Mapping[str, Any]) -> PyJWK:
        """See :meth:`Keys.key_of`."""
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise TokenRefusedError("The header of the token names no key (kid)")
        if key_id not in self._keys:
            self._ask(is_awaited=True)
        elif self._age(self._answered) > self._settings.keys_max_age:
            self._ask(is_awaited=False)
        key = self._keys.get(key_id)
        if key is None and not self._is_answering:
            raise IdentityProviderUnavailableError("A token names a key that is not known, and the issuer is away")
        if key is None:
            raise TokenRefusedError("A token names a key that its issuer does not publish")
        return key

    def _ask(self, *, is_awaited: bool) -> None:
        """Renew the keys, unless that was just tried, or is being done by another thread and not *is_awaited*."""
        if not self._lock.acquire(timeout=self._settings.keys_timeout if is_awaited else 0):
            if is_awaited:
                raise IdentityProviderUnavailableError("The issuer takes long to tell its keys")
            return
        try:
            if self._age(self._asked) < self._settings.keys_min_age:
                return
            self._asked = self._clock()
            self._is_answering = False
            self._keys = published_keys(self._settings)
            self._answered = self._clock()
            self._is_answering = True
        except IdentityProviderUnavailableError as error:
            # in the message, too: pygeoapi's log shows nothing else
            LOGGER.warning(
                "keys of the issuer cannot be had: %s", error, extra={"action": "authenticate", "reason": str(error)}
            )
        finally:
            self._lock.release()

    def _age(self, moment: float | None) -> float:
        return float("inf") if moment is None else self._clock() - moment


def published_keys(settings: AuthSettings) -> dict[str, PyJWK]:
    """
    Ask the issuer for its keys.

    Returns:
        Those for signatures by an algorithm of the configuration, by their ids; at least one.

    Raises:
        IdentityProviderUnavailableError: It does not answer, or not as it should.
    """
    url = settings.jwks_url or _discovered(settings)
    try:
        found = PyJWKSet.from_dict(_document(url, settings.keys_timeout)).keys
    except IdentityProviderUnavailableError:
        raise
    except Exception as error:
        # of several libraries, by what the answer is
        raise IdentityProviderUnavailableError(f"{url} answers no keys: {type(error).__name__}: {error}") from error
    keys = {
        key.key_id: key
        for key in found
        if isinstance(key.key_id, str)
        and key.public_key_use in ("sig", None)
        and key.algorithm_name in settings.algorithms
    }
    if not keys:
        raise IdentityProviderUnavailableError(f"{url} answers no key with a kid for {', '.join(settings.algorithms)}")
    return keys


def _discovered(settings: AuthSettings) -> str:
    url = settings.issuer.rstrip("/") + DISCOVERY
    found = _document(url, settings.keys_timeout)
    if found.get("issuer") != settings.issuer:
        # source: OpenID Connect Discovery 1.0, 4.3
        raise IdentityProviderUnavailableError(
            f"{url} is of the issuer {found.get('issuer')!r}, and {AUTH_KEY}.issuer is {settings.issuer!r}"
        )
    keys_url = found.get("jwks_uri")
    if not isinstance(keys_url, str) or not keys_url.startswith(("http://", "https://")):
        raise IdentityProviderUnavailableError(f"{url} names no address of keys (jwks_uri)")
    return keys_url


class _NoRedirects(HTTPRedirectHandler):
    """Keys come from the address that the operator knows, and from nowhere else."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _document(url: str, timeout: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - the settings allow http and https only
    content = b""
    try:
        with build_opener(_NoRedirects).open(request, timeout=timeout) as response:
            while piece := response.read1(_PIECE_BYTES):
                content += piece
                if len(content) > MAX_DOCUMENT_BYTES or time.monotonic() > deadline:
                    raise IdentityProviderUnavailableError(f"{url} answers too much or too slowly")
        document = json.loads(content)
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise IdentityProviderUnavailableError(f"{url} does not answer as it should: {error}") from error
    if not isinstance(document, dict):
        raise IdentityProviderUnavailableError(f"{url} answers no JSON object")
    return document
