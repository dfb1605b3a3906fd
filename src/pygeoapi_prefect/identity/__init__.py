"""Who sends a request."""

from pygeoapi_prefect.identity.user import User, acting_as, current_user

__all__ = ["User", "acting_as", "current_user"]
