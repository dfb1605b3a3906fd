"""
The server against its own OpenAPI document, by requests that nobody thought of, of users and of strangers.

As in ``test_schemathesis``, on a server where requests need a token: of the user whose jobs there are, of another one,
one that is none, or no token at all.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pygeoapi.openapi import get_oas

from conformance.answers import execute
from conformance.conftest import ECHO
from conformance.test_schemathesis import CHECKS, RIGHT, WRONG
from oidc_issuer import Issuer, issuing
from pygeoapi_prefect import ogcapi
from serving import Server, running

MAX_EXAMPLES = 15
"""For each operation; a request takes some 30 ms, with what makes it."""

OWNER, OTHER, GARBAGE, NOBODY = CALLERS = ("ada", "bob", "garbage", "nobody")

BAD_CREDENTIALS = (
    "Bearer a.b.c",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
    "Bearer ",
    "Bearer one, Bearer two",
    "Basic YWRhOmFkYQ==",
    "\xff",
    "",
)

PROBLEM = re.compile(r"application/(problem\+)?json\b")

OPERATIONS = [
    ("get", "/processes"),
    ("get", "/processes/echo"),
    ("post", "/processes/echo/execution"),
    ("post", "/processes/restricted/execution"),
    ("get", "/jobs"),
    ("get", "/jobs/{jobId}"),
    ("delete", "/jobs/{jobId}"),
    ("get", "/jobs/{jobId}/results"),
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Whose tokens are believed."""
    with issuing() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Server]:
    """pygeoapi under Flask, where only users may execute and see jobs."""
    server = Server(
        tmp_path_factory.mktemp("users"),
        front="flask",
        manager={
            "auth": issuer.auth(roles_claim="roles", keys_min_age=3600),
            "link_secret": "not a good one, for it stands here: 0123456789",
            "max_waiting_per_user": 1000,
        },
        processors={"echo": {"name": ECHO}, "restricted": {"name": ECHO, "prefect": {"roles": ["analyst"]}}},
    )
    with running(server):
        yield server


@pytest.fixture(scope="module")
def tokens(issuer: Issuer) -> dict[str, str]:
    """Headers of the users; who has jobs may execute everything."""
    claims: dict[str, dict[str, Any]] = {OWNER: {"roles": ["analyst"]}, OTHER: {}}
    return {user: issuer.headers(user, exp=2**33, **more)["Authorization"] for user, more in claims.items()}


@pytest.fixture(scope="module")
def known(server: Server, tokens: dict[str, str]) -> str:
    """The id of a job of the first user, with results."""
    response = execute(server, "echo", {"inputs": {"string": "mine"}}, Authorization=tokens[OWNER])
    assert response.status_code == 200, response.text
    return response.headers["location"].rpartition("/")[2]


@pytest.fixture(scope="module")
def made(known: str) -> dict[str, set[str]]:
    """Ids of jobs by the users who made them."""
    return {OWNER: {known}, OTHER: set()}


@pytest.fixture(scope="module")
def definition(server: Server) -> dict[str, Any]:
    """
    Our paths of the generated OpenAPI document, without the ``default`` answers: every status must be named.

    Jobs may fail with a status of their own; no job here does. Tokens are the tests', and none that schemathesis makes.
    """
    try:
        document = get_oas(yaml.safe_load(server.config_path.read_text()))
    finally:
        ogcapi.uninstall()
    document["paths"] = {path: item for path, item in document["paths"].items() if re.match("/(processes|jobs)", path)}
    for item in document["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"], operation["security"]
    return document


def test_every_operation_is_tried(definition):
    """What is offered is in the table of this file; the description of one process stands for all."""
    offered = {(method, path) for path, item in definition["paths"].items() for method in item}
    assert offered - {("get", "/processes/restricted")} == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_for_those_who_may_have_them(server, definition, tokens, known, made, method, path):
    """
    Whoever asks for whatever: no server error, nothing that the document does not have, errors as problem documents,
    a challenge where a token is needed, and nothing of another user's jobs.
    """
    schema = schemathesis.openapi.from_dict(definition)
    schema.config.update(base_url=server.url)
    operation = schema[path][method.upper()]
    is_guarded = path.startswith("/jobs") or method == "post"

    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=st.one_of(operation.as_strategy(generation_mode=mode) for mode in (RIGHT, WRONG)),
        caller=st.sampled_from(CALLERS),
        bad=st.sampled_from(BAD_CREDENTIALS),
        names_known=st.booleans(),
    )
    def answers(case: schemathesis.Case, caller: str, bad: str, names_known: bool) -> None:
        if isinstance(case.body, dict):
            case.body.pop("subscriber", None)
            if isinstance(case.body.get("inputs"), dict):
                case.body["inputs"].pop("pause", None)
        sent = {} if caller == NOBODY else {"Authorization": tokens.get(caller, bad)}
        # its owner would remove it
        is_known = names_known and "jobId" in case.path_parameters and (caller, method) != (OWNER, "delete")
        if is_known:
            case.path_parameters["jobId"] = known
        response = case.call_and_validate(checks=CHECKS, headers=sent)
        status, headers = response.status_code, {name: value for name, (value, *_) in response.headers.items()}
        if status >= 400:
            assert PROBLEM.match(headers["content-type"]) or case.query.get("f") == "html"
            assert "Traceback" not in response.text
        if status == 401:
            assert headers["www-authenticate"].startswith('Bearer realm="')
        if is_guarded and caller not in tokens:
            # 404: of a path that is none
            assert status in (400, 401) or (status == 404 and not is_known), response.text
        elif is_known and caller == OTHER:
            assert status in (400, 404), response.text
        if caller in made and "location" in headers:
            made[caller].add(headers["location"].rpartition("/")[2])
        if path == "/jobs" and headers["content-type"].startswith("application/json") and status == 200:
            assert {job["jobID"] for job in response.json()["jobs"]} <= made[caller]

    answers()
