"""Who calls, and what each endpoint asks of a caller: scopes, and the one table of them.

credentials ──edge──▶ Caller(name, scopes) ◀──compared with── NEEDED[label of the endpoint], needed_at(path)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import TypeAlias

import msgspec

from infergraph.errors import did_you_mean
from infergraph.fast_enums import direct
from infergraph.protocol import gbuilder
from infergraph.protocol.paths import OPENAI_BATCHES, OPENAI_FILES, TASK_ENGINE, TASKS


@direct
class Scope(StrEnum):
    """What a caller may do."""

    PREDICT = "predict"
    """Call the methods of the unit, but for feedback; read its metadata and health."""
    FEEDBACK = "feedback"
    """Send rewards."""
    TASKS = "tasks"
    """Make tasks; see, stop and delete one's own."""
    CONSOLE = "console"
    """Look at the console."""
    METRICS = "metrics"
    """Read the metrics."""
    ADMIN = "admin"
    """Everything, and the tasks of others."""


@direct
class Openness(Enum):
    """What an endpoint asks for that needs no scope."""

    EVERYBODY = "everybody"
    PROBES = "probes"
    """Everybody, unless the setting open_probes is off."""
    CALLERS = "callers"
    """Any known caller."""


def read_scopes(text: str) -> frozenset[Scope]:
    """The scopes that a text lists, separated by commas. Raises: ValueError that names an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [scope.value for scope in Scope]
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}{did_you_mean(name, known)}")
    return frozenset(map(Scope, names))


Needed: TypeAlias = Scope | Openness


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The quotas of a caller; 0 for none."""

    requests_per_minute: int = 0
    rows_per_minute: int = 0
    upload_bytes_per_minute: int = 0
    tasks_at_once: int = 0


NO_LIMITS = Limits()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request, as its edge found out, once, before it was admitted.

    Args:
        name: in access lines, in the audit log, and as the owner of tasks.
        scopes: what it may do.
        limits: how much of it.
    """

    name: str
    scopes: frozenset[Scope]
    limits: Limits = NO_LIMITS

    def may(self, needed: Needed) -> bool:
        """Whether its scopes cover what an endpoint needs."""
        return needed in self.scopes or Scope.ADMIN in self.scopes or isinstance(needed, Openness)


NEEDED: Mapping[str, Needed] = {
    "predict": Scope.PREDICT,
    "transform_input": Scope.PREDICT,
    "transform_output": Scope.PREDICT,
    "route": Scope.PREDICT,
    "aggregate": Scope.PREDICT,
    "infer": Scope.PREDICT,
    "infer_stream": Scope.PREDICT,
    "metadata": Scope.PREDICT,
    "health": Scope.PREDICT,
    "index": Scope.PREDICT,
    "send_feedback": Scope.FEEDBACK,
    "statistics": Scope.METRICS,
    "load": Scope.ADMIN,
    "unload": Scope.ADMIN,
    "docs": Openness.CALLERS,
    "metrics": Scope.METRICS,
    "live": Openness.PROBES,
    "ready": Openness.PROBES,
    "ping": Openness.PROBES,
    "status": Openness.PROBES,
}
"""By the label of an endpoint or of a gRPC method; one without an entry needs `admin`."""

_NEEDED_BELOW: Mapping[str, Needed] = {
    gbuilder.STATUS: Openness.PROBES,
    gbuilder.TASKS: Scope.TASKS,
    TASKS: Scope.TASKS,
    TASK_ENGINE: Scope.TASKS,
    OPENAI_FILES: Scope.TASKS,
    OPENAI_BATCHES: Scope.TASKS,
    "/console/static": Openness.EVERYBODY,
    "/console/sign-in": Openness.EVERYBODY,
    "/console/sign-out": Openness.EVERYBODY,
    "/console": Scope.CONSOLE,
}


def needed_at(path: str) -> Needed:
    """What the pages and the task API need, by path; all else, documents and unknown paths included, any caller."""
    if path == "/":
        return Scope.CONSOLE
    for prefix, needed in _NEEDED_BELOW.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return needed
    return Openness.CALLERS
