"""Figures of the console: what two readings of the ledgers say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infergraph.observe.metrics import RequestMetrics
from infergraph.observe.shared_metrics import Bounds, SharedMetrics
from infergraph.serving.console.live_figures import KEEP_S, SPACING_S, LiveFigures, Tally, Watch

SECONDS = Bounds.SECONDS.value


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def unit_seconds(shared_metrics: SharedMetrics, unit: str, method: str, *values: float) -> None:
    """Count answers of a unit."""
    seconds = shared_metrics.histogram("infergraph_unit_seconds", "", {"unit": unit, "method": method}, Bounds.SECONDS)
    for value in values:
        seconds.observe(value)


def tally(**counts: float) -> Tally:
    """A tally with so many answers under some bounds, given by their place as `b3=…`."""
    buckets = [0.0] * (len(SECONDS) + 1)
    for name, count in counts.items():
        buckets[int(name[1:])] = count
    return Tally(tuple(buckets))


def test_a_quantile_lies_in_its_bucket() -> None:
    """Half of the answers lie below the interpolated median, and none is no answer."""
    assert tally().quantile(0.5) is None
    two = tally(b3=10, b6=10)
    assert two.quantile(0.5) == pytest.approx(SECONDS[3])
    assert two.quantile(0.25) == pytest.approx((SECONDS[2] + SECONDS[3]) / 2)
    assert SECONDS[5] < two.quantile(0.99) <= SECONDS[6]
    assert tally(b18=5).quantile(0.5) == SECONDS[-1], "beyond the last bound nobody can tell more"


def test_rates_and_quantiles_are_of_the_last_minute(tmp_path: Path) -> None:
    """What was counted before the window is not in it, and stands in the totals."""
    shared_metrics, clock = SharedMetrics(tmp_path, "0"), Clock()
    watch = Watch(tmp_path, clock)
    unit_seconds(shared_metrics, "n", "predict", *[0.9] * 50)
    first = watch.look().of_node("n")
    assert (first.rate, first.p50, first.answers_so_far) == (None, None, 50)
    clock.now += 100
    watch.look()
    clock.now += 5
    unit_seconds(shared_metrics, "n", "predict", *[0.002] * 20)
    later = watch.look().of_node("n")
    assert later.rate == pytest.approx(4.0)
    assert 0.001 < later.p50 <= 0.0025
    assert later.answers_so_far == 70
    clock.now += 100
    watch.look()
    clock.now += 5
    assert watch.look().of_node("n").p50 is None, "nothing was answered in the last minute"


def test_feedback_is_no_visit_of_a_node(tmp_path: Path) -> None:
    """Rewards count neither as visits nor in a node's times."""
    shared_metrics = SharedMetrics(tmp_path, "0")
    unit_seconds(shared_metrics, "n", "predict", 0.1, 0.1)
    unit_seconds(shared_metrics, "n", "send_feedback", 5.0, 5.0, 5.0)
    view = Watch(tmp_path, Clock()).look()
    assert view.visits("n") == 2
    assert view.of_node("n").answers_so_far == 2
    assert view.visits("nobody") == 0


def test_all_workers_are_added_up(tmp_path: Path) -> None:
    """Two ledgers of one folder make one figure; what only the living have is not counted for the dead."""
    ledgers = [SharedMetrics(tmp_path, metrics_slot) for metrics_slot in "01"]
    for shared_metrics in ledgers:
        unit_seconds(shared_metrics, "n", "predict", 0.1)
        shared_metrics.live("infergraph_unit_loaded", "", {"unit": "n"})[0] = 1.0
    assert Watch(tmp_path, Clock()).look().now.loaded == {"n": 2.0}
    ledgers[0].close()
    view = Watch(tmp_path, Clock()).look()
    assert view.of_node("n").answers_so_far == 2
    assert view.now.loaded == {"n": 1.0}


def test_requests_from_outside_are_told_by_method_and_protocol(tmp_path: Path) -> None:
    """HTTP from 400 on and gRPC codes other than OK are errors; probes are no requests."""
    metrics = RequestMetrics(SharedMetrics(tmp_path, "0"))
    for method, code, transport in (
        ("predict", "200", "rest"),
        ("predict", "400", "rest"),
        ("predict", "OK", "grpc"),
        ("predict", "INTERNAL", "grpc"),
        ("ready", "503", "rest"),
    ):
        metrics.started()
        metrics.finished(method, code, transport, 0.01, 10, 10)
    view = Watch(tmp_path, Clock()).look()
    assert view.kinds() == [("predict", "grpc"), ("predict", "rest")]
    assert [
        (view.of_requests(*kind).answers_so_far, view.of_requests(*kind).faults_so_far) for kind in view.kinds()
    ] == [(2, 1)] * 2
    assert (view.of_requests().answers_so_far, view.of_requests().faults_so_far) == (4, 2)


def test_inferences_are_requests_like_predictions(tmp_path: Path) -> None:
    """Requests of the open inference protocol are among those from outside; its probes and its index are not."""
    metrics = RequestMetrics(SharedMetrics(tmp_path, "0"))
    for method in ("infer", "infer_stream", "index", "statistics"):
        metrics.started()
        metrics.finished(method, "200", "rest", 0.01, 10, 10, "v2")
    view = Watch(tmp_path, Clock()).look()
    assert view.kinds() == [("infer", "rest"), ("infer_stream", "rest")]


def test_faults_of_a_node_are_told_for_the_last_minute_and_in_all(tmp_path: Path) -> None:
    """A fault that is older than the window stays in the total alone."""
    shared_metrics, clock = SharedMetrics(tmp_path, "0"), Clock()
    faults = shared_metrics.counter("infergraph_unit_faults", "", {"unit": "n", "method": "predict"})
    faults[0] += 3
    watch = Watch(tmp_path, clock)
    watch.look()
    clock.now += 2
    faults[0] += 1
    seen = watch.look().of_node("n")
    assert (seen.faults_so_far, seen.faults) == (4, 1)


def test_many_lookers_make_no_short_windows(tmp_path: Path) -> None:
    """Looks in quick succession are answered afresh but not kept, so that rates stay over useful times."""
    shared_metrics, clock = SharedMetrics(tmp_path, "0"), Clock()
    watch = Watch(tmp_path, clock)
    watch.look()
    clock.now += 2
    for _ in range(5):
        unit_seconds(shared_metrics, "n", "predict", 0.1)
        clock.now += SPACING_S / 10
        seen = watch.look()
    assert seen.of_node("n").answers_so_far == 5
    assert seen.of_node("n").rate == pytest.approx(5 / (clock.now - 1000.0))
    assert len(seen.moments()) == 1


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    """The history spans the last minutes and no more."""
    clock = Clock()
    watch = Watch(tmp_path, clock)
    for _ in range(20):
        clock.now += KEEP_S / 5
        view = watch.look()
    assert all(moment.ago <= KEEP_S for moment in view.moments())
    assert 4 <= len(view.moments()) <= 6


def test_moments_are_the_figures_between_two_samples(tmp_path: Path) -> None:
    """Each moment has the rate and the quantiles of its own requests; a quiet one has no quantiles."""
    metrics, clock = RequestMetrics(SharedMetrics(tmp_path, "0")), Clock()
    watch = Watch(tmp_path, clock)
    watch.look()
    for seconds in (0.002, None, 0.9):
        clock.now += 5
        for _ in range(10 if seconds else 0):
            metrics.started()
            metrics.finished("predict", "200", "rest", seconds or 0.0, 10, 10)
        view = watch.look()
    fast, quiet, slow = view.moments()
    assert [(moment.ago, moment.rate) for moment in (fast, quiet, slow)] == [(10, 2), (5, 0), (0, 2)]
    assert (quiet.p50, quiet.p99) == (None, None)
    assert fast.p99 is not None
    assert slow.p50 is not None
    assert fast.p99 < 0.01 < 0.5 < slow.p50


def test_sampling_begins_before_anybody_looks(tmp_path: Path) -> None:
    """With a sample from the start, the first look knows what came since."""
    shared_metrics, clock = SharedMetrics(tmp_path, "0"), Clock()

    async def sampled_once() -> LiveFigures:
        loop, sampled = asyncio.get_running_loop(), asyncio.Event()

        def now() -> float:
            loop.call_soon_threadsafe(sampled.set)
            return clock.now

        watch = Watch(tmp_path, now)
        sampling = asyncio.create_task(watch.sample())
        await sampled.wait()
        watch.look()  # which waits for the one that is in progress, and is too near to it to be kept
        sampling.cancel()
        unit_seconds(shared_metrics, "n", "predict", *[0.002] * 30)
        clock.now += 30
        return watch.look().of_node("n")

    seen = asyncio.run(sampled_once())
    assert seen.rate == pytest.approx(1.0)
    assert seen.p50 is not None


def test_the_visits_of_a_node_have_a_rate(tmp_path: Path) -> None:
    """A node that is asked by two methods for each request is visited as often as by the one asked most."""
    shared_metrics, clock = SharedMetrics(tmp_path, "0"), Clock()
    watch = Watch(tmp_path, clock)
    assert watch.look().visit_rate("n") is None
    clock.now += 10
    unit_seconds(shared_metrics, "n", "transform_input", *[0.1] * 20)
    unit_seconds(shared_metrics, "n", "transform_output", *[0.1] * 19)
    unit_seconds(shared_metrics, "n", "send_feedback", *[0.1] * 90)
    assert watch.look().visit_rate("n") == pytest.approx(2.0)
    assert watch.look().visit_rate("nobody") == 0.0
