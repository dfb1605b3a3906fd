"""
A job in a workspace: slope of real terrain, written into the object store of the user who asks for it, and registered.

``python examples/handlers/workspace.py`` plays the identity provider, starts a small workspace API and an S3 server on
127.0.0.1, serves ``workspace.yml``, executes a job of a user who has a workspace and one of a user who has none, and
shows what became of both. It needs the extra ``examples``, ``s3fs`` and ``moto[server]``.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from s3fs import S3FileSystem
from serving_example import execute, free_port, served, show

ISSUER, AUDIENCE = "https://issuer.example.org", "terrain"
BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
CREDENTIALS = {"access": "ada's access key", "secret": "ada's secret key", "bucketname": "ws-ada"}
START_SECONDS = 30


def main() -> None:
    """Execute one job for Ada, and one for Bob."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with (
        tempfile.NamedTemporaryFile(suffix=".pem") as key_file,
        s3_server() as endpoint,
        workspace_api(public, endpoint) as (url, registered),
    ):
        Path(key_file.name).write_bytes(public)
        bucket = S3FileSystem(key=CREDENTIALS["access"], secret=CREDENTIALS["secret"], endpoint_url=endpoint)
        bucket.mkdir(CREDENTIALS["bucketname"])
        with served("workspace.yml", {"ISSUER_KEY": key_file.name, "WORKSPACE_API": url}) as client:
            headers = {"Authorization": f"Bearer {token_of('42', 'ada', private)}"}
            job = execute(client, "slope", {"inputs": {"bbox": BBOX}}, headers)
            show(f"The job of Ada is {job['status']}:", job["message"])
            bucket.invalidate_cache()
            show("Her workspace has:", bucket.find(CREDENTIALS["bucketname"]))
            show("And in its catalogue:", registered)
            headers = {"Authorization": f"Bearer {token_of('43', 'bob', private)}"}
            job = execute(client, "slope", {"inputs": {"bbox": BBOX}}, headers)
            show(f"The job of Bob is {job['status']}:", job["message"])


def token_of(subject: str, name: str, private: ec.EllipticCurvePrivateKey) -> str:
    """What an identity provider would give a user who has signed in."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "preferred_username": name, "exp": time.time() + 300}
    return jwt.encode(claims, private, algorithm="ES256")


@contextmanager
def workspace_api(public: bytes, endpoint: str) -> Iterator[tuple[str, list[Any]]]:
    """
    Run a workspace API that knows the workspace of Ada.

    Args:
        public: The issuer's key, as PEM.
        endpoint: Of the object store.

    Yields:
        Its URL, and what has been registered.
    """
    registered: dict[str, Any] = {}
    shown: list[Any] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.is_owner():
                storage = {"credentials": {**CREDENTIALS, "endpoint": endpoint, "region": "us-east-1"}}
                self.answer(200, {"status": "ready", "storage": storage})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.is_owner():
                if self.headers["Idempotency-Key"] not in registered:
                    registered[self.headers["Idempotency-Key"]] = body
                    shown.append(body)
                self.answer(202, {"message": "accepted"})

        def is_owner(self) -> bool:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                claims = jwt.decode(token, public, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
            except jwt.InvalidTokenError:
                self.answer(401, {})
                return False
            workspace = self.path.split("/")[2]
            if workspace != "ws-ada":
                self.answer(404, {})
            elif claims["sub"] != "42":
                self.answer(403, {})
            return workspace == "ws-ada" and claims["sub"] == "42"

        def answer(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """The example tells enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", shown
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server that takes every credential; its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if time.monotonic() > deadline:
                raise TimeoutError(f"The S3 server does not answer within {START_SECONDS} s")
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


if __name__ == "__main__":
    main()
