"""
Puts the wrappers on in a Django process before its first request.

Django's views look up pygeoapi's functions before they make the API, which loads the manager. So the first request of
every process would be answered by the functions as they were, redirects and CSRF refusals included. pygeoapi's settings
for Django load the OpenAPI document, which is wrapped as :mod:`generation` wraps the making of it. Like that module
this one is light, and does nothing without Django.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any

from pygeoapi_prefect.ogcapi.generation import hook

LOGGER = logging.getLogger(__name__)


def hook_django_start() -> None:
    """Load the manager at the first request of a process whose settings load the OpenAPI document."""
    hook("load_openapi_document", _awaiting_requests)


def _awaiting_requests(original: Callable[..., Any]) -> Callable[..., Any]:
    def load_openapi_document() -> Any:
        if "django.conf" in sys.modules:
            from django.core.signals import request_started

            # the settings are not whole yet
            request_started.connect(_load_manager, weak=False, dispatch_uid=__name__)
        return original()

    return load_openapi_document


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
