"""Processes and a handler that tell everybody what they should keep to themselves."""

import hashlib
import logging
import os
import subprocess
import time
from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from pydantic import SecretStr
from pygeoapi.process.base import ProcessorExecuteError

from processors import _Processor
from pygeoapi_prefect import report_progress
from pygeoapi_prefect.handlers import AuthenticatedHandler
from pygeoapi_prefect.jobs.sealing import KEY_VARIABLE

LOGGER = logging.getLogger(__name__)


class Leaky(_Processor):
    """Logs, prints and reports its secrets, and fails with them."""

    def __init__(self, processor_def):
        super().__init__(processor_def)
        self.metadata["inputs"] = {
            "password": {"schema": {"type": "string", "format": "password"}, "minOccurs": 1},
            "pin": {"schema": {"type": "integer", "maximum": 999_999}, "minOccurs": 0},
            "ending": {"schema": {"type": "string"}, "minOccurs": 0},
            "until": {"schema": {"type": "string"}, "minOccurs": 0},
        }

    def execute(self, data, outputs=None):
        told = f"{data['password']} and {data.get('pin')}"
        LOGGER.warning("logged %s", told)
        print("printed", told)
        subprocess.run(["sh", "-c", 'echo "a tool has $0"', told], check=True)
        report_progress(10, f"progress {told}")
        while "until" in data and not Path(data["until"]).exists():
            time.sleep(0.02)
        match data.get("ending"):
            case "fail":
                raise ValueError(f"failed with {told}")
            case "refuse":
                raise ProcessorExecuteError("refused", user_msg=f"refused with {told}")
        return "application/json", {"length": len(data["password"]), "sees_key": KEY_VARIABLE in os.environ}


@task
def refuse(told: str) -> None:
    """Fail with a secret."""
    raise ValueError(f"failed with {told}")


@flow(log_prints=True)
def leaky(password: SecretStr, ending: Literal["", "fail", "fail in a task"] = "") -> dict[str, int]:
    """Do the same through Prefect."""
    told = password.get_secret_value()
    get_run_logger().warning("logged %s", told)
    print("printed", told)
    if ending == "fail in a task":
        refuse(told)
    if ending:
        raise ValueError(f"failed with {told}")
    return {"length": len(told)}


class Acting(AuthenticatedHandler):
    """Logs the token with which it acts for the user."""

    needs_access_token = True

    def pre_execution_hook(self):
        super().pre_execution_hook()
        LOGGER.warning("acting with %s", self.access_token)
        os.environ["TOKEN_DIGEST"] = hashlib.sha256(self.access_token.encode()).hexdigest()


class WhoAmI(_Processor):
    """Shows what handlers have set in the environment."""

    def execute(self, data, outputs=None):
        names = ("CURRENT_USER", "USER_WORKSPACE", "TOKEN_DIGEST")
        return "application/json", {name: os.environ.get(name) for name in names}
