"""``server.manager.auth``: whose tokens are believed, and what they have to say."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pygeoapi_prefect.settings.section import Section

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"
]
"""Source: RFC 7518, 3.1; RFC 8037, 3.1. ``none`` is not among them."""

ASYMMETRIC: tuple[Algorithm, ...] = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
)  # fmt: skip

NEEDED_CLAIMS = ("iss", "sub", "aud", "exp")
"""What every token must have."""

_Text = Annotated[str, Field(min_length=1)]


class AuthSettings(Section):
    """
    The keys under ``server.manager.auth``.

    Attributes:
        issuer: What ``iss`` must be, to the letter.
        audience: One of them must be in ``aud``.
        jwks_url: Where the issuer's keys are; None: ``jwks_uri`` of its OpenID configuration, unless there is a key.
        key: The issuer's one public key as PEM, or the secret that it shares with this server.
        key_file: A file with that.
        algorithms: Of the signature. ``HS…`` stand alone, and need the secret.
        leeway: Seconds by which the clocks of issuer and server may differ.
        required_claims: Further ones than :data:`NEEDED_CLAIMS`.
        required: Whether requests without a token are refused.
        public_descriptions: Whether processes may be listed and described without a token all the same.
        username_claim: Where the user's name stands: a claim, or a path with dots to one within a claim.
        roles_claim: Where the user's roles stand: a list, or a text with blanks between them.
        groups_claim: Where the user's groups stand.
        admin_roles: Who has one of them sees and may do everything.
        keys_max_age: Seconds after which the issuer is asked for its keys again.
        keys_min_age: Seconds within which the issuer is asked once, whatever tokens come.
        keys_timeout: Seconds that it may take to answer.
    """

    issuer: str = Field(pattern=r"^[!-~]{1,255}$")
    audience: tuple[_Text, ...] = Field(min_length=1)
    jwks_url: str | None = None
    key: _Text | None = Field(default=None, repr=False)
    key_file: Path | None = None
    algorithms: tuple[Algorithm, ...] = Field(default=ASYMMETRIC, min_length=1)
    leeway: float = Field(default=30, ge=0, le=300)
    required_claims: tuple[_Text, ...] = ()
    required: bool = True
    public_descriptions: bool = True
    username_claim: _Text = "preferred_username"
    roles_claim: _Text = "roles"
    groups_claim: _Text = "groups"
    admin_roles: tuple[_Text, ...] = ()
    keys_max_age: float = Field(default=300, ge=1)
    keys_min_age: float = Field(default=10, ge=1)
    keys_timeout: float = Field(default=5, gt=0, le=60)

    @field_validator("audience", mode="before")
    @classmethod
    def _one_or_more(cls, audience: object) -> object:
        return [audience] if isinstance(audience, str) else audience

    @model_validator(mode="after")
    def _has_one_source_of_keys(self) -> Self:
        given = [name for name in ("jwks_url", "key", "key_file") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other")
        if any(name.startswith("HS") for name in self.algorithms):
            if not all(name.startswith("HS") for name in self.algorithms):
                raise ValueError("algorithms: HS… and others exclude each other: a public key is no secret")
            if given not in (["key"], ["key_file"]):
                raise ValueError("algorithms: HS… need the shared secret in key or key_file")
        if not self.has_fixed_key:
            name = "jwks_url" if self.jwks_url else "issuer"
            address = urlsplit(self.jwks_url or self.issuer)
            if address.scheme not in ("http", "https") or not address.hostname:
                raise ValueError(f"{name} must be an address, https://…, where its keys are asked for")
        return self

    @property
    def has_fixed_key(self) -> bool:
        """Whether the issuer's key stands in the configuration, and is not asked for."""
        return self.key is not None or self.key_file is not None
