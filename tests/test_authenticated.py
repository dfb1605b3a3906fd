"""Laws of the handler that knows its user."""

import logging
import os
import time
from importlib import import_module

import jwt
import pytest

from pygeoapi_prefect.handlers import AuthenticatedHandler
from pygeoapi_prefect.handlers.authenticated import UserRequiredError, path_segment
from pygeoapi_prefect.handlers.handled_job import HandledJob
from pygeoapi_prefect.process.execution import failed
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.settings import HandlerSettings

CLAIMS = {"iss": "https://issuer.example", "sub": "42", "preferred_username": "ada", "exp": time.time() + 600}
USER = {
    "issuer": CLAIMS["iss"],
    "subject": "42",
    "name": "ada",
    "roles": [],
    "groups": [],
    "claims": CLAIMS,
}
UNVERIFIED = jwt.encode({"preferred_username": "mallory"}, "a key of at least thirty-two bytes", algorithm="HS256")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """What the hooks set is gone with the test."""
    for name in ("CURRENT_USER", "USER_WORKSPACE", "ACCESS_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def handler(kind=AuthenticatedHandler, *, options=None, **lenv):
    made = kind({"lenv": {"job_id": "1", **lenv}})
    made.options = options or {}
    return made


class Needy(AuthenticatedHandler):
    needs_access_token = True


def test_the_user_of_the_job():
    """A handler has the verified claims and the name of who submitted the job, and so has the job's environment."""
    one = handler(user=USER)
    one.pre_execution_hook()
    assert (one.token, one.username, one.access_token) == (CLAIMS, "ada", "")
    assert (os.environ["CURRENT_USER"], os.environ["USER_WORKSPACE"]) == ("ada", "/workspaces/ada")


def test_a_job_of_nobody_is_refused():
    """The job fails with 403, and the client reads what it has to do."""
    with pytest.raises(UserRequiredError) as raised:
        handler(user=None).pre_execution_hook()
    outcome = failed(raised.value)
    assert outcome.problem.status == 403
    assert outcome.message == "This process is for known users only. Send a valid access token."


@pytest.mark.parametrize("where", ["environment", "lenv"])
def test_what_nobody_has_verified_is_not_believed(where, monkeypatch):
    """A token alone makes no user, wherever it stands."""
    lenv = {"access_token": UNVERIFIED} if where == "lenv" else {}
    if where == "environment":
        monkeypatch.setenv("ACCESS_TOKEN", UNVERIFIED)
    with pytest.raises(UserRequiredError):
        handler(**lenv).pre_execution_hook()


@pytest.mark.parametrize("where", ["environment", "lenv"])
def test_unverified_tokens_are_believed_where_an_option_says_so(where, monkeypatch):
    """Then the name is that of the token, and the token is a secret."""
    lenv = {"access_token": UNVERIFIED} if where == "lenv" else {}
    if where == "environment":
        monkeypatch.setenv("ACCESS_TOKEN", UNVERIFIED)
    one = handler(options={"trust_unverified_access_tokens": True}, **lenv)
    one.pre_execution_hook()
    assert (one.username, one.get_secrets()["access_token"]) == ("mallory", UNVERIFIED)


@pytest.mark.parametrize("almost", ["true", 1, "yes", False, None])
def test_the_alarming_option_takes_a_plain_true_only(almost):
    """Whatever else stands there leaves tokens unbelieved."""
    with pytest.raises(UserRequiredError):
        handler(options={"trust_unverified_access_tokens": almost}, access_token=UNVERIFIED).pre_execution_hook()


def test_the_verified_user_comes_first():
    """Where a user is known, no unverified token changes who that is."""
    one = handler(user=USER, options={"trust_unverified_access_tokens": True}, access_token=UNVERIFIED)
    one.pre_execution_hook()
    assert one.username == "ada"


@pytest.mark.parametrize("token", ["", "no token", "a.b.c"])
def test_unreadable_tokens(token):
    """They fail the job with a reason that does not quote them."""
    with pytest.raises(UserRequiredError) as raised:
        handler(options={"trust_unverified_access_tokens": True}, access_token=token).pre_execution_hook()
    assert not token or token not in f"{raised.value} {raised.value.client_message}"


def test_a_needed_token():
    """A handler that needs the token has it, and tells that it is a secret already before its first hook."""
    one = handler(Needy, user=USER, access_token="the-token")
    assert one.get_secrets() == {"access_token": "the-token"}
    one.pre_execution_hook()
    assert one.access_token == "the-token"


@pytest.mark.parametrize(
    ("claims", "token", "words"), [(CLAIMS, "", "needs your access token"), ({"exp": 1}, "the-token", "has expired")]
)
def test_a_job_without_a_needed_token_is_refused(claims, token, words):
    """So is one whose token has expired while the job waited."""
    with pytest.raises(UserRequiredError, match="access token") as raised:
        handler(Needy, user={**USER, "claims": claims}, access_token=token).pre_execution_hook()
    assert words in raised.value.client_message


class Seen(AuthenticatedHandler):
    """Logs what it should not, and can be looked at afterwards."""

    last = None

    def pre_execution_hook(self):
        Seen.last = self
        super().pre_execution_hook()
        logging.getLogger("seen").warning("acting with %s", self.access_token)


@pytest.mark.parametrize("needs", [False, True])
def test_the_token_of_a_job(needs, tmp_path, caplog):
    """A handler finds it in lenv, whatever input has its name; by its entry in the configuration it needs it."""
    settings = HandlerSettings(name="test_authenticated.Seen", needs_access_token=needs)
    job = HandledJob(
        job_id="1",
        process_id="p",
        inputs={"access_token": "what the client has sent"},
        requested_outputs=None,
        declared_outputs=[],
        handlers=[settings],
        store=ResultStore(str(tmp_path)),
        folder="1/1",
        user=USER,
        access_token="the-token" if needs else "",
    )
    try:
        job.open()
        with job.attempt():
            seen = import_module("test_authenticated").Seen.last
    finally:
        job.close()
    assert seen.needs_access_token is needs
    assert seen.conf["lenv"].get("access_token") == ("the-token" if needs else None)
    assert seen.conf["lenv"]["inputs"] == {"access_token": "what the client has sent"}
    assert caplog.messages == [f"acting with {'***' if needs else ''}"]


def test_the_claim_with_the_name():
    """The option chooses another claim; where that is missing, no other name stands in."""
    one = handler(user=USER, options={"username_claim": "sub", "workspaces": "/data/"})
    one.pre_execution_hook()
    assert (one.username, os.environ["USER_WORKSPACE"]) == ("42", "/data/42")
    with pytest.raises(UserRequiredError):
        handler(user=USER, options={"username_claim": "nickname"}).pre_execution_hook()


@pytest.mark.parametrize("name", ["", "a\x00b", "a\nb"])
def test_names_that_no_environment_takes(name):
    """They are refused."""
    with pytest.raises(UserRequiredError, match="no name"):
        handler(user={**USER, "name": name}).pre_execution_hook()


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("ada", "ada"),
        ("ada@example.org", "ada@example.org"),
        ("..", "%2E."),
        (".", "%2E"),
        (".ssh", "%2Essh"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("a b", "a%20b"),
        ("%2E", "%252E"),
        ("ä", "%C3%A4"),
    ],
)
def test_names_in_paths(name, segment):
    """A name is one segment of a path, whatever it is, and no two names share one."""
    assert path_segment(name) == segment
