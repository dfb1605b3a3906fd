"""
What a handler's hooks are called with, when, and how often.

Names and signatures are those of ZOO-Project's handlers (``zoo_template_common``), so that a class written for those
runs here with its import changed. ``on_failure``, ``place_output`` and ``options`` are ours.
"""

from collections.abc import Callable, Mapping, MutableMapping
from functools import wraps
from types import MappingProxyType
from typing import Any

from pygeoapi_prefect.results.store import ResultStore

ONCE = ("pre_execution_hook", "post_execution_hook")
"""Hooks that each class of a hierarchy runs once for each instance."""


class ExecutionHandler:
    """
    The contract of execution handlers.

    One instance serves one job, in the process that runs the job; nothing of it reaches another job. Hooks are plain
    functions, called one after the other. Where a process has several handlers, the first in the configuration is the
    outermost: its :meth:`pre_execution_hook` runs first and its other hooks run last. They share ``conf`` and
    ``outputs``.

    Each class's own :meth:`pre_execution_hook` and :meth:`post_execution_hook` succeed at most once for each instance,
    whether classes call each other by ``super()`` or by the name of a parent, and however often a parent is reached:
    further calls do nothing. So where a flow is tried again, what has succeeded is not done again.

    A hook that raises fails the job with its reason, as if the process had raised. Dismissed jobs and jobs that
    exceed their time limit are stopped without a further hook.

    Attributes:
        conf: ``lenv``: ``job_id`` and ``usid``, ``process_id`` and ``Identifier``, ``inputs`` as the client sent them,
            each input by its own name as well where nothing else has that name, ``user`` (``issuer``, ``subject``,
            ``name``, ``roles``, ``groups`` and ``claims`` of who submitted the job, verified; None where nobody is
            known), ``access_token`` (theirs, verified; only where a handler needs it and there is one), ``message``
            (what a handler leaves there is the message of the successful job), ``tool_logs``: the folder where external
            tools leave their log files, and ``declared_outputs``: ids of those in the process description. ``main``:
            ``tmpPath``, the scratch folder, ``tmpUrl``, the URL of the result store, and ``resultFolder``, the path
            below it of what the job stores. ``auth_env``: empty.
            ``additional_parameters``: what the handlers' :meth:`get_additional_parameters` gave, once
            :meth:`pre_execution_hook` has run.
        outputs: The requested outputs by id, each with what the request says of it; all that the process declares
            where the request names none.
        options: From the configuration; set before the first hook, but after ``__init__``.
        result_store: Where the outputs are stored, connected with the server's own credentials; set likewise.
        needs_access_token: Whether the user's access token is kept for the job, encrypted, until it ends. The class
            says so, or the handler's entry in the configuration, and then the instance does from its first hook on.
    """

    conf: dict[str, Any]
    outputs: dict[str, Any]
    options: Mapping[str, Any] = MappingProxyType({})
    result_store: ResultStore | None = None
    needs_access_token: bool = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        """
        Put a guard around the class's own hooks of :data:`ONCE`.

        The guard stands in the class itself, and so in the way of every call: by ``super()``, by the name of the class,
        or on the instance.
        """
        super().__init_subclass__(**arguments)
        for name in ONCE:
            if callable(hook := cls.__dict__.get(name)):
                setattr(cls, name, _once(hook))

    @classmethod
    def check_options(cls, options: Mapping[str, Any], yaml_key: str) -> None:
        """
        Called wherever the class is loaded, before there is any job.

        Args:
            options: From the configuration.
            yaml_key: Where they stand, for messages.

        Raises:
            ConfigurationError: They are wrong; the process is then unavailable.
        """

    def pre_execution_hook(self) -> None:
        """Called before the process runs and before its inputs are fetched."""

    def post_execution_hook(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """
        Called when the process has succeeded and its outputs are stored.

        Args:
            log: The text of the job's log so far, a line for each entry.
            output: The outputs by id: the path or URL in the result store of one that stands in a file there, the
                path at which the process left it of a STAC document, the URL of a link, and the value itself of any
                other. A return that is none of the declared outputs has the id ``return``.
            usage_report: ``wall_seconds`` and ``cpu_seconds`` since before :meth:`pre_execution_hook`,
                ``peak_memory_mib``, ``read_bytes`` and ``written_bytes``, with those of child processes that have
                ended. What the system does not tell is left out.
            tool_logs: ``name``, ``path`` and ``text`` of each file in the folder ``conf["lenv"]["tool_logs"]``. The
                file is gone with the job.
        """

    def handle_outputs(
        self,
        log: str,
        output: Mapping[str, Any],
        usage_report: Mapping[str, float],
        tool_logs: list[dict[str, str]],
    ) -> None:
        """Called when every handler's :meth:`post_execution_hook` has run, with the same arguments."""

    def on_failure(self, error: Exception) -> None:
        """
        Called when the process or a hook has failed for good; what it raises is logged, and no more.

        Args:
            error: What was raised. Secrets in its message are masked.
        """

    def setOutput(self, outputName: str, values: MutableMapping[str, Any]) -> None:  # noqa: N802, N803 ZOO's names
        """
        Called for each output before it is stored, with the outputs of the innermost handler first.

        Args:
            outputName: Its id.
            values: ``mediaType``, and one of these: ``stac``, the path of a file that is a STAC document; ``href``, a
                link, or the place where a flow has left the output; ``value``, anything else. What stands there
                after the call is stored, ``href`` before ``stac`` before ``value``.

                Beside ``stac``, ``folder`` is a folder above the document: all its files are stored with it, so that
                relative links hold. ``public_url`` is then the URL at which clients find the files of the result
                store, if they do.
        """

    def place_output(self, output_id: str, values: MutableMapping[str, Any]) -> None:
        """
        Called for each output when :meth:`setOutput` of every handler has run; innermost first.

        Args:
            output_id: Its id.
            values: What is stored, whatever the order of the handlers. One that puts the output elsewhere leaves
                ``href`` instead of what stands there.
        """

    def get_pod_env_vars(self) -> dict[str, Any]:
        """
        Environment variables for the job. Asked before :meth:`pre_execution_hook` has run.

        Returns:
            Values by name; those that are None are left out. They are gone when the job has ended.
        """
        return {}

    def get_pod_node_selector(self) -> dict[str, str]:
        """Labels of the Kubernetes nodes that the job may run on."""
        return {}

    def get_additional_parameters(self) -> dict[str, Any]:
        """What the handler adds to ``conf["additional_parameters"]``. Asked when its own pre hook has run."""
        return {}

    def get_secrets(self) -> Mapping[str, Any]:
        """
        What must not be seen. Asked before and after each hook; so it has to be quick, and must not log.

        Returns:
            Texts, in mappings and lists of any depth; every other kind of value is passed over. Wherever one stands in
            the messages or log lines of the job, the reader gets ``***``.
        """
        return {}


def _once(hook: Callable[..., None]) -> Callable[..., None]:
    @wraps(hook)
    def guarded(self: ExecutionHandler, *arguments: Any, **named: Any) -> None:
        # in the instance's dictionary, for a class may do without this package's __init__
        done: set[Callable[..., None]] = self.__dict__.setdefault("_hooks_done", set())
        if guarded in done:
            return
        # before the call: a hook may reach itself by way of a parent
        done.add(guarded)
        try:
            hook(self, *arguments, **named)
        except BaseException:
            done.discard(guarded)
            raise

    return guarded
