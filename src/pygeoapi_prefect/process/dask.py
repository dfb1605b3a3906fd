"""
Dask clusters that jobs choose by an input.

Imports neither Dask nor Prefect before a cluster is asked for its task runner.
"""

import asyncio
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from pygeoapi_prefect.exceptions import ConfigurationError, InvalidInputsError

if TYPE_CHECKING:
    from prefect_dask import DaskTaskRunner

CONNECT_SECONDS: Final = 10.0
"""A gateway has so long to answer, and then the scheduler once more. Dask's own default is 30 s for each attempt."""

_HOST = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
# no user, query, fragment, escape or dot segment: what is compared with the rules is then what is connected to
ADDRESS: Final = rf"^((tcp|tls)://{_HOST}:[0-9]{{1,5}}|https?://{_HOST}(:[0-9]{{1,5}})?(/{_SEGMENT})*/?)$"
"""Addresses of plain schedulers, and URLs of gateways."""

_MISSING = "Jobs on Dask clusters need more packages. Run `pip install 'pygeoapi-prefect[dask]'`."


class DaskCluster(BaseModel):
    """
    A running Dask cluster, as the type of a flow's parameter: the job's tasks run there.

    ::

        @flow
        def ndvi(scene: str, cluster: DaskCluster | None = None) -> float: ...

    Nothing is connected to unless a rule allows its address: those of ``processor.prefect.dask_addresses`` for a
    parameter of a process's flow, and of :meth:`allowing` everywhere else.

    Attributes:
        address: ``tcp://host:port`` or ``tls://host:port`` of a scheduler, or the ``http(s)://`` URL of a Dask Gateway.
        label: Name of the gateway's cluster; on a plain scheduler the name that it shows for the job's client.
        token: For the gateway: JupyterHub's API token. Plain schedulers know no tokens.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        # instead of the docstring, which is for who writes flows
        json_schema_extra={"description": "A running Dask cluster, on which the tasks of the job run."},
    )

    address: str = Field(
        pattern=ADDRESS,
        description="tcp://host:port or tls://host:port of a scheduler, or the URL of a Dask Gateway.",
    )
    label: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,63}$",
        description="Name of the gateway's cluster. A plain scheduler shows it as the name of its client.",
    )
    token: SecretStr | None = Field(default=None, description="JupyterHub API token for the gateway. Never stored.")

    _rules: tuple[str, ...] = PrivateAttr(default=())

    def allowing(self, rules: Iterable[str]) -> Self:
        """
        The same cluster where connections to addresses of *rules* are allowed.

        Args:
            rules: Addresses; ``*`` stands for any text within a host, a port or a segment of the path.
        """
        allowed = self.model_copy()
        allowed._rules = tuple(rules)
        return allowed

    def task_runner(self) -> "DaskTaskRunner":
        """
        A task runner for a flow, after a connection to the scheduler for a trial.

        The end of the flow, however it ends, closes its connection, and the scheduler then forgets the tasks that
        have not begun. The cluster goes on.

        Raises:
            InvalidInputsError: The address is not allowed, nobody answers there within :data:`CONNECT_SECONDS`, the
                gateway has no such running cluster or refuses the token. Neither address nor token is quoted.
            ConfigurationError: The packages of the extra ``dask`` are not installed.
        """
        self._require_allowed()
        try:
            from prefect_dask import DaskTaskRunner
        except ImportError as error:
            raise ConfigurationError(_MISSING) from error

        # a thread of its own, because the caller may be in an event loop
        with ThreadPoolExecutor(max_workers=1) as thread:
            address, options = thread.submit(asyncio.run, self._reached()).result()
        # an address and options, not a cluster object: Prefect copies the task runner, and a copy loses that
        return DaskTaskRunner(address=address, client_kwargs=options)

    @property
    def _is_gateway(self) -> bool:
        return self.address.startswith("http")

    def _require_allowed(self) -> None:
        if not any(_matches(rule, self.address) for rule in self._rules):
            raise InvalidInputsError(
                f"Jobs may not connect to {self.address}. Add it to processor.prefect.dask_addresses of the process "
                "if they shall.",
                user_msg="this address of a Dask cluster is not allowed.",
            )

    async def _reached(self) -> tuple[str, dict[str, Any]]:
        """Address of a scheduler that has answered, and options of its client."""
        from distributed.security import Security

        address, security = self.address, Security()
        if self._is_gateway:
            if self.label is None:
                raise InvalidInputsError(user_msg="'label' is missing: the name of the gateway's cluster.")
            report = await self._report()
            address, security = report.scheduler_address, report.security
        elif self.token is not None:
            raise InvalidInputsError(user_msg="a plain scheduler takes no token. Leave it out.")
        await _try(address, security)
        return address, {"name": self.label or "pygeoapi", "security": security, "timeout": CONNECT_SECONDS}

    async def _report(self) -> Any:
        """What the gateway says of its cluster."""
        try:
            from aiohttp import ClientError, ClientResponseError
            from dask_gateway import Gateway, GatewayClusterError, GatewayServerError, JupyterHubAuth
        except ImportError as error:
            raise ConfigurationError(_MISSING) from error
        auth = None if self.token is None else JupyterHubAuth(self.token.get_secret_value())
        try:
            async with asyncio.timeout(CONNECT_SECONDS), Gateway(self.address, auth=auth, asynchronous=True) as gateway:
                report = await gateway.get_cluster(self.label)
        except ClientResponseError as error:
            # without its cause, which holds the request's headers, and the token in them
            raise InvalidInputsError(
                f"The Dask Gateway at {self.address} answered {error.status}.",
                user_msg=f"the Dask Gateway refused the request ({error.status}). Check the token.",
            ) from None
        except (ValueError, GatewayClusterError) as error:
            raise self._no_such_cluster() from error
        except (ClientError, GatewayServerError, OSError) as error:
            raise InvalidInputsError(
                f"The Dask Gateway at {self.address} did not answer in {CONNECT_SECONDS:g} s: {error}",
                user_msg=f"no Dask Gateway answers at this address within {CONNECT_SECONDS:g} seconds.",
            ) from error
        if report.status.name != "RUNNING":
            raise self._no_such_cluster()
        return report

    def _no_such_cluster(self) -> InvalidInputsError:
        return InvalidInputsError(
            f"The Dask Gateway at {self.address} runs no cluster {self.label!r}.",
            user_msg="the Dask Gateway runs no cluster of this label.",
        )


async def _try(address: str, security: Any) -> None:
    """Ask a scheduler who it is. Its client would wait without end for a server that never says a word."""
    from distributed import rpc

    scheduler = rpc(address, connection_args=security.get_connection_args("client"))
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await scheduler.identity()
    except Exception as error:  # whatever a server that is no scheduler may answer
        raise InvalidInputsError(
            f"The Dask scheduler at {address} did not answer in {CONNECT_SECONDS:g} s: {error!r}",
            user_msg=f"no Dask scheduler answers at this address within {CONNECT_SECONDS:g} seconds.",
        ) from error
    finally:
        await scheduler.close_rpc()


def _matches(rule: str, address: str) -> bool:
    """Part by part, so that an asterisk never reaches from the host into port or path."""
    ours, theirs = (urlsplit(text.rstrip("/")) for text in (rule, address))
    if ours.scheme != theirs.scheme:
        return False
    # within IPv6 addresses, too, it ends at a colon
    pattern = re.escape(f"{ours.netloc}{ours.path}").replace(r"\*", "[^/:]*")
    return re.fullmatch(pattern, f"{theirs.netloc}{theirs.path}") is not None
