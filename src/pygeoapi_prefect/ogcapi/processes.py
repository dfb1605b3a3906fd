"""The list of processes, and the description of one."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from pygeoapi import l10n
from pygeoapi.api import API, APIRequest
from pygeoapi.formats import F_HTML, F_JSON, F_JSONLD, FORMAT_TYPES

from pygeoapi_prefect.ogcapi.boundary import Answer, html_answer, json_answer, within_boundary
from pygeoapi_prefect.ogcapi.paging import Page
from pygeoapi_prefect.schemas import JobControlOption, TransmissionMode

REL = "http://www.opengis.net/def/rel/ogc/1.0"

_FORMATS = {F_JSON: "JSON", F_JSONLD: "RDF (JSON-LD)", F_HTML: "HTML"}
_NOT_IN_SUMMARY = ("inputs", "outputs", "example")


class Offered(NamedTuple):
    """What a client may ask of a process: ``jobControlOptions`` and ``outputTransmission``."""

    job_control_options: list[str]
    output_transmission: list[str]


def offered(description: Mapping[str, Any]) -> Offered:
    """
    What this server does with a process of that description.

    A process that names no mode of execution runs synchronously. Every job can be dismissed. A process that does not
    say how its outputs come lets the client choose.
    """
    options = list(description.get("jobControlOptions") or [])
    if not {JobControlOption.SYNC_EXECUTE, JobControlOption.ASYNC_EXECUTE} & set(options):
        options.insert(0, JobControlOption.SYNC_EXECUTE)
    if JobControlOption.DISMISS not in options:
        options.append(JobControlOption.DISMISS)
    modes = description.get("outputTransmission") or [TransmissionMode.VALUE, TransmissionMode.REFERENCE]
    return Offered([str(option) for option in options], [str(mode) for mode in modes])


@within_boundary
def describe_processes(
    original: Callable[..., Answer], api: API, request: APIRequest, process: str | None = None
) -> Answer:
    """
    Mends: stock's list ends at the limit, 10 by default, without a way to the rest (row B12); every description says
    ``async-execute``, also that of a process without that mode; and a process that is configured and cannot be imported
    has no answer.
    """
    answer = _process_list(api, request) if process is None else _process(api, request, process)
    l10n.set_response_language(answer[0], request.locale)
    return answer


def _process_list(api: API, request: APIRequest) -> Answer:
    page = Page.of(api, request, "/processes")
    process_ids = list(api.manager.processes)
    # the template has no links to further pages
    shown = process_ids if request.format == F_HTML else process_ids[page.offset : page.offset + page.limit]
    summaries = [_description(api, request, process_id) for process_id in shown]
    for summary in summaries:
        for member in _NOT_IN_SUMMARY:
            summary.pop(member, None)
    process_list = {
        "processes": summaries,
        "links": page.links(request, number_matched=len(process_ids), formats=_FORMATS),
    }
    if request.format == F_HTML:
        return html_answer(api, request, api.config["server"]["templates"], "processes/index.html", process_list)
    return json_answer(api, request, process_list)


def _process(api: API, request: APIRequest, process_id: str) -> Answer:
    api.manager.require_available(process_id)
    description = _description(api, request, process_id)
    if request.format == F_HTML:
        templates = api.get_dataset_templates(process_id)
        return html_answer(api, request, templates, "processes/process.html", description)
    return json_answer(api, request, description)


def _description(api: API, request: APIRequest, process_id: str) -> dict[str, Any]:
    description: dict[str, Any] = l10n.translate_struct(api.manager.get_processor(process_id).metadata, request.locale)
    job_control_options, output_transmission = offered(description)
    return {
        "inputs": {},
        "outputs": {},
        **description,
        "id": process_id,
        "jobControlOptions": job_control_options,
        "outputTransmission": output_transmission,
        "links": [*description.get("links", []), *_links(api, request, process_id)],
    }


def _links(api: API, request: APIRequest, process_id: str) -> list[dict[str, str]]:
    process_url, jobs_url = f"{api.base_url}/processes/{quote(process_id, safe='')}", f"{api.base_url}/jobs"
    links = [
        (process_url, request.get_linkrel(F_JSON), F_JSON, "Process description as JSON"),
        (process_url, request.get_linkrel(F_HTML), F_HTML, "Process description as HTML"),
        (jobs_url, f"{REL}/job-list", F_HTML, "Jobs list as HTML"),
        (jobs_url, f"{REL}/job-list", F_JSON, "Jobs list as JSON"),
        (f"{process_url}/execution", f"{REL}/execute", F_JSON, "Execution for this process as JSON"),
    ]
    return [
        {
            "type": FORMAT_TYPES[format_],
            "rel": rel,
            "href": f"{href}?f={format_}",
            "title": title,
            "hreflang": api.default_locale,
        }
        for href, rel, format_, title in links
    ]
