"""The fault hierarchy: errors raised on purpose, each with a message, a stable reason, and a node's name.

    Fault
    ├── PayloadError
    │   └── UnsupportedBody
    ├── MethodMissing
    ├── ComponentError
    │   ├── BadMetric
    │   ├── BadMetadata
    │   └── NestedTooDeeply
    ├── RoutingError
    ├── RemoteError
    ├── DeadlinePassed
    ├── Overloaded
    ├── NotReady
    ├── UnknownModel
    ├── LoadFailed
    ├── NotPermitted
    ├── AccessFault
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   └── QuotaExceeded
    ├── TaskFault
    │   ├── UnknownTask
    │   ├── TaskState
    │   ├── TaskConflict
    │   ├── UploadTooLarge
    │   ├── StorageFull
    │   └── StoreAway
    └── StartupFault
        ├── SettingsError
        ├── TargetError
        ├── GraphError
        ├── PortInUse
        └── MissingExtra

Wire codes are chosen at the edges, from one table each.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar


class Fault(Exception):
    """An error raised on purpose. `str(fault)` is never empty.

    Args:
        text: the message, one sentence; it names the field, line or node.
        reason: the stable code that clients match; each class has a default.
        node: the name of the graph node it happened at; empty outside a graph.
    """

    reason: str = "MICROSERVICE_INTERNAL_ERROR"

    def __init__(self, text: str, *, reason: str | None = None, node: str = "") -> None:
        self.text = text or type(self).__name__
        if reason is not None:
            self.reason = reason
        self.node = node
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


class PayloadError(Fault):
    """A message that cannot be read, or has the wrong shape."""

    reason = "MICROSERVICE_BAD_DATA"


class UnsupportedBody(PayloadError):
    """A body of an unsupported content type that does not look like JSON either."""


class MethodMissing(Fault):
    """The unit has no such method."""

    reason = "MICROSERVICE_BAD_DATA"


class ComponentError(Fault):
    """User code raised, or its answer cannot be sent.

    Args:
        status: the HTTP status that the user's own exception asked for, if any.
        answer: status, body and headers that the user's own error handler made, if any.
    """

    def __init__(
        self,
        text: str,
        *,
        reason: str | None = None,
        node: str = "",
        status: int | None = None,
        answer: tuple[int, bytes, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(text, reason=reason, node=node)
        self.status = status
        self.answer = answer


class BadMetric(ComponentError):
    """A component's metrics are not a list of metric dicts."""

    reason = "MICROSERVICE_BAD_METRIC"


class BadMetadata(ComponentError):
    """A component's metadata is not what the protocol allows."""

    reason = "MICROSERVICE_BAD_METADATA"


class NestedTooDeeply(ComponentError):
    """An answer, or a request to a node, nested deeper than can be encoded."""


class RoutingError(Fault):
    """A router named no existing child, or gave no readable answer."""


class RemoteError(Fault):
    """A remote unit is unreachable, broke the protocol, or answered an error.

    Args:
        status: the HTTP status it answered, if it did.
        body: the body it answered, passed through unchanged.
        content_type: of `body`.
        grpc_code: the number of the gRPC status it answered, if it did.
        retry_after_s: its Retry-After, if any.
    """

    def __init__(
        self,
        text: str,
        *,
        reason: str | None = None,
        node: str = "",
        status: int | None = None,
        body: bytes | None = None,
        content_type: str = "",
        grpc_code: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(text, reason=reason, node=node)
        self.status = status
        self.body = body
        self.content_type = content_type
        self.grpc_code = grpc_code
        self.retry_after_s = retry_after_s


def remote_error_of(fault: Fault) -> RemoteError | None:
    """The status, code and body behind a fault that a server answered with; None for a fault of our own."""
    if isinstance(fault, RemoteError):
        return fault
    return fault.__cause__ if isinstance(fault.__cause__, RemoteError) else None


class DeadlinePassed(Fault):
    """The time limit or deadline was exceeded."""

    reason = "DEADLINE_PASSED"


class Overloaded(Fault):
    """A bounded queue is full; try again after `retry_after_s` seconds."""

    reason = "OVERLOADED"
    retry_after_s: ClassVar[int] = 1


class NotReady(Fault):
    """The unit is still loading, or failed to load."""

    reason = "NOT_READY"


class UnknownModel(Fault):
    """The open inference protocol names a model, or a version of it, that is not served."""

    reason = "MODEL_UNKNOWN"


class LoadFailed(Fault):
    """A client asked to load the model, and it could not be loaded; a model that was loaded before goes on."""

    reason = "MODEL_LOAD_FAILED"


class NotPermitted(Fault):
    """A setting does not allow it; the text names the setting."""

    reason = "NOT_PERMITTED"


class AccessFault(Fault):
    """The caller may not do this."""

    reason = "ACCESS"


class Unauthenticated(AccessFault):
    """The request carries no key, or none that is valid."""

    reason = "UNAUTHENTICATED"


class Forbidden(AccessFault):
    """The caller is known, but its scopes do not cover the request."""

    reason = "FORBIDDEN"


class QuotaExceeded(AccessFault):
    """The caller has used up a quota of its key.

    Args:
        limit: of the quota.
        reset_s: when there is more, in seconds; 0 if that is not known.
    """

    reason = "QUOTA_EXCEEDED"

    def __init__(
        self, text: str, *, reason: str | None = None, node: str = "", limit: int = 0, reset_s: int = 0
    ) -> None:
        super().__init__(text, reason=reason, node=node)
        self.limit = limit
        self.reset_s = reset_s


class TaskFault(Fault):
    """A task operation failed: the store or the files cannot be used."""

    reason = "TASK"


class UnknownTask(TaskFault):
    """There is no such task."""

    reason = "TASK_UNKNOWN"


class TaskState(TaskFault):
    """Not possible in the task's current state."""

    reason = "TASK_STATE"


class TaskConflict(TaskFault):
    """A task with this id and different content exists."""

    reason = "TASK_CONFLICT"


class UploadTooLarge(TaskFault):
    """An upload or body is over its limit."""

    reason = "TOO_LARGE"


class StorageFull(TaskFault):
    """The disk of the data folder is full."""

    reason = "STORAGE_FULL"


class StoreAway(TaskFault):
    """The database of the task store cannot be reached; it may be soon."""

    reason = "TASK_STORE_AWAY"


class StartupFault(Fault):
    """The program cannot start: exit code 2 and one line that says what is wrong and where."""


class SettingsError(StartupFault):
    """A setting is unknown, unreadable or out of range."""

    reason = "MICROSERVICE_BAD_PARAMETER"


class TargetError(StartupFault):
    """The target cannot be found, imported or constructed."""


class GraphError(StartupFault):
    """An inference graph is not valid, or a node of it cannot be resolved."""

    reason = "BAD_GRAPH"


class PortInUse(StartupFault):
    """A port to listen on is in use."""


class MissingExtra(StartupFault):
    """An optional package is not installed; the text says what to install."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        """The fault for a missing optional `package` of the extra `extra`."""
        return cls(f"{purpose} needs the package {package!r}: pip install 'infergraph[{extra}]'")


def did_you_mean(given: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """`; did you mean 'serve'?`, a suffix for a fault's text, if a known word is similar; else an empty string.

    Args:
        cutoff: how alike two words must be, 0 to 1.
    """
    near = get_close_matches(given, list(known), n=3, cutoff=cutoff)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


_OURS = (str(Path(__file__).parent), "<frozen importlib", str(Path(importlib.__file__).parent))


def traceback_text(error: BaseException) -> str:
    """The traceback of an error for a log; empty if its text is sufficient.

    The text of a StartupFault is. Only a TargetError, possibly wrapped in a GraphError that names the node, has an
    exception of the user's code as its cause: then the traceback begins at the user's code.
    """
    if not isinstance(error, StartupFault):
        return "".join(traceback.format_exception(error))
    while not isinstance(error, TargetError) and isinstance(error.__cause__, StartupFault):
        error = error.__cause__
    if not isinstance(error, TargetError) or error.__cause__ is None:
        return ""
    shown = traceback.TracebackException.from_exception(error.__cause__)
    while shown.stack and shown.stack[0].filename.startswith(_OURS):
        del shown.stack[0]
    return "".join(shown.format() if shown.stack else shown.format_exception_only())
