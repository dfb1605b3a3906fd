"""Where the Prefect API is, and how to be let in."""

import base64
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from pygeoapi_prefect.exceptions import ConfigurationError

SETTINGS_TIMEOUT_SECONDS = 60.0
"""For importing Prefect's settings: 2 s on an idle machine."""

_READ_SETTINGS = """
import json, sys
try:
    from prefect.settings import get_current_settings
    settings = get_current_settings()
    def secret(value):
        return value.get_secret_value() if value is not None else None
    found = {
        "url": settings.api.url,
        "key": secret(settings.api.key),
        "auth_string": secret(settings.api.auth_string),
        "custom_headers": dict(settings.client.custom_headers),
        "ui_url": settings.ui_url,
        "skip_verify": settings.api.tls_insecure_skip_verify,
        "ca_file": settings.api.ssl_cert_file,
        "timeout": settings.api.request_timeout,
    }
except Exception as error:  # the text of a validation error may hold a secret that was mistyped
    places = [".".join(map(str, e["loc"])) for e in error.errors()] if hasattr(error, "errors") else []
    print(type(error).__name__, *places, file=sys.stderr)
    sys.exit(1)
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class PrefectConnection:
    """
    Where the Prefect API is and how to be let in.

    Attributes:
        api_url: Without a slash at its end, such as ``http://127.0.0.1:4200/api``.
        headers: Sent with every request; may hold secrets and so are not part of the repr.
        ui_url: Base of the links that people follow, without a slash at its end; None when Prefect knows of no UI.
        verify: Whether to check the server's certificate.
        ca_file: PEM file of the authorities to check it against; None for the usual ones (certifi's).
        timeout_seconds: How long one request may take to connect, to be sent, and between two bytes of its answer.
    """

    api_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ui_url: str | None = None
    verify: bool = True
    ca_file: str | None = None
    timeout_seconds: float = 60.0

    def flow_run_url(self, flow_run_id: UUID) -> str | None:
        """The page of a flow run in Prefect's UI, for people."""
        return f"{self.ui_url}/runs/flow-run/{flow_run_id}" if self.ui_url else None


def configured_connection() -> PrefectConnection | None:
    """
    Read the connection from Prefect's own settings.

    Those are environment variables, ``.env``, ``prefect.toml`` and ``pyproject.toml`` of the working directory and
    the active profile, in the order that Prefect defines. A child process reads them (about 2 s), so that ``prefect``
    is not imported here. Call it once, at start.

    Returns:
        The connection; None when the settings name no API, where Prefect itself would start a temporary server in
        every process.

    Raises:
        ConfigurationError: Prefect is not installed, or refuses its settings.
    """
    try:
        child = subprocess.run(  # noqa: S603  # constant code, no shell
            [sys.executable, "-P", "-c", _READ_SETTINGS],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SETTINGS_TIMEOUT_SECONDS,
            check=True,
        )
        found = json.loads(_last_line(child.stdout))
    except subprocess.CalledProcessError as error:
        reason = _last_line(error.stderr)
        raise ConfigurationError(
            f"Prefect's settings cannot be read ({reason}). Run `prefect config view` as the same user in the same "
            "directory, and correct the variable or the profile that it names."
        ) from None  # the original holds the whole output
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise ConfigurationError(
            f"Prefect's settings cannot be read ({type(error).__name__}). Check that `{sys.executable} -m prefect "
            "config view` works."
        ) from error
    if not found["url"]:
        return None
    url = urlsplit(found["url"])
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ConfigurationError("PREFECT_API_URL must begin with http:// or https://, and usually ends with /api.")
    if url.username or url.password:  # the address is logged
        raise ConfigurationError("PREFECT_API_URL must not hold credentials. Put them in PREFECT_API_AUTH_STRING.")
    return PrefectConnection(
        api_url=found["url"].rstrip("/"),
        headers=_headers(found["custom_headers"], key=found["key"], auth_string=found["auth_string"]),
        ui_url=(found["ui_url"] or "").rstrip("/") or None,
        verify=not found["skip_verify"],
        ca_file=found["ca_file"],
        timeout_seconds=found["timeout"],
    )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _headers(custom: Mapping[str, str], *, key: str | None, auth_string: str | None) -> dict[str, str]:
    """Like Prefect's client: the auth string wins over the key, and custom headers over both."""
    headers: dict[str, str] = {}
    if auth_string:
        headers["authorization"] = "Basic " + base64.b64encode(auth_string.encode()).decode()
    elif key:
        headers["authorization"] = f"Bearer {key}"
    managed = {"user-agent", "prefect-csrf-token", "prefect-csrf-client"}
    return headers | {name.lower(): value for name, value in custom.items() if name.lower() not in managed}


def verification(connection: PrefectConnection) -> ssl.SSLContext | bool:
    """How httpx is to check the server's certificate: True for the usual authorities, False for not at all."""
    if not connection.verify or connection.ca_file is None:
        return connection.verify
    try:
        return ssl.create_default_context(cafile=connection.ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"PREFECT_API_SSL_CERT_FILE names {connection.ca_file}, which is no readable PEM file of certificates."
        ) from error
