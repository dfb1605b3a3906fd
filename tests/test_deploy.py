"""Laws of ``deploy``: real deployments on a real Prefect server, code in real storage blocks, a real worker."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import httpx
import psutil
import pytest
import yaml
from click.testing import CliRunner, Result

from prefect_worker import PrefectWorker
from pygeoapi_prefect.cli import prefect
from pygeoapi_prefect.deploy.deployer import Deployed, Deployer, leftovers
from pygeoapi_prefect.deploy.planned import ENTRYPOINT, PlannedDeployment, conflicts, planned
from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.prefect_api import DeploymentNotFoundError, PrefectApi
from pygeoapi_prefect.process import code as code_module
from pygeoapi_prefect.process.code import CodeChangedError, CodeChanges, changes_of, code_of_folder, pull, upload
from pygeoapi_prefect.process.flow_runs import flow_run_name, flow_run_parameters, flow_run_tags
from pygeoapi_prefect.process.handed_over import HandedOver
from pygeoapi_prefect.results import ResultStore
from pygeoapi_prefect.results.blocks import StorageBlock
from pygeoapi_prefect.runner.flow_run_tasks import find_deployment
from pygeoapi_prefect.runner.prefect_server import LocalPrefectServer
from pygeoapi_prefect.runner.presence import Presence, RunnerStatus
from pygeoapi_prefect.settings import process_settings
from serving import NOWHERE, eventually, free_port

FLOWS = '''
"""A flow and the module that it needs."""

from prefect import flow

from {package}.factor import FACTOR


@flow(name="{flow}", version="2")
def times(number: int) -> int:
    """Multiply."""
    return number * FACTOR
'''


class Package:
    """A package of somebody who writes flows; importable while the test lasts."""

    def __init__(self, folder: Path) -> None:
        self.name = f"package_{uuid4().hex[:8]}"
        self.flow = self.name.replace("_", "-")
        self.process_id = f"slope-{self.flow}"
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        self.write("__init__.py", "")
        self.write("factor.py", "FACTOR = 6\n")
        self.write("flows.py", FLOWS.format(package=self.name, flow=self.flow))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def resource(self, **deployment: Any) -> dict[str, Any]:
        """An entry under ``resources``."""
        section = {"flow": f"{self.name}.flows:times", "deployment": {"work_pool": f"pool-{self.name}", **deployment}}
        return {"type": "process", "processor": {"name": "pygeoapi_prefect.FlowProcessor", "prefect": section}}

    def forget(self) -> None:
        """As if nothing had been imported."""
        for module in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[module]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Package]]:
    made: list[Package] = []

    def make() -> Package:
        made.append(Package(tmp_path / "code"))
        return made[-1]

    monkeypatch.syspath_prepend(tmp_path / "code")
    yield make
    for package in made:
        package.forget()


@pytest.fixture
def package(make_package: Callable[[], Package]) -> Package:
    return make_package()


def save_block(raw: httpx.Client, slug: str, data: Mapping[str, Any]) -> str:
    """Save a block as its user would; its reference."""
    type_id = raw.get(f"/block_types/slug/{slug}").raise_for_status().json()["id"]
    schemas = raw.post("/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [type_id]}}}).json()
    name = f"block-{uuid4().hex[:8]}"
    body = {"name": name, "data": data, "block_type_id": type_id, "block_schema_id": schemas[0]["id"]}
    raw.post("/block_documents/", json=body).raise_for_status()
    return f"{slug}/{name}"


@pytest.fixture(params=["local-file-system", "remote-file-system"])
def block(request: pytest.FixtureRequest, raw: httpx.Client, tmp_path: Path) -> str:
    """A storage block whose files are in the folder ``block``."""
    is_local = request.param == "local-file-system"
    basepath = str(tmp_path / "block") if is_local else (tmp_path / "block").as_uri()
    return save_block(raw, request.param, {"basepath": basepath})


@pytest.fixture
def local_block(raw: httpx.Client, tmp_path: Path) -> str:
    return save_block(raw, "local-file-system", {"basepath": str(tmp_path / "block")})


def deploy(api: PrefectApi, process_id: str, resource: Mapping[str, Any], *, is_dry_run: bool = False) -> Deployed:
    return Deployer(api, "/results", is_dry_run=is_dry_run).deploy(planned(process_id, resource))


def files_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- the deployment


def test_the_entrypoint_is_what_workers_run() -> None:
    """The name in deployments is that of the flow that executes jobs there."""
    from pygeoapi_prefect.process import deployed

    assert deployed.ENTRYPOINT == ENTRYPOINT


def test_a_deployment_is_what_the_configuration_says(
    api: PrefectApi, package: Package, local_block: str, raw: httpx.Client
) -> None:
    """Flow, name, tags, texts, pool, queue, variables and pull step arrive; runners find it; any parameters pass."""
    resource = package.resource(
        queue="fast", storage_block=local_block, storage_sub_path="code/slope", job_variables={"env": {"A": "1"}}
    )
    done = deploy(api, package.process_id, resource)
    found = api.deployment(f"{package.flow}/{package.process_id}")
    assert (done.action, done.name) == ("created", found.name)
    assert (found.entrypoint, found.path) == (ENTRYPOINT, None)
    assert found.tags == {"pygeoapi", f"process:{package.process_id}"}
    assert (found.description, found.version) == ("Multiply", "2")
    assert (found.work_pool_name, found.work_queue_name) == (f"pool-{package.name}", "fast")
    assert found.job_variables == {"env": {"A": "1"}}
    assert found.pull_steps == [
        {"pygeoapi_prefect.process.code.pull_from_block": {"block": local_block, "sub_path": "code/slope"}}
    ]
    assert raw.get(f"/deployments/{found.deployment_id}").json()["enforce_parameter_schema"] is False
    settings = process_settings(package.process_id, resource).deployment
    assert settings is not None
    assert find_deployment(api, package.process_id, settings).deployment_id == found.deployment_id


def test_an_unmodified_processor_has_the_flow_of_its_process(api: PrefectApi) -> None:
    """Pygeoapi's own processor is deployed under its process id; its code need not be uploaded."""
    process_id = f"hello-{uuid4().hex[:8]}"
    section = {"deployment": {"work_pool": f"pool-{process_id}", "storage_block": "local-file-system/nothing"}}
    done = deploy(api, process_id, {"type": "process", "processor": {"name": "HelloWorld", "prefect": section}})
    assert done.name == f"{process_id}/{process_id}"
    assert api.deployment(done.name).pull_steps is None
    assert any("nothing to upload" in note for note in done.notes)


def test_the_second_time_nothing_changes(api: PrefectApi, package: Package, block: str, raw: httpx.Client) -> None:
    """Deploying again says ``unchanged``, and touches neither the deployment nor the code."""
    resource = package.resource(storage_block=block, queue="fast", job_variables={"stream_output": False})
    deployment_id = api.deployment(deploy(api, package.process_id, resource).name).deployment_id
    before = raw.get(f"/deployments/{deployment_id}").json()["updated"]
    done = deploy(api, package.process_id, resource)
    assert (done.action, done.changes) == ("unchanged", ())
    assert raw.get(f"/deployments/{deployment_id}").json()["updated"] == before


def test_changes_are_told_field_by_field(api: PrefectApi, package: Package, raw: httpx.Client) -> None:
    """Each changed field is told with its old and new value, the environment without; tags of others stay."""
    first = package.resource(job_variables={"stream_output": True, "env": {"TOKEN": "old-secret", "A": "1"}})
    name = deploy(api, package.process_id, first).name
    found = api.deployment(name)
    raw.patch(f"/deployments/{found.deployment_id}", json={"tags": [*found.tags, "of-a-person"]}).raise_for_status()
    second = package.resource(queue="slow", job_variables={"stream_output": False, "env": {"TOKEN": "new-secret"}})
    done = deploy(api, package.process_id, second)
    assert done.action == "updated"
    assert done.changes == (
        "work queue 'slow' created",
        'work_queue_name: "default" → "slow"',
        "job_variables.env.A: removed",
        "job_variables.env.TOKEN: changed",
        "job_variables.stream_output: true → false",
    )
    assert api.deployment(name).tags == {"pygeoapi", f"process:{package.process_id}", "of-a-person"}
    assert deploy(api, package.process_id, second).action == "unchanged"


def test_a_dry_run_changes_nothing_and_tells_all(
    api: PrefectApi, package: Package, local_block: str, tmp_path: Path
) -> None:
    """What a dry run tells is what the run then does; before that there is no pool, no deployment and no code."""
    resource = package.resource(storage_block=local_block, queue="fast")
    told = deploy(api, package.process_id, resource, is_dry_run=True)
    assert api.work_pool(f"pool-{package.name}") is None
    with pytest.raises(DeploymentNotFoundError):
        api.deployment(told.name)
    assert not (tmp_path / "block").exists()
    assert deploy(api, package.process_id, resource) == told
    package.write("factor.py", "FACTOR = 7\n")
    changed = package.resource(storage_block=local_block, queue="slow")
    told = deploy(api, package.process_id, changed, is_dry_run=True)
    assert told.action == "updated"
    assert api.deployment(told.name).work_queue_name == "fast"
    assert api.work_queue(f"pool-{package.name}", "slow") is None
    assert deploy(api, package.process_id, changed) == told


def test_a_process_has_one_deployment_of_a_name(api: PrefectApi, package: Package) -> None:
    """Runners could not tell two apart: after a flow was renamed the old one is to be deleted first, and is named."""
    old = deploy(api, package.process_id, package.resource()).name
    package.write("flows.py", FLOWS.format(package=package.name, flow=f"new-{package.flow}"))
    package.forget()
    with pytest.raises(ConfigurationError, match=rf"deployment\.name: .*prefect deployment delete '{old}'"):
        deploy(api, package.process_id, package.resource())
    assert deploy(api, package.process_id, package.resource(name="another")).action == "created"


def test_deployments_of_others_are_not_touched(api: PrefectApi, package: Package) -> None:
    """One of that name without our tags, or of another process, is refused with the remedy."""
    name = f"{package.flow}/{package.process_id}"
    api.save_deployment(name, entrypoint="module.flow", version="theirs")
    with pytest.raises(ConfigurationError, match=rf"deployment\.name: .*prefect deployment delete '{name}'"):
        deploy(api, package.process_id, package.resource())
    api.save_deployment(name, entrypoint="module.flow", version="theirs", tags=["pygeoapi", "process:aspect"])
    with pytest.raises(ConfigurationError, match="belongs to process 'aspect'"):
        deploy(api, package.process_id, package.resource())
    assert api.deployment(name).version == "theirs"


def test_processes_of_one_flow_need_names(package: Package) -> None:
    """Two processes with one flow have two deployments; with one name for both they are refused, both by their keys."""
    assert conflicts([planned("a", package.resource()), planned("b", package.resource())]) == {}
    same = [planned(process_id, package.resource(name="same")) for process_id in ("a", "b")]
    assert {process_id: "deployment.name" in str(error) for process_id, error in conflicts(same).items()} == {
        "a": True,
        "b": True,
    }


def test_leftovers(api: PrefectApi, package: Package) -> None:
    """A deployment whose process is gone is told, with its process; one that is kept is not."""
    plan = planned(package.process_id, package.resource())
    Deployer(api, "/results").deploy(plan)
    assert (plan.name, package.process_id) in leftovers(api, [])
    assert (plan.name, package.process_id) not in leftovers(api, [plan])
    assert api.deployment(plan.name)


# ---------------------------------------------------------------- work pools and job variables


def test_pool_and_queue_are_made_once(api: PrefectApi, package: Package) -> None:
    """A missing pool is made with the type's template and a missing queue in it; those that are there stay."""
    done = deploy(api, package.process_id, package.resource(work_pool_type="docker", queue="fast"))
    name = f"pool-{package.name}"
    assert done.changes == (f"work pool '{name}' of type 'docker' created", "work queue 'fast' created")
    pool = api.work_pool(name)
    assert pool is not None
    assert (pool.type, pool.base_job_template) == ("docker", api.work_pool_types()["docker"])
    assert deploy(api, package.process_id, package.resource(work_pool_type="docker", queue="fast")).changes == ()


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        ({"work_pool": None}, r"deployment\.work_pool is missing"),
        ({"work_pool_type": "steam"}, r"deployment\.work_pool_type: .* docker, "),
        ({"storage_sub_path": "code"}, r"deployment\.storage_sub_path .*storage_block"),
        ({"code": "."}, r"deployment\.code .*storage_block"),
        ({"storage_block": "local-file-system/there-is-none"}, r"deployment\.storage_block: Prefect has no block"),
        ({"storage_block": "local-file-system/x", "storage_sub_path": "../x"}, r"deployment\.storage_sub_path"),
        ({"storage_block": "local-file-system/x", "code": "/there/is/none"}, r"deployment\.code: /there/is/none"),
        ({"image": "gis:1"}, r"deployment\.image: work pool 'pool-\w+' has no such variable"),
        ({"image": "gis:1", "job_variables": {"image": "gis:2"}}, r"deployment\.image and .* two images"),
        ({"job_variables": {"enf": {}}}, r"deployment\.job_variables\.enf: .* did you mean 'env'\?"),
        ({"job_variables": {"env": {"CACHE": 512}}}, r"deployment\.job_variables\.env\.CACHE must be of type string$"),
        (
            {"work_pool_type": "kubernetes", "job_variables": {"image_pull_policy": "Sometimes"}},
            r"deployment\.job_variables\.image_pull_policy does not fit enum: \[.*\"Always\"",
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(
    api: PrefectApi, package: Package, deployment: dict[str, Any], message: str
) -> None:
    """Each mistake is told with its YAML key before anything is made."""
    with pytest.raises(ConfigurationError, match=rf"resources\.{package.process_id}\.processor\.prefect\.{message}"):
        deploy(api, package.process_id, package.resource(**deployment))
    assert api.work_pool(f"pool-{package.name}") is None


def test_a_pool_keeps_its_type(api: PrefectApi, package: Package) -> None:
    """A type that is said must be the pool's; a pool that is there needs none."""
    api.create_work_pool(f"pool-{package.name}", "docker", api.work_pool_types()["docker"])
    with pytest.raises(ConfigurationError, match=r"work_pool_type is 'process', but .* 'docker'"):
        deploy(api, package.process_id, package.resource(work_pool_type="process"))
    assert deploy(api, package.process_id, package.resource(image="gis:1")).action == "created"


def job_configuration(api: PrefectApi, name: str) -> dict[str, Any]:
    """What a worker makes of a deployment: its pool's template with defaults and job variables."""
    from prefect.utilities.templating import apply_values

    found = api.deployment(name)
    assert found.work_pool_name is not None
    pool = api.work_pool(found.work_pool_name)
    assert pool is not None
    properties = pool.base_job_template["variables"]["properties"]
    defaults = {variable: schema["default"] for variable, schema in properties.items() if "default" in schema}
    applied = apply_values(pool.base_job_template["job_configuration"], defaults | dict(found.job_variables))
    assert isinstance(applied, dict)
    return applied


def test_docker(api: PrefectApi, package: Package) -> None:
    """On a Docker pool image, environment and volumes reach the container's configuration."""
    resource = package.resource(
        work_pool_type="docker",
        image="registry.example.org/gis:1.0",
        job_variables={"env": {"GDAL_CACHEMAX": "512"}, "volumes": ["/srv/results:/srv/results"], "mem_limit": "4g"},
    )
    done = deploy(api, package.process_id, resource)
    job = job_configuration(api, done.name)
    assert (job["image"], job["env"]) == ("registry.example.org/gis:1.0", {"GDAL_CACHEMAX": "512"})
    assert (job["volumes"], job["mem_limit"], job["stream_output"]) == (["/srv/results:/srv/results"], "4g", True)
    assert any("results go to /results: mount it" in note for note in done.notes)
    assert deploy(api, package.process_id, resource).action == "unchanged"


def test_kubernetes(api: PrefectApi, package: Package) -> None:
    """On a Kubernetes pool image, environment, namespace and memory reach the manifest of the job."""
    resource = package.resource(
        work_pool_type="kubernetes",
        image="registry.example.org/gis:1.0",
        job_variables={"namespace": "gis", "env": {"GDAL_CACHEMAX": "512"}, "memory_limit": "4Gi"},
    )
    job = job_configuration(api, deploy(api, package.process_id, resource).name)["job_manifest"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert (job["kind"], job["metadata"]["namespace"]) == ("Job", "gis")
    assert (container["image"], container["env"]) == ("registry.example.org/gis:1.0", {"GDAL_CACHEMAX": "512"})
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert deploy(api, package.process_id, resource).action == "unchanged"


# ---------------------------------------------------------------- code


def test_deployments_share_a_block(
    api: PrefectApi, make_package: Callable[[], Package], block: str, tmp_path: Path
) -> None:
    """Each deployment has its folder; neither deploying nor pulling touches another's, or what else is there."""
    folder = tmp_path / "block"
    folder.mkdir()
    (folder / "theirs.txt").write_text("somebody's")
    packages = make_package(), make_package()
    one, other = packages
    for package in packages:
        deploy(api, package.process_id, package.resource(storage_block=block))
    after = files_below(folder)
    assert {name.split("/")[0] for name in after} == {"theirs.txt", one.process_id, other.process_id}
    one.write("factor.py", "FACTOR = 7\n")
    assert deploy(api, one.process_id, one.resource(storage_block=block)).changes == ("code: 1 file uploaded",)
    assert {name for name, text in files_below(folder).items() if after.get(name) != text} == {
        f"{one.process_id}/.pygeoapi-prefect.json",
        f"{one.process_id}/{one.name}/factor.py",
    }
    pulled = tmp_path / "pulled"
    pull(ResultStore(str(folder)), other.process_id, pulled)
    assert set(files_below(pulled)) == {f"{other.name}/{name}" for name in ("__init__.py", "factor.py", "flows.py")}
    assert set(files_below(folder)) == set(after)


@pytest.fixture
def s3_block(raw: httpx.Client, tmp_path: Path) -> Iterator[str]:
    """A storage block in a bucket of a real S3 server."""
    port = free_port()
    with (tmp_path / "s3.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        options = {"key": "key", "secret": "secret", "client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"}}
        eventually(lambda: is_listening(port), within=20, what="an answer of the S3 server")
        fsspec.filesystem("s3", **options).mkdir("code")
        yield save_block(raw, "remote-file-system", {"basepath": "s3://code/below", "settings": options})
    finally:
        server.terminate()
        server.wait(10)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_code_in_a_bucket(api: PrefectApi, package: Package, s3_block: str, tmp_path: Path) -> None:
    """S3 is as good as a folder: what is uploaded is pulled, the second time nothing, removed files are removed."""
    package.write("gone.py", "")
    resource = package.resource(storage_block=s3_block)
    assert "code: 4 files uploaded" in deploy(api, package.process_id, resource).changes
    assert deploy(api, package.process_id, resource).action == "unchanged"
    (package.folder / "gone.py").unlink()
    package.write("factor.py", "FACTOR = 7\n")
    assert deploy(api, package.process_id, resource).changes == ("code: 1 file uploaded, 1 file removed",)
    block = StorageBlock.from_document(s3_block, api.block_document(s3_block).data)
    assert set(block.store.files(package.process_id)) == {
        ".pygeoapi-prefect.json",
        *(f"{package.name}/{name}" for name in ("__init__.py", "factor.py", "flows.py")),
    }
    pull(block.store, package.process_id, tmp_path / "pulled")
    assert files_below(tmp_path / "pulled")[f"{package.name}/factor.py"] == "FACTOR = 7\n"


def test_one_folder_for_different_code_is_refused(make_package: Callable[[], Package]) -> None:
    """Processes with the same code may share a folder in the block; with different code they are refused."""
    one, other = make_package(), make_package()
    place = {"storage_block": "local-file-system/x", "storage_sub_path": "shared"}
    same: list[PlannedDeployment] = [planned("a", one.resource(**place)), planned("b", one.resource(**place))]
    assert conflicts(same) == {}
    found = conflicts([same[0], planned("b", other.resource(**place))])
    assert {"storage_sub_path" in str(error) for error in found.values()} == {True}
    assert set(found) == {"a", "b"}


def test_only_changes_are_uploaded(tmp_path: Path) -> None:
    """New and changed files go up, removed ones go, others are not touched; whoever else left files keeps them."""
    folder, store = tmp_path / "code", ResultStore(str(tmp_path / "block"))
    folder.mkdir()
    for name in ("same.py", "changed.py", "removed.py"):
        (folder / name).write_text(name)
    assert upload(code_of_folder(folder), store, "x").uploaded == ("changed.py", "removed.py", "same.py")
    (tmp_path / "block" / "x" / "not-ours.txt").write_text("stays")
    before = (tmp_path / "block" / "x" / "same.py").stat().st_mtime_ns
    (folder / "changed.py").write_text("new text")
    (folder / "removed.py").unlink()
    (folder / "new.py").write_text("")
    assert upload(code_of_folder(folder), store, "x") == CodeChanges(("changed.py", "new.py"), ("removed.py",))
    assert (tmp_path / "block" / "x" / "same.py").stat().st_mtime_ns == before
    left = files_below(tmp_path / "block" / "x")
    assert set(left) == {"same.py", "changed.py", "new.py", "not-ours.txt", ".pygeoapi-prefect.json"}
    assert not upload(code_of_folder(folder), store, "x")
    (tmp_path / "block" / "x" / "same.py").unlink()
    assert changes_of(code_of_folder(folder), store, "x").uploaded == ("same.py",)


def test_a_broken_upload_is_not_run_and_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While files of two uploads stand side by side no flow run takes them; the next upload repairs all."""
    folder, store = tmp_path / "code", ResultStore(str(tmp_path / "block"))
    folder.mkdir()
    for name in ("a.py", "b.py"):
        (folder / name).write_text("1")
    upload(code_of_folder(folder), store, "x")

    class Broken(ResultStore):
        def put(self, location: str, data: bytes) -> None:
            if location == "x/b.py":
                raise KeyboardInterrupt
            super().put(location, data)

    for name in ("a.py", "b.py"):
        (folder / name).write_text("2")
    with pytest.raises(KeyboardInterrupt):
        upload(code_of_folder(folder), Broken(store.url), "x")
    monkeypatch.setattr(code_module, "PULL_PAUSE_SECONDS", 0)
    with pytest.raises(CodeChangedError):
        pull(store, "x", tmp_path / "pulled")
    for name in ("a.py", "b.py"):  # back to what the first upload brought
        (folder / name).write_text("1")
    assert upload(code_of_folder(folder), store, "x").uploaded == ("a.py", "b.py")
    pull(store, "x", tmp_path / "pulled")
    assert files_below(tmp_path / "pulled") == {"a.py": "1", "b.py": "1"}


def test_what_is_no_code_stays_here(tmp_path: Path) -> None:
    """Hidden files, bytecode and what .prefectignore names are not uploaded: there may be passwords among them."""
    for name in (".env", ".git/config", "a.py", "__pycache__/a.pyc", "data/big.tif", "data/small.csv", "sub/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".prefectignore").write_text("# large\n*.tif\n")
    assert set(code_of_folder(tmp_path)) == {"a.py", "data/small.csv", "sub/b.py"}


def test_no_code_is_told(tmp_path: Path) -> None:
    """A folder without code is told with the remedy."""
    with pytest.raises(ConfigurationError, match="pygeoapi plugins prefect deploy"):
        pull(ResultStore(str(tmp_path)), "nothing", tmp_path / "pulled")


def test_a_folder_of_code(package: Package, tmp_path: Path) -> None:
    """With ``code`` the whole folder goes up, with modules beside the package."""
    (tmp_path / "code" / "beside.py").write_text("")
    place = {"storage_block": "local-file-system/x"}
    plan = planned(package.process_id, package.resource(code=str(tmp_path / "code"), **place))
    assert set(plan.files) == {"beside.py"} | set(planned(package.process_id, package.resource(**place)).files)


# ---------------------------------------------------------------- the command


class Installation:
    """A pygeoapi configuration and the command."""

    def __init__(self, folder: Path, resources: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = folder / "config.yml"
        manager = {
            "name": "pygeoapi_prefect.PrefectManager",
            "connection": str(folder / "jobs.db"),
            "output_dir": str(folder / "results"),
            "data_dir": str(folder / "data"),
        }
        self.config.write_text(yaml.safe_dump({"server": {"manager": manager}, "resources": dict(resources)}))

    def deploy(self, *arguments: str) -> Result:
        return CliRunner().invoke(prefect, ["--config", str(self.config), "deploy", *arguments])


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: LocalPrefectServer) -> None:
    """Prefect's settings name the session's server."""
    monkeypatch.setenv("PYGEOAPI_CONFIG", "")  # the command sets it; so it is put back
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", prefect_server.connection.api_url)


@pytest.mark.usefixtures("environment")
def test_the_command_deploys_all_or_those_named(
    api: PrefectApi, make_package: Callable[[], Package], tmp_path: Path
) -> None:
    """A dry run says ``would be``, a run what it did, the next one ``unchanged``; plain processes are passed over."""
    one, other = make_package(), make_package()
    hello = {"type": "process", "processor": {"name": "HelloWorld"}}
    installation = Installation(tmp_path, {one.flow: one.resource(), other.flow: other.resource(), "hello": hello})
    result = installation.deploy("--dry-run")
    assert (result.exit_code, result.output.count("would be created")) == (0, 2)
    result = installation.deploy(one.flow)
    assert (result.exit_code, f"{one.flow}: {one.flow}/{one.flow} created" in result.output) == (0, True)
    assert other.flow not in result.output
    result = installation.deploy()
    assert f"{one.flow}: {one.flow}/{one.flow} unchanged" in result.output
    assert f"{other.flow}: {other.flow}/{other.flow} created" in result.output
    assert f"the workers must be able to import {one.name}.flows" in result.output
    Installation(tmp_path, {one.flow: one.resource()})
    assert f"prefect deployment delete '{other.flow}/{other.flow}'" in installation.deploy().output
    assert api.deployment(f"{other.flow}/{other.flow}")


@pytest.mark.usefixtures("environment")
def test_one_broken_process_does_not_stop_the_others(api: PrefectApi, package: Package, tmp_path: Path) -> None:
    """A process that cannot be imported or is configured wrongly is told, with exit code 1; the others are deployed."""
    broken = {"name": "no_such_module.Processor", "prefect": {"deployment": {"work_pool": "x"}}}
    resources = {
        "broken": {"type": "process", "processor": broken},
        "wrong": package.resource(name="wrong", job_variables={"nonsense": 1}),
        package.process_id: package.resource(),
    }
    result = Installation(tmp_path, resources).deploy()
    assert result.exit_code == 1
    assert "FAIL broken: no_such_module.Processor cannot be made: ModuleNotFoundError" in result.output
    assert "FAIL wrong: resources.wrong.processor.prefect.deployment.job_variables.nonsense" in result.output
    assert api.deployment(f"{package.flow}/{package.process_id}")


@pytest.mark.parametrize(
    ("process_id", "message"),
    [
        ("nothing", "There is no process 'nothing'. Configured are: "),
        ("hello", "Process 'hello' has no deployment. Add resources.hello.processor.prefect.deployment"),
        ("foreign", "resources.foreign.processor.prefect.deployment.name is 'flow/theirs'"),
    ],
)
def test_names_that_cannot_be_deployed(tmp_path: Path, process_id: str, message: str) -> None:
    """An unknown process, one without a deployment and one of somebody else are refused by name."""
    foreign = {"name": "HelloWorld", "prefect": {"deployment": {"name": "flow/theirs"}}}
    resources = {
        "hello": {"type": "process", "processor": {"name": "HelloWorld"}},
        "foreign": {"type": "process", "processor": foreign},
    }
    result = Installation(tmp_path, resources).deploy(process_id)
    assert (result.exit_code, message in result.output) == (1, True), result.output


def test_without_prefect(
    package: Package,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: None,
    prefect_server: LocalPrefectServer,
) -> None:
    """A Prefect that is down, or none, is one clear line; the local server of a living runner is found by itself."""
    installation = Installation(tmp_path, {package.process_id: package.resource()})
    monkeypatch.setenv("PREFECT_API_URL", NOWHERE)
    result = installation.deploy()
    assert (result.exit_code, f"Prefect at {NOWHERE} cannot be reached" in result.output) == (1, True)
    monkeypatch.delenv("PREFECT_API_URL")
    result = installation.deploy()
    assert (result.exit_code, "Set PREFECT_API_URL, or start the server first" in result.output) == (1, True)
    presence = Presence(tmp_path / "data")
    presence.make()
    started = psutil.Process().create_time()
    url = prefect_server.connection.api_url
    presence.write_status(RunnerStatus("runner", os.getpid(), started, "", prefect_api_url=url))
    result = installation.deploy("--dry-run")
    assert (result.exit_code, "would be created" in result.output) == (0, True), result.output


def test_the_command_does_without_prefect(tmp_path: Path) -> None:
    """Processes that are no flows are planned and deployed without importing Prefect."""
    script = (
        "import sys, pygeoapi_prefect.cli.deploy, pygeoapi_prefect.deploy.deployer as d; "
        "from pygeoapi_prefect.deploy.planned import planned; "
        "planned('hello', {'processor': {'name': 'HelloWorld', 'prefect': {'deployment': {'work_pool': 'x'}}}}); "
        "sys.exit('prefect' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 0


# ---------------------------------------------------------------- end to end


@pytest.mark.usefixtures("environment")
def test_a_worker_runs_what_was_deployed(
    api: PrefectApi, package: Package, local_block: str, tmp_path: Path, prefect_server: LocalPrefectServer
) -> None:
    """A worker pulls the code, runs the job as its runner asks for it, leaves the outcome, and no code behind."""
    resource = package.resource(storage_block=local_block)
    result = Installation(tmp_path, {package.process_id: resource}).deploy()
    assert result.exit_code == 0, result.output
    settings = process_settings(package.process_id, resource).deployment
    assert settings is not None
    job_id, storage = uuid4().hex, ResultStore(str(tmp_path / "results"))
    request = {"inputs": {"number": 7}}
    order = HandedOver(job_id, package.process_id, resource, request, storage.url)
    storage.put(order.order_location, order.order_json())
    run = api.create_deployment_run(
        find_deployment(api, package.process_id, settings).deployment_id,
        name=flow_run_name(package.process_id, job_id),
        parameters=flow_run_parameters(job_id, request) | order.parameters(),
        tags=flow_run_tags(package.process_id, job_id),
        idempotency_key=job_id,
    )
    (tmp_path / "tmp").mkdir()
    worker = PrefectWorker(
        prefect_server.connection.api_url,
        f"pool-{package.name}",
        tmp_path / "worker",
        {"TMPDIR": str(tmp_path / "tmp")},
    ).start()

    def end() -> str | None:
        state = api.flow_run_states([run])[run]
        assert state is not None
        return state.type if state.type in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    try:
        ended = eventually(end, within=75, what="the end of the flow run")
        assert ended == "COMPLETED", worker.log.read_text()[-4000:]
        outcome = json.loads(storage.get(HandedOver.outcome_location_of(job_id)))
        assert (outcome["status"], "42" in json.dumps(outcome["result"])) == ("successful", True)
        eventually(lambda: not list((tmp_path / "tmp").rglob("pygeoapi-code-*")), within=10)
    finally:
        worker.stop()
