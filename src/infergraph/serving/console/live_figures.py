"""Live figures: samples of the shared metrics, and rates and latencies between two samples.

shared metrics ──read──▶ Reading (now) ──┐
                         Reading (then) ─┴──▶ LiveFigures: rate, p50, p99, faults
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from infergraph.message import Method
from infergraph.observe.shared_metrics import Bounds, read

_BOUNDS = Bounds.SECONDS.value
_CELLS = len(_BOUNDS) + 1
_ASKED = frozenset({*(method.value for method in Method), "infer", "infer_stream"})
_UNCOUNTED = frozenset({Method.SEND_FEEDBACK.value})

KEEP_S = 300.0
WINDOW_S = 60.0
SAMPLE_S = 5.0
SPACING_S = 0.5


class Tally(NamedTuple):
    """The counts of a node, or of one kind of request, since the server started.

    `buckets` are the counts up to each bound of `Bounds.SECONDS` and above the last; `seconds` is their sum.
    """

    buckets: tuple[float, ...] = (0.0,) * _CELLS
    seconds: float = 0.0
    faults: float = 0.0

    @property
    def answers(self) -> float:
        """The number of answers."""
        return sum(self.buckets)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        buckets = tuple(ours + theirs for ours, theirs in zip(self.buckets, other.buckets, strict=True))
        return Tally(buckets, self.seconds + other.seconds, self.faults + other.faults)

    def since(self, other: Tally) -> Tally:
        """The difference to the earlier `other`."""
        buckets = tuple(max(0.0, ours - theirs) for ours, theirs in zip(self.buckets, other.buckets, strict=True))
        return Tally(buckets, max(0.0, self.seconds - other.seconds), max(0.0, self.faults - other.faults))

    def quantile(self, part: float) -> float | None:
        """The quantile `part` of the latency in seconds, interpolated within a bucket; None without answers."""
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
    """All counts at one time.

    Args:
        at: seconds on the clock.
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
    """The figures of a node, or of a kind of request, over the last minute.

    Args:
        rate: answers per second; None after the first sample.
        p50, p99: seconds; None without answers.
        faults: requests answered with an error.
        answers_so_far, faults_so_far: since the start.
    """

    rate: float | None
    p50: float | None
    p99: float | None
    faults: int
    answers_so_far: int
    faults_so_far: int


class Moment(NamedTuple):
    """The requests between two samples.

    Args:
        ago: age of the later sample in seconds.
        rate: requests per second.
        p50, p99: seconds; None without answers.
    """

    ago: float
    rate: float
    p50: float | None
    p99: float | None


def take(folder: Path, at: float) -> Reading:
    """Read the shared metrics in `folder`."""
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
    """The figures at one time, from a reading and those before it."""

    def __init__(self, history: Sequence[Reading]) -> None:
        self._history = history
        self.now = history[-1]

    def of_node(self, name: str) -> LiveFigures:
        """The figures of a node, without feedback."""
        return self._figures(
            lambda reading: _joined(
                tally for (unit, method), tally in reading.units.items() if unit == name and method not in _UNCOUNTED
            )
        )

    def of_requests(self, method: str = "", transport: str = "") -> LiveFigures:
        """The figures of external requests; of all of them by default."""
        return self._figures(
            lambda reading: _joined(
                tally
                for (asked, came_by), tally in reading.requests.items()
                if method in ("", asked) and transport in ("", came_by)
            )
        )

    def kinds(self) -> list[tuple[str, str]]:
        """The methods and transports of the requests so far."""
        return sorted(key for key, tally in self.now.requests.items() if tally.answers)

    def visits(self, name: str) -> float:
        """How many requests a node has processed: the calls of its most frequent method."""
        return max(
            (
                tally.answers
                for (unit, method), tally in self.now.units.items()
                if unit == name and method not in _UNCOUNTED
            ),
            default=0.0,
        )

    def visit_rate(self, name: str) -> float | None:
        """Requests per second to a node over the last minute; None after the first sample."""
        before = self._before(WINDOW_S)
        passed = self.now.at - before.at
        if passed <= 0:
            return None
        counts = (
            tally.since(before.units.get((unit, method), _NONE)).answers
            for (unit, method), tally in self.now.units.items()
            if unit == name and method not in _UNCOUNTED
        )
        return max(counts, default=0.0) / passed

    def moments(self) -> list[Moment]:
        """The requests between successive samples, oldest first."""
        found = []
        for then, now in itertools.pairwise(self._history):
            tally = _joined(now.requests.values()).since(_joined(then.requests.values()))
            rate = tally.answers / (now.at - then.at)
            found.append(Moment(self.now.at - now.at, rate, tally.quantile(0.5), tally.quantile(0.99)))
        return found

    def _figures(self, tally_of: Callable[[Reading], Tally]) -> LiveFigures:
        total = tally_of(self.now)
        before = self._before(WINDOW_S)
        passed = self.now.at - before.at
        recent = total.since(tally_of(before))
        return LiveFigures(
            rate=recent.answers / passed if passed > 0 else None,
            p50=recent.quantile(0.5),
            p99=recent.quantile(0.99),
            faults=round(recent.faults),
            answers_so_far=round(total.answers),
            faults_so_far=round(total.faults),
        )

    def _before(self, seconds: float) -> Reading:
        """The oldest reading of at most this age in seconds, or else the previous one."""
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
    """Samples the shared metrics, and keeps the samples of the last minutes.

    Args:
        folder: of the shared metrics.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._history: deque[Reading] = deque()
        self._lock = threading.Lock()

    def look(self) -> View:
        """The current figures. Blocks briefly; thread-safe."""
        with self._lock:
            reading = take(self._folder, self._clock())
            history = self._history
            while history and reading.at - history[0].at > KEEP_S:
                history.popleft()
            if history and reading.at - history[-1].at < SPACING_S:
                earlier = list(history)[:-1] or list(history)
                return View([*(each for each in earlier if each.at < reading.at), reading])
            history.append(reading)
            return View(tuple(history))

    async def sample(self) -> None:
        """Sample every few seconds until cancelled, so that the last minute is available at the first request."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(SAMPLE_S)
