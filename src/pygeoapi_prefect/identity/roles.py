"""Who may execute a process."""

from collections.abc import Collection

from pygeoapi_prefect.exceptions import AuthenticationError, AuthorizationError
from pygeoapi_prefect.identity.user import User


def require_role(user: User | None, roles: Collection[str], process_id: str) -> None:
    """
    Refuse who has none of the roles. Administrators may do everything.

    Args:
        user: Who wants to execute the process; None: nobody is known.
        roles: Those that may; none: everybody may.
        process_id: For the messages.

    Raises:
        AuthenticationError: Nobody is known.
        AuthorizationError: The user is, and has none of the roles.
    """
    if not roles:
        return
    if user is None:
        raise AuthenticationError(f"Process {process_id!r} needs one of the roles {sorted(roles)}, and nobody is known")
    if not user.is_admin and user.roles.isdisjoint(roles):
        raise AuthorizationError(
            f"Process {process_id!r} needs one of the roles {sorted(roles)}, and {user.key!r} has none of them",
            user_msg="You have no role that may execute this process.",
        )
