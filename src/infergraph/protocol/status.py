"""What a status of HTTP is called in gRPC, and the reverse, for answers that cross from one to the other."""

from __future__ import annotations

from collections.abc import Mapping

HTTP_OF_GRPC: Mapping[int, int] = {
    1: 499,  # CANCELLED
    2: 500,  # UNKNOWN
    3: 400,  # INVALID_ARGUMENT
    4: 504,  # DEADLINE_EXCEEDED
    5: 404,  # NOT_FOUND
    6: 409,  # ALREADY_EXISTS
    7: 403,  # PERMISSION_DENIED
    8: 429,  # RESOURCE_EXHAUSTED
    9: 400,  # FAILED_PRECONDITION
    10: 409,  # ABORTED
    11: 400,  # OUT_OF_RANGE
    12: 501,  # UNIMPLEMENTED
    13: 500,  # INTERNAL
    14: 503,  # UNAVAILABLE
    15: 500,  # DATA_LOSS
    16: 401,  # UNAUTHENTICATED
}
"""HTTP status by the number of a gRPC status, as Google's API guide has them."""

_UNKNOWN = 2
_GRPC_OF_HTTP = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    408: 4,
    409: 10,
    413: 8,
    415: 3,
    422: 3,
    429: 8,
    499: 1,
    501: 12,
    503: 14,
    504: 4,
}


def grpc_of_http(status: int) -> int:
    """The number of the gRPC status nearest to an HTTP status; UNKNOWN, as in the reference, where none is near."""
    return _GRPC_OF_HTTP.get(status, _UNKNOWN)


def http_of_grpc(code: int) -> int:
    """The HTTP status nearest to the number of a gRPC status; 500 for one that is not known."""
    return HTTP_OF_GRPC.get(code, 500)
