"""Virtual environments for the candidates that cannot share ours, and the versions in an environment."""

import subprocess
import sys
from pathlib import Path

from servers import note


def environment_python(cache: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """Return the interpreter of the virtual environment *name* in *cache*, made and filled if need be."""
    environment = cache.resolve() / name
    python = environment / "bin" / "python"
    installed = environment / "installed.txt"
    wanted = "\n".join(requirements)
    if not installed.exists() or installed.read_text() != wanted:
        note(f"Installing {' '.join(requirements)} into {environment}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements],
            check=True,
            stdout=sys.stderr,
        )
        installed.write_text(wanted)
    return python


def versions(python: Path, names: tuple[str, ...]) -> str:
    """Return those of the packages that the interpreter has, with their versions."""
    program = """
import importlib.metadata as metadata, sys
have = {d.name.lower() for d in metadata.distributions()}
print(*(f"{name} {metadata.version(name)}" for name in sys.argv[1:] if name in have), sep=", ")
"""
    found = subprocess.run([python, "-c", program, *names], check=True, capture_output=True, text=True)
    return found.stdout.strip()
