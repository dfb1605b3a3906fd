"""A verified user, and the one whose request is being answered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any


def user_key(issuer: str, subject: str) -> str:
    """Issuer and subject as one text. An issuer is a URI, and so has no blank in it."""
    return f"{issuer} {subject}"


def grantee_of(issuer: str, *, subject: str | None = None, group: str | None = None) -> str:
    """A subject or a group of an issuer as one text. A group of one issuer is not that of another."""
    return f"user {user_key(issuer, subject)}" if subject is not None else f"group {issuer} {group}"


@dataclass(frozen=True, slots=True)
class User:
    """
    Whom a verified token names.

    Attributes:
        issuer: ``iss``: who answers for the subject.
        subject: ``sub``: unique within the issuer, and never used for somebody else. Source: RFC 7519, 4.1.2.
        name: To be shown, such as ``preferred_username``. It may change; nothing is decided by it.
        roles: Given by the issuer.
        groups: Given by the issuer.
        claims: All that the token says, verified.
        is_admin: Whether the configuration lets them see and do everything; not stored with the user.
        token: The token itself; empty where only its user is known. It is neither shown nor stored with the user.
    """

    issuer: str
    subject: str
    name: str
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)
    is_admin: bool = False
    token: str = field(default="", repr=False, compare=False)

    @property
    def key(self) -> str:
        """Issuer and subject as one text: what jobs are owned by."""
        return user_key(self.issuer, self.subject)

    @property
    def grantees(self) -> frozenset[str]:
        """What jobs that the user may read are shared with: the user, and each of the user's groups."""
        # what is not printable, no database takes as a text
        groups = (grantee_of(self.issuer, group=group) for group in self.groups if group.isprintable())
        return frozenset({grantee_of(self.issuer, subject=self.subject), *groups})

    def to_json(self) -> dict[str, Any]:
        """Everything but the token and the administrator's rights."""
        return {
            "issuer": self.issuer,
            "subject": self.subject,
            "name": self.name,
            "roles": sorted(self.roles),
            "groups": sorted(self.groups),
            "claims": dict(self.claims),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "User":
        """The user that :meth:`to_json` gave, without a token."""
        sets = {name: frozenset(values[name]) for name in ("roles", "groups")}
        return cls(**{**values, **sets})


_current: ContextVar[User | None] = ContextVar("user")


def current_user() -> User | None:
    """Whose request is being answered; None: nobody is known."""
    return _current.get(None)


def is_told_users() -> bool:
    """Whether somebody has said who sends the request, be it that nobody is known; else nobody asks."""
    return _current in copy_context()


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Within the block, *user* is the current one."""
    token = _current.set(user)
    try:
        yield
    finally:
        _current.reset(token)
