"""Execute requests."""

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pygeoapi.api import API, APIRequest
from pygeoapi.api.pubsub import publish_message

from pygeoapi_prefect.exceptions import MalformedRequestError
from pygeoapi_prefect.jobs import IdempotencyKey, Job
from pygeoapi_prefect.jobs.records import HIDDEN
from pygeoapi_prefect.jobs.status_info import status_info
from pygeoapi_prefect.ogcapi.boundary import Answer, json_answer, request_headers, within_boundary
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.ogcapi.request_body import read_body, sorted_json
from pygeoapi_prefect.ogcapi.results import answer_with, prefers_json
from pygeoapi_prefect.results import Response
from pygeoapi_prefect.telemetry.tracing import request_span

LOGGER = logging.getLogger(__name__)

MAX_KEY_CHARACTERS = 255

_JOB_ID = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Execution:
    """
    What became of an execute request.

    Attributes:
        job: As it is now.
        response: With the results; None: the job goes on.
        applied: Preferences of the client that were honoured.
    """

    job: Job
    response: Response | None
    applied: tuple[str, ...]


@within_boundary
def execute_process(original: Callable[..., Answer], api: API, request: APIRequest, process_id: str) -> Answer:
    """
    Mends: stock knows two exact texts of ``Prefer`` (row B8), answers 500 to a body that is JSON but no object (B9),
    loses bodies that are no JSON, and has neither 204 (B10) nor a whole statusInfo.
    """
    manager = api.manager
    manager.require_available(process_id)
    body = read_body(request, manager.settings)
    with request_span(process_id, request_headers(request).get("traceparent")) as trace_parent:
        execution = manager.execute(
            process_id,
            body,
            Preferences.parse(request_headers(request).getlist("Prefer")),
            job_id=_proposed_job_id(body),
            idempotency_key=_idempotency_key(request, process_id, body, hidden=manager.secret_inputs(process_id)),
            base_url=api.base_url,
            prefers_json=prefers_json(request),
            trace_parent=trace_parent,
        )
    job_url = f"{api.base_url}/jobs/{execution.job.job_id}"
    if execution.response is None:
        headers, _, content = json_answer(api, request, status_info(execution.job, api.base_url))
        status = int(HTTPStatus.CREATED)
    else:
        headers, status, content = answer_with(api, request, execution.response)
        if manager.settings.monitor_link:
            link = f'<{job_url}>; rel="monitor"; type="application/json"'
            headers["Link"] = ", ".join(filter(None, [headers.get("Link"), link]))
    headers["Location"] = job_url
    if execution.applied:
        headers["Preference-Applied"] = ", ".join(execution.applied)
    _publish(api, process_id, execution.job.job_id, content)
    return headers, status, content


def _publish(api: API, process_id: str, job_id: str, content: Any) -> None:
    """As stock does, where pygeoapi has a message broker."""
    if api.pubsub_client is not None:
        try:
            publish_message(api.pubsub_client, api.base_url, "process", process_id, job_id, content)
        except Exception as error:
            LOGGER.warning("message not published", extra={"action": "publish", "reason": str(error)})


def _proposed_job_id(body: Mapping[str, Any]) -> str | None:
    """``jobID``; ``job_id`` is what pygeoapi itself took once."""
    job_id = body.get("jobID", body.get("job_id"))
    if job_id is None:
        return None
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise MalformedRequestError(
            user_msg="'jobID' must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or a digit."
        )
    return job_id


def _idempotency_key(
    request: APIRequest, process_id: str, body: Mapping[str, Any], *, hidden: Collection[str]
) -> IdempotencyKey | None:
    """
    Source: draft-ietf-httpapi-idempotency-key-header, a quoted string; without quotes it is taken as it is.

    Of the inputs that are *hidden* only the names count: from a digest a short password can be guessed.
    """
    value: str | None = request_headers(request).get("Idempotency-Key")
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        raise MalformedRequestError(
            user_msg=f"The Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} printable characters."
        )
    if isinstance(inputs := body.get("inputs"), Mapping):
        body = {**body, "inputs": {name: HIDDEN if name in hidden else value for name, value in inputs.items()}}
    digest = hashlib.sha256(sorted_json([process_id, body]))
    return IdempotencyKey(key, digest.hexdigest())
