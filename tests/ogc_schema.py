"""OGC's published schemas, read from ``tests/ogc_schemas`` alone."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry, Resource

FOLDER = Path(__file__).parent / "ogc_schemas"


@cache
def registry() -> Registry:
    """Every schema of the folder by its ``$id``; what is not there is an error, never fetched."""
    resources = (Resource.from_contents(json.loads(path.read_text())) for path in FOLDER.rglob("*.json"))
    return Registry().with_resources((str(resource.id()), resource) for resource in resources)


def validate(document: Any, schema_name: str) -> None:
    """
    Hold *document* against one of OGC's schemas.

    Args:
        schema_name: Of the file, without its suffix: ``process``, ``relaxed/results``.

    Raises:
        jsonschema.ValidationError: It does not fit.
    """
    schema = json.loads((FOLDER / f"{schema_name}.json").read_text())
    Draft7Validator(schema, registry=registry()).validate(document)
