"""The conformance classes that an API with our manager declares."""

import json
from collections.abc import Callable
from copy import copy

from pygeoapi.api import API, APIRequest, processes
from pygeoapi.formats import F_HTML, F_JSON, FORMAT_TYPES
from pygeoapi.util import render_j2_template

from pygeoapi_prefect.ogcapi.boundary import Answer, json_text

BASE = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
CALLBACK = f"{BASE}/callback"
ALWAYS = (
    f"{BASE}/core",
    f"{BASE}/ogc-process-description",
    f"{BASE}/json",
    f"{BASE}/oas30",
    f"{BASE}/job-list",
    f"{BASE}/dismiss",
)
"""Source: OGC 18-062r2, annex A."""


def declared(stock: list[str], *, callbacks: bool) -> list[str]:
    """
    The classes with ours in place of those that stock pygeoapi declares for processes.

    Args:
        stock: What pygeoapi declares for everything that it serves.
        callbacks: Whether clients may be called back.
    """
    if not set(stock) & set(processes.CONFORMANCE_CLASSES):
        # no process is served
        return stock
    ours = {*ALWAYS, *((CALLBACK,) if callbacks else ())}
    return sorted(set(stock) - set(processes.CONFORMANCE_CLASSES) | ours)


def conformance(original: Callable[..., Answer], api: API, request: APIRequest) -> Answer:
    """Mends: stock declares callbacks whatever the manager supports, and neither the job list nor dismissal."""
    as_json = copy(request)
    as_json._format = F_JSON
    headers, status, content = original(api, as_json)
    document = json.loads(content)
    document["conformsTo"] = declared(document["conformsTo"], callbacks=api.manager.supports_subscribing)
    if request.format != F_HTML:
        if request.format is not None:
            headers["Content-Type"] = FORMAT_TYPES[request.format]
        return headers, status, json_text(api, document)
    headers["Content-Type"] = FORMAT_TYPES[F_HTML]
    templates = api.config["server"]["templates"]
    page = render_j2_template(api.tpl_config, templates, "conformance.html", document, request.locale)
    return headers, status, page
