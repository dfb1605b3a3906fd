"""
Jobs that act for their users: statistics of real terrain, reported to another service in the name of who asked.

``python examples/handlers/authenticated.py`` plays the identity provider, starts a service that believes its tokens on
127.0.0.1, serves ``authenticated.yml``, executes a job of a user and one of nobody, and shows what became of both. It
needs the extra ``examples``.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from serving_example import execute, served, show

ISSUER, AUDIENCE = "https://issuer.example.org", "terrain"
BBOX = [-84.30, 36.16, -84.16, 36.25]  # degrees: west, south, east, north
STATISTICS = {"inputs": {"product": "slope", "bbox": BBOX}, "outputs": {"statistics": {}}}


def main() -> None:
    """Execute one job for Ada, and one for nobody."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with tempfile.NamedTemporaryFile(suffix=".pem") as key_file, reports_service(public) as (url, reports):
        Path(key_file.name).write_bytes(public)
        with served("authenticated.yml", {"ISSUER_KEY": key_file.name, "REPORTS_URL": url}) as client:
            headers = {"Authorization": f"Bearer {token_of('42', 'ada', private)}"}
            job = execute(client, "terrain", STATISTICS, headers)
            show(f"The job of Ada is {job['status']}. The other service has, by the subjects of tokens:", reports)
            job = execute(client, "terrain", STATISTICS)
            show(f"The job of nobody is {job['status']}:", job["message"])


def token_of(subject: str, name: str, private: ec.EllipticCurvePrivateKey) -> str:
    """What an identity provider would give a user who has signed in."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "preferred_username": name, "exp": time.time() + 300}
    return jwt.encode(claims, private, algorithm="ES256")


@contextmanager
def reports_service(public: bytes) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """
    Run a service that keeps reports of users, and knows them by their tokens.

    Args:
        public: The issuer's key, as PEM.

    Yields:
        Its URL, and the reports that it has, by subject.
    """
    reports: dict[str, list[Any]] = {}

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                claims = jwt.decode(token, public, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
            except jwt.InvalidTokenError:
                self.send_response(401)
            else:
                report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reports.setdefault(claims["sub"], []).append(report)
                self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """The example tells enough."""

    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/reports", reports
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
