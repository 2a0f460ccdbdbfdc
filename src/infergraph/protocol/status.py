"""Status codes: gRPC's by number and name, the mapping between gRPC and HTTP, and those of every fault.

fault ──http_status──▶ HTTP status ◀──crossing──▶ gRPC status ◀──grpc_status── fault

Source: the error codes of Google's API guide; the microservice specification, section 6; the orchestrator's,
section 15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from infergraph import errors
from infergraph.errors import ComponentError, Fault, RemoteError, StartupFault


class GrpcStatus(IntEnum):
    """The gRPC status codes, for use without grpcio."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


GRPC_NAMES: Mapping[int, str] = {status.value: status.name for status in GrpcStatus}

HTTP_OF_GRPC: Mapping[int, int] = {
    GrpcStatus.CANCELLED: 499,
    GrpcStatus.UNKNOWN: 500,
    GrpcStatus.INVALID_ARGUMENT: 400,
    GrpcStatus.DEADLINE_EXCEEDED: 504,
    GrpcStatus.NOT_FOUND: 404,
    GrpcStatus.ALREADY_EXISTS: 409,
    GrpcStatus.PERMISSION_DENIED: 403,
    GrpcStatus.RESOURCE_EXHAUSTED: 429,
    GrpcStatus.FAILED_PRECONDITION: 400,
    GrpcStatus.ABORTED: 409,
    GrpcStatus.OUT_OF_RANGE: 400,
    GrpcStatus.UNIMPLEMENTED: 501,
    GrpcStatus.INTERNAL: 500,
    GrpcStatus.UNAVAILABLE: 503,
    GrpcStatus.DATA_LOSS: 500,
    GrpcStatus.UNAUTHENTICATED: 401,
}
"""The HTTP status nearest to each gRPC status, as Google's API guide has them."""

GRPC_OF_HTTP: Mapping[int, GrpcStatus] = {
    400: GrpcStatus.INVALID_ARGUMENT,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.NOT_FOUND,
    408: GrpcStatus.DEADLINE_EXCEEDED,
    409: GrpcStatus.ABORTED,
    413: GrpcStatus.RESOURCE_EXHAUSTED,
    415: GrpcStatus.INVALID_ARGUMENT,
    422: GrpcStatus.INVALID_ARGUMENT,
    429: GrpcStatus.RESOURCE_EXHAUSTED,
    499: GrpcStatus.CANCELLED,
    501: GrpcStatus.UNIMPLEMENTED,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.DEADLINE_EXCEEDED,
}


def grpc_of_http(status: int) -> int:
    """The gRPC status nearest to an HTTP status; UNKNOWN, as in the reference, if none is near."""
    return GRPC_OF_HTTP.get(status, GrpcStatus.UNKNOWN)


def http_of_grpc(code: int) -> int:
    """The HTTP status nearest to the number of a gRPC status; 500 for one that is not known."""
    return HTTP_OF_GRPC.get(code, 500)


class Codes(NamedTuple):
    """The codes of a fault on the wire."""

    http: int
    grpc: GrpcStatus


CODES: Mapping[type[Fault], Codes] = {
    Fault: Codes(500, GrpcStatus.INTERNAL),
    errors.PayloadError: Codes(400, GrpcStatus.INVALID_ARGUMENT),
    errors.UnsupportedBody: Codes(415, GrpcStatus.INVALID_ARGUMENT),
    errors.MethodMissing: Codes(400, GrpcStatus.UNIMPLEMENTED),
    errors.ComponentError: Codes(500, GrpcStatus.INTERNAL),
    errors.RoutingError: Codes(500, GrpcStatus.INTERNAL),
    errors.RemoteError: Codes(500, GrpcStatus.UNAVAILABLE),
    errors.DeadlinePassed: Codes(504, GrpcStatus.DEADLINE_EXCEEDED),
    errors.Overloaded: Codes(503, GrpcStatus.RESOURCE_EXHAUSTED),
    errors.NotReady: Codes(503, GrpcStatus.UNAVAILABLE),
    errors.UnknownModel: Codes(404, GrpcStatus.NOT_FOUND),
    errors.LoadFailed: Codes(400, GrpcStatus.INVALID_ARGUMENT),
    errors.NotPermitted: Codes(403, GrpcStatus.PERMISSION_DENIED),
    errors.AccessFault: Codes(403, GrpcStatus.PERMISSION_DENIED),
    errors.Unauthenticated: Codes(401, GrpcStatus.UNAUTHENTICATED),
    errors.QuotaExceeded: Codes(429, GrpcStatus.RESOURCE_EXHAUSTED),
    errors.TaskFault: Codes(500, GrpcStatus.INTERNAL),
    errors.UnknownTask: Codes(404, GrpcStatus.NOT_FOUND),
    errors.TaskState: Codes(409, GrpcStatus.FAILED_PRECONDITION),
    errors.TaskConflict: Codes(409, GrpcStatus.FAILED_PRECONDITION),
    errors.UploadTooLarge: Codes(413, GrpcStatus.RESOURCE_EXHAUSTED),
    errors.StorageFull: Codes(507, GrpcStatus.RESOURCE_EXHAUSTED),
    errors.StoreAway: Codes(503, GrpcStatus.UNAVAILABLE),
    errors.StartupFault: Codes(500, GrpcStatus.INTERNAL),
    errors.MissingExtra: Codes(501, GrpcStatus.UNIMPLEMENTED),
}
"""By fault class; a subclass without an entry has that of its nearest base class."""


def codes_of(kind: type[Fault]) -> Codes:
    """The codes of a fault class."""
    return next(CODES[each] for each in kind.__mro__ if each in CODES)


def http_status(fault: Fault) -> int:
    """The HTTP status of a fault; a component's and a remote unit's own pass through, one of gRPC as its nearest."""
    if isinstance(fault, ComponentError) and fault.answer is not None:
        return fault.answer[0]
    if isinstance(fault, ComponentError | RemoteError) and fault.status is not None:
        return fault.status
    if isinstance(fault, RemoteError) and fault.grpc_code is not None:
        return http_of_grpc(fault.grpc_code)
    return codes_of(type(fault)).http


def grpc_status(fault: Fault) -> int:
    """The number of the gRPC status of a fault; a remote unit's own passes through, one of HTTP as its nearest.

    A component that declares an HTTP status means what the nearest of gRPC means.
    """
    if isinstance(fault, ComponentError) and fault.status is not None:
        return GRPC_OF_HTTP.get(fault.status, GrpcStatus.INTERNAL)
    if isinstance(fault, RemoteError):
        if fault.grpc_code is not None:
            return fault.grpc_code
        if fault.status is not None:
            return grpc_of_http(fault.status)
    return codes_of(type(fault)).grpc


def _reasons(kind: type[Fault]) -> Iterator[tuple[str, type[Fault]]]:
    for child in kind.__subclasses__():
        if child is not StartupFault:
            yield child.reason, child
            yield from _reasons(child)


def _by_reason() -> dict[str, type[Fault]]:
    table: dict[str, type[Fault]] = {}
    for reason, kind in _reasons(Fault):
        table.setdefault(reason, kind)
    del table[Fault.reason]  # used for several classes
    return table


BY_REASON: Mapping[str, type[Fault]] = _by_reason()
"""The fault class of each unambiguous reason; the most general one if a reason is inherited."""
