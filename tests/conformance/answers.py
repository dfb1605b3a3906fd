"""Reads what the server answers, and holds it against the standard."""

import email
import email.policy
import re
import time
from typing import Any

import httpx
import requests.utils

from conformance.requirements import RELATIONS
from ogc_schema import validate
from serving import Server, eventually

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
RESULTS = f"{RELATIONS}/results"
TIMES = ("created", "started", "finished", "updated")


def document(response: httpx.Response, schema: str, status: int = 200) -> Any:
    """The JSON of a response of that status; it fits OGC's schema."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].partition(";")[0] == "application/json", response.headers
    content = response.json()
    validate(content, schema)
    return content


def status_info(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """A statusInfo whose times are those of RFC 3339, and whose links lead where they say."""
    content = document(response, "statusInfo", status)
    for name in TIMES:
        assert name not in content or RFC_3339.fullmatch(content[name]), content
    return content


def problem(response: httpx.Response, status: int, type_: str | None = None) -> dict[str, Any]:
    """A problem document (RFC 9457) that fits OGC's ``exception.yaml`` as well."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].partition(";")[0] in ("application/problem+json", "application/json")
    content = response.json()
    validate(content, "exception")
    assert content["status"] == status
    assert {"title", "detail"} <= set(content)
    assert type_ is None or content["type"] == type_, content
    assert "Traceback" not in response.text
    return dict(content)


def links(content: dict[str, Any], rel: str) -> list[str]:
    """Where the links of that relation lead."""
    return [link["href"] for link in content.get("links", []) if link.get("rel") == rel]


def link_headers(response: httpx.Response) -> list[dict[str, str]]:
    """The links of all ``Link`` headers (RFC 8288): ``url``, ``rel`` and further parameters."""
    return [link for value in response.headers.get_list("link") for link in requests.utils.parse_header_links(value)]


def parts(response: httpx.Response) -> dict[str, Any]:
    """The parts of a ``multipart/related`` response (RFC 2387) by their ``Content-ID``."""
    assert response.status_code == 200, response.text
    content_type = response.headers["content-type"]
    assert content_type.startswith("multipart/related"), content_type
    raw = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + response.content
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    assert message.is_multipart()
    assert message.defects == []
    return {str(part["Content-ID"]).strip("<>"): part for part in message.iter_parts()}


def content_of(part: Any) -> bytes:
    """The decoded content of a part."""
    return bytes(part.get_payload(decode=True))


def value_in(entry: Any) -> Any:
    """The value of one output of a results document, whether it is qualified or not."""
    return entry["value"] if isinstance(entry, dict) and "value" in entry else entry


def get(server: Server, href: str) -> httpx.Response:
    """Follow a link, which may be relative to the server."""
    return server.client.get(httpx.URL(server.url).join(href))


def execute(server: Server, process_id: str, body: Any, **headers: str) -> httpx.Response:
    """POST an execute request; *headers* with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(f"/processes/{process_id}/execution", json=body, headers=named)


def submitted(server: Server, process_id: str, body: Any) -> str:
    """The id of a job that was accepted."""
    response = execute(server, process_id, body, Prefer="respond-async")
    return str(status_info(response, 201)["jobID"])


def ended(server: Server, job_id: str, within: float = 30) -> dict[str, Any]:
    """The statusInfo of the job when it has ended."""
    return reached(server, job_id, "successful", "failed", "dismissed", within=within)


def reached(server: Server, job_id: str, *statuses: str, within: float = 30) -> dict[str, Any]:
    """The statusInfo of the job when it has one of the statuses."""

    def info() -> dict[str, Any] | None:
        found = status_info(server.client.get(f"/jobs/{job_id}"))
        if found["status"] not in statuses:
            time.sleep(0.05)
            return None
        return found

    return dict(eventually(info, within=within, what=f"{statuses} of job {job_id}"))


def jobs(server: Server, **query: Any) -> list[dict[str, Any]]:
    """The jobs of ``/jobs`` with these parameters; the answer fits the schema."""
    content = document(server.client.get("/jobs", params={"f": "json", **query}), "jobList")
    return list(content["jobs"])


def job_ids(server: Server, **query: Any) -> list[str]:
    """The ids of the jobs of ``/jobs`` with these parameters."""
    return [job["jobID"] for job in jobs(server, **query)]
