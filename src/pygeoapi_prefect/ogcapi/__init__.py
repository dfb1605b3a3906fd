"""
What pygeoapi leaves out, added from outside while the manager is loaded.

pygeoapi's Flask, Starlette and Django fronts look up the functions of ``pygeoapi.api.processes`` and
``API.get_exception`` at request time; :func:`install` wraps them. A wrapper works only for requests to an API whose
manager is ours, and ``server.manager.ogc_compliance: false`` leaves them all out. Each names the stock behaviour that
it mends, and has a test of that behaviour, so that the day it is mended upstream is noticed.

===============  ==============================================================================
module           holds
===============  ==============================================================================
``wrapping``     which functions are wrapped, and how
``boundary``     every error becomes a problem document, never an HTML traceback
``preferences``  the request header ``Prefer`` (RFC 7240)
``paging``       pages of a list
``processes``    the list of processes, the description of one
``execution``    execute requests
``jobs``         the list of jobs, the status of one, its dismissal
``results``      the results of a job
===============  ==============================================================================
"""

from pygeoapi_prefect.ogcapi.wrapping import install, uninstall

__all__ = ["install", "uninstall"]
