"""
The requirements of OGC 18-062r2, by conformance class.

Not here: ``html``, which is not declared, and ``oas30/security``, for the API has no security of its own.
"""

import pytest

REQUIREMENTS = {
    "core": {
        "http",
        "landingpage-op",
        "landingpage-success",
        "api-definition-op",
        "api-definition-success",
        "conformance-op",
        "conformance-success",
        "process-list",
        "pl-limit-definition",
        "pl-limit-response",
        "process-list-success",
        "pl-links",
        "process",
        "process-success",
        "process-exception/no-such-process",
        "process-execute-op",
        "process-execute-request",
        "process-execute-inputs",
        "process-execute-input-array",
        "process-execute-input-inline-object",
        "process-execute-input-mixed-type",
        "process-execute-input-inline-binary",
        "process-execute-input-inline-bbox",
        "process-execute-input-validation",
        "process-execute-default-execution-mode",
        "process-execute-auto-execution-mode",
        "process-execute-default-outputs",
        "process-execute-sync-raw-value-one",
        "process-execute-sync-raw-value-multi",
        "process-execute-sync-raw-ref",
        "process-execute-sync-raw-mixed-multi",
        "process-execute-sync-document",
        "process-execute-success-async",
        "job",
        "job-success",
        "job-exception-no-such-job",
        "job-results",
        "job-results-success-sync",
        "job-results-async-raw-value-one",
        "job-results-async-raw-value-multi",
        "job-results-async-raw-ref",
        "job-results-async-raw-mixed-multi",
        "job-results-async-document",
        "job-results-exception/no-such-job",
        "job-results-exception/results-not-ready",
        "job-results-failed",
        "test-process",
    },
    "ogc-process-description": {
        "json-encoding",
        "inputs-def",
        "input-def",
        "input-mixed-type",
        "input-binary",
        "outputs-def",
        "output-def",
        "output-mixed-type",
    },
    "json": {"definition"},
    "oas30": {"completeness", "exceptions-codes", "oas-definition-1", "oas-definition-2", "oas-impl"},
    "job-list": {
        "job-list-op",
        "type-definition",
        "type-response",
        "processID-definition",
        "processID-mandatory",
        "processid-response",
        "status-definition",
        "status-response",
        "datetime-definition",
        "datetime-response",
        "duration-definition",
        "duration-response",
        "limit-definition",
        "limit-response",
        "job-list-success",
        "links",
    },
    "callback": {"job-callback"},
    "dismiss": {"job-dismiss-op", "job-dismiss-success"},
}

NAMES = {f"{conformance_class}/{name}" for conformance_class, names in REQUIREMENTS.items() for name in names}

EXCEPTIONS = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0"
CONFORMANCE = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
RELATIONS = "http://www.opengis.net/def/rel/ogc/1.0"


def requirement(*names: str) -> pytest.MarkDecorator:
    """Mark a test with the requirements that it states, without their ``/req/``."""
    unknown = set(names) - NAMES
    assert not unknown, f"not in the standard: {unknown}"
    return pytest.mark.requirement(*names)
