"""The base of the standard's models: named in Python's way inside, in the standard's way outside."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer
from pydantic.fields import FieldInfo


class OgcModel(BaseModel):
    """
    A JSON object of the standard.

    Fields are given by the standard's name or by the Python name (``jobID`` or ``job_id``). Members that the standard
    does not know are kept. What was read is what is written: defaults are there to be read and are written only
    where they were given, and no member is null unless null is one of its values.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, frozen=True)

    always_written: ClassVar[frozenset[str]] = frozenset()
    """Fields that are written with their default, too."""

    def to_ogc(self) -> dict[str, Any]:
        """The object as the standard's JSON: its names, and only what JSON can hold."""
        return self.model_dump(mode="json", by_alias=True)

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        members: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if self._is_absent(name, field):
                members.pop(name, None)
                members.pop(field.alias or name, None)
        return members

    def _is_absent(self, name: str, field: FieldInfo) -> bool:
        value = getattr(self, name)
        if name in self.model_fields_set:
            # null is a value where any JSON is (``default: null``), and no value elsewhere
            return value is None and field.annotation is not Any
        # a default list that was changed in place counts as given
        is_default: bool = value == field.get_default(call_default_factory=True)
        return is_default and name not in self.always_written
