"""
What pygeoapi leaves out, added from outside while the manager is loaded.

pygeoapi's Flask, Starlette and Django fronts look up the functions of ``pygeoapi.api.processes`` and
``API.get_exception`` at request time; :func:`install` wraps them. A wrapper works only for requests to an API whose
manager is ours, and ``server.manager.ogc_compliance: false`` leaves them all out. Each names the stock behaviour that
it mends, and has a test of that behaviour, so that the day it is mended upstream is noticed.

==================  ===========================================================================================
module              holds
==================  ===========================================================================================
``wrapping``        which functions are wrapped, and how
``fronts``          the pages of pygeoapi's Flask, Starlette and Django fronts
``django_start``    puts the wrappers on before the first request of a Django process
``embedding``       an ASGI application for users to mount
``boundary``        every error becomes a problem document, never an HTML traceback
``authentication``  who sends a request
``preferences``     the request header ``Prefer`` (RFC 7240)
``paging``          pages of a list
``processes``       the list of processes, the description of one
``execution``       execute requests
``jobs``            the list of jobs, the status of one, its dismissal
``results``         the results of a job
``conformance``     the conformance classes
``openapi``         paths of the OpenAPI document; also ``openapi_schema``, ``openapi_security``, ``generation``
==================  ===========================================================================================
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pygeoapi_prefect.ogcapi.boundary import WrappedManager

__all__ = ["install", "uninstall"]


def install(manager: "WrappedManager", *, wholly: bool = False) -> None:
    """See :func:`pygeoapi_prefect.ogcapi.wrapping.install`."""
    # imported here: pygeoapi imports this package with our commands, before it is there itself
    from pygeoapi_prefect.ogcapi import wrapping

    wrapping.install(manager, wholly=wholly)


def uninstall() -> None:
    """See :func:`pygeoapi_prefect.ogcapi.wrapping.uninstall`."""
    from pygeoapi_prefect.ogcapi import wrapping

    wrapping.uninstall()
