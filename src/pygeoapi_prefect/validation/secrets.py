"""Inputs that hold something that nobody shall read."""

from collections.abc import Collection, Mapping
from typing import Any

from pygeoapi_prefect.exceptions import ConfigurationError


def secret_inputs(description: Mapping[str, Any]) -> list[str]:
    """
    Inputs that hold something that nobody shall read.

    A part of their schema, however deep, says ``writeOnly: true`` or ``format: password``. The whole input counts as
    secret then: what is secret within it need not be told apart wherever inputs are shown.
    """
    return [
        name for name, declared in (description.get("inputs") or {}).items() if holds_secret(declared.get("schema"))
    ]


def hiding_inputs(process_id: str, description: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """
    A process description in which these inputs are ``writeOnly``, and so secret.

    Args:
        process_id: For the message.
        description: The process description; not changed.
        names: Ids of inputs: ``processor.prefect.secret_inputs``.

    Raises:
        ConfigurationError: The process has no such input.
    """
    inputs = dict(description.get("inputs") or {})
    if unknown := [name for name in names if name not in inputs]:
        raise ConfigurationError(
            f"resources.{process_id}.processor.prefect.secret_inputs: the process has no input {', '.join(unknown)}; "
            f"it has {', '.join(inputs) or 'none'}"
        )
    for name in names:
        inputs[name] = {**inputs[name], "schema": {**(inputs[name].get("schema") or {}), "writeOnly": True}}
    return {**description, "inputs": inputs}


def holds_secret(schema: Any) -> bool:
    """Descends into every member, known as one with schemas or not: a secret that is missed is shown to everybody."""
    if isinstance(schema, Mapping):
        is_secret = schema.get("writeOnly") is True or schema.get("format") == "password"
        return is_secret or any(map(holds_secret, schema.values()))
    return isinstance(schema, list | tuple) and any(map(holds_secret, schema))
