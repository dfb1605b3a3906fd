"""What all sections of the configuration have in common."""

import difflib
from collections.abc import Mapping
from typing import Any, Self, get_args

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
        section: type[BaseModel] = cls
        for name in details["loc"][:-1]:
            if isinstance(name, int):
                continue
            annotation = section.model_fields[name].annotation
            section = next(type_ for type_ in (*get_args(annotation), annotation) if is_section(type_))
        known = [field.alias or name for name, field in section.model_fields.items()]
        similar = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"known keys: {', '.join(sorted(known))}"
        return f"{key} is not known; {hint}"


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
