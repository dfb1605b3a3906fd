"""What all sections of the configuration have in common."""

import difflib
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from pygeoapi_prefect.exceptions import ConfigurationError


class Section(BaseModel):
    """A mapping of the configuration: frozen, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: Mapping[str, Any], yaml_key: str) -> Self:
        """
        Args:
            values: The section as YAML gave it.
            yaml_key: Where the section stands, for messages.

        Raises:
            ConfigurationError: Names each offending key, what it takes, and the likely spelling of an unknown one.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(
                "; ".join(cls._complaint(details, yaml_key) for details in error.errors(include_url=False))
            ) from error

    @classmethod
    def _complaint(cls, details: Any, yaml_key: str) -> str:
        key = ".".join([yaml_key, *map(str, details["loc"])])
        if details["type"] != "extra_forbidden":
            return f"{key}: {details['msg']}"
        annotation: Any = cls
        for step in details["loc"][:-1]:
            annotation = _below(annotation, step)
        section: type[BaseModel] = next(one for one in _alternatives(annotation) if is_section(one))
        known = [field.alias or name for name, field in section.model_fields.items()]
        similar = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known keys: {', '.join(sorted(known))}"
        return f"{key} is not known; {hint}"


def _below(annotation: Any, step: str | int) -> Any:
    """What stands under a key of a section or of a mapping, or in a list."""
    for one in _alternatives(annotation):
        if is_section(one):
            fields = {field.alias or name: field for name, field in one.model_fields.items()}
            return fields[str(step)].annotation
        # that of tuple[X, ...] ends in an ellipsis
        if items := [argument for argument in get_args(one) if argument is not Ellipsis]:
            return items[-1]
    return annotation


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union, Annotated) else (annotation,)


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
