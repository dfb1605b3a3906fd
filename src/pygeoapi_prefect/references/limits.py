"""What the place where a job runs needs to know to fetch the job's inputs."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReferenceLimits:
    """
    What the configuration says of references; travels with the job, as JSON.

    Attributes:
        allowed_hosts: ``server.manager.allowed_hosts``.
        max_bytes: ``server.manager.reference_max_bytes``.
        timeout: ``server.manager.reference_timeout``; seconds.
    """

    allowed_hosts: Sequence[str] = ()
    max_bytes: int = 1024**3
    timeout: float = 300
