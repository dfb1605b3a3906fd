"""The job variables of a deployment, held against the job template of its work pool before anything is changed."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pygeoapi_prefect.deploy.planned import key_of
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.settings import DeploymentSettings


def job_variables(process_id: str, settings: DeploymentSettings) -> dict[str, Any]:
    """
    The variables of a deployment, with its image.

    Raises:
        ConfigurationError: Two images are named.
    """
    variables = dict(settings.job_variables)
    if settings.image is not None and variables.setdefault("image", settings.image) != settings.image:
        key = key_of(process_id)
        raise ConfigurationError(f"{key}.image and {key}.job_variables.image name two images. Remove one of them.")
    return variables


def check_job_variables(
    process_id: str, settings: DeploymentSettings, pool_name: str, template: Mapping[str, Any]
) -> None:
    """
    Hold the variables of a deployment against the job template of its work pool.

    Prefect itself passes unknown variables over in silence. Texts with ``{{ … }}`` stand for values that only Prefect
    knows, and are left to it.

    Args:
        process_id: The process.
        settings: Of its deployment.
        pool_name: For messages.
        template: The base job template; one without variables takes everything.

    Raises:
        ConfigurationError: Names each variable that is unknown or has a wrong value, but not the value: environments
            hold passwords.
    """
    schema = template.get("variables") or {}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    if not properties:
        return
    complaints = []
    for name, value in job_variables(process_id, settings).items():
        is_image = name == "image" and settings.image is not None
        key = f"{key_of(process_id)}.{'image' if is_image else f'job_variables.{name}'}"
        if name not in properties:
            complaints.append(f"{key}: work pool {pool_name!r} has no such variable; {_hint(name, properties)}")
        elif value is not None:
            definitions = {word: schema[word] for word in ("definitions", "$defs") if word in schema}
            complaints += _wrong(key, value, {**definitions, **properties[name]})
    if complaints:
        raise ConfigurationError("; ".join(complaints))


def _hint(name: str, properties: Mapping[str, Any]) -> str:
    similar = difflib.get_close_matches(name, properties, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"it has {', '.join(sorted(properties))}"


def _wrong(key: str, value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    error: ValidationError
    for error in Draft202012Validator(schema).iter_errors(value):
        if isinstance(error.instance, str) and "{{" in error.instance:
            continue
        place = ".".join([key, *map(str, error.absolute_path)])
        if error.validator == "type":
            yield f"{place} must be of type {error.validator_value}"
        else:
            yield f"{place} does not fit {error.validator}: {json.dumps(error.validator_value)}"
