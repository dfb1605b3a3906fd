"""Inputs that hold something that nobody shall read."""

from collections.abc import Mapping
from typing import Any


def secret_inputs(description: Mapping[str, Any]) -> list[str]:
    """
    Inputs that hold something that nobody shall read.

    A part of their schema, however deep, says ``writeOnly: true`` or ``format: password``. The whole input counts as
    secret then: what is secret within it need not be told apart wherever inputs are shown.
    """
    return [
        name for name, declared in (description.get("inputs") or {}).items() if holds_secret(declared.get("schema"))
    ]


def holds_secret(schema: Any) -> bool:
    """Descends into every member, known as one with schemas or not: a secret that is missed is shown to everybody."""
    if isinstance(schema, Mapping):
        is_secret = schema.get("writeOnly") is True or schema.get("format") == "password"
        return is_secret or any(map(holds_secret, schema.values()))
    return isinstance(schema, list | tuple) and any(map(holds_secret, schema))
