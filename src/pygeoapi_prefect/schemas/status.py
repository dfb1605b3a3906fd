"""What a server says of a job, and what a flow says of the job that it did."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, AwareDatetime, Field

from pygeoapi_prefect.schemas.codes import JobStatus
from pygeoapi_prefect.schemas.descriptions import Link
from pygeoapi_prefect.schemas.model import OgcModel


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""Aware; turned into UTC. Written as RFC 3339 asks, ``2026-01-31T12:00:00Z``."""


class StatusInfo(OgcModel):
    """
    Status of a job; ``progress`` is in percent, 0 to 100.

    Source:
        OGC 18-062r2, ``statusInfo.yaml``.
    """

    always_written: ClassVar[frozenset[str]] = frozenset({"type"})

    process_id: str | None = Field(default=None, alias="processID")
    type: Literal["process"] = "process"
    job_id: str = Field(alias="jobID")
    status: JobStatus
    message: str | None = None
    created: UtcDatetime | None = None
    started: UtcDatetime | None = None
    finished: UtcDatetime | None = None
    updated: UtcDatetime | None = None
    progress: int | None = Field(default=None, ge=0, le=100)
    links: list[Link] | None = None


class OutputExecutionResultInternal(OgcModel):
    """
    Where a flow left an output.

    Attributes:
        location: Path or URL of the file, as the storage block that wrote it knows it.
        media_type: Of the file; None leaves it to the process description.
    """

    location: str
    media_type: str | None = None


class JobStatusInfoInternal(StatusInfo):
    """
    What a flow returns: how the job ended, and where its outputs are.

    Attributes:
        generated_outputs: By the ids that the process declares. For the server: clients do not learn the locations.
    """

    generated_outputs: dict[str, OutputExecutionResultInternal] = Field(default_factory=dict)

    def to_ogc(self) -> dict[str, Any]:
        """The status for clients, without ``generated_outputs``."""
        return {name: value for name, value in super().to_ogc().items() if name != "generated_outputs"}
