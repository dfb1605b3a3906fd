"""An issuer of tokens as OpenID Connect has it, over real HTTP on 127.0.0.1: it rotates keys, goes down and is slow."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "https://pygeoapi.example.org"

KINDS: dict[str, Any] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
"""Makers of private keys by the algorithm that they are for."""


def public_jwk(private: Any, algorithm: str, **members: Any) -> dict[str, Any]:
    """The public half of a key as JWK."""
    jwk: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, "alg": algorithm, "use": "sig", **members}


class Issuer:
    """
    Serves its configuration and its keys, and signs tokens.

    Attributes:
        requests: Paths that were asked for, one after the other.
        published: The JWKs that it answers; a test may change them.
        documents: What it answers instead at a path: a document, or bytes.
        delay: Seconds that each answer takes.
        key_id: Of the key that it signs with.
    """

    def __init__(self, algorithm: str = "ES256") -> None:
        self.requests: list[str] = []
        self.published: list[dict[str, Any]] = []
        self.documents: dict[str, Any] = {}
        self.delay = 0.0
        self.key_id = ""
        self._number = 0
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.rotate(algorithm)
        self.start()

    # ------------------------------------------------------------ life

    @property
    def url(self) -> str:
        """``iss`` of its tokens."""
        return f"http://127.0.0.1:{self._port}/realms/test"

    def start(self) -> None:
        """Answer at the port that it had before, if it had one."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/realms/test")
                issuer.requests.append(path)
                # who asks may not wait for the answer
                with suppress(OSError):
                    self.answer(path)

            def answer(self, path: str) -> None:
                time.sleep(issuer.delay)
                document = issuer.documents.get(path, issuer._document(path))
                if isinstance(document, str):
                    self.send_response(302)
                    self.send_header("Location", document)
                    self.end_headers()
                    return
                body = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """The tests tell enough."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Answer no more: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _document(self, path: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": self.published} if path == "/keys" else None

    # ------------------------------------------------------------ keys and tokens

    def rotate(self, algorithm: str = "ES256", *, keep: bool = False) -> None:
        """Sign with a new key from now on, and publish it; *keep* those before, too."""
        self._number += 1
        self.algorithm = algorithm
        self.key_id = f"key-{self._number}"
        self.private = KINDS[algorithm]()
        new = public_jwk(self.private, algorithm, kid=self.key_id)
        self.published = [*(self.published if keep else []), new]

    def claims(self, subject: Any = "ada", **claims: Any) -> dict[str, Any]:
        """Those of a good token; a claim that is None is left out."""
        now = int(time.time())
        every = {"iss": self.url, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + 300, **claims}
        return {name: value for name, value in every.items() if value is not None}

    def token(self, subject: Any = "ada", **claims: Any) -> str:
        """A signed token; see :meth:`claims`."""
        return self.sign(self.claims(subject, **claims))

    def sign(self, payload: Any, **header: Any) -> str:
        """Any payload as a token: a mapping, or bytes."""
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return jwt.PyJWS().encode(content, self.private, self.algorithm, {"kid": self.key_id, **header})

    def headers(self, subject: str = "ada", **claims: Any) -> dict[str, str]:
        """Those of a request of a user."""
        return {"Authorization": f"Bearer {self.token(subject, **claims)}"}

    def auth(self, **keys: Any) -> dict[str, Any]:
        """``server.manager.auth`` of a server that believes it."""
        return {"issuer": self.url, "audience": AUDIENCE, **keys}


@contextmanager
def issuing(algorithm: str = "ES256") -> Iterator[Issuer]:
    """An issuer for the length of a block."""
    issuer = Issuer(algorithm)
    try:
        yield issuer
    finally:
        issuer.stop()
