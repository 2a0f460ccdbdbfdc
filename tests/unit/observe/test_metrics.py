from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from infergraph.observe.metrics import CALLERS_LIMIT, CONTENT_TYPE, CallerMetrics, RequestMetrics, escape, exposition
from infergraph.observe.shared_metrics import Bounds, SharedMetrics, vacate


def samples(folder: Path) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The exposition as a strict reader understands it; fails if a family or a sample is there twice."""
    text, _ = exposition(folder)
    families = list(text_string_to_metric_families(text.decode()))
    names = [line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def sample(folder: Path, name: str, **labels: str) -> float:
    return samples(folder)[name, frozenset(labels.items())]


def test_nothing_counted_is_an_empty_exposition(tmp_path: Path) -> None:
    """A folder without series gives an empty text of the right type."""
    assert exposition(tmp_path) == (b"", CONTENT_TYPE)


def test_callers_are_counted_by_name_up_to_a_limit(tmp_path: Path) -> None:
    """However many callers come, the series are as many as the limit, and one for the rest."""
    account = CallerMetrics(SharedMetrics(tmp_path, "worker-0"))
    for number in range(CALLERS_LIMIT + 50):
        account.count(f"caller {number}")
        account.count("caller 0")
    found = {dict(labels)["caller"]: value for (_, labels), value in samples(tmp_path).items()}
    assert len(found) == CALLERS_LIMIT + 1
    assert (found["caller 0"], found["caller 99"], found["(others)"]) == (CALLERS_LIMIT + 51, 1, 50)


def test_requests_are_accounted_by_method_code_and_transport(tmp_path: Path) -> None:
    """Each finished request is in the counter of its code and in the histograms of its method and protocol."""
    account = RequestMetrics(SharedMetrics(tmp_path, "worker-0"))
    for code, seconds in (("200", 0.003), ("200", 0.2), ("400", 0.0001)):
        account.started()
        account.finished("predict", code, "rest", seconds, 100, 3000)
    account.started()
    account.finished("infer", "200", "rest", 0.1, 100, 3000, "v2")
    account.started()
    ours = {"method": "predict", "protocol": "seldon", "transport": "rest"}
    assert sample(tmp_path, "infergraph_requests_total", code="200", **ours) == 2
    assert sample(tmp_path, "infergraph_requests_total", code="400", **ours) == 1
    theirs = {"method": "infer", "protocol": "v2", "transport": "rest"}
    assert sample(tmp_path, "infergraph_requests_total", code="200", **theirs) == 1
    assert sample(tmp_path, "infergraph_requests_in_flight") == 1 == account.in_flight
    assert sample(tmp_path, "infergraph_request_seconds_bucket", le="0.0001", **ours) == 1
    assert sample(tmp_path, "infergraph_request_seconds_bucket", le="0.005", **ours) == 2
    assert sample(tmp_path, "infergraph_request_seconds_bucket", le="+Inf", **ours) == 3
    assert sample(tmp_path, "infergraph_request_seconds_count", **ours) == 3
    assert abs(sample(tmp_path, "infergraph_request_seconds_sum", **ours) - 0.2031) < 1e-9
    assert sample(tmp_path, "infergraph_request_bytes_bucket", le="256.0", **ours) == 3
    assert sample(tmp_path, "infergraph_response_bytes_bucket", le="1024.0", **ours) == 0
    assert sample(tmp_path, "infergraph_response_bytes_sum", **ours) == 9000


def test_the_limit_of_requests_is_told_once(tmp_path: Path) -> None:
    """A worker asks to be replaced when the limit is reached, and not again."""
    asked: list[int] = []
    account = RequestMetrics(SharedMetrics(tmp_path, "worker-0"), requests_limit=3, on_limit=lambda: asked.append(1))
    for _ in range(10):
        account.started()
        account.finished("predict", "200", "rest", 0.1, 1, 1)
        assert len(asked) == (account.finished_count >= 3)


def test_counters_and_histograms_are_summed_over_seats(tmp_path: Path) -> None:
    """Two workers' counts appear as one series each, without a label for the worker."""
    for metrics_slot, count in (("worker-0", 3), ("worker-1", 4)):
        account = RequestMetrics(SharedMetrics(tmp_path, metrics_slot))
        for _ in range(count):
            account.started()
            account.finished("predict", "OK", "grpc", 0.5, 0, 0)
    ours = {"method": "predict", "protocol": "seldon", "transport": "grpc"}
    assert sample(tmp_path, "infergraph_requests_total", code="OK", **ours) == 7
    assert sample(tmp_path, "infergraph_request_seconds_count", **ours) == 7


def test_living_gauges_are_summed_over_the_living(tmp_path: Path) -> None:
    """What is in flight in a dead worker does not count, also before its seat is taken again."""
    for metrics_slot in ("worker-0", "worker-1"):
        RequestMetrics(SharedMetrics(tmp_path, metrics_slot)).started()
    assert sample(tmp_path, "infergraph_requests_in_flight") == 2
    vacate(tmp_path, "worker-0")
    assert sample(tmp_path, "infergraph_requests_in_flight") == 1


def test_the_latest_value_of_a_gauge_wins(tmp_path: Path) -> None:
    """A gauge that several workers set shows the value that was set last."""
    for metrics_slot, value, at in (("worker-0", 7.0, 200.0), ("worker-1", 9.0, 100.0)):
        cells = SharedMetrics(tmp_path, metrics_slot).gauge("temperature", "", {})
        cells[0], cells[1] = value, at
    assert sample(tmp_path, "temperature") == 7


def test_names_that_would_mix_are_kept_apart(tmp_path: Path) -> None:
    """One name as counter, gauge and histogram, and a gauge named like another's sample, are all exported validly."""
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    shared_metrics.counter("x", "", {})[0] = 1.0
    shared_metrics.gauge("x", "", {})[0] = 2.0
    shared_metrics.histogram("x", "", {}, Bounds.TIMER).observe(3.0)
    shared_metrics.gauge("x_total", "", {})[0] = 4.0
    shared_metrics.gauge("x_histogram_sum", "", {})[0] = 5.0
    assert sample(tmp_path, "x_total") == 1
    assert sample(tmp_path, "x") == 2
    assert sample(tmp_path, "x_histogram_sum") == 3
    assert sample(tmp_path, "x_total_gauge") == 4
    assert sample(tmp_path, "x_histogram_sum_gauge") == 5


@given(value=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0")))
def test_any_label_text_is_read_back(value: str) -> None:
    """Quotes, backslashes and line ends in a label survive the text format."""
    text = f'x{{a="{escape(value, quote=True)}"}} 1.0\n'
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"a": value}
