"""
Puts the wrappers on in a Django process before its first request.

Django's views look up pygeoapi's functions before they make the API, which loads the manager. So the first request of
every process would be answered by the functions as they were, redirects and CSRF refusals included. pygeoapi's settings
for Django load the OpenAPI document, which is wrapped as :mod:`generation` wraps the making of it. Like that module
this one is light, and does nothing without Django.
"""

import functools
import logging
import sys
from typing import Any

LOGGER = logging.getLogger(__name__)

_OPENAPI = "pygeoapi.openapi"
_WRAPPED = "_pygeoapi_prefect_wrapped"


def hook_django_start() -> None:
    """Wrap ``pygeoapi.openapi.load_openapi_document`` once, if pygeoapi is imported."""
    module: Any = sys.modules.get(_OPENAPI)
    original = getattr(module, "load_openapi_document", None)
    if original is None or hasattr(original, _WRAPPED):
        return

    @functools.wraps(original)
    def load_openapi_document() -> Any:
        if "django.conf" in sys.modules:
            from django.core.signals import request_started

            # the settings are not whole yet
            request_started.connect(_load_manager, weak=False, dispatch_uid=__name__)
        return original()

    setattr(load_openapi_document, _WRAPPED, original)
    module.load_openapi_document = load_openapi_document


def _load_manager(**_: Any) -> None:
    from django.conf import settings
    from django.core.signals import request_started
    from pygeoapi.process.manager.base import get_manager

    try:
        config = getattr(settings, "PYGEOAPI_CONFIG", None)
        if config is not None:
            # a manager of ours puts the wrappers on when it is made
            get_manager(config)
    except Exception:
        # the same error answers the requests
        LOGGER.exception("manager cannot be loaded", extra={"action": "start"})
    finally:
        # not before: a request in another thread must not overtake this one
        request_started.disconnect(dispatch_uid=__name__)
