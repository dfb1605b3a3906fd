"""server.manager and processor.prefect: what is refused, and that the refusal names the YAML key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.settings import ManagerSettings, ProcessSettings, job_control_options

MakeSettings = Callable[..., ManagerSettings]
SECRET = "s3cr3t/@:?#%"
MAPPING = {"host": "db", "database": "ogc", "user": "me"}

BY_HAND: dict[str, Any] = {"deployment": {"name": "shout/by-hand"}}


def by_hand(**keys: Any) -> dict[str, Any]:
    """``processor.prefect`` of a deployment that somebody else made."""
    return {"deployment": BY_HAND["deployment"] | keys}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"max_runing": 2}, "server.manager.max_runing is not known; did you mean 'max_running'?"),
    "key like no other": (
        {"zzz": 2},
        "server.manager.zzz is not known; known keys: allowed_hosts, auth, callback_attempts, callback_timeout, ",
    ),
    "text for a number": ({"max_running": "many"}, "server.manager.max_running: "),
    "number too small": ({"max_running": 0}, "server.manager.max_running: "),
    "negative seconds": ({"sync_timeout": -1}, "server.manager.sync_timeout: "),
    "lease too short": ({"lease": 0.5}, "server.manager.lease: "),
    "no waits at all": ({"max_sync_waits": 0}, "server.manager.max_sync_waits: "),
    "unknown runner": ({"runner": "somewhere"}, "server.manager.runner: "),
    "text for a switch": ({"ogc_compliance": "maybe"}, "server.manager.ogc_compliance: "),
    "no connection": ({"connection": None}, "server.manager.connection is missing"),
    "blank connection": ({"connection": "  "}, "server.manager.connection is missing"),
    "connection of a wrong type": ({"connection": 5}, "server.manager.connection is missing"),
    "no output_dir": ({"output_dir": None}, "server.manager.output_dir is missing"),
    "no local folder": (
        {"connection": "postgresql://db/ogc", "output_dir": "s3://bucket/prefix"},
        "server.manager.data_dir is missing",
    ),
    "MySQL": ({"connection": "mysql://me:pw@db/ogc"}, "server.manager.connection: 'mysql' is not supported"),
    "MongoDB": ({"connection": "mongodb://db/ogc"}, "server.manager.connection: 'mongodb' is not supported"),
    "no URL": ({"connection": f"://me:{SECRET}@"}, "server.manager.connection is not a database URL"),
    "a port of letters": (
        {"connection": f"postgresql://me:{SECRET}@db:port/ogc"},
        "server.manager.connection is not a database URL",
    ),
    "SQLite in memory": ({"connection": "sqlite://"}, "server.manager.connection: the web process and the runner"),
    "SQLite :memory:": ({"connection": "sqlite:///:memory:"}, "server.manager.connection: the web process and the"),
    "SQLite mode=memory": (
        {"connection": "sqlite:///file:x?mode=memory&uri=true"},
        "server.manager.connection: the web process and the runner",
    ),
    "bare :memory:": ({"connection": ":memory:"}, "server.manager.connection: the web process and the runner"),
    "mapping without host": (
        {"connection": {"database": "ogc", "user": "me", "password": SECRET}},
        "server.manager.connection.host is missing",
    ),
    "mapping without database": (
        {"connection": {"host": "db", "user": "me", "password": SECRET}},
        "server.manager.connection.database is missing",
    ),
    "mapping without user": (
        {"connection": {"host": "db", "dbname": "ogc", "password": SECRET}},
        "server.manager.connection.user is missing",
    ),
    "mapping with a bad port": (
        {"connection": MAPPING | {"port": "five", "password": SECRET}},
        "server.manager.connection.port must be a number",
    ),
    "mapping with an unknown key": (
        {"connection": MAPPING | {"passwd": SECRET}},
        "server.manager.connection.passwd is not known",
    ),
    "process without a processor": (
        {"processes": {"ndvi": {"type": "process"}}},
        "resources.ndvi.processor.name is missing",
    ),
    "process without a name": (
        {"processes": {"ndvi": {"processor": {"prefect": {}}}}},
        "resources.ndvi.processor.name is missing",
    ),
    "prefect of a wrong type": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": "yes"}}}},
        "resources.ndvi.processor.prefect must be a mapping",
    ),
    "unknown key of a process": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"timelimit": 5}}}}},
        "resources.ndvi.processor.prefect.timelimit is not known; did you mean 'time_limit'?",
    ),
    "unknown key of a deployment": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"deployment": {"work_pol": "gis"}}}}}},
        "resources.ndvi.processor.prefect.deployment.work_pol is not known; did you mean 'work_pool'?",
    ),
    "no block": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"deployment": {"storage_block": "code"}}}}}},
        "resources.ndvi.processor.prefect.deployment.storage_block: ",
    ),
    "no flow": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"flow": "flows.ndvi"}}}}},
        "resources.ndvi.processor.prefect.flow: ",
    ),
    "bad value of a process": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"isolation": "vm"}}}}},
        "resources.ndvi.processor.prefect.isolation: ",
    ),
    "no name, but no deployment of others": (
        {"processes": {"ndvi": {"processor": {"prefect": {"deployment": {"name": "ndvi"}}}}}},
        "resources.ndvi.processor.name is missing",
    ),
    "unknown key beside a deployment of others": (
        {"processes": {"ndvi": {"processor": {"prefect": BY_HAND | {"result_block": "x"}}}}},
        "resources.ndvi.processor.prefect.result_block is not known",
    ),
    "a result key for all jobs": (
        {"processes": {"ndvi": {"processor": {"prefect": by_hand(result_storage_key_template="result.pickle")}}}},
        "resources.ndvi.processor.prefect.deployment.result_storage_key_template: ",
    ),
    "a result key with another field": (
        {"processes": {"ndvi": {"processor": {"prefect": by_hand(result_storage_key_template="{job_id}{x}")}}}},
        "resources.ndvi.processor.prefect.deployment.result_storage_key_template: ",
    ),
    "unknown job control option": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "job_control_options": ["later"]}}}},
        "resources.ndvi.processor.job_control_options must be a list of sync-execute, async-execute, dismiss",
    ),
    "job control options as text": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "job_control_options": "sync-execute"}}}},
        "resources.ndvi.processor.job_control_options must be a list of sync-execute, async-execute, dismiss",
    ),
    "no way to execute a process": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "job_control_options": ["dismiss"]}}}},
        "resources.ndvi.processor.job_control_options must have sync-execute or async-execute in it",
    ),
    "no way to execute anything": (
        {"enable_async_job_execution": False, "processes": {"ndvi": {"processor": {"name": "a.B"}}}},
        "server.manager.enable_sync_job_execution and server.manager.enable_async_job_execution are both false",
    ),
    "a URL for a host": (
        {"allowed_hosts": ["data.example.org", "http://example.org"]},
        "server.manager.allowed_hosts: Value error, 'http://example.org' is no host name",
    ),
    "hosts as text": ({"allowed_hosts": "example.org"}, "server.manager.allowed_hosts: "),
    "references without a byte": ({"reference_max_bytes": 0}, "server.manager.reference_max_bytes: "),
    "references without time": ({"reference_timeout": 0}, "server.manager.reference_timeout: "),
    "an unknown form of references": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"references": "path"}}}}},
        "resources.ndvi.processor.prefect.references: ",
    ),
    "text for a timeout": (
        {"sync_job_execution_timeout_seconds": "long"},
        "server.manager.sync_job_execution_timeout_seconds: ",
    ),
    "no running jobs at all": (
        {"processes": {"ndvi": {"processor": {"name": "a.B", "prefect": {"max_running": 0}}}}},
        "resources.ndvi.processor.prefect.max_running: ",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refusal_names_its_key(make_settings: MakeSettings, why: str) -> None:
    """The message begins with the YAML key, says what is wrong, and never holds a password."""
    keys, message = REFUSED[why]
    with pytest.raises(ConfigurationError) as refused:
        make_settings(**keys)
    assert str(refused.value).startswith(message)
    cause: BaseException | None = refused.value
    while cause is not None:
        assert SECRET not in str(cause)
        assert SECRET not in repr(cause)
        cause = cause.__cause__


def test_every_wrong_key_is_named_at_once(make_settings: MakeSettings) -> None:
    """Who repairs a configuration learns of all that is wrong in a section in one go."""
    with pytest.raises(ConfigurationError) as refused:
        make_settings(lease="x", max_waiting=0, nonsense=1)
    for key in ("lease", "max_waiting", "nonsense"):
        assert f"server.manager.{key}" in str(refused.value)


@pytest.mark.parametrize(
    "connection",
    [f"postgresql://me:{SECRET.replace('/', '%2F').replace('@', '%40')}@db/ogc", MAPPING | {"password": SECRET}],
    ids=["URL", "mapping"],
)
def test_settings_do_not_show_the_password(make_settings: MakeSettings, connection: Any) -> None:
    """Settings may stand in a log or a traceback."""
    settings = make_settings(connection=connection)
    for shown in (repr(settings), str(settings)):
        assert "s3cr3t" not in shown
    assert "s3cr3t" not in repr(make_url(settings.connection))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_every_postgresql_url_means_our_driver(make_settings: MakeSettings, scheme: str) -> None:
    """Whatever driver a URL names, the job store uses its own; the rest stays."""
    settings = make_settings(connection=f"{scheme}://me:pw@db:5433/ogc?sslmode=require")
    assert settings.connection == "postgresql+psycopg2://me:pw@db:5433/ogc?sslmode=require"
    assert not settings.is_sqlite


def test_a_mapping_is_a_postgresql_url(make_settings: MakeSettings) -> None:
    """pygeoapi's own way to write a connection is understood, a password of any characters included."""
    connection = {"host": "db", "port": "5433", "dbname": "ogc", "user": "me", "password": SECRET}
    url = make_url(make_settings(connection=connection | {"search_path": ["a", "b"]}).connection)
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg2", "db", 5433, "ogc")
    assert (url.username, url.password) == ("me", SECRET)
    assert url.query == {"options": "-csearch_path=a,b"}
    url = make_url(make_settings(connection=MAPPING | {"password": 12}).connection)
    assert (url.port, url.database, url.password, url.query) == (5432, "ogc", "12", {})


def test_a_mapping_reaches_its_database(make_settings: MakeSettings, postgresql_url: str) -> None:
    """The search path of a mapping is where the tables are made."""
    url = make_url(postgresql_url)
    connection = {"host": url.query["host"], "database": url.database, "user": "postgres"}
    for settings in (
        make_settings(connection=postgresql_url),
        make_settings(connection=connection),
        make_settings(connection=connection | {"search_path": ["pg_catalog", "public"]}),
    ):
        database = Database(settings.connection, timeout=5)
        with database.read() as found:
            assert found.exec_driver_sql("SELECT count(*) FROM ogc_jobs").scalar() == 0
            assert found.exec_driver_sql("SELECT current_database()").scalar() == url.database
        database.dispose()


@pytest.mark.parametrize("name", ["jobs.db", "a b.db", "a&b?c#d%20e.db", "ü.db"])
def test_a_path_is_a_sqlite_file(make_settings: MakeSettings, tmp_path: Path, name: str) -> None:
    """A plain path is that very file, of whatever characters."""
    settings = make_settings(connection=str(tmp_path / name))
    assert settings.is_sqlite
    Database(settings.connection, timeout=5).prepare()
    assert (tmp_path / name).is_file()


def test_relative_paths_are_made_absolute(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner has another working directory than the web process, and finds the same files."""
    monkeypatch.chdir(tmp_path)
    for connection in ("jobs.db", "sqlite:///jobs.db"):
        settings = make_settings(connection=connection, output_dir="out", data_dir="data")
        assert make_url(settings.connection).database == str(tmp_path / "jobs.db")
        assert (settings.output_dir, settings.data_dir) == (str(tmp_path / "out"), tmp_path / "data")


def test_defaults(make_settings: MakeSettings, tmp_path: Path) -> None:
    """What stands in the configuration reference is what an empty section means."""
    values = make_settings().model_dump(exclude={"connection", "output_dir", "max_running"})
    assert values == {
        "data_dir": tmp_path / "pygeoapi-prefect",
        "runner": "embedded",
        "max_waiting": 1000,
        "sync_timeout": 20,
        "max_sync_waits": None,
        "lease": 15,
        "shutdown_grace": 10,
        "dismiss_grace": 1,
        "database_timeout": 10,
        "jobs_per_worker": 500,
        "max_handed_over": 100,
        "prefect_timeout": 3600,
        "record_backlog": 10_000,
        "max_request_bytes": 16 * 1024 * 1024,
        "max_waiting_per_user": None,
        "max_request_items": 1_000_000,
        "max_output_bytes": None,
        "output_links": "server",
        "link_lifetime": 3600,
        "link_secret": None,
        "link_secret_file": None,
        "monitor_link": True,
        "allowed_hosts": (),
        "reference_max_bytes": 1024**3,
        "reference_timeout": 300,
        "callback_attempts": 8,
        "callback_timeout": 10,
        "auth": None,
        "secret_key_file": None,
        "metrics": None,
        "ogc_compliance": True,
        "enable_sync_job_execution": None,
        "enable_async_job_execution": None,
        "sync_job_execution_timeout_seconds": None,
    }
    assert make_settings().max_running >= 2
    assert ProcessSettings().model_dump() == {
        "flow": None,
        "result_storage": None,
        "deployment": None,
        "metadata": {},
        "record": True,
        "max_running": None,
        "isolation": "fork",
        "time_limit": None,
        "max_output_bytes": None,
        "rerun_lost": False,
        "validate_inputs": True,
        "dask_addresses": (),
        "references": "value",
        "handlers": (),
        "roles": (),
        "secret_inputs": (),
        "needs_access_token": False,
    }


def test_the_data_folder_is_beside_what_is_local(make_settings: MakeSettings, tmp_path: Path) -> None:
    """Beside a SQLite file, else in the local result store."""
    assert make_settings(output_dir="s3://bucket").data_dir == tmp_path / "pygeoapi-prefect"
    assert make_settings(connection="postgresql://db/ogc").data_dir == tmp_path / ".pygeoapi-prefect"


def test_result_store_urls_stay_as_they_are(make_settings: MakeSettings) -> None:
    """An fsspec URL is passed on untouched."""
    assert make_settings(output_dir="s3://bucket/a b?c").output_dir == "s3://bucket/a b?c"


def test_processes_have_their_own_settings(make_settings: MakeSettings) -> None:
    """Keys of processor.prefect are the process's; a process without them, or no longer there, has the defaults."""
    prefect = {"record": False, "max_running": 1, "isolation": "spawn", "time_limit": 0.5, "rerun_lost": True}
    settings = make_settings(
        processes={
            "own": {"type": "process", "processor": {"name": "a.B", "prefect": prefect}},
            "empty": {"type": "process", "processor": {"name": "a.B", "prefect": None}},
            "plain": {"type": "process", "processor": {"name": "HelloWorld"}},
        }
    )
    assert settings.process("own").model_dump(include=set(prefect)) == prefect
    assert [settings.process(name) for name in ("empty", "plain", "removed")] == [ProcessSettings()] * 3


class TestKeysOf09:
    """What a configuration for pygeoapi-prefect 0.9 says means the same as then."""

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ({"sync_job_execution_timeout_seconds": 60}, 60),
            ({"sync_job_execution_timeout_seconds": 0.2}, 1),
            ({"sync_job_execution_timeout_seconds": 60, "sync_timeout": 5}, 5),
            ({}, 20),
        ],
    )
    def test_timeout(self, make_settings: MakeSettings, keys: dict[str, Any], expected: float) -> None:
        """It is the sync_timeout, at least a second, unless that is given too."""
        assert make_settings(**keys).sync_timeout == expected

    @pytest.mark.parametrize(
        ("sync", "async_", "expected"),
        [
            (None, None, None),
            (True, None, ["sync-execute", "async-execute"]),
            (False, None, ["async-execute"]),
            (None, True, ["async-execute"]),
            (True, False, ["sync-execute"]),
            (None, False, []),
        ],
    )
    def test_switches(
        self, make_settings: MakeSettings, sync: bool | None, async_: bool | None, expected: list[str] | None
    ) -> None:
        """One that is written brings the other's default of then; without both, descriptions speak for themselves."""
        settings = make_settings(enable_sync_job_execution=sync, enable_async_job_execution=async_)
        assert settings.default_job_control_options == expected

    def test_own_options(self, make_settings: MakeSettings) -> None:
        """Where each process says how it is executed, the switches need not."""
        resource = {"processor": {"name": "a.B", "job_control_options": ["sync-execute", "dismiss"]}}
        make_settings(enable_async_job_execution=False, processes={"p": resource})
        assert job_control_options("p", resource) == ["sync-execute", "dismiss"]
        assert job_control_options("p", {"processor": {"name": "a.B"}}) is None

    def test_a_deployment_of_others(self, make_settings: MakeSettings) -> None:
        """It needs no processor.name, and its result has a key of its own for each job."""
        resource = {"processor": {"prefect": BY_HAND}}
        process = make_settings(processes={"p": resource}).process("p")
        assert process.is_foreign
        assert process.deployment is not None
        assert process.deployment.result_key("7") == "7.pickle"
        template = by_hand(result_storage_key_template="results/{job_id}.bin")
        process = make_settings(processes={"p": {"processor": {"prefect": template}}}).process("p")
        assert process.deployment is not None
        assert process.deployment.result_key("7") == "results/7.bin"

    def test_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Without connection and output_dir both are below the working directory; the log says so once."""
        monkeypatch.chdir(tmp_path)
        for _ in range(2):
            settings = ManagerSettings.from_manager_def({"name": "x", "processes": {}})
        folder = tmp_path / "pygeoapi-prefect"
        assert make_url(settings.connection).database == str(folder / "jobs.db")
        assert settings.output_dir == str(folder / "results")
        assert settings.data_dir == folder / "pygeoapi-prefect"
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 2
        for key, path in (("connection", folder / "jobs.db"), ("output_dir", folder / "results")):
            assert any(f"server.manager.{key} is not set: {path}" in warning for warning in warnings)


def test_settings_are_frozen(make_settings: MakeSettings) -> None:
    """Parsed once, settings never change."""
    settings = make_settings(processes={"p": {"processor": {"name": "a.B"}}})
    for section, name in ((settings, "lease"), (settings.process("p"), "record")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, 1)
    with pytest.raises(TypeError):
        settings.processes["q"] = ProcessSettings()  # type: ignore[index]


def test_the_given_mapping_stays_as_it_is() -> None:
    """pygeoapi's configuration is read, never changed."""
    manager_def = {"name": "x", "connection": "jobs.db", "output_dir": "out", "processes": {}}
    before = dict(manager_def)
    ManagerSettings.from_manager_def(manager_def)
    assert manager_def == before
