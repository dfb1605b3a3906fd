"""The standard's models, named as OGC API - Processes - Part 1: Core 1.0 (OGC 18-062r2) names them."""

from enum import StrEnum


class JobStatus(StrEnum):
    """Status of a job. Source: OGC 18-062r2, ``statusCode.yaml``."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"

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
