"""An OpenID Connect issuer on this machine: discovery, public keys, signed tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from http_server import running

AUDIENCE = "infergraph"


class Issuer(ThreadingHTTPServer):
    """Publishes the keys in `keys`, each with its algorithm, by id."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Publishing)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys: dict[str, tuple[str, Any]] = {}
        self.fetches = 0

    def add(self, id: str, algorithm: str = "ES256") -> None:
        """Publish a new key."""
        kinds: dict[str, Any] = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.keys[id] = algorithm, kinds[algorithm]()

    def token(self, id: str, **claims: Any) -> str:
        """A token signed by a key, for us and for an hour unless the claims say otherwise; None leaves one out."""
        algorithm, key = self.keys[id]
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": "me", "exp": now + 3600, "iat": now, **claims}
        return jwt.encode(
            {name: value for name, value in told.items() if value is not None}, key, algorithm, headers={"kid": id}
        )

    def published(self) -> dict[str, Any]:
        """The public keys as the issuer shows them."""
        writers: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        shown = []
        for id, (algorithm, key) in self.keys.items():
            shown.append({**json.loads(writers[algorithm].to_jwk(key.public_key())), "kid": id, "alg": algorithm})
        return {"keys": shown}


class _Publishing(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        issuer = self.server
        issuer.fetches += self.path == "/jwks"
        discovery = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
        body = json.dumps(discovery if "well-known" in self.path else issuer.published()).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def issuing() -> Iterator[Issuer]:
    """A running issuer, with one key of each kind."""
    issuer = Issuer()
    for algorithm in ("RS256", "ES256", "EdDSA"):
        issuer.add(algorithm, algorithm)
    with running(issuer):
        yield issuer
