"""``processor.prefect`` of one process."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pygeoapi_prefect.exceptions import ConfigurationError
from pygeoapi_prefect.schemas.codes import JobControlOption
from pygeoapi_prefect.settings.section import Section

BLOCK_REFERENCE = r"^[a-z0-9-]+/[^/\s]+$"
DEFAULT_RESULT_KEY = "{job_id}.pickle"
"""Under which flows written for 0.9 persist their result."""
DASK_ADDRESS_RULE = r"^(tcp|tls|https?)://[^/\s]+(/\S*)?$"


class DeploymentSettings(Section):
    """
    The keys under ``processor.prefect.deployment``: the process runs as a Prefect deployment.

    Attributes:
        name: Of the deployment; by default the process's id. ``<flow>/<deployment>`` names one that somebody else
            made, as ``pygeoapi-prefect`` 0.9 had it: it is run as it is and never changed.
        work_pool: Where it runs; made when it is missing.
        work_pool_type: Of a work pool that is made, such as ``process``, ``docker`` or ``kubernetes``.
        queue: Work queue of the pool; None for its default.
        storage_block: ``<slug>/<name>`` of the block that the code is uploaded to and pulled from; None where the code
            is present already: installed, or in the image.
        storage_sub_path: Folder of the code in the block; None for one with the name of the process.
        code: Folder whose content is uploaded, and from which workers import; None: the package or module that has the
            processor, and that of its flow.
        image: Container image that has the code (Docker, Kubernetes …).
        job_variables: Of the work pool's job template.
        result_storage_block: Of 0.9: the block where the flow persists its result.
        result_storage_key_template: Of 0.9: the result's key, with ``{job_id}``; None: :data:`DEFAULT_RESULT_KEY`.
    """

    name: str = Field(min_length=1)
    work_pool: str | None = None
    work_pool_type: str = Field(default="process", min_length=1)
    queue: str | None = None
    storage_block: str | None = Field(default=None, pattern=BLOCK_REFERENCE)
    storage_sub_path: str | None = None
    code: str | None = None
    image: str | None = None
    job_variables: Mapping[str, Any] = Field(default_factory=dict)
    result_storage_block: str | None = Field(default=None, pattern=BLOCK_REFERENCE)
    result_storage_key_template: str | None = None

    @field_validator("result_storage_key_template", mode="after")
    @classmethod
    def _names_the_job(cls, template: str | None) -> str | None:
        if template is not None:
            try:
                is_unique = template.format(job_id="1") != template.format(job_id="2")
            except (ValueError, LookupError, AttributeError):
                is_unique = False
            if not is_unique:
                raise ValueError("must have {job_id} in it, and no other field")
        return template

    def result_key(self, job_id: str) -> str:
        """The key under which the flow persists the result of a job."""
        return (self.result_storage_key_template or DEFAULT_RESULT_KEY).format(job_id=job_id)

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else made the deployment."""
        return "/" in self.name


class HandlerSettings(Section):
    """
    One of ``processor.prefect.handlers``.

    Attributes:
        name: Dotted path of a subclass of :class:`pygeoapi_prefect.handlers.CommonExecutionHandler`.
        options: The handler's own.
        needs_access_token: Whether the handler gets the access token of who submits a job, if its class does not say
            so itself.
    """

    name: str = Field(pattern=r"^\w+(\.\w+)+$")
    options: Mapping[str, Any] = Field(default_factory=dict)
    needs_access_token: bool = False


class ProcessSettings(Section):
    """
    One process: the keys under ``resources.<id>.processor.prefect``.

    Attributes:
        flow: ``package.module:flow``, for :class:`pygeoapi_prefect.FlowProcessor`.
        result_storage: Where a flow leaves its outputs: a block ``<slug>/<name>``, a folder or an fsspec URL. None: the
            manager's result store.
        deployment: How the process is deployed; None: it runs in the pool.
        metadata: Overrides parts of the process description.
        record: Whether each job of the process is recorded as a Prefect flow run.
        max_running: Jobs of this process that run at once, over all runners; None for no limit of its own.
        isolation: ``fork``: a warm pool worker. ``spawn``: a pool worker with an interpreter of its own, for code that
            does not survive a fork.
        time_limit: Seconds that a job may run before it is stopped and failed; None for no limit.
        max_output_bytes: Of all outputs of a job together; None: the manager's.
        rerun_lost: Whether a job whose runner was lost is run again from the start instead of failed.
        validate_inputs: Whether inputs are held against the process description before a job is made.
        dask_addresses: Where jobs may connect to when their inputs choose a Dask cluster; ``*`` stands for any text
            within a host, a port or a segment of the path. Without one, no cluster can be chosen.
        references: What the process gets of an input by reference: its ``value``, a ``file`` with it, or the ``link``.
        handlers: Around each job of the process, outermost first.
        roles: Who has one of them may execute the process; none: everybody may.
        secret_inputs: Ids of inputs that nobody but the job may read, beside those whose schemas say so.
        needs_access_token: Whether all handlers need the access token of who submits a job.
    """

    flow: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    result_storage: str | None = None
    deployment: DeploymentSettings | None = None
    metadata: Mapping[str, Any] = Field(default_factory=dict)
    record: bool = True
    max_running: int | None = Field(default=None, ge=1)
    isolation: Literal["fork", "spawn"] = "fork"
    time_limit: float | None = Field(default=None, gt=0)
    max_output_bytes: int | None = Field(default=None, ge=1)
    rerun_lost: bool = False
    validate_inputs: bool = True
    dask_addresses: tuple[Annotated[str, Field(pattern=DASK_ADDRESS_RULE)], ...] = ()
    references: Literal["value", "file", "link"] = "value"
    handlers: tuple[HandlerSettings, ...] = ()
    roles: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    secret_inputs: tuple[str, ...] = ()
    needs_access_token: bool = False

    @field_validator("handlers", mode="before")
    @classmethod
    def _named(cls, handlers: Any) -> Any:
        if not isinstance(handlers, list | tuple):
            return handlers
        return [{"name": one} if isinstance(one, str) else one for one in handlers]

    @property
    def is_foreign(self) -> bool:
        """Whether the process runs as a deployment that somebody else made."""
        return self.deployment is not None and self.deployment.is_foreign


def process_settings(process_id: str, resource: Mapping[str, Any]) -> ProcessSettings:
    """
    Read ``processor.prefect`` of one process.

    Args:
        process_id: Its key in the configuration.
        resource: Its entry under ``resources``.

    Raises:
        ConfigurationError: Names the YAML key.
    """
    yaml_key = f"resources.{process_id}.processor"
    processor = resource.get("processor")
    if not isinstance(processor, Mapping):
        raise ConfigurationError(_NAME_MISSING.format(yaml_key))
    section = processor.get("prefect") or {}
    if not isinstance(section, Mapping):
        raise ConfigurationError(f"{yaml_key}.prefect must be a mapping")
    if isinstance(deployment := section.get("deployment"), Mapping):
        # flows may serve several processes, and Prefect tells the deployments of one flow by their names
        section = {**section, "deployment": {"name": process_id, **deployment}}
    settings = ProcessSettings.parse(section, f"{yaml_key}.prefect")
    if not processor.get("name") and not settings.is_foreign:
        raise ConfigurationError(_NAME_MISSING.format(yaml_key))
    if settings.is_foreign and settings.handlers:
        raise ConfigurationError(f"{yaml_key}.prefect.handlers: a deployment that somebody else made runs no handlers")
    if settings.needs_access_token:
        if not settings.handlers:
            raise ConfigurationError(f"{yaml_key}.prefect.needs_access_token: there are no handlers to have the token")
        handlers = [handler.model_copy(update={"needs_access_token": True}) for handler in settings.handlers]
        settings = settings.model_copy(update={"handlers": tuple(handlers)})
    return settings


_NAME_MISSING = "{}.name is missing: the dotted path of a pygeoapi processor class"


def job_control_options(process_id: str, resource: Mapping[str, Any]) -> list[str] | None:
    """
    ``processor.job_control_options`` of a process; None where it has none.

    Raises:
        ConfigurationError: Names the YAML key.
    """
    yaml_key = f"resources.{process_id}.processor.job_control_options"
    options = resource["processor"].get("job_control_options")
    if options is None:
        return None
    known = [option.value for option in JobControlOption]
    if not isinstance(options, Sequence) or isinstance(options, str) or any(one not in known for one in options):
        raise ConfigurationError(f"{yaml_key} must be a list of {', '.join(known)}")
    if not {JobControlOption.SYNC_EXECUTE, JobControlOption.ASYNC_EXECUTE} & set(options):
        raise ConfigurationError(f"{yaml_key} must have sync-execute or async-execute in it")
    return [str(option) for option in options]
