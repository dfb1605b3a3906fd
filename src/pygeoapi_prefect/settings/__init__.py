"""
``server.manager`` and ``processor.prefect`` of the pygeoapi configuration, parsed once and then frozen.

Whatever is wrong is refused at start with a :class:`~pygeoapi_prefect.exceptions.ConfigurationError` that names the
YAML key. Times are seconds, sizes bytes, unless the name says otherwise.
"""

from pygeoapi_prefect.settings.auth import AuthSettings
from pygeoapi_prefect.settings.manager import (
    AUTH_KEY,
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT_DIR,
    MANAGER_KEY,
    ManagerSettings,
    MetricsSettings,
)
from pygeoapi_prefect.settings.processes import (
    BLOCK_REFERENCE,
    DEFAULT_RESULT_KEY,
    DeploymentSettings,
    HandlerSettings,
    ProcessSettings,
    job_control_options,
    process_settings,
)

__all__ = [
    "AUTH_KEY",
    "BLOCK_REFERENCE",
    "DEFAULT_CONNECTION",
    "DEFAULT_OUTPUT_DIR",
    "DEFAULT_RESULT_KEY",
    "MANAGER_KEY",
    "AuthSettings",
    "DeploymentSettings",
    "HandlerSettings",
    "ManagerSettings",
    "MetricsSettings",
    "ProcessSettings",
    "job_control_options",
    "process_settings",
]
