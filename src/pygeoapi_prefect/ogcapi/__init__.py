"""
What pygeoapi leaves out, added from outside while the manager is loaded.

pygeoapi's Flask, Starlette and Django fronts look up the functions of ``pygeoapi.api.processes`` and
``API.get_exception`` at request time; :func:`install` wraps them. A wrapper works only for requests to an API whose
manager is ours, and ``server.manager.ogc_compliance: false`` leaves them all out. Each names the stock behaviour that
it mends, and has a test of that behaviour, so that the day it is mended upstream is noticed.

===============  ======================================================================="""

from pygeoapi_prefect.ogcapi.wrapping import install, uninstall

__all__ = ["install", "uninstall"]
