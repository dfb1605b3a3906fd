"""Laws of what a job keeps secret: how it is sealed, how long it is kept, and where it is never seen."""

import base64
import logging
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from pygeoapi.process.base import ProcessorExecuteError
from sqlalchemy import select

from factories import MANY, SUCCESS, accepted, claim_all, new_job, running
from pygeoapi_prefect.cli import prefect
from pygeoapi_prefect.cli.doctor import examine
from pygeoapi_prefect.exceptions import (
    ConfigurationError,
    InvalidInputsError,
    JobSecretsLostError,
    MissingJobParameterError,
    QueueFullError,
    ResultStoreError,
    SecretKeyError,
    StageOutError,
)
from pygeoapi_prefect.jobs import JobSecrets
from pygeoapi_prefect.jobs.queries import details_to_json
from pygeoapi_prefect.jobs.sealing import KEY_VARIABLE, SecretKeys, new_key
from pygeoapi_prefect.jobs.tables import job_secrets
from pygeoapi_prefect.masking import SecretMask, texts_in
from pygeoapi_prefect.process.execution import failed
from pygeoapi_prefect.process.handed_over import HandedOver, read_order
from pygeoapi_prefect.process.orders import JobOrder
from pygeoapi_prefect.process.processor import load_processor, needs_access_token
from pygeoapi_prefect.settings import process_settings
from pygeoapi_prefect.validation import RequestValidator, hiding_inputs, secret_inputs

PASSWORD = "hunter2-is-long"
TOKEN = "eyJ.an.access-token"
SECRETS = JobSecrets({"password": PASSWORD}, TOKEN)
REQUEST = {"inputs": {"user": "ada", "password": PASSWORD}, "outputs": None}
HIDDEN_REQUEST = {
    "inputs": {"user": "ada", "password": "(secret)"},
    "outputs": None,
    "secret_inputs": ["password"],
    "has_access_token": True,
}
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
NOBODY_LIVES = {"host": "here", "is_alive": lambda *_: False}


def keys_of(settings, *keys):
    return SecretKeys(settings, {KEY_VARIABLE: " ".join(keys)})


class TestKeys:
    def test_what_is_sealed_opens(self, make_settings):
        """With the same key the secrets are what they were; without it nothing of them can be read."""
        keys = keys_of(make_settings(), new_key())
        sealed = keys.seal("job-1", SECRETS)
        assert keys.open("job-1", sealed) == SECRETS
        payload = base64.urlsafe_b64decode(sealed)
        assert PASSWORD.encode() not in payload
        assert TOKEN.encode() not in payload

    def test_rotation(self, make_settings):
        """The first key seals, and every key opens: a new one is put before the old one."""
        old, new = new_key(), new_key()
        sealed_before = keys_of(make_settings(), old).seal("job-1", SECRETS)
        both = keys_of(make_settings(), new, old)
        sealed_after = both.seal("job-1", SECRETS)
        assert both.open("job-1", sealed_before) == both.open("job-1", sealed_after) == SECRETS
        assert keys_of(make_settings(), new).open("job-1", sealed_after) == SECRETS

    @pytest.mark.parametrize("between", [" ", "\n", ",", ", ", "\r\n"])
    def test_keys_are_separated_as_one_likes(self, make_settings, between):
        """Blanks, commas and new lines stand between keys, in the environment as in a file."""
        old, new = new_key(), new_key()
        sealed = keys_of(make_settings(), old).seal("job-1", SECRETS)
        assert SecretKeys(make_settings(), {KEY_VARIABLE: f"{new}{between}{old}\n"}).open("job-1", sealed) == SECRETS

    def test_another_key_opens_nothing(self, make_settings):
        """The reason tells the operator what to do, and the client nothing of keys."""
        sealed = keys_of(make_settings(), new_key()).seal("job-1", SECRETS)
        with pytest.raises(JobSecretsLostError, match="were sealed with another key") as raised:
            keys_of(make_settings(), new_key()).open("job-1", sealed)
        assert "Send the request again" in raised.value.client_message

    def test_secrets_open_for_their_job_only(self, make_settings):
        """Whoever can write to the database cannot have them handed to another job."""
        keys = keys_of(make_settings(), new_key())
        with pytest.raises(JobSecretsLostError, match="sealed for another job"):
            keys.open("job-2", keys.seal("job-1", SECRETS))

    def test_secrets_that_are_gone(self, make_settings):
        """A job whose secrets were erased does not run without them."""
        with pytest.raises(JobSecretsLostError, match="no secrets of job 'job-1' any more"):
            keys_of(make_settings(), new_key()).open("job-1", None)

    def test_the_file(self, make_settings, tmp_path):
        """A file of keys is read at each use: a new key needs no restart."""
        path = tmp_path / "keys"
        keys = SecretKeys(make_settings(secret_key_file=str(path)), {})
        path.write_text(old := new_key())
        sealed = keys.seal("job-1", SECRETS)
        path.write_text(f"{new_key()}\n{old}\n")
        assert keys.open("job-1", sealed) == SECRETS
        path.write_text(new_key())
        with pytest.raises(JobSecretsLostError):
            keys.open("job-1", sealed)

    def test_the_environment_comes_first(self, make_settings, tmp_path):
        """A file that is named as well is not read."""
        keys = SecretKeys(make_settings(secret_key_file=str(tmp_path / "missing")), {KEY_VARIABLE: new_key()})
        assert keys.open("job-1", keys.seal("job-1", SECRETS)) == SECRETS

    def test_with_sqlite_a_key_is_made(self, make_settings):
        """Nobody but the user can read it, and everybody who needs it gets the same, also at the same moment."""
        settings = make_settings()
        path = settings.data_dir / "secret.key"
        SecretKeys(settings, {}).check()
        assert not path.exists()
        with ThreadPoolExecutor(8) as threads:
            sealed = list(threads.map(lambda _: SecretKeys(settings, {}).seal("job-1", SECRETS), range(32)))
        assert [SecretKeys(settings, {}).open("job-1", one) for one in sealed] == [SECRETS] * 32
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [one.name for one in settings.data_dir.iterdir()] == ["secret.key"]

    def test_with_postgresql_no_key_is_made(self, make_settings, tmp_path):
        """Several hosts may share it, so a key that one of them made would fail the jobs that others run."""
        settings = make_settings(connection="postgresql://me@db.example.org/ogc", data_dir=str(tmp_path / "data"))
        with pytest.raises(SecretKeyError, match="There is no key for secrets"):
            SecretKeys(settings, {}).seal("job-1", SECRETS)
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize("text", ["", "  \n", "t00-sh0rt", "x" * 44, f"{KEY} hunter2"])
    def test_what_is_no_key(self, make_settings, tmp_path, text):
        """It is refused, and not quoted."""
        path = tmp_path / "keys"
        path.write_text(text)
        keys = SecretKeys(make_settings(secret_key_file=str(path)), {})
        for use in (keys.check, lambda: keys.seal("job-1", SECRETS)):
            with pytest.raises(SecretKeyError) as raised:
                use()
            assert not text.strip() or text not in str(raised.value)
            assert raised.value.http_status_code == 503

    def test_a_missing_file(self, make_settings, tmp_path):
        """A file that somebody has named is not made: a typing error would make a second key."""
        keys = SecretKeys(make_settings(secret_key_file=str(tmp_path / "missing")), {})
        with pytest.raises(SecretKeyError, match="cannot be read: No such file"):
            keys.seal("job-1", SECRETS)
        assert not (tmp_path / "missing").exists()

    def test_the_command(self, make_settings):
        """``secrets new-key`` prints a key that works, and another one each time."""
        printed = [CliRunner().invoke(prefect, ["secrets", "new-key"]).stdout for _ in range(2)]
        assert printed[0] != printed[1]
        keys = SecretKeys(make_settings(), {KEY_VARIABLE: printed[0]})
        assert keys.open("job-1", keys.seal("job-1", SECRETS)) == SECRETS


def sealed_in(store):
    with store.database.read() as connection:
        return list(connection.scalars(select(job_secrets.c.sealed)))


class TestStore:
    def test_kept_until_the_claim(self, job_store, open_job_store):
        """Whoever claims the job reads what was sealed, also when everything was restarted before."""
        accepted(job_store, "job-1", request=HIDDEN_REQUEST, sealed="sealed text")
        later = open_job_store()
        (details,) = claim_all(later)
        assert later.sealed_secrets(details.job.claim) == "sealed text"
        assert details.has_secrets

    def test_only_the_newest_claim_reads_them(self, job_store):
        """A runner that was lost and comes back gets nothing."""
        old = running(job_store, request=HIDDEN_REQUEST, sealed="sealed text")
        job_store.finish_lost("new", **NOBODY_LIVES, rerun=lambda _: True)
        assert job_store.sealed_secrets(old) is None
        (details,) = claim_all(job_store, "new")
        assert job_store.sealed_secrets(details.job.claim) == "sealed text"

    def test_a_late_outcome_erases_nothing(self, job_store):
        """What an old claim says at last does not take the secrets from the job that runs again."""
        old = running(job_store, request=HIDDEN_REQUEST, sealed="sealed text")
        job_store.finish_lost("new", **NOBODY_LIVES, rerun=lambda _: True)
        assert job_store.finish(old, SUCCESS) is False
        assert sealed_in(job_store) == ["sealed text"]

    @pytest.mark.parametrize("end", ["finish", "dismiss", "dismiss waiting", "lose", "give up", "update"])
    def test_erased_at_the_end(self, job_store, end):
        """However a job ends, nothing sealed is left, and that of other jobs stays."""
        other = accepted(job_store, "other", process_id="other", request=HIDDEN_REQUEST, sealed="of another job")
        job = accepted(job_store, request=HIDDEN_REQUEST, sealed="sealed text")
        if end not in ("dismiss waiting", "give up"):
            (details,) = job_store.claim("runner", limit=MANY, process_limits={}, record=False, but=["other"])
        match end:
            case "finish":
                job_store.finish(details.job.claim, SUCCESS)
            case "dismiss" | "dismiss waiting":
                job_store.dismiss(job.job_id)
            case "lose":
                job_store.finish_lost("new", **NOBODY_LIVES, rerun=lambda _: False)
            case "give up":
                job_store.explain_waiting(["ndvi"], "The job waits", give_up=-1, reason="It waited too long")
            case "update":
                job_store.update(job.job_id, {"status": "failed", "finished": job.created})
        assert job_store.job(job.job_id).status.is_terminal
        assert sealed_in(job_store) == ["of another job"]
        assert not job_store.job(other.job_id).status.is_terminal

    def test_progress_erases_nothing(self, job_store):
        """Neither does any other change of a job that goes on."""
        claim = running(job_store, request=HIDDEN_REQUEST, sealed="sealed text")
        job_store.report_progress(claim, 50, "half")
        job_store.update(claim.job_id, {"progress": 60})
        assert job_store.sealed_secrets(claim) == "sealed text"

    def test_gone_with_a_refused_job(self, job_store):
        """A request that makes no job leaves nothing behind."""
        with pytest.raises(QueueFullError):
            job_store.submit(_new(sealed="sealed text"), max_waiting=0)
        assert sealed_in(job_store) == []

    def test_records_do_not_show_them(self, job_store):
        """Neither the request nor what is kept of a deleted job has them."""
        new = _new(sealed="sealed text")
        assert "sealed text" not in repr(new)
        job_store.submit(new, max_waiting=MANY)
        assert "sealed" not in str(details_to_json(job_store.details(new.job_id)))


def _new(**changes):
    return new_job(request=HIDDEN_REQUEST, **changes)


class TestRecords:
    def test_hidden_and_filled(self):
        """A request without its secrets names them, and with them it is what the client has sent."""
        hidden = SECRETS.hide(REQUEST)
        assert hidden == HIDDEN_REQUEST
        assert SECRETS.fill(hidden)["inputs"] == REQUEST["inputs"]

    def test_without_secrets(self):
        """A request without any stays as it is, and says so."""
        assert not JobSecrets()
        assert JobSecrets().hide(REQUEST) == {**REQUEST, "secret_inputs": []}

    def test_not_in_the_repr(self):
        """Neither of the secrets nor of what holds them."""
        order = JobOrder("1", "login", {}, REQUEST, "1/1", access_token=TOKEN)
        handed_over = HandedOver("1", "login", {}, HIDDEN_REQUEST, "/storage", secrets=SECRETS)
        shown = f"{SECRETS!r} {handed_over!r}"
        assert PASSWORD not in shown
        assert TOKEN not in shown + repr(order)

    def test_handed_over(self):
        """What goes through the result storage has no secrets; with those of the block the order is whole."""
        handed_over = HandedOver("1", "login", {}, HIDDEN_REQUEST, "/storage", secrets=SECRETS)
        data = handed_over.order_json()
        assert PASSWORD.encode() not in data
        assert TOKEN.encode() not in data
        order = read_order(data, "1", SECRETS)
        assert (order.inputs, order.access_token) == (REQUEST["inputs"], TOKEN)
        assert order.secrets == {PASSWORD, TOKEN}


class TestMasking:
    @pytest.mark.parametrize(
        ("secret", "line", "masked"),
        [
            ("hunter22", "password hunter22!", "password ***!"),
            ("a b&c=d", "https://x.example/?q=a%20b%26c%3Dd", "https://x.example/?q=***"),
            ("a b&c=d", "https://x.example/?q=a+b%26c%3Dd", "https://x.example/?q=***"),
            ('say "hé"\n', 'in JSON "say \\"h\\u00e9\\"\\n"', 'in JSON "***"'),
            ('say "hé"\n', 'in JSON "say \\"hé\\"\\n"', 'in JSON "***"'),
            ("it's\there", f"{'it' + chr(39) + 's' + chr(9) + 'here'!r}", '"***"'),
            ("first line\nsecond line", "it begins with first line", "it begins with ***"),
            ("abc", "abc is too short to be masked", "abc is too short to be masked"),
            ("caf\udce9-secret", "what is no Unicode: caf\udce9-secret", "what is no Unicode: ***"),
        ],
    )
    def test_ways_to_write(self, secret, line, masked):
        """A secret is masked in the ways in which texts commonly hold it; a very short one never."""
        assert SecretMask([secret]).text(line) == masked

    def test_texts(self):
        """Texts at any depth; numbers where they count; never truth values, names of members or blanks."""
        value = {"user": "ada", "more": [{"pin": 123456, "on": True}, None, "  ", ["b"]]}
        assert sorted(texts_in(value)) == ["ada", "b"]
        assert sorted(texts_in(value, numbers=True)) == ["123456", "ada", "b"]

    def test_other_exceptions(self):
        """What ends a job loses its secrets, too, when it is no plain error."""
        assert str(SecretMask(["hunter22"]).error(SystemExit("no hunter22"))) == "no ***"

    def test_errors_keep_their_words_for_clients(self):
        """What an error came of may have a secret that cannot be masked: it is left out, and the error stays itself."""

        class StubbornError(Exception):
            def __str__(self):
                return "hunter22"

        error = ResultStoreError("s3://bucket of hunter22")
        error.__cause__ = StubbornError()
        masked = SecretMask(["hunter22"]).error(error)
        assert (type(masked), str(masked), masked.__cause__) == (ResultStoreError, "s3://bucket of ***", None)
        assert masked.client_message == ResultStoreError.default_client_message

    def test_logs_after_the_end(self, caplog):
        """Once a job has ended, what other jobs log is left alone."""
        mask = SecretMask(["hunter22"])
        mask.begin()
        mask.begin()
        logging.getLogger("job").warning("hunter22")
        mask.end()
        logging.getLogger("job").warning("hunter22")
        assert [record.getMessage() for record in caplog.records] == ["***", "hunter22"]


class TestWhatClientsRead:
    """Of errors that fail a job where it runs."""

    @pytest.mark.parametrize("kind", [ResultStoreError, StageOutError, ConfigurationError, InvalidInputsError])
    def test_words_for_operators(self, kind, caplog):
        """Files, hosts and remedies stand in the job's log; the client reads what the class says."""
        outcome = failed(kind("cannot write to s3://user:password@bucket"))
        assert outcome.message == outcome.problem.detail == kind.default_client_message
        assert "s3://user:password@bucket" in caplog.text

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (ResultStoreError("s3://bucket", user_msg="Not now."), "Not now."),
            (MissingJobParameterError("There is no name"), "There is no name"),
            (ProcessorExecuteError("too wide"), "too wide"),
            (ProcessorExecuteError("width is 0", user_msg="too wide"), "too wide"),
        ],
    )
    def test_words_for_clients(self, error, reason):
        """Those that an error has for them, and all that a process says when it refuses."""
        assert failed(error).message == reason


DESCRIPTION = {
    "id": "login",
    "inputs": {
        "user": {"schema": {"type": "string"}, "minOccurs": 1},
        "pin": {"schema": {"type": "string", "pattern": "^[0-9]+$"}, "minOccurs": 1},
    },
}


class TestDeclaredInConfiguration:
    def test_the_description_says_so(self):
        """An input that the configuration lists is writeOnly to clients, and secret; the original stays as it was."""
        hidden = hiding_inputs("login", DESCRIPTION, ["pin"])
        assert hidden["inputs"]["pin"]["schema"] == {"type": "string", "pattern": "^[0-9]+$", "writeOnly": True}
        assert secret_inputs(hidden) == ["pin"]
        assert secret_inputs(DESCRIPTION) == []

    def test_its_value_is_not_quoted(self):
        """A refusal names the input, and nothing of its value."""
        validator = RequestValidator("login", hiding_inputs("login", DESCRIPTION, ["pin"]))
        with pytest.raises(InvalidInputsError, match="/inputs/pin") as raised:
            validator.check({"inputs": {"user": "ada", "pin": "hunter22"}})
        assert "hunter22" not in f"{raised.value} {raised.value.client_message} {raised.value.violations}"

    def test_an_input_that_is_not_there(self):
        """A typing error in the configuration must not leave an input unprotected."""
        resource = {"processor": {"name": "HelloWorld", "prefect": {"secret_inputs": ["nmae"]}}}
        with pytest.raises(ConfigurationError, match="has no input nmae; it has name"):
            load_processor("hello-world", resource)


class TestDoctor:
    def finding(self, tmp_path, monkeypatch, **keys):
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        processors = {"secretive": {"name": "processors.Secretive"}, "hello-world": {"name": "HelloWorld"}}
        manager = {"connection": str(tmp_path / "jobs.db"), "output_dir": str(tmp_path / "results"), **keys}
        processes = {name: {"type": "process", "processor": processor} for name, processor in processors.items()}
        return next(one for one in examine({**manager, "processes": processes}) if one.subject == "secrets")

    def test_all_is_well(self, tmp_path, monkeypatch):
        """It names the processes that have secrets, and where the key is, or will be."""
        finding = self.finding(tmp_path, monkeypatch, data_dir=str(tmp_path / "data"))
        assert finding.text == f"of secretive are sealed with the key in {tmp_path / 'data' / 'secret.key'}"
        assert finding.remedy is None

    def test_no_key(self, tmp_path, monkeypatch):
        """With PostgreSQL somebody has to give one."""
        finding = self.finding(tmp_path, monkeypatch, connection="postgresql://me@db.example.org/ogc")
        assert finding.text.startswith("of secretive: There is no key for secrets.")
        assert "secrets new-key" in finding.remedy

    def test_a_key_for_everybody(self, tmp_path, monkeypatch):
        """A file that everybody on the host can read is told."""
        path = tmp_path / "keys"
        path.write_text(new_key())
        path.chmod(0o644)
        assert self.finding(tmp_path, monkeypatch, secret_key_file=str(path)).remedy == f"Run `chmod o= {path}`."


ASKS = "pygeoapi_prefect.handlers.CommonExecutionHandler"


class TestWhoNeedsTheToken:
    @pytest.mark.parametrize(
        ("section", "needed"),
        [
            ({}, False),
            ({"handlers": [ASKS]}, False),
            ({"handlers": ["test_authenticated.Needy"]}, True),
            ({"handlers": [ASKS, {"name": ASKS, "needs_access_token": True}]}, True),
            ({"handlers": [ASKS], "needs_access_token": True}, True),
        ],
    )
    def test_who_asks(self, section, needed):
        """The class of a handler, its entry in the configuration, or the process; nobody else gets a token."""
        settings = process_settings("p", {"processor": {"name": "HelloWorld", "prefect": section}})
        assert needs_access_token("p", settings) is needed

    def test_a_process_speaks_for_all_its_handlers(self):
        """With the key of the process each of them needs the token, and refuses jobs without one."""
        section = {"handlers": [ASKS, "test_authenticated.Needy"], "needs_access_token": True}
        settings = process_settings("p", {"processor": {"name": "HelloWorld", "prefect": section}})
        assert [handler.needs_access_token for handler in settings.handlers] == [True, True]

    def test_without_handlers(self):
        """Where nobody could have the token, the key is a mistake."""
        with pytest.raises(ConfigurationError, match="no handlers to have the token"):
            process_settings("p", {"processor": {"name": "HelloWorld", "prefect": {"needs_access_token": True}}})
