"""pygeoapi's admin API (``server.admin``), which shows and replaces the whole configuration."""

from collections.abc import Callable
from typing import Any

from pygeoapi.api import API, APIRequest

from pygeoapi_prefect.exceptions import AuthenticationError, AuthorizationError
from pygeoapi_prefect.identity import current_user
from pygeoapi_prefect.ogcapi.boundary import Answer, within_boundary


@within_boundary
def for_administrators(original: Callable[..., Answer], api: API, request: APIRequest, *resource_id: Any) -> Answer:
    """
    Mends: stock asks nobody who they are. What it shows has the passwords that stand in the configuration, and whoever
    writes it chooses which code runs and who is believed.

    Where there is no authentication it stays as it is.
    """
    if api.manager.verifier is not None:
        user = current_user()
        if user is None:
            raise AuthenticationError("The admin API needs one of server.manager.auth.admin_roles")
        if not user.is_admin:
            raise AuthorizationError(f"The admin API needs one of server.manager.auth.admin_roles, not {user.key!r}")
    return original(api, request, *resource_id)
