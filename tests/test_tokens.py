"""Laws of tokens: which are believed, and that no made-up one is; keys that rotate, and an issuer that is away."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from oidc_issuer import KINDS, Issuer, issuing, public_jwk
from pygeoapi_prefect.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConfigurationError,
    IdentityProviderUnavailableError,
    TokenRefusedError,
)
from pygeoapi_prefect.identity import User, verifier_of
from pygeoapi_prefect.identity.keys import MAX_DOCUMENT_BYTES
from pygeoapi_prefect.identity.roles import require_role
from pygeoapi_prefect.identity.tokens import MAX_TOKEN_CHARACTERS, TokenVerifier
from pygeoapi_prefect.settings import AuthSettings, ManagerSettings
from web_server import answering

ADDRESS = "https://issuer.example.org"
SECRET = "a secret of thirty-two bytes, or more"
CANNOT = "The token cannot be verified."


class Clock:
    """Seconds, as a test has them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer that nobody has asked yet."""
    with issuing() as one:
        yield one


@pytest.fixture(scope="module")
def seen_issuer() -> Iterator[Issuer]:
    """One for the tests that leave it as it is."""
    with issuing() as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    """The age of keys."""
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> TokenVerifier:
    """Believes the issuer."""
    return TokenVerifier(settings(issuer), clock)


def settings(issuer: Issuer, **keys: Any) -> AuthSettings:
    return AuthSettings.parse(issuer.auth(**keys), "server.manager.auth")


def made(issuer: Issuer, /, **keys: Any) -> TokenVerifier:
    """A verifier as the manager makes it."""
    found = verifier_of(AuthSettings.parse(issuer.auth() | keys, "server.manager.auth"))
    assert found is not None
    return found


def pem(issuer: Issuer) -> str:
    public: bytes = issuer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def part(value: Any) -> str:
    """A part of a token."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_secret(header: dict[str, Any], payload: Any, secret: bytes) -> str:
    """A token with a HMAC that no library makes."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


# ---------------------------------------------------------------- good tokens


@pytest.mark.parametrize("algorithm", list(KINDS))
def test_a_good_token_names_its_user(algorithm: str) -> None:
    """Whatever algorithm the issuer signs with: the user is who the claims say, and the token goes with them."""
    with issuing(algorithm) as issuer:
        token = issuer.token("ada", preferred_username="Ada", roles=["a", "b"], groups=["/g"])
        user = made(issuer, admin_roles=["b"]).user(token)
    assert (user.issuer, user.subject, user.name) == (issuer.url, "ada", "Ada")
    assert (user.roles, user.groups, user.is_admin, user.token) == ({"a", "b"}, {"/g"}, True, token)
    assert user.claims["sub"] == "ada"


@pytest.mark.parametrize(
    ("keys", "claims", "expected"),
    [
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["a"]}}, {"a"}),
        ({"roles_claim": "https://x.org/roles"}, {"https://x.org/roles": ["a"]}, {"a"}),
        ({"roles_claim": "scope"}, {"scope": "read write"}, {"read", "write"}),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": ["roles"]}, set()),
        ({}, {"roles": {"a": 1}}, set()),
        ({}, {"roles": ["a", 1, None, ["b"]]}, {"a"}),
        ({}, {}, set()),
    ],
)
def test_roles_are_found_where_the_configuration_says(issuer, keys, claims, expected):
    """Within a claim, in one with dots, in a text with blanks; what is no text is no role."""
    user = made(issuer, **keys).user(issuer.token(**claims))
    assert user.roles == expected
    assert user.is_admin is False


@pytest.mark.parametrize("name", [None, 5, "", "a\nb", "x" * 300])
def test_the_name_is_the_subject_where_there_is_none(issuer, name):
    """A name that cannot be shown is none."""
    assert made(issuer).user(issuer.token("ada", preferred_username=name)).name == "ada"


@pytest.mark.parametrize("claims", [{"aud": ["other", "https://pygeoapi.example.org"]}, {"sub": "x" * 255}])
def test_what_a_token_may_be(issuer, claims):
    """For several servers; of a subject as long as there are."""
    user = made(issuer).user(issuer.token(**claims))
    assert len(user.key) <= 512


def test_clocks_may_differ_by_the_leeway(issuer):
    """A token that ended or begins within it is taken, with less leeway it is not."""
    now = int(time.time())
    for claims in ({"exp": now - 100}, {"nbf": now + 100}, {"iat": now + 100}):
        assert made(issuer, leeway=300).user(issuer.token(**claims)).subject == "ada"
        with pytest.raises(TokenRefusedError):
            made(issuer, leeway=0).user(issuer.token(**claims))


def test_a_token_is_never_shown(issuer, caplog):
    """Neither by the user's text nor by the message of a refusal."""
    token = issuer.token()
    user = made(issuer).user(token)
    assert token not in repr(user)
    assert token not in json.dumps(user.to_json())
    with pytest.raises(TokenRefusedError) as refused:
        made(issuer).user(f"{token}x")
    assert token[:20] not in f"{refused.value} {caplog.text}"


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", None])
def test_a_token_is_one_for_access(issuer, kind):
    """As RFC 9068 marks them, or as all were before."""
    assert made(issuer).user(issuer.sign(issuer.claims(), typ=kind)).subject == "ada"


# ---------------------------------------------------------------- bad tokens

Attack = Callable[[Issuer], str]


def other_key(issuer: Issuer, **header: Any) -> str:
    """A token that an attacker signed with a key of their own."""
    return jwt.encode(issuer.claims(), KINDS["ES256"](), "ES256", {"kid": issuer.key_id, **header})


def own_jwk(issuer: Issuer) -> str:
    private = KINDS["ES256"]()
    header = {"kid": issuer.key_id, "jwk": public_jwk(private, "ES256")}
    return jwt.encode(issuer.claims(), private, "ES256", header)


def swapped(issuer: Issuer) -> str:
    """The signature of another payload."""
    header, _, signature = issuer.token().split(".")
    return f"{header}.{part(issuer.claims('admin'))}.{signature}"


def header_of(issuer: Issuer, **members: Any) -> dict[str, Any]:
    return {"alg": issuer.algorithm, "kid": issuer.key_id, "typ": "JWT", **members}


ATTACKS: dict[str, Attack] = {
    "no token": lambda issuer: "",
    "dots": lambda issuer: "..",
    "two parts": lambda issuer: issuer.token().rpartition(".")[0],
    "five parts, as encrypted ones have": lambda issuer: f"{issuer.token()}.x.y",
    "no base64": lambda issuer: "a!.b!.c!",
    "not ASCII": lambda issuer: f"{issuer.token()}ä",
    "half a character": lambda issuer: f"{issuer.token()}\ud800",
    "header is no JSON": lambda issuer: f"{part(b'{')}.{part({})}.x",
    "header is a list": lambda issuer: f"{part([])}.{part({})}.x",
    "header of many brackets": lambda issuer: f"{part(b'[' * 5000)}.{part({})}.x",
    "header of many digits": lambda issuer: f"{part(b'9' * 6000)}.{part({})}.x",
    "alg none": lambda issuer: f"{part(header_of(issuer, alg='none'))}.{part(issuer.claims())}.",
    "alg None": lambda issuer: f"{part(header_of(issuer, alg='None'))}.{part(issuer.claims())}.",
    "alg none with a signature": lambda issuer: by_secret(header_of(issuer, alg="none"), issuer.claims(), b"x"),
    "no alg": lambda issuer: f"{part({'kid': issuer.key_id})}.{part(issuer.claims())}.x",
    "alg a list": lambda issuer: f"{part(header_of(issuer, alg=['ES256']))}.{part(issuer.claims())}.x",
    "alg of another curve": lambda issuer: f"{part(header_of(issuer, alg='ES384'))}.{part(issuer.claims())}.x",
    "alg RS256 for the other key": lambda issuer: f"{part(header_of(issuer, alg='RS256'))}.{part(issuer.claims())}.x",
    "the public key as a secret": lambda issuer: by_secret(
        header_of(issuer, alg="HS256"), issuer.claims(), pem(issuer).encode()
    ),
    "the public key as a secret, bare": lambda issuer: by_secret(
        header_of(issuer, alg="HS256"), issuer.claims(), pem(issuer).strip().encode()
    ),
    "no secret at all": lambda issuer: by_secret(header_of(issuer, alg="HS256"), issuer.claims(), b""),
    "made for a logout": lambda issuer: issuer.sign(issuer.claims(), typ="logout+jwt"),
    "of many types": lambda issuer: issuer.sign(issuer.claims(), typ=["JWT"]),
    "no signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "another payload": swapped,
    "another key under the same kid": other_key,
    "a key that the token brings": own_jwk,
    "a key that the token links to": lambda issuer: other_key(issuer, jku=f"{issuer.url}/stolen"),
    "a certificate that it links to": lambda issuer: other_key(issuer, x5u=f"{issuer.url}/stolen", x5c=["AAAA"]),
    "an extension that nobody knows": lambda issuer: issuer.sign(issuer.claims(), crit=["new\n" * 200]),
    "crit of nothing": lambda issuer: issuer.sign(issuer.claims(), crit=[]),
    "payload is a list": lambda issuer: issuer.sign([]),
    "payload is a token": lambda issuer: issuer.sign(issuer.token().encode(), cty="JWT"),
    "payload of many brackets": lambda issuer: issuer.sign(b"[" * 5000),
    "payload of many digits": lambda issuer: issuer.sign(b'{"exp": ' + b"9" * 6000 + b"}"),
    "endless exp": lambda issuer: issuer.token(exp=float("inf")),
    "exp that is no number": lambda issuer: issuer.token(exp=float("nan")),
    "exp in words": lambda issuer: issuer.token(exp="tomorrow"),
    "iat in words": lambda issuer: issuer.token(iat="yesterday"),
    "nbf a list": lambda issuer: issuer.token(nbf=[1]),
    "too long": lambda issuer: issuer.token(more="x" * MAX_TOKEN_CHARACTERS),
    **{
        f"sub {subject!r:.20}": lambda issuer, subject=subject: issuer.token(subject)
        for subject in (5, ["ada"], {"a": 1}, True, "", " \n", "a\x00", "\ud800", "x" * 256)
    },
}

FOREIGN_KEY_IDS = ("", "../../../../etc/passwd", "x' UNION SELECT 'k", "a\x00b", "\n", "x" * 5000)


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("is_fixed", [False, True], ids=["published", "configured"])
def test_a_made_up_token_is_refused(seen_issuer, name, is_fixed):
    """Whoever knows all that is public makes no token, and learns nothing of why it was refused."""
    issuer = seen_issuer
    verifier = made(issuer, key=pem(issuer)) if is_fixed else made(issuer)
    with pytest.raises(TokenRefusedError) as refused:
        verifier.user(ATTACKS[name](issuer))
    assert refused.value.client_message == CANNOT
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400
    assert set(issuer.requests) <= {"/.well-known/openid-configuration", "/keys"}


@pytest.mark.parametrize("key_id", [*FOREIGN_KEY_IDS, None, 5, ["key-1"]], ids=lambda one: f"{one!r:.20}")
def test_a_key_is_only_a_name(verifier, issuer, key_id):
    """The id of a key is looked up among the issuer's and nowhere else, whatever it looks like."""
    header = header_of(issuer, kid=key_id) if key_id is not None else {"alg": issuer.algorithm}
    token = f"{part(header)}.{part(issuer.claims())}.{issuer.token().rpartition('.')[2]}"
    with pytest.raises(TokenRefusedError) as refused:
        verifier.user(token)
    assert refused.value.client_message == CANNOT


@pytest.mark.parametrize(
    ("claims", "keys", "told"),
    [
        ({"exp": 1}, {}, "The token has expired."),
        ({"nbf": 2**40}, {}, "The token is not valid yet."),
        ({"iat": 2**40}, {}, "The token is not valid yet."),
        ({"aud": "https://other.example.org"}, {}, "The token is not for this server."),
        ({"aud": "https://pygeoapi.example.org.evil"}, {}, "The token is not for this server."),
        ({"aud": {"https://pygeoapi.example.org": 1}}, {}, "The token is not for this server."),
        ({"iss": "https://evil.example.org"}, {}, "The token is of an issuer that this server does not know."),
        ({"iss": ["https://evil.example.org"]}, {}, "The token is of an issuer that this server does not know."),
        ({"iss": None}, {}, "The token lacks a claim that this server needs."),
        ({"aud": None}, {}, "The token lacks a claim that this server needs."),
        ({"exp": None}, {}, "The token lacks a claim that this server needs."),
        ({"sub": None}, {}, "The token lacks a claim that this server needs."),
        ({}, {"required_claims": ["scope"]}, "The token lacks a claim that this server needs."),
    ],
)
def test_a_refusal_says_what_its_holder_can_mend(issuer, claims, keys, told):
    """Where the signature is the issuer's: it is old, early, for somebody else, or lacks something."""
    payload = {name: value for name, value in (issuer.claims() | claims).items() if value is not None}
    with pytest.raises(TokenRefusedError) as refused:
        made(issuer, **keys).user(issuer.sign(payload))
    assert refused.value.client_message == told
    assert refused.value.challenge.endswith(f'error="invalid_token", error_description="{told}"')


def test_claims_are_not_told_of_unverified_tokens(issuer):
    """An attacker does not learn which audience or issuer would be taken."""
    forged = jwt.encode(issuer.claims(aud="x", exp=1), KINDS["ES256"](), "ES256", {"kid": issuer.key_id})
    with pytest.raises(TokenRefusedError) as refused:
        made(issuer).user(forged)
    assert refused.value.client_message == CANNOT


# ---------------------------------------------------------------- keys that rotate, and an issuer that is away


def test_a_new_key_is_asked_for_and_an_old_one_forgotten(verifier, issuer, clock):
    """With the first token of the new key; tokens of the old one are refused from then on."""
    old = issuer.token()
    assert verifier.user(old).subject == "ada"
    issuer.rotate("RS256")
    clock.now += 11
    assert verifier.user(issuer.token("eve")).subject == "eve"
    with pytest.raises(TokenRefusedError):
        verifier.user(old)


def test_a_revoked_key_is_forgotten_without_a_new_one(verifier, issuer, clock):
    """Keys are asked for again when they are old, though no token names an unknown one."""
    first = issuer.token()
    issuer.rotate(keep=True)
    assert verifier.user(first).subject == "ada"
    issuer.published = issuer.published[1:]
    clock.now += 299
    assert verifier.user(first).subject == "ada"
    clock.now += 2
    with pytest.raises(TokenRefusedError):
        verifier.user(first)


def test_made_up_keys_do_not_make_the_server_ask(verifier, issuer, clock):
    """However many they are, the issuer is asked once in the time that the configuration says."""
    verifier.user(issuer.token())
    for number in range(40):
        clock.now += 0.5
        with pytest.raises(TokenRefusedError):
            verifier.user(other_key(issuer, kid=f"made-up-{number}"))
    assert issuer.requests.count("/keys") == 3  # at 0, 10 and 20 seconds


def test_known_keys_hold_while_the_issuer_is_away(verifier, issuer, clock):
    """However long; tokens of unknown keys are no refusal but an outage, and are taken once it is back."""
    known = issuer.token()
    verifier.user(known)
    issuer.stop()
    issuer.rotate(keep=True)
    unknown = issuer.token("eve")
    clock.now += 10 * 365 * 24 * 3600
    assert verifier.user(known).subject == "ada"
    for _ in range(2):
        with pytest.raises(IdentityProviderUnavailableError):
            verifier.user(unknown)
        clock.now += 11
    issuer.start()
    assert verifier.user(unknown).subject == "eve"


def test_without_any_key_nothing_is_believed(issuer, clock):
    """A server that starts while the issuer is away refuses everybody until it is there."""
    verifier = TokenVerifier(settings(issuer), clock)
    issuer.stop()
    with pytest.raises(IdentityProviderUnavailableError):
        verifier.user(issuer.token())
    issuer.start()
    with pytest.raises(IdentityProviderUnavailableError):
        verifier.user(issuer.token())
    clock.now += 11
    assert verifier.user(issuer.token()).subject == "ada"


CONFIGURATION = "/.well-known/openid-configuration"

WRONG_ANSWERS: dict[str, Callable[[Issuer], dict[str, Any]]] = {
    "no JSON": lambda issuer: {"/keys": b"<html>"},
    "a list": lambda issuer: {"/keys": []},
    "nothing": lambda issuer: {"/keys": b""},
    "no keys": lambda issuer: {"/keys": {"keys": []}},
    "keys that are none": lambda issuer: {"/keys": {"keys": ["x", 5, {"kty": "EC"}, {"kty": ["EC"]}]}},
    "an alg that is none": lambda issuer: {"/keys": {"keys": [issuer.published[0] | {"alg": ["ES256"]}]}},
    "a secret": lambda issuer: {"/keys": {"keys": [{"kty": "oct", "k": part(b"x" * 32), "kid": issuer.key_id}]}},
    "a key without a kid": lambda issuer: {"/keys": {"keys": [issuer.published[0] | {"kid": None}]}},
    "a key for encryption": lambda issuer: {"/keys": {"keys": [issuer.published[0] | {"use": "enc"}]}},
    "too much": lambda issuer: {
        "/keys": b" " * (MAX_DOCUMENT_BYTES + 1) + json.dumps(issuer._document("/keys")).encode()
    },
    "another address": lambda issuer: {"/keys": f"{issuer.url}/elsewhere", "/elsewhere": issuer._document("/keys")},
    "no configuration": lambda issuer: {CONFIGURATION: None},
    "another issuer's": lambda issuer: {CONFIGURATION: issuer._document(CONFIGURATION) | {"issuer": ADDRESS}},
    "keys in a file": lambda issuer: {
        CONFIGURATION: issuer._document(CONFIGURATION) | {"jwks_uri": "file:///etc/keys"}
    },
    "keys nowhere": lambda issuer: {CONFIGURATION: {"issuer": issuer.url}},
}


@pytest.mark.parametrize("name", list(WRONG_ANSWERS))
def test_a_wrong_answer_of_the_issuer_is_none(issuer, clock, name):
    """It is as if the issuer were away: nothing new is believed, and what is known holds."""
    known = issuer.token()
    verifier = TokenVerifier(settings(issuer), clock)
    new = TokenVerifier(settings(issuer), clock)
    verifier.user(known)
    issuer.documents = WRONG_ANSWERS[name](issuer)
    clock.now += 1000
    assert verifier.user(known).subject == "ada"
    with pytest.raises(IdentityProviderUnavailableError):
        new.user(known)


def test_nobody_else_waits_for_a_slow_issuer(verifier, issuer, clock):
    """While one request asks for keys, those of known keys are answered, also when these are old."""
    known = issuer.token()
    verifier.user(known)
    clock.now += 1000
    asked, answering = threading.Event(), threading.Event()
    document = issuer._document("/keys")

    def held(path: str) -> Any:
        asked.set()
        assert answering.wait(30)
        return document if path == "/keys" else {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}

    issuer._document = held  # type: ignore[method-assign]
    waiting = threading.Thread(target=verifier.user, args=(known,))
    waiting.start()
    assert asked.wait(30)
    assert verifier.user(known).subject == "ada"
    assert waiting.is_alive()
    answering.set()
    waiting.join(30)


def test_an_issuer_that_never_ends_its_answer_is_away(issuer):
    """The whole answer has a time, not only each piece."""

    def drip(send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(3000):
            send(b" ")
            time.sleep(0.01)

    with answering(drip) as endless:
        with pytest.raises(IdentityProviderUnavailableError):
            made(issuer, jwks_url=endless.url, keys_timeout=0.2).user(issuer.token())
        assert endless.is_left.wait(30)


def test_an_issuer_that_does_not_begin_its_answer_is_away(issuer):
    """The connection alone is none."""
    issuer.delay = 30
    with pytest.raises(IdentityProviderUnavailableError):
        made(issuer, keys_timeout=0.2).user(issuer.token())


def test_a_published_key_must_be_strong(issuer):
    """Tokens of one that can be broken are refused, whoever signed them."""
    issuer.algorithm, issuer.private = "RS256", rsa.generate_private_key(65537, 1024)
    issuer.published = [public_jwk(issuer.private, "RS256", kid=issuer.key_id)]
    signed = f"{part(header_of(issuer))}.{part(issuer.claims())}"
    signature = issuer.private.sign(signed.encode(), PKCS1v15(), SHA256())
    with pytest.raises(TokenRefusedError, match="InvalidKeyError"):
        made(issuer).user(f"{signed}.{part(signature)}")


def test_keys_may_stand_elsewhere_than_the_issuer_says(issuer):
    """With an address of keys no configuration of the issuer is asked for."""
    assert made(issuer, jwks_url=f"{issuer.url}/keys").user(issuer.token()).subject == "ada"
    assert issuer.requests == ["/keys"]


# ---------------------------------------------------------------- keys of the configuration


def test_a_public_key_needs_nobody(issuer, tmp_path):
    """In line or in a file; the issuer may be no address."""
    issuer.stop()
    (tmp_path / "key.pem").write_text(pem(issuer))
    for keys in ({"key": pem(issuer)}, {"key_file": str(tmp_path / "key.pem")}):
        verifier = made(issuer, issuer="portal", **keys)
        assert verifier.user(issuer.token(iss="portal")).key == "portal ada"
    assert issuer.requests == []


def test_a_secret_works_where_it_is_named(issuer, tmp_path):
    """``HS256`` in so many words, from a file; a token of another secret is refused."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    verifier = made(issuer, algorithms=["HS256"], key_file=str(tmp_path / "secret"))
    assert verifier.user(jwt.encode(issuer.claims(), SECRET, "HS256")).subject == "ada"
    with pytest.raises(TokenRefusedError):
        verifier.user(jwt.encode(issuer.claims(), f"{SECRET}!", "HS256"))


def private_pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert load_pem_private_key(text, None) is not None
    return text.decode()


def public_pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


ES256 = KINDS["ES256"]()

REFUSED_KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"key": "no-key"}, "key fits none of the algorithms: RS256"),
    "a private key": ({"key": private_pem(ES256)}, "key is a private key"),
    "a key for others": ({"key": public_pem(ES256), "algorithms": ["RS256"]}, "key fits none of the algorithms: RS256"),
    "a weak key": (
        {"key": public_pem(rsa.generate_private_key(65537, 1024))},
        "key fits none of the algorithms: RS256",
    ),
    "a short secret": ({"key": "short", "algorithms": ["HS256"]}, "key fits none of the algorithms: HS256"),
    "a public key as secret": (
        {"key": public_pem(ES256), "algorithms": ["HS256"]},
        "key fits none of the algorithms: HS256",
    ),
    "no file": ({"key_file": "/nowhere/key.pem"}, "key_file cannot be read"),
}


@pytest.mark.parametrize("name", list(REFUSED_KEYS))
def test_a_key_that_cannot_be_used_stops_the_start(name):
    """The message names the YAML key, and never has the key itself."""
    keys, complaint = REFUSED_KEYS[name]
    parsed = AuthSettings.parse({"issuer": "portal", "audience": "pygeoapi", **keys}, "server.manager.auth")
    assert keys.get("key", "no key") not in repr(parsed)
    with pytest.raises(ConfigurationError) as refused:
        verifier_of(parsed)
    assert str(refused.value).startswith(f"server.manager.auth.{complaint}")
    assert "BEGIN" not in str(refused.value)


# ---------------------------------------------------------------- the configuration

REFUSED_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "no audience": ({"audience": None}, ".audience: "),
    "empty audience": ({"audience": []}, ".audience: "),
    "no issuer": ({"issuer": None}, ".issuer: "),
    "issuer with a blank": ({"issuer": "https://a b"}, ".issuer: "),
    "issuer too long": ({"issuer": f"https://{'x' * 255}"}, ".issuer: "),
    "issuer that cannot be asked": ({"issuer": "portal"}, ": Value error, issuer must be an address"),
    "keys in a file": ({"jwks_url": "file:///keys"}, ": Value error, jwks_url must be an address"),
    "two sources": ({"jwks_url": ADDRESS, "key": "x"}, ": Value error, jwks_url and key exclude each other"),
    "alg none": ({"algorithms": ["none"]}, ".algorithms.0: "),
    "no alg": ({"algorithms": []}, ".algorithms: "),
    "both kinds": (
        {"algorithms": ["HS256", "RS256"], "key": SECRET},
        ": Value error, algorithms: HS… and others exclude each other",
    ),
    "a secret that is published": ({"algorithms": ["HS256"]}, ": Value error, algorithms: HS… need the shared secret"),
    "typo": ({"isuer": "x"}, ".isuer is not known; did you mean 'issuer'?"),
    "much leeway": ({"leeway": 3600}, ".leeway: "),
}


@pytest.mark.parametrize("name", list(REFUSED_SETTINGS))
def test_what_would_not_be_safe_is_refused(make_settings: Callable[..., ManagerSettings], name: str) -> None:
    """At start, with the YAML key."""
    keys, complaint = REFUSED_SETTINGS[name]
    auth = {key: value for key, value in ({"issuer": ADDRESS, "audience": "x"} | keys).items() if value is not None}
    with pytest.raises(ConfigurationError) as refused:
        make_settings(auth=auth)
    assert str(refused.value).startswith(f"server.manager.auth{complaint}")


def test_nobody_is_asked_without_the_functions_that_ask(make_settings):
    """``auth`` without the wrappers would be open to everybody."""
    with pytest.raises(ConfigurationError, match="auth and ogc_compliance"):
        make_settings(auth={"issuer": ADDRESS, "audience": "x"}, ogc_compliance=False)


# ---------------------------------------------------------------- roles


def test_roles_say_who_may_execute():
    """One of them is enough; administrators need none, and without any role everybody may."""

    def user(*roles: str, is_admin: bool = False) -> User:
        return User(ADDRESS, "ada", "Ada", roles=frozenset(roles), is_admin=is_admin)

    for one, roles in ((None, ()), (user(), ()), (user("b", "c"), ("a", "b")), (user(is_admin=True), ("a",))):
        require_role(one, roles, "hello")
    with pytest.raises(AuthenticationError):
        require_role(None, ("a",), "hello")
    with pytest.raises(AuthorizationError):
        require_role(user("b"), ("a",), "hello")
