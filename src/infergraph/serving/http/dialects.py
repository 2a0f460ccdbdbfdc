"""The two HTTP dialects of the protocol, internal and external API: ids, fixed headers, error bodies.

`InternalDialect` is a component's, as in Seldon's wrapper; `ExternalDialect` is a graph's, as in the reference
orchestrator. Source: the microservice specification, section 5; the orchestrator's, sections 13 and 15 to 17.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import quote

import msgspec
import orjson

from infergraph.errors import Fault, RemoteError
from infergraph.protocol.headers import NODE, PUID, REASON, new_puid
from infergraph.protocol.status import http_status
from infergraph.serving.http import error_responses
from infergraph.serving.http.app import Endpoint
from infergraph.serving.http.cross_origin import origins_of
from infergraph.serving.http.error_responses import JSON_TYPE, Answer, Headers
from infergraph.serving.http.exchange import Exchange

_ALL_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_DEFAULT_HEADERS = "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token"
_ANY_ORIGIN = (b"access-control-allow-origin", b"*")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
_SLASHES = re.compile("/{2,}")


class Cors(msgspec.Struct, frozen=True):
    """CORS settings: allowed origins, separated by commas, or `*`, and allowed headers (empty for any)."""

    origins: str = "*"
    headers: str = ""


class InternalDialect:
    """A component's dialect, the internal API: errors with code -1 and a reason; open CORS with the origin echoed."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._allowed = origins_of(cors.origins)
        self._is_open = "*" in self._allowed

    def identify(self, exchange: Exchange) -> str:
        """The id that the client sent."""
        return exchange.headers.get(PUID, b"").decode("latin-1")

    def decorate(self, headers: Headers, endpoint: Endpoint, exchange: Exchange) -> None:
        """The id that the client sent, and the CORS headers."""
        if exchange.puid:
            headers.append((PUID, exchange.puid.encode("latin-1")))
        origin = exchange.headers.get(b"origin")
        if origin is None:
            if self._is_open:
                headers.append(_ANY_ORIGIN)
            return
        headers.append((b"vary", b"Origin"))
        if self._is_open or origin.decode("latin-1") in self._allowed:
            headers.append((b"access-control-allow-origin", origin))

    def of_fault(self, fault: Fault) -> Answer:
        """The protocol's envelope; the node goes in a header."""
        answer = error_responses.of_fault(fault)
        if fault.node:
            answer.headers.append((NODE, quote(fault.node).encode()))
        return answer

    def of_bug(self, puid: str) -> Answer:
        """A generic message in the same envelope."""
        return error_responses.of_bug(puid)

    def refuse_method(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """405 in the envelope, or the answer to a pre-flight, which allows the headers it asks for."""
        method = exchange.method
        allowed = ", ".join(sorted((endpoint.methods or frozenset()) | {"OPTIONS"})).encode()
        if method != "OPTIONS":
            text = f"405 Method Not Allowed: this path takes {allowed.decode()}, not {method}"
            return error_responses.refusal(405, text, error_responses.INTERNAL, (b"allow", allowed))
        asked = exchange.headers.get(b"access-control-request-headers") or b"*"
        headers = self._cors.headers.encode("latin-1") or asked
        return Answer(
            200,
            b"",
            [
                (b"allow", allowed),
                (b"access-control-allow-methods", _ALL_METHODS),
                (b"access-control-allow-headers", headers),
            ],
        )

    def not_found(self, path: str, hint: str) -> Answer:
        """404 in the envelope."""
        text = f"404 Not Found: nothing is served at {path}; {hint}"
        return error_responses.refusal(404, text, error_responses.INTERNAL)


class ExternalDialect:
    """A graph's dialect, the external API: every request has an id, errors have the orchestrator's body.

    The reason of an error goes in a header.

    Args:
        origin: the deployment's name and its namespace, for clients that use CloudEvents.
    """

    def __init__(self, cors: Cors, origin: tuple[str, str] = ("", "default")) -> None:
        name, namespace = (part.encode("ascii", "replace") for part in origin)
        self._event = [
            (b"ce-specversion", b"0.3"),
            (b"ce-type", b"seldon.%s.%s.response" % (name, namespace)),
            (b"ce-source", b"seldon.%s" % name),
        ]
        self._origins = (b"access-control-allow-origin", cors.origins.encode("latin-1"))
        self._headers = (b"access-control-allow-headers", (cors.headers or _DEFAULT_HEADERS).encode("latin-1"))

    def identify(self, exchange: Exchange) -> str:
        """The first id that the client sent, or a new one."""
        if PUID not in exchange.headers:
            return new_puid()
        given = next((value for name, value in exchange.raw_headers if name == PUID and value), b"")
        return given.decode("latin-1") or new_puid()

    def decorate(self, headers: Headers, endpoint: Endpoint, exchange: Exchange) -> None:
        """The id and the fixed headers; a 405 has none."""
        method = exchange.method
        if endpoint.methods is not None and method not in endpoint.methods and method != "OPTIONS":
            return
        puid = exchange.puid.encode("latin-1")
        headers += [self._origins, self._headers, _NO_SNIFF, (PUID, puid)]
        if endpoint.methods is not None:
            headers.append(_allowing(endpoint.methods))
        if b"ce-specversion" in exchange.headers:
            path = quote(exchange.path, safe="/:@!$&'()*+,;=").encode()
            headers += [*self._event, (b"ce-id", puid), (b"ce-path", path)]

    def of_fault(self, fault: Fault) -> Answer:
        """The orchestrator's body; a node's own answer passes through. Reason and node go in headers."""
        if isinstance(fault, RemoteError):
            if fault.status is not None and fault.body is not None:
                return error_responses.of_fault(fault)
            status = http_status(fault)
            # The orchestrator has 500 in the body of a REST node's fault, whatever its status.
            answer = _failure(status, 500 if fault.grpc_code is None else status, fault.text)
        else:
            told = error_responses.of_fault(fault)
            answer = _failure(told.status, told.status, fault.text)
            answer.headers.extend(error_responses.advice(fault))
        answer.headers.append((REASON, fault.reason.encode("ascii", "replace")))
        if fault.node:
            answer.headers.append((NODE, quote(fault.node).encode()))
        return answer

    def of_bug(self, puid: str) -> Answer:
        """A generic message in the same body."""
        return _failure(500, 500, f"internal error; the log has the details under puid {puid}")

    def refuse_method(self, endpoint: Endpoint, exchange: Exchange) -> Answer:
        """405 without a body, or the answer to a pre-flight."""
        return Answer(200 if exchange.method == "OPTIONS" else 405, b"", [])

    def not_found(self, path: str, hint: str) -> Answer:
        """404 in plain text, a hint below the orchestrator's own line; doubled slashes redirect to the clean path."""
        if "//" in path:
            return Answer(301, b"", [(b"location", quote(_SLASHES.sub("/", path)).encode())])
        return Answer(404, f"404 page not found\n{hint}\n".encode(), [_PLAIN, _NO_SNIFF])


@functools.lru_cache(maxsize=64)
def _allowing(methods: frozenset[str]) -> tuple[bytes, bytes]:
    return b"access-control-allow-methods", ",".join(sorted(methods | {"OPTIONS"})).encode()


def _failure(status: int, code: int, text: str) -> Answer:
    body = {"status": {"code": code, "info": error_responses.utf8(text), "status": "FAILURE"}}
    return Answer(status, orjson.dumps(body), [JSON_TYPE])
