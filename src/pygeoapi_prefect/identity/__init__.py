"""Who sends a request."""

from typing import TYPE_CHECKING

from pygeoapi_prefect.identity.user import User, acting_as, current_user, grantee_of, is_told_users
from pygeoapi_prefect.settings import AuthSettings

if TYPE_CHECKING:
    from pygeoapi_prefect.identity.tokens import TokenVerifier

__all__ = ["User", "acting_as", "current_user", "grantee_of", "is_told_users", "verifier_of"]


def verifier_of(settings: AuthSettings | None) -> "TokenVerifier | None":
    """
    What verifies tokens; None where nobody is asked for one.

    Raises:
        ConfigurationError: The key of the configuration cannot be used.
    """
    if settings is None:
        return None
    # cryptography is paid for by those who use it
    from pygeoapi_prefect.identity.tokens import TokenVerifier

    return TokenVerifier(settings)
