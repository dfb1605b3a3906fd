"""The standard's code lists. Nearly every module needs one of them, so nothing else is imported here."""

from enum import StrEnum

RESULTS_REL = "http://www.opengis.net/def/rel/ogc/1.0/results"
"""Relation of a job to its results. Source: OGC 18-062r2, requirement ``job-results``."""

EXCEPTIONS_REL = "http://www.opengis.net/def/rel/ogc/1.0/exceptions"
"""Relation of a failed job to the reason."""


class JobStatus(StrEnum):
    """
    Status of a job. The lower-case names are the same members under the names that pygeoapi gives them.

    Source:
        OGC 18-062r2, ``statusCode.yaml``.
    """

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"

    accepted = "accepted"
    running = "running"
    successful = "successful"
    failed = "failed"
    dismissed = "dismissed"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended. A terminal status never changes again."""
        return self not in (JobStatus.ACCEPTED, JobStatus.RUNNING)


class ResponseForm(StrEnum):
    """How a client wants the outputs: each as it is, or one JSON document. Source: ``execute.yaml``, ``response``."""

    RAW = "raw"
    DOCUMENT = "document"


class JobControlOption(StrEnum):
    """What a client may ask of a process. Source: ``jobControlOptions.yaml``."""

    SYNC_EXECUTE = "sync-execute"
    ASYNC_EXECUTE = "async-execute"
    DISMISS = "dismiss"


ProcessJobControlOption = JobControlOption
"""The name under which process descriptions know :class:`JobControlOption`."""


class TransmissionMode(StrEnum):
    """Whether an output comes in the response itself or as a link. Source: ``transmissionMode.yaml``."""

    VALUE = "value"
    REFERENCE = "reference"


class ProcessIOType(StrEnum):
    """JSON type of an input or output. Source: ``schema.yaml``, ``type``."""

    ARRAY = "array"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    OBJECT = "object"
    STRING = "string"
