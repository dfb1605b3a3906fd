"""What the tests of the examples of handlers share."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples" / "handlers"


def told_by(example: str, folder: Path, *, timeout: float) -> str:
    """
    Run an example to its end; what it has printed.

    Args:
        example: Name of its file.
        folder: Where it runs, and where Prefect keeps its files.
        timeout: Seconds that it may take.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYGEOAPI"))}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        env=environment | {"PREFECT_HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def stac_api() -> Any:
    """The examples' STAC API, to be entered: its URL, and what it keeps."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("stac_api").serving_api()
    finally:
        sys.path.remove(str(EXAMPLES))
