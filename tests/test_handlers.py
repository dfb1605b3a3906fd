"""Laws of execution handlers: their order, how often they run, what they are told, and what nobody is told."""

import contextlib
import json
import logging
import os
import subprocess
import sys

import jwt
import pytest
import yaml

import handlers_of_the_document as document
from handlers_under_test import SECRET, CountingOptions
from pygeoapi_prefect.deploy.planned import planned
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.handlers import CommonExecutionHandler
from pygeoapi_prefect.handlers.chain import HandlerChain
from pygeoapi_prefect.handlers.loading import load_handlers
from pygeoapi_prefect.handlers.outputs import output_of, shown_output
from pygeoapi_prefect.handlers.usage import UsageMeter
from pygeoapi_prefect.jobs import JobStore
from pygeoapi_prefect.jobs.database import Database
from pygeoapi_prefect.masking import SecretMask
from pygeoapi_prefect.results.returns import UnusableReturnError
from pygeoapi_prefect.runner.supervisor import fingerprint_of
from pygeoapi_prefect.settings import ManagerSettings, process_settings
from serving import Server, assert_problem, eventually, running

TOKEN = jwt.encode({"preferred_username": "ada"}, "a key of at least thirty-two bytes", algorithm="HS256")


def conf(**lenv):
    return {"lenv": lenv, "main": {}, "auth_env": {}, "additional_parameters": {}}


class TestOnce:
    def test_explicit_calls_of_parents(self):
        """A parent that is named by several classes runs its own hooks once, where it is reached first."""
        ran = []

        class Base(CommonExecutionHandler):
            def pre_execution_hook(self):
                ran.append("Base")

        class Left(Base):
            def pre_execution_hook(self):
                Base.pre_execution_hook(self)
                ran.append("Left")

        class Right(Base):
            def pre_execution_hook(self):
                Base.pre_execution_hook(self)
                ran.append("Right")

        class Both(Left, Right):
            def pre_execution_hook(self):
                Left.pre_execution_hook(self)
                Right.pre_execution_hook(self)
                Left.pre_execution_hook(self)
                ran.append("Both")

        Both(conf()).pre_execution_hook()
        assert ran == ["Base", "Left", "Right", "Both"]

    def test_cooperative_chain(self):
        """A chain of super() runs every class once, in the order of inheritance."""
        ran = []

        class Base(CommonExecutionHandler):
            def post_execution_hook(self, log, output, usage_report, tool_logs):
                ran.append("Base")

        class Left(Base):
            def post_execution_hook(self, log, output, usage_report, tool_logs):
                super().post_execution_hook(log, output, usage_report, tool_logs)
                ran.append("Left")

        class Right(Base):
            def post_execution_hook(self, log, output, usage_report, tool_logs):
                super().post_execution_hook(log, output, usage_report, tool_logs)
                ran.append("Right")

        class Both(Left, Right):
            pass

        Both(conf()).post_execution_hook("", {}, {}, [])
        assert ran == ["Base", "Right", "Left"]

    def test_instances(self):
        """What ran for one job runs for the next, also in a class that never calls our constructor."""
        ran = []

        class Own(CommonExecutionHandler):
            def __init__(self, conf, outputs=None):
                self.number = conf["lenv"]["number"]

            def pre_execution_hook(self):
                ran.append(self.number)

        for number in (1, 2):
            handler = Own(conf(number=number))
            handler.pre_execution_hook()
            handler.pre_execution_hook()
        assert ran == [1, 2]

    def test_failed_hooks(self):
        """A hook that raised runs again at the next attempt; one that succeeded does not."""
        ran = []

        class Base(CommonExecutionHandler):
            def pre_execution_hook(self):
                ran.append("Base")

        class Flaky(Base):
            def pre_execution_hook(self):
                super().pre_execution_hook()
                ran.append("Flaky")
                if ran.count("Flaky") == 1:
                    raise OSError("the first time")

        handler = Flaky(conf())
        with pytest.raises(OSError, match="the first time"):
            handler.pre_execution_hook()
        handler.pre_execution_hook()
        handler.pre_execution_hook()
        assert ran == ["Base", "Flaky", "Flaky"]


class TestTheDocument:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch):
        """As the document's handlers leave it, it would reach other tests."""
        before = dict(os.environ)
        monkeypatch.setenv("ACCESS_TOKEN", TOKEN)
        document.CALLS.clear()
        yield
        os.environ.clear()
        os.environ.update(before)

    def test_combination(self, tmp_path, capsys, monkeypatch):
        """FullFeaturedHandler: each parent once; validation after the workspace, and post in the order of the calls."""
        import pystac

        ran = document.CALLS
        for kind, name in [
            (document.AuthenticatedHandler, "setup_user_environment"),
            (document.ValidatedHandler, "validate_inputs"),
            (document.ValidatedHandler, "validate_outputs"),
            (document.MonitoredHandler, "send_metric"),
        ]:
            original = getattr(kind, name)

            def noted(self, *arguments, original=original, name=name):
                ran.append((name, *(arguments[:1] if name == "send_metric" else ())))
                return original(self, *arguments)

            monkeypatch.setattr(kind, name, noted)
        pystac.Catalog("test", "A catalogue").normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
        handler = document.FullFeaturedHandler(conf(input_data="data", output_path="path"), {})
        handler.pre_execution_hook()
        assert ran == [
            ("send_metric", "workflow.started"),
            ("setup_user_environment",),
            ("get_credentials", "ada"),
            ("validate_inputs",),
            ("validate_resources",),
        ]
        assert os.environ["USER_WORKSPACE"] == "/workspaces/ada"
        ran.clear()
        catalogue = str(tmp_path / "catalog.json")
        handler.post_execution_hook("", {"stac": catalogue, "stac_catalog": catalogue}, {"wall_seconds": 1.0}, [])
        assert ran == [
            ("validate_outputs",),
            ("register_catalog", "ada", catalogue),
            ("send_metric", "workflow.duration"),
            ("send_metric", "workflow.completed"),
            ("send_metric", "resource.wall_seconds"),
        ]
        assert "METRIC resource.wall_seconds=1.0" in capsys.readouterr().out

    def test_custom_stac(self, tmp_path, capsys):
        """CustomStacHandler changes the items of the catalogue that is stored."""
        import datetime

        import pystac

        catalogue = pystac.Catalog("test", "A catalogue")
        moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
        catalogue.add_item(pystac.Item("scene", None, None, moment, {}))
        catalogue.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
        path = tmp_path / "catalog.json"
        values = shown_output("application/json", path)
        assert values == {"stac": str(path), "mediaType": "application/json"}
        changed = HandlerChain([document.CustomStacHandler(conf())]).set_output("result", values)
        assert output_of("result", changed, path) == ("application/json", path)
        item = next(pystac.Catalog.from_file(str(path)).get_items())
        assert item.properties["processor"] == "custom-processor"
        assert "Publishing result" in capsys.readouterr().out

    def test_multi_storage(self, monkeypatch):
        """MultiStorageHandler's variables: those without a value are left out."""
        monkeypatch.setenv("S3_BUCKET", "bucket")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
        variables = HandlerChain([document.MultiStorageHandler(conf())]).pod_env_vars()
        assert variables == {"PRIMARY_S3_BUCKET": "bucket", "AZURE_STORAGE_ACCOUNT": "account"}

    def test_missing_token(self, monkeypatch):
        """AuthenticatedHandler refuses without a token."""
        monkeypatch.delenv("ACCESS_TOKEN")
        with pytest.raises(ValueError, match="No access token provided"):
            document.AuthenticatedHandler(conf()).pre_execution_hook()


class TestChain:
    @pytest.fixture
    def ran(self):
        return []

    @pytest.fixture
    def chain(self, ran):
        class Named(CommonExecutionHandler):
            def pre_execution_hook(self):
                ran.append(f"pre {self.name}")

            def post_execution_hook(self, log, output, usage_report, tool_logs):
                ran.append(f"post {self.name}")

            def handle_outputs(self, log, output, usage_report, tool_logs):
                ran.append(f"handle_outputs {self.name}")

            def setOutput(self, outputName, values):  # noqa: N802, N803 ZOO's names
                super().setOutput(outputName, {**values, "value": f"{values['value']} {self.name}"})

            def on_failure(self, error):
                ran.append(f"on_failure {self.name}")
                raise RuntimeError("as well")

        shared = conf()
        made = []
        for name in ("outer", "inner"):
            handler = Named(shared)
            handler.name = name
            handler.options = {
                "pod_env_vars": {"WHO": name, name.upper(): 1},
                "additional_parameters": {name: True, "last": name},
            }
            made.append(handler)
        return HandlerChain(made, shared["additional_parameters"])

    def test_order(self, chain, ran):
        """Pre goes from the outside in; post goes back out, and then handle_outputs."""
        chain.pre()
        chain.post("", {}, {}, [])
        assert ran == [
            *("pre outer", "pre inner"),
            *("post inner", "post outer"),
            *("handle_outputs inner", "handle_outputs outer"),
        ]

    def test_outputs(self, chain):
        """Each handler gets what the one inside of it has left, also in another mapping."""
        assert chain.set_output("text", {"value": "made", "mediaType": "text/plain"}) == {
            "value": "made inner outer",
            "mediaType": "text/plain",
        }

    def test_failures(self, chain, ran, caplog):
        """An error in on_failure keeps no other handler from being told, and is logged."""
        chain.on_failure(ValueError("of the process"))
        assert ran == ["on_failure inner", "on_failure outer"]
        assert len(caplog.records) == 2

    def test_answers(self, chain):
        """Of variables with one name the outer handler's counts; parameters are added up in the order of pre."""
        assert chain.pod_env_vars() == {"WHO": "outer", "OUTER": "1", "INNER": "1"}
        chain.pre()
        assert chain._handlers[0].conf["additional_parameters"] == {"outer": True, "inner": True, "last": "inner"}


class TestOutputs:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"value": 1, "mediaType": "a/b"}, ("a/b", 1)),
            ({"value": 1}, ("application/json", 1)),
            (
                {"value": 1, "href": "s3://b/k", "mediaType": "a/b"},
                ("application/json", {"href": "s3://b/k", "type": "a/b"}),
            ),
        ],
    )
    def test_what_is_stored(self, values, expected):
        """What stands in the values is stored; a link instead of a value."""
        assert output_of("result", values, 1) == expected

    def test_nothing(self):
        """Values without a value cannot be stored."""
        with pytest.raises(UnusableReturnError, match="'result'"):
            output_of("result", {"mediaType": "a/b"}, 1)

    def test_links_keep_their_members(self):
        """A link that nobody changed is stored as it was made."""
        link = {"href": "https://example.org", "type": "text/html", "title": "Title"}
        assert output_of("result", shown_output("application/json", link), link) == ("application/json", link)


class TestSecrets:
    @pytest.fixture
    def mask(self):
        mask = SecretMask()
        mask.add(["secret", "secret word"])
        mask.begin()
        yield mask
        mask.end()

    def test_text(self, mask):
        """A longer secret is masked whole."""
        assert mask.text("a secret word and a secret") == "a *** and a ***"

    def test_errors(self, mask):
        """An error and what led to it lose the secret, whatever they keep it in."""
        cause = OSError(2, "no such secret", "/run/secret")
        error = KeyError("secret", ["secret"])
        error.__cause__ = cause
        error.user_msg = "the secret word"
        assert mask.error(error) is error
        assert (str(error), error.user_msg) == ("('***', ['***'])", "the ***")
        assert str(cause) == "[Errno 2] no such ***: '/run/***'"

    def test_errors_that_make_their_words_anew(self, mask):
        """Where the words cannot be changed, another error with the same name says them."""

        class StubbornError(Exception):
            def __str__(self):
                return "my secret"

        shown = mask.error(StubbornError())
        assert (type(shown).__name__, str(shown)) == ("StubbornError", "my ***")

    def test_logs(self, mask, caplog):
        """What is logged loses it before any handler of logs gets it, exceptions too."""
        mask.add(["open sesame"])
        logger = logging.getLogger("test")
        logger.warning("a %s", "open sesame")
        try:
            raise ValueError("open sesame")
        except ValueError:
            logger.exception("failed")
        assert [record.getMessage() for record in caplog.records] == ["a ***", "failed"]
        assert "open sesame" not in caplog.text.replace('"open sesame"', "")


class TestUsage:
    def test_children_count(self):
        """CPU seconds and bytes of a child that has ended are in the report."""
        meter = UsageMeter()
        code = "open('/dev/null', 'wb').write(bytes(10_000_000)); [n for n in range(1_000_000)]"
        subprocess.run([sys.executable, "-c", code], check=True)
        usage = meter.report()
        assert set(usage) == {"wall_seconds", "cpu_seconds", "peak_memory_mib", "read_bytes", "written_bytes"}
        assert usage["written_bytes"] >= 10_000_000
        assert usage["wall_seconds"] > 0 < usage["cpu_seconds"]

    def test_the_peak_is_the_jobs_own(self):
        """What an earlier job of the same worker needed is forgotten."""
        bytearray(200 * 1024 * 1024)
        assert UsageMeter().report()["peak_memory_mib"] + 100 < _peak_with(200)


def _peak_with(mebibytes):
    meter = UsageMeter()
    bytearray(mebibytes * 1024 * 1024)
    return meter.report()["peak_memory_mib"]


class TestConfiguration:
    @staticmethod
    def resource(handlers, **keys):
        return {"processor": {"name": "HelloWorld", "prefect": {"handlers": handlers, **keys}}}

    def test_forms(self):
        """A dotted path, or a mapping with options."""
        both = ["package.Handler", {"name": "package.Other", "options": {"key": 1}}]
        handlers = process_settings("p", self.resource(both)).handlers
        assert [(one.name, one.options) for one in handlers] == [("package.Handler", {}), ("package.Other", {"key": 1})]

    @pytest.mark.parametrize(
        ("handlers", "key"),
        [
            ("package.Handler", "handlers"),
            (["Handler"], "handlers.0.name"),
            ([{"options": {}}], "handlers.0.name"),
            (["a.B", {"name": "a.B", "option": {}}], "handlers.1.option is not known; did you mean 'options'"),
        ],
    )
    def test_refused(self, handlers, key):
        """Whatever is wrong is refused with its YAML key."""
        with pytest.raises(ConfigurationError, match=rf"resources\.p\.processor\.prefect\.{key}"):
            process_settings("p", self.resource(handlers))

    def test_other_peoples_deployments(self):
        """There nobody would call them."""
        with pytest.raises(ConfigurationError, match="runs no handlers"):
            process_settings("p", self.resource(["a.B"], deployment={"name": "flow/deployment"}))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("there_is_no_such_module.Handler", "ModuleNotFoundError"),
            ("handlers_under_test.Missing", "AttributeError"),
            ("handlers_under_test.NoHandler", "no subclass"),
            ("handlers_under_test.Awaited", "pre_execution_hook of .* plain functions"),
        ],
    )
    def test_classes(self, name, reason):
        """What is no handler is refused where it would be loaded."""
        settings = process_settings("p", self.resource(["pygeoapi_prefect.handlers.CommonExecutionHandler", name]))
        with pytest.raises(ConfigurationError, match=rf"prefect\.handlers\.1: .*{reason}"):
            load_handlers("p", settings.handlers)

    @pytest.mark.parametrize(
        ("name", "options", "complaint"),
        [
            ("Common", {"pod_env_var": {}}, "pod_env_var is not known; did you mean 'pod_env_vars'"),
            ("Common", {"pod_env_vars": "A=1"}, "pod_env_vars: "),
            ("Counting", {"at_most": "many"}, "at_most: "),
            ("Counting", {"pod_env_vars": []}, "pod_env_vars: "),
            ("Counting", {"at_mots": 1}, "at_mots is not known; did you mean 'at_most'"),
            ("Free", {"at_most": "many"}, "at_most: "),
        ],
    )
    def test_options(self, monkeypatch, name, options, complaint):
        """Each class's options are checked where it is loaded, those of its parents too."""
        monkeypatch.setattr("handlers_under_test.Common", CommonExecutionHandler, raising=False)
        settings = process_settings("p", self.resource([{"name": f"handlers_under_test.{name}", "options": options}]))
        with pytest.raises(
            ConfigurationError, match=rf"^resources\.p\.processor\.prefect\.handlers\.0\.options\.{complaint}"
        ):
            load_handlers("p", settings.handlers)

    def test_options_that_fit(self):
        """A class reads its own and its parents'; one that declares none may have any."""
        for name, options in [("Counting", {"at_most": 2, "pod_env_vars": {"A": "1"}}), ("Free", {"whatever": 1})]:
            handler = {"name": f"handlers_under_test.{name}", "options": options}
            assert len(load_handlers("p", process_settings("p", self.resource([handler])).handlers)) == 1
        assert CountingOptions.of({"at_most": 2, "whatever": 1}).at_most == 2

    def test_the_code_of_handlers_counts(self, tmp_path, monkeypatch):
        """When it has changed the runner is replaced; and it is uploaded with that of the process."""
        monkeypatch.syspath_prepend(str(tmp_path))
        module = tmp_path / "my_changing_handlers.py"
        module.write_text(
            "from pygeoapi_prefect.handlers import CommonExecutionHandler\n\n\n"
            "class Handler(CommonExecutionHandler):\n    pass\n"
        )
        for handler in ("my_changing_handlers.Handler", {"name": "my_changing_handlers.Handler"}):
            resource = self.resource([handler], deployment={"work_pool": "pool"})
            os.utime(module, (2, 2))
            before = fingerprint_of({"processes": {"p": resource}})
            os.utime(module, (1, 1))
            assert fingerprint_of({"processes": {"p": resource}}) != before
            assert "my_changing_handlers" in planned("p", resource).modules


# ---------------------------------------------------------------- a real server


@contextlib.contextmanager
def job_store_of(server):
    """The server's job store."""
    settings = ManagerSettings.from_manager_def(yaml.safe_load(server.config_path.read_text())["server"]["manager"])
    store = JobStore(Database(settings.connection, timeout=5))
    yield store
    store.database.dispose()


@pytest.fixture(scope="module")
def told_file(tmp_path_factory):
    return tmp_path_factory.mktemp("told") / "told.jsonl"


@pytest.fixture(scope="module")
def served(told_file, prefect_server, tmp_path_factory):
    def recorder(label, **options):
        return {"name": "handlers_under_test.Recorder", "options": {"file": str(told_file), "label": label, **options}}

    common = "pygeoapi_prefect.handlers.CommonExecutionHandler"
    variables = {"name": common, "options": {"pod_env_vars": {"POD_VARIABLE": "of this job"}}}
    token = {"name": common, "options": {"pod_env_vars": {"ACCESS_TOKEN": TOKEN}}}
    secretive = "handlers_under_test.Secretive"
    flows = {"name": "pygeoapi_prefect.FlowProcessor"}
    processors = {
        "greet": {
            "name": "handlers_under_test.Greet",
            "prefect": {"handlers": [variables, recorder("outer"), recorder("inner", suffix=" Bye!"), secretive]},
        },
        "catalogue": {
            "name": "handlers_under_test.MakeCatalogue",
            "prefect": {"handlers": [token, "handlers_of_the_document.FullFeaturedHandler"]},
        },
        "second-time": {
            **flows,
            "prefect": {
                "flow": "handler_flows:second_time",
                "handlers": [variables, recorder("flow", suffix=" Bye!")],
            },
        },
        "fails": {
            **flows,
            "prefect": {"flow": "handler_flows:fails", "handlers": [recorder("flow"), secretive]},
        },
        "broken": {"name": "HelloWorld", "prefect": {"handlers": ["handlers_under_test.Missing"]}},
        "environment": {"name": "processors.Environment"},
    }
    folder = tmp_path_factory.mktemp("handlers")
    environment = {"PREFECT_API_URL": prefect_server.connection.api_url}
    server = Server(folder, processors=processors, manager={"max_running": 1}, environment=environment)
    with running(server):
        yield server


@pytest.fixture
def told(told_file):
    """What the recorders were called with since the test began."""
    told_file.write_text("")
    return lambda: [json.loads(line) for line in told_file.read_text().splitlines()]


class TestServed:
    def test_a_plain_processor(self, served, told):
        """One instance of each handler runs where the job runs, knows the job, and changes what is stored."""
        job_id = served.submit("greet", {"name": "Ada", "access_token": "forged"})
        assert served.wait_for(job_id)["status"] == "successful"
        results = served.results(job_id)
        assert (results.text, results.headers["content-type"]) == ("Hello Ada! Bye!", "text/x-changed; charset=utf-8")
        calls = told()
        assert [(call["handler"], call["hook"]) for call in calls] == [
            *[("outer", "pre"), ("inner", "pre")],
            *[("inner", "setOutput"), ("outer", "setOutput")],
            *[("inner", "post"), ("outer", "post")],
            *[("inner", "handle_outputs"), ("outer", "handle_outputs")],
        ]
        assert len({(call["handler"], call["instance"]) for call in calls}) == 2
        pre, post = calls[0], calls[5]
        lenv = pre["conf"]["lenv"]
        assert {name: lenv[name] for name in ("usid", "job_id")} == {"usid": job_id, "job_id": job_id}
        assert (lenv["Identifier"], lenv["process_id"], lenv["name"], lenv["user"]) == ("greet", "greet", "Ada", None)
        assert "access_token" not in lenv
        assert pre["conf"]["main"]["tmpUrl"] == str(served.folder / "results")
        assert pre["outputs"] == {"greeting": {}}
        assert pre["pod"] == "of this job"
        assert calls[3]["values"] == {"value": "Hello Ada! Bye!", "mediaType": "text/x-changed"}
        assert post["output"] == {"greeting": "Hello Ada! Bye!"}
        assert "greeting Ada" in post["log"].splitlines()
        assert post["usage_report"]["written_bytes"] >= 1_000_000
        assert [(one["name"], one["text"]) for one in post["tool_logs"]] == [("tool.log", "the tool was here\n")]

    def test_nothing_reaches_the_next_job(self, served):
        """Neither what a handler asks for the environment nor what it writes there."""
        served.wait_for(served.submit("greet", {"name": "Ada"}))
        job_id = served.submit("environment")
        served.wait_for(job_id, "successful")
        assert served.results(job_id).json()["left_behind"] is None

    @pytest.mark.parametrize(
        ("inputs", "status", "message"),
        [
            ({"refuse": True}, 400, "refused by ***"),
            ({"fail": "post"}, 500, "ValueError: cannot use ***"),
            ({"fail": "process"}, 500, "RuntimeError: the process knows ***"),
        ],
    )
    def test_failures(self, served, told, inputs, status, message):
        """A hook fails the job as the process would; no secret is in what anybody reads."""
        job_id = served.submit("greet", {"name": "Ada", **inputs})
        job = served.wait_for(job_id)
        assert (job["status"], job["message"]) == ("failed", message)
        assert assert_problem(served.results(job_id), status)["detail"] == message
        assert [call["error"].partition(": ")[2] for call in told() if call["hook"] == "on_failure"] == [
            message.rpartition("Error: ")[2]
        ] * 2
        with job_store_of(served) as store:
            lines = [line.text for line in store.logs(job_id)]
        assert SECRET not in "\n".join(lines)
        assert {"printed ***", "logging in with ***"} <= set(lines)

    def test_the_documents_combination(self, served):
        """FullFeaturedHandler runs around a job: its token is of the job's environment, its catalogue is validated."""
        job_id = served.submit("catalogue", {"input_data": "data", "output_path": "path"})
        job = served.wait_for(job_id)
        assert job["status"] == "successful", job
        assert served.results(job_id).json()["type"] == "Catalog"
        refused = served.wait_for(served.submit("catalogue", {"input_data": "data"}))
        assert refused["message"] == "ValueError: Missing required parameter: output_path"

    def test_a_flow_that_is_tried_again(self, served, told, tmp_path):
        """Handlers enclose all attempts: pre before the first, post after the one that succeeds, and no failure."""
        job_id = served.submit("second-time", {"folder": str(tmp_path)})
        job = served.wait_for(job_id, within=90)
        assert job["status"] == "successful", job
        assert served.results(job_id).text == "attempt 2 Bye!"
        assert [call["hook"] for call in told()] == ["pre", "setOutput", "post", "handle_outputs"]

    def test_a_flow_that_fails(self, served, told):
        """Its handlers hear of it, and neither the client nor Prefect reads the secret."""
        job_id = served.submit("fails", {"name": "Ada"})
        job = served.wait_for(job_id, within=90)
        assert (job["status"], job["message"]) == ("failed", "RuntimeError: the flow knows ***")
        assert [call["hook"] for call in told()] == ["pre", "on_failure"]

    def test_a_handler_that_cannot_be_imported(self, served):
        """Its process is unavailable, and doctor says why; the others work."""
        assert_problem(served.execute("broken"), 503)
        shown = eventually(lambda: served.cli("plugins", "prefect", "doctor", check=False).stdout, within=30)
        assert "resources.broken.processor.prefect.handlers.0: handlers_under_test.Missing" in shown

    def test_processes_without_handlers(self):
        """Neither they nor the processor's loading import the package."""
        script = (
            "import sys\n"
            "import pygeoapi_prefect.runner.pool_worker\n"
            "from pygeoapi_prefect.process.processor import load_processor\n"
            "load_processor('p', {'processor': {'name': 'HelloWorld'}})\n"
            "print([name for name in sys.modules if name.startswith('pygeoapi_prefect.handlers')])"
        )
        run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        assert run.stdout.strip() == "[]"
