"""
What travels between a runner and the flow run of a deployment.

Everything but what Prefect shows goes through the result storage of the process, which both reach: the order (the
process's configuration and the request; either may be large, and neither is for everybody), and the outcome. Secrets
go through a Secret block of Prefect, which lives as long as the job.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pygeoapi_prefect.jobs.records import JobSecrets
from pygeoapi_prefect.process.orders import JobOrder

_FOLDER = "flow-run"
_BLOCK_NAME = re.compile("[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class HandedOver:
    """
    One job on its way to a deployment.

    Attributes:
        resource: The process's entry under ``resources`` of the configuration.
        request: The execute request without its secrets.
        storage: Where order and outcome are: a block ``<slug>/<name>``, a folder or an fsspec URL.
        reference_limits: As :class:`~pygeoapi_prefect.process.orders.JobOrder` has them.
        user: Likewise.
        secrets: Of the job.
        trace_parent: As :class:`~pygeoapi_prefect.process.orders.JobOrder` has it.
        created: Likewise.
        max_output_bytes: Likewise.
    """

    job_id: str
    process_id: str
    resource: Mapping[str, Any]
    request: Mapping[str, Any]
    storage: str
    reference_limits: Mapping[str, Any] = field(default_factory=dict)
    user: Mapping[str, Any] | None = None
    secrets: JobSecrets = field(default_factory=JobSecrets, repr=False)
    trace_parent: str | None = None
    created: str | None = None
    max_output_bytes: int | None = None

    @staticmethod
    def folder_of(job_id: str) -> str:
        """In the storage; the only one that the flow run writes to, beside what its own code does."""
        return f"{job_id}/{_FOLDER}"

    @staticmethod
    def order_location_of(job_id: str) -> str:
        return f"{job_id}/{_FOLDER}/order.json"

    @staticmethod
    def outcome_location_of(job_id: str) -> str:
        return f"{job_id}/{_FOLDER}/outcome.json"

    @staticmethod
    def secret_block_of(job_id: str) -> str:
        """A name that Prefect takes: clients propose ids with capitals, dots and underscores, too."""
        if not _BLOCK_NAME.fullmatch(job_id):
            job_id = hashlib.sha256(job_id.encode()).hexdigest()
        return f"pygeoapi-job-{job_id}"

    @property
    def order_location(self) -> str:
        return self.order_location_of(self.job_id)

    @property
    def secret_block(self) -> str:
        return self.secret_block_of(self.job_id)

    def order_json(self) -> bytes:
        """The order without the secrets."""
        order = {
            "process_id": self.process_id,
            "resource": self.resource,
            "request": dict(self.request),
            "has_secrets": bool(self.secrets),
            "reference_limits": dict(self.reference_limits),
            "user": self.user,
            "trace_parent": self.trace_parent,
            "created": self.created,
            "max_output_bytes": self.max_output_bytes,
        }
        return json.dumps(order).encode()

    def parameters(self) -> dict[str, str]:
        """Of the flow run: where to find the order."""
        return {"storage": self.storage}


def read_order(data: bytes, job_id: str, secrets: JobSecrets) -> JobOrder:
    """
    The job as its flow run executes it.

    Args:
        data: From :meth:`HandedOver.order_json`.
        job_id: The job.
        secrets: From :attr:`HandedOver.secrets`.
    """
    order = json.loads(data)
    return JobOrder(
        job_id=job_id,
        process_id=order["process_id"],
        resource=order["resource"],
        request=secrets.fill(order["request"]),
        folder=HandedOver.folder_of(job_id),
        reference_limits=order.get("reference_limits", {}),
        user=order.get("user"),
        access_token=secrets.access_token,
        trace_parent=order.get("trace_parent"),
        created=order.get("created"),
        max_output_bytes=order.get("max_output_bytes"),
    )
