"""Live figures: the ledgers read now and then, and what happened in between.

ledgers ──read──▶ Reading (now) ─┐
                  Reading (then) ─┴──▶ Figures: rate, p50, p99, faults
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from infergraph.message import Method
from infergraph.observe.shared_metrics import Bounds, read

_BOUNDS = Bounds.SECONDS.value
_CELLS = len(_BOUNDS) + 1
_ASKED = frozenset(method.value for method in Method)
_UNCOUNTED = frozenset({Method.SEND_FEEDBACK.value})

KEEP_S = 300.0
QUANTILES_S = 60.0
RATE_S = 10.0
SPACING_S = 0.5


class Tally(NamedTuple):
    """What has been counted of one node, or one kind of request, since the server started.

    `buckets` are counts under each bound of `Bounds.SECONDS` and above the last; `seconds` is their sum.
    """

    buckets: tuple[float, ...] = (0.0,) * _CELLS
    seconds: float = 0.0
    faults: float = 0.0

    @property
    def answers(self) -> float:
        """How many answers."""
        return sum(self.buckets)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        buckets = tuple(ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True))
        return Tally(buckets, self.seconds + other.seconds, self.faults + other.faults)

    def since(self, other: Tally) -> Tally:
        """What was added after `other`."""
        buckets = tuple(max(0.0, ours - theirs) for ours, theirs in zip(self.buckets, other.buckets, strict=True))
        return Tally(buckets, max(0.0, self.seconds - other.seconds), max(0.0, self.faults - other.faults))

    def quantile(self, part: float) -> float | None:
        """The seconds within which `part` of the answers came, interpolated in their bucket; None for none."""
        wanted = self.answers * part
        if not wanted:
            return None
        below = 0.0
        for place, count in enumerate(self.buckets):
            if count and below + count >= wanted:
                low = _BOUNDS[place - 1] if place else 0.0
                high = _BOUNDS[place] if place < len(_BOUNDS) else low
                return low + (high - low) * (wanted - below) / count
            below += count
        return _BOUNDS[-1]


_NONE = Tally()


class Reading(NamedTuple):
    """All ledgers at one moment.

    Args:
        at: the clock's seconds.
        units: by unit and method.
        requests: by method and transport.
        loaded: workers that have loaded each unit.
        in_flight: requests being answered.
    """

    at: float
    units: Mapping[tuple[str, str], Tally]
    requests: Mapping[tuple[str, str], Tally]
    loaded: Mapping[str, float]
    in_flight: float


class LiveFigures(NamedTuple):
    """The figures of one node, or of some requests.

    Args:
        rate: answers a second, lately; None after the first look.
        p50, p99: seconds, over the last minute or, where nothing came, since the start; None for no answer ever.
        is_recent: whether the quantiles are of the last minute.
        answers, faults: since the start.
        recent_faults: in the last minute.
    """

    rate: float | None
    p50: float | None
    p99: float | None
    is_recent: bool
    answers: int
    faults: int
    recent_faults: int


def take(folder: Path, at: float) -> Reading:
    """A reading of the ledgers in `folder`."""
    units: dict[tuple[str, str], Tally] = {}
    requests: dict[tuple[str, str], Tally] = {}
    loaded: dict[str, float] = {}
    in_flight = 0.0
    for one in read(folder):
        name, labels = one.series.name, one.series.labels
        if name == "infergraph_unit_seconds":
            _add(units, (labels["unit"], labels["method"]), _timed(one.values))
        elif name == "infergraph_unit_faults":
            _add(units, (labels["unit"], labels["method"]), Tally(faults=one.values[0]))
        elif name == "infergraph_request_seconds" and labels["method"] in _ASKED:
            _add(requests, (labels["method"], labels["transport"]), _timed(one.values))
        elif name == "infergraph_requests" and labels["method"] in _ASKED and _is_fault(labels["code"]):
            _add(requests, (labels["method"], labels["transport"]), Tally(faults=one.values[0]))
        elif name == "infergraph_unit_loaded" and one.taken:
            loaded[labels["unit"]] = loaded.get(labels["unit"], 0.0) + one.values[0]
        elif name == "infergraph_requests_in_flight" and one.taken:
            in_flight += one.values[0]
    return Reading(at, units, requests, loaded, in_flight)


def _timed(values: Sequence[float]) -> Tally:
    return Tally(tuple(values[:-1]), values[-1])


def _add(tallies: dict[tuple[str, str], Tally], key: tuple[str, str], tally: Tally) -> None:
    tallies[key] = tallies.get(key, _NONE).plus(tally)


def _is_fault(code: str) -> bool:
    """Whether a code is an HTTP status from 400 on, or a gRPC status other than OK."""
    return int(code) >= 400 if code.isdigit() else code != "OK"


class View:
    """The figures at one moment, from a reading and those before it."""

    def __init__(self, history: Sequence[Reading]) -> None:
        self._history = history
        self.now = history[-1]

    def of_node(self, name: str) -> LiveFigures:
        """The figures of a node; feedback is left out."""
        return self._figures(
            lambda reading: _joined(
                tally for (unit, method), tally in reading.units.items() if unit == name and method not in _UNCOUNTED
            )
        )

    def of_requests(self, method: str = "", transport: str = "") -> LiveFigures:
        """The figures of requests that came from outside; of all of them by default."""
        return self._figures(
            lambda reading: _joined(
                tally
                for (asked, came_by), tally in reading.requests.items()
                if method in ("", asked) and transport in ("", came_by)
            )
        )

    def kinds(self) -> list[tuple[str, str]]:
        """Methods and transports that requests came with."""
        return sorted(key for key, tally in self.now.requests.items() if tally.answers)

    def visits(self, name: str) -> float:
        """How many requests a node has seen: its calls by the method it was called by most."""
        return max(
            (
                tally.answers
                for (unit, method), tally in self.now.units.items()
                if unit == name and method not in _UNCOUNTED
            ),
            default=0.0,
        )

    def rates(self) -> list[tuple[float, float]]:
        """Requests a second between one look and the next: seconds before now (falling), and the rate."""
        found = []
        for then, now in itertools.pairwise(self._history):
            passed = now.at - then.at
            count = _joined(now.requests.values()).since(_joined(then.requests.values())).answers
            found.append((self.now.at - now.at, count / passed))
        return found

    def _figures(self, tally_of: Callable[[Reading], Tally]) -> LiveFigures:
        total = tally_of(self.now)
        before = self._before(RATE_S)
        passed = self.now.at - before.at
        recent = total.since(tally_of(self._before(QUANTILES_S))) if len(self._history) > 1 else _NONE
        timed = recent if recent.answers else total
        return LiveFigures(
            rate=total.since(tally_of(before)).answers / passed if passed > 0 else None,
            p50=timed.quantile(0.5),
            p99=timed.quantile(0.99),
            is_recent=recent.answers > 0,
            answers=round(total.answers),
            faults=round(total.faults),
            recent_faults=round(recent.faults),
        )

    def _before(self, seconds: float) -> Reading:
        """The oldest reading that is at most so many seconds old, or the one before now."""
        for reading in self._history[:-1]:
            if self.now.at - reading.at <= seconds:
                return reading
        return self._history[-2] if len(self._history) > 1 else self.now


def _joined(tallies: Iterable[Tally]) -> Tally:
    total = _NONE
    for tally in tallies:
        total = total.plus(tally)
    return total


class Watch:
    """Looks at the ledgers when asked to, and remembers what it saw in the last minutes.

    Args:
        folder: of the ledgers.
        clock: seconds that only grow.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._history: deque[Reading] = deque()
        self._lock = threading.Lock()

    def look(self) -> View:
        """The figures now. Blocks for a moment; usable from any thread."""
        with self._lock:
            reading = take(self._folder, self._clock())
            history = self._history
            while history and reading.at - history[0].at > KEEP_S:
                history.popleft()
            if history and reading.at - history[-1].at < SPACING_S:
                return View([*list(history)[:-1], reading])
            history.append(reading)
            return View(tuple(history))

    def totals(self) -> dict[str, dict[str, float]]:
        """What each node has counted since the start: `count`, `seconds`, `faults`."""
        nodes: dict[str, Tally] = {}
        for (unit, method), tally in take(self._folder, self._clock()).units.items():
            if method not in _UNCOUNTED:
                nodes[unit] = nodes.get(unit, _NONE).plus(tally)
        return {
            name: {"count": tally.answers, "seconds": tally.seconds, "faults": tally.faults}
            for name, tally in nodes.items()
            if math.isfinite(tally.seconds)
        }
