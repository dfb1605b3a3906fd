"""Which stores the outputs of a process are staged out to: the options of ``MultiStorageHandler``, parsed."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers.options import HandlerOptions
from pygeoapi_prefect.settings.section import Section

TEMPLATE_FIELDS = frozenset({"job_id", "process_id", "user", "issuer"})
NOBODY = "anonymous"

_SECRET_NAME = re.compile(r"key|secret|token|password|passphrase|credential|connection_string", re.IGNORECASE)


class StoreOptions(Section):
    """
    One of ``stores``.

    Attributes:
        name: What messages call the store; clients read it.
        url: Folder or fsspec URL, with fields of :data:`TEMPLATE_FIELDS`. Each job has a folder of its own: where the
            URL has no ``{job_id}``, it is one below.
        storage_options: Of the fsspec driver.
        credentials: Further ones, each the name of an environment variable that holds it where the job runs.
        required: Whether the job fails when its outputs do not get there.
        public_url: Where clients find what is at *url*, with the same fields; None: *url* itself.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    url: str = Field(min_length=1)
    storage_options: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    credentials: Mapping[str, Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]] = Field(default_factory=dict)
    required: bool = True
    public_url: str | None = Field(default=None, pattern=r"^https?://")

    @field_validator("url", "public_url", mode="after")
    @classmethod
    def _has_known_fields(cls, template: str | None) -> str | None:
        if template is None:
            return None
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
        if unknown := fields - TEMPLATE_FIELDS:
            raise ValueError(f"has no field {{{unknown.pop()}}}; known: {', '.join(sorted(TEMPLATE_FIELDS))}")
        return template if "job_id" in fields else f"{template.rstrip('/')}/{{job_id}}"

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of the machine where the job runs."""
        return urlsplit(self.url).scheme in ("", "file", "local")

    def driver_options(self) -> dict[str, Any]:
        """
        What the fsspec driver is made with.

        Raises:
            ConfigurationError: A variable is not set here; names it.
        """
        if missing := [variable for variable in self.credentials.values() if not os.environ.get(variable)]:
            raise ConfigurationError(
                f"The credentials of the store {self.name!r} are not set: {', '.join(missing)}. Set these environment "
                "variables where the job runs: of the runner, or in the work pool's job template.",
                user_msg=f"The store {self.name!r} cannot be used.",
            )
        return {**self.storage_options, **{name: os.environ[variable] for name, variable in self.credentials.items()}}

    def secrets(self) -> Iterator[str]:
        """What nobody shall see of it, as far as it is set here."""
        yield from filter(None, map(os.environ.get, self.credentials.values()))
        yield from _secret_texts(self.storage_options)
        if password := urlsplit(self.url).password:
            yield password


class StageOutOptions(HandlerOptions):
    """
    The options that ``MultiStorageHandler`` has of its own.

    Attributes:
        stores: In the order in which they are filled.
        staged_outputs: Ids of those that are staged out; None: all.
        link: Name of the store that results link to; None: results stay in the result store as well.
        link_lifetime: Seconds that such a link is good for, signed by the store; None: it is not signed.
        verify_copies: ``content``: each file is read back and its checksum compared. ``size``: only its size is.
        copy_attempts: How often the writing of one file is tried.
        copy_timeout: Seconds after which the writing of one file is not tried again.
    """

    stores: tuple[StoreOptions, ...] = Field(min_length=1)
    staged_outputs: tuple[str, ...] | None = None
    link: str | None = None
    link_lifetime: float | None = Field(default=None, ge=1, le=7 * 24 * 3600)  # S3 signs no longer ones
    verify_copies: Literal["content", "size"] = "content"
    copy_attempts: int = Field(default=5, ge=1)
    copy_timeout: float = Field(default=120, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [store.name for store in self.stores]
        if len(set(names)) < len(names):
            raise ValueError("each of the stores must have a name of its own")
        if self.link is None:
            if self.link_lifetime is not None:
                raise ValueError("link_lifetime is of use with link only")
            return self
        linked = next((store for store in self.stores if store.name == self.link), None)
        if linked is None:
            raise ValueError(f"link must be the name of one of the stores: {', '.join(names)}")
        if not linked.required:
            raise ValueError(f"link: the store {self.link!r} must be required, for nothing else has the outputs")
        if linked.is_local and linked.public_url is None:
            raise ValueError(f"link: clients reach no local folder: give the store {self.link!r} a public_url")
        return self

    def stages(self, output_id: str) -> bool:
        """Whether that output is staged out."""
        return self.staged_outputs is None or output_id in self.staged_outputs


def filled_in(template: str, lenv: Mapping[str, Any]) -> str:
    """
    A URL of a store for one job.

    Args:
        template: With fields of :data:`TEMPLATE_FIELDS`.
        lenv: Of the job's ``conf``.
    """
    user = lenv.get("user") or {}
    fields = {
        "job_id": lenv["job_id"],
        "process_id": lenv["process_id"],
        "user": user.get("subject") or NOBODY,
        "issuer": user.get("issuer") or NOBODY,
    }
    return template.format(**{name: safe_name(str(value)) for name, value in fields.items()}).rstrip("/")


def safe_name(name: str) -> str:
    """
    *name* as one part of a path of any store. Different names stay different.

    It begins with a letter or a digit, so that no name leads upwards, or is that of a file of our own.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:100]
    return safe if safe == name else f"{safe or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _secret_texts(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secret_texts(value)
        elif isinstance(value, str) and value and _SECRET_NAME.search(name):
            yield value
