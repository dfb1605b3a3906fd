"""
What reads requests, thrown at with what nobody thought of: only our own errors leave it.

Without a server, and always with the same examples, so that a failure comes again.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import flask
import jwt
import pytest
from babel import Locale
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_encode
from pygeoapi.api import APIRequest
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from oidc_issuer import Issuer, issuing
from pygeoapi_prefect.exceptions import (
    ExecutionRefusedError,
    IdentityError,
    InvalidParameterError,
    ResultNotAvailableError,
    ResultStoreError,
    TokenRefusedError,
)
from pygeoapi_prefect.identity import verifier_of
from pygeoapi_prefect.identity.tokens import TokenVerifier
from pygeoapi_prefect.jobs import Job, JobFilter, JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.ogcapi.authentication import user_of
from pygeoapi_prefect.ogcapi.boundary import accepts
from pygeoapi_prefect.ogcapi.preferences import Preferences
from pygeoapi_prefect.ogcapi.request_body import read_body, sorted_json
from pygeoapi_prefect.ogcapi.results import prefers_json
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.signed_links import EXPIRES, SIGNATURE, LinkSigner
from pygeoapi_prefect.schemas import JobStatus
from pygeoapi_prefect.settings import ManagerSettings

fuzzed = settings(
    max_examples=60, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)

SETTINGS = ManagerSettings.from_manager_def(
    {"connection": "jobs.db", "output_dir": "results", "max_request_bytes": 2000, "max_request_items": 100}
)

# what servers let through in a header: they refuse line ends, and take bytes for Latin-1
header_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=9)


def pieces(*known: str) -> st.SearchStrategy[str]:
    """Texts in the words of a grammar, in an order that may make no sense, with others among them."""
    return st.lists(st.sampled_from(known) | header_text, max_size=9).map("".join)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def a_request(data: bytes = b"", **headers: str) -> APIRequest:
    """pygeoapi's request, as Flask receives it; names of headers with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    environ = EnvironBuilder(method="POST", data=data, headers=named).get_environ()
    return APIRequest.from_flask(flask.Request(environ), [Locale("en")])


# ---------------------------------------------------------------- requests


almost_json = pieces(
    *'{}[]:,"\\', "null", "NaN", "-Infinity", "1e999", "-0", "9" * 500, '"inputs"', "\\ud800", "\\u0000", "\ufeff"
).map(str.encode)


@fuzzed
@given(
    data=st.binary(max_size=100) | almost_json | json_values.map(lambda value: json.dumps(value).encode()),
    media_type=st.just("application/json") | header_text,
    encoding=st.just("identity") | header_text,
)
@example(b"[" * 100_000, "application/json", "identity")
@example(b'{"a":' * 90 + b"1" + b"}" * 90, "application/json", "identity")
@example(b"{" + b"9" * 1900, "application/json", "identity")
@example(b'{"a": ' + b"9" * 1900 + b"}", "application/json", "identity")
@example(b"\xff\xfe{\x00}\x00", "application/json", "identity")
def test_a_body_is_an_object_or_refused(data, media_type, encoding):
    """Whatever a body is, it is read as an object that can be written again, or refused in our words."""
    request = a_request(data, Content_Type=media_type, Content_Encoding=encoding)
    try:
        body = read_body(request, SETTINGS)
        assert isinstance(body, dict)
        sorted_json(body)
    except ExecutionRefusedError as refused:
        assert refused.http_status_code in (400, 413, 415)
        assert refused.client_message


@fuzzed
@given(st.lists(pieces("respond-async", "wait=", "wait", "=", "10", ",", ";", '"', "\\", " ", "9" * 400), max_size=3))
def test_every_preference_can_be_read(values):
    """``Prefer`` never fails: what cannot be read is no preference."""
    preferences = Preferences.parse(values)
    assert preferences.wait is None or 0 <= preferences.wait < 10**9


@fuzzed
@given(pieces("application/json", "text/", "*", "/", ",", ";", "q=", "0.", "0", "multipart/related", '"', " "))
def test_every_accept_can_be_read(accept):
    """``Accept`` never fails, whoever reads it."""
    assert accepts(accept, ["application/json"]) in (True, False)
    assert prefers_json(a_request(Accept=accept)) in (True, False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobStore]:
    """One without jobs."""
    made = ManagerSettings.from_manager_def(
        {"connection": str(tmp_path_factory.mktemp("fuzzing") / "jobs.db"), "output_dir": "results"}
    )
    one = JobStore(Database(made.connection, timeout=10))
    yield one
    one.database.dispose()


times = pieces("2026-01-31", "T", "12:00:00", ".5", "Z", "+14:00", "-23:59", "/", "..", "0001-01-01", "9999-12-31", " ")


@fuzzed
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.lists(pieces("process", ","), max_size=2),
            "processID": st.lists(pieces("echo", ","), max_size=2),
            "status": st.lists(pieces("running", "failed", ","), max_size=2),
            "datetime": st.lists(times, max_size=2),
            "minDuration": st.lists(st.integers().map(str) | pieces("1", "-", "²"), max_size=2),
            "maxDuration": st.lists(st.integers().map(str) | pieces("1", "-", "²"), max_size=2),
        },
    )
)
@example({"datetime": ["0001-01-01T00:00:00+14:00"]})
@example({"datetime": ["9999-12-31T23:59:59-23:59/.."]})
@example({"minDuration": ["999999999"]})
def test_filters_of_jobs_are_conditions_or_refused(store, parameters):
    """The parameters of the list of jobs are conditions of a query, or named in a refusal."""
    try:
        job_filter = JobFilter.parse(parameters)
    except InvalidParameterError as refused:
        assert any(f"'{name}'" in refused.client_message for name in parameters)
    else:
        assert store.list_jobs(job_filter, limit=1) == ([], 0)


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Manager:
    """What is asked of the manager about tokens."""

    verifier: TokenVerifier


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Whose tokens are believed."""
    with issuing() as one:
        yield one


@pytest.fixture(scope="module")
def manager(issuer: Issuer) -> Manager:
    """Believes the issuer, and does not ask it again and again."""
    auth = issuer.auth(admin_roles=["admin"], roles_claim="realm.roles", groups_claim="groups", keys_min_age=3600)
    made = ManagerSettings.from_manager_def({"connection": "jobs.db", "output_dir": "results", "auth": auth})
    verifier = verifier_of(made.auth)
    assert verifier is not None
    return Manager(verifier)


@pytest.fixture(scope="module")
def token(issuer: Issuer) -> str:
    """A good one, of Ada."""
    return issuer.token("ada", exp=int(time.time()) + 3600)


credentials = pieces("Bearer", "bearer ", "Basic ", " ", ",", "=", ".", "eyJhbGciOiJub25lIn0", "e30", "\t", "-_")


@fuzzed
@given(values=st.lists(credentials, max_size=2), describes=st.booleans())
def test_credentials_that_are_none_are_refused(manager, values, describes):
    """Whatever stands in ``Authorization``, only our errors leave its reader, each with a challenge of one line."""
    headers = Headers([("Authorization", value) for value in values])
    try:
        assert user_of(manager, headers, describes=describes) is None
        assert describes and not values
    except IdentityError as refused:
        assert refused.challenge.startswith("Bearer realm=")
        assert refused.challenge.isascii() and refused.challenge.isprintable()


@fuzzed
@given(place=st.integers(min_value=0), cut=st.integers(min_value=0, max_value=5), put=pieces(".", "A", "e30", "="))
def test_a_changed_token_is_nobodys(manager, token, place, cut, put):
    """A good token that is changed anywhere is refused, or says what it said before."""
    place %= len(token)
    changed = token[:place] + put + token[place + cut :]
    assume(changed != token)
    try:
        user = manager.verifier.user(changed)
    except TokenRefusedError:
        return
    # the last letter of a signature has bits that nobody reads
    assert changed.rpartition(".")[0] == token.rpartition(".")[0]
    assert user.claims == manager.verifier.user(token).claims


def signed(issuer: Issuer, payload: bytes, **header: Any) -> str:
    """A token with whatever header, which no library makes."""
    named = json.dumps({"alg": issuer.algorithm, "kid": issuer.key_id, **header}).encode()
    text = b".".join(map(base64url_encode, (named, payload)))
    signature = jwt.get_algorithm_by_name(issuer.algorithm).sign(text, issuer.private)
    return b".".join((text, base64url_encode(signature))).decode()


numbers = st.integers() | st.floats() | st.sampled_from([10**30, "1", True])


@fuzzed
@given(
    claims=st.dictionaries(st.sampled_from(["sub", "name", "preferred_username", "groups", "realm"]), json_values),
    times=st.dictionaries(st.sampled_from(["exp", "nbf", "iat"]), numbers, max_size=1),
    header=st.dictionaries(st.sampled_from(["kid", "typ", "crit", "b64", "jwk", "x5u"]), json_values, max_size=1),
)
@example({"sub": "ada", "realm": {"roles": ["admin"]}}, {}, {})
@example({"sub": "ada", "groups": {"a": 1}, "realm": 3}, {}, {})
@example({}, {"exp": float("inf")}, {})
def test_signed_claims_are_a_user_or_refused(manager, issuer, claims, times, header):
    """Also a token that the issuer has signed names a user in our terms, or nobody."""
    payload = json.dumps({**issuer.claims(), **claims, **times}).encode()
    try:
        user = manager.verifier.user(signed(issuer, payload, **header))
    except TokenRefusedError:
        return
    assert user.subject.isprintable() and user.name.isprintable()
    assert all(isinstance(one, str) for one in (*user.roles, *user.groups))
    assert user.is_admin == ("admin" in user.roles)


@fuzzed
@given(payload=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 8000)
@example(b'{"exp": ' + b"9" * 5000 + b"}")
def test_signed_payloads_that_are_no_claims_are_refused(manager, issuer, payload):
    """A signature makes no user of what is no JSON object with the claims that are needed."""
    with pytest.raises(TokenRefusedError):
        manager.verifier.user(signed(issuer, payload))


# ---------------------------------------------------------------- links and files


NOW = datetime.now(UTC)
JOB = Job(
    number=7,
    job_id="job",
    process_id="echo",
    status=JobStatus.SUCCESSFUL,
    message="Job successful",
    progress=100,
    created=NOW,
    updated=NOW,
    started=NOW,
    finished=NOW,
    recorded=False,
    claim_number=1,
    runner_id=None,
    media_type=None,
    problem=None,
    flow_run_id=None,
)
SIGNER = LinkSigner("not a good one, for it stands here: 0123456789", 3600)


@fuzzed
@given(
    changes=st.dictionaries(
        st.sampled_from(["outputs", EXPIRES, SIGNATURE]),
        st.lists(pieces("a", "0", "9" * 12, "9" * 5000, "²", "\u0660"), max_size=2),
        min_size=1,
    )
)
def test_a_changed_link_admits_nobody(changes):
    """Links are good as they were signed, for the job that they were signed for, and never fail."""
    signed = {"outputs": ["a"], **{name: [value] for name, value in SIGNER.parameters(JOB, "a").items()}}
    assume({**signed, **changes} != signed)
    assert SIGNER.good_until(JOB, signed) == int(signed[EXPIRES][0])
    assert SIGNER.good_until(JOB, {**signed, **changes}) is None
    assert SIGNER.good_until(replace(JOB, number=JOB.number + 1), signed) is None


names = pieces(".", "..", "/", "\\", "~", "%2e", "\0", "a", "C:", "file://") | st.text(max_size=20)


@fuzzed
@given(name=names)
def test_a_stored_value_has_a_file_in_its_folder(name):
    """Whatever an output is called, its file is one of the folder, and neither hidden nor the folder itself."""
    safe = ResultStore.safe_name(name)
    folder = Path("/store/job/1")
    assert (folder / safe).resolve().parent == folder
    assert safe.isascii() and safe.isprintable() and not safe.startswith(".")


@fuzzed
@given(location=names)
def test_no_location_leads_out_of_the_store(tmp_path_factory, location):
    """What says where a value is, whoever wrote it, leads to a file of the store or to our error."""
    root = tmp_path_factory.getbasetemp() / "fuzzed-store"
    root.mkdir(exist_ok=True)
    (root.parent / "a").write_bytes(b"outside")
    with pytest.raises((ResultNotAvailableError, ResultStoreError)):
        ResultStore(str(root)).open(location)
