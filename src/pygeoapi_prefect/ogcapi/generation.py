"""
Lets ``pygeoapi openapi generate`` describe processes and jobs whole.

When pygeoapi asks the manager, half of its document is made already, and a part has no way to add components. So its
``get_oas_30`` is wrapped before: pygeoapi imports the commands of plugins whenever it is imported, and these import
this module. It is light and does nothing until the configuration turns out to have our manager.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

_OPENAPI = "pygeoapi.openapi"
_WRAPPING = "pygeoapi_prefect.ogcapi.wrapping"
_WRAPPED = "_pygeoapi_prefect_wrapped"


def hook(name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """
    Wrap a function of ``pygeoapi.openapi`` once, if pygeoapi is imported.

    Args:
        name: Of the function.
        around: Makes the wrapper of the original.
    """
    module: Any = sys.modules.get(_OPENAPI)
    original = getattr(module, name, None)
    if original is None or hasattr(original, _WRAPPED):
        return
    wrapped = functools.wraps(original)(around(original))
    setattr(wrapped, _WRAPPED, original)
    setattr(module, name, wrapped)


def hook_generation() -> None:
    """Describe processes and jobs whole where ``pygeoapi.openapi.get_oas_30`` makes the document."""
    hook("get_oas_30", _completing)


def _completing(original: Callable[..., Any]) -> Callable[..., Any]:
    def get_oas_30(cfg: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        document: dict[str, Any] = original(cfg, *args, **kwargs)
        # the original has loaded the manager, which has loaded the wrappers
        wrapping: Any = sys.modules.get(_WRAPPING)
        if wrapping is not None and wrapping.is_installed_for((cfg["server"].get("manager") or {}).get("name", "")):
            from pygeoapi import l10n
            from pygeoapi.process.manager.base import get_manager

            from pygeoapi_prefect.ogcapi.openapi import complete, process_path
            from pygeoapi_prefect.ogcapi.openapi_security import secure, sign_links

            manager = get_manager(cfg)
            settings = manager.settings
            limits_users = settings.max_waiting_per_user is not None
            complete(document, manager, l10n.get_locales(cfg)[0], limits_users=limits_users)
            if settings.auth is not None:
                restricted = {process_path(one) for one, process in settings.processes.items() if process.roles}
                secure(document, settings.auth, restricted)
            if settings.link_secret is not None:
                sign_links(document)
        return document

    return get_oas_30
