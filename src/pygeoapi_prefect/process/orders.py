"""What the place where a job runs needs to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pygeoapi_prefect.masking import texts_in
from pygeoapi_prefect.settings import ProcessSettings, process_settings


@dataclass(frozen=True, slots=True)
class JobOrder:
    """
    One job, ready to be executed: by a pool worker, or by a flow run on a work pool.

    Attributes:
        process_id: Key of the process in the configuration.
        resource: The process's entry under ``resources`` of the configuration.
        request: The execute request: ``inputs``, secret ones as well, ``outputs``, ``response``, ``secret_inputs``.
        folder: In the result store, for what the job stores.
        reference_limits: For inputs by reference: the fields of
            :class:`~pygeoapi_prefect.references.limits.ReferenceLimits`, as JSON.
        user: Who submitted the job, as :meth:`~pygeoapi_prefect.identity.User.to_json` gives it; None: nobody is
            known.
        access_token: Theirs, where the process keeps it for its handlers; else empty.
        trace_parent: The span that the job belongs to. Source: W3C Trace Context, ``traceparent``.
        created: When the job was accepted, in ISO 8601.
        max_output_bytes: Of all outputs together; None: any number.
    """

    job_id: str
    process_id: str
    resource: Mapping[str, Any]
    request: Mapping[str, Any]
    folder: str
    reference_limits: Mapping[str, Any] = field(default_factory=dict)
    user: Mapping[str, Any] | None = None
    access_token: str = field(default="", repr=False)
    trace_parent: str | None = None
    created: str | None = None
    max_output_bytes: int | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        return dict(self.request.get("inputs") or {})

    @property
    def secrets(self) -> frozenset[str]:
        """The texts that must not be seen: of secret inputs, and the access token."""
        hidden = [value for name, value in self.inputs.items() if name in self.request.get("secret_inputs", ())]
        return frozenset(texts_in([*hidden, self.access_token], numbers=True))

    @property
    def traced(self) -> tuple[str, str, str | None, datetime | None]:
        """The arguments of :func:`~pygeoapi_prefect.telemetry.tracing.job_span`."""
        created = datetime.fromisoformat(self.created) if self.created else None
        return self.job_id, self.process_id, self.trace_parent, created

    @property
    def settings(self) -> ProcessSettings:
        """``processor.prefect`` of the process."""
        return process_settings(self.process_id, self.resource)
