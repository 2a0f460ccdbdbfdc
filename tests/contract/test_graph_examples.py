"""The example graphs, each built from its deployment file as the command builds it, and asked from Python."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infergraph import assembly
from infergraph.local import LocalCalls
from infergraph.observe.shared_metrics import SharedMetrics
from infergraph.settings import Settings
from infergraph.unit_source import UnitSource
from served import served

EXAMPLES = Path(__file__).parents[2] / "examples" / "graphs"


@contextmanager
def running(folder: Path, data_dir: Path) -> Iterator[Any]:
    """The graph of the deployment file in `folder`, started."""
    settings = Settings(data_dir=str(data_dir))
    data_dir.mkdir(exist_ok=True)
    shared_metrics = SharedMetrics(data_dir, "0")
    source = UnitSource(target="deployment.yaml", folder=str(folder))
    unit = assembly.build(source, settings, shared_metrics)
    assert isinstance(unit, LocalCalls)
    try:
        with unit:
            yield unit
    finally:
        shared_metrics.close()


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("INFERGRAPH_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_pre_and_post(data: Path) -> None:
    """Measurements go in and names of species come out."""
    with running(EXAMPLES / "pre-and-post", data) as graph:
        assert list(graph([[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 5.6, 2.4]])) == ["setosa", "virginica"]


def test_ab_test(data: Path) -> None:
    """Four of five requests go to the old version, and each answer says by which route and version it came."""
    with running(EXAMPLES / "ab-test", data) as graph:
        seen: Counter[tuple[int, str]] = Counter()
        for _ in range(400):
            answer = graph.run(graph.ask([[1.0, 2.0]]))
            assert answer.meta is not None
            child, version = answer.meta["routing"]["split"], answer.meta["tags"]["version"]
            assert np.asarray(answer.payload).tolist() == [pytest.approx([6.0 if child == 0 else 6.3])]
            seen[child, version] += 1
    assert set(seen) == {(0, "old"), (1, "new")}
    assert seen[0, "old"] / 400 == pytest.approx(0.8, abs=0.08)


def test_bandit_learns_and_remembers(data: Path) -> None:
    """Rewarded as its users would, the router comes to choose the best offer, and still does after a restart."""
    taken, users = {0: 0.2, 1: 0.8, 2: 0.1}, random.Random(1)

    def rounds(graph: Any, count: int, *, rewarded: bool) -> Counter[int]:
        chosen: Counter[int] = Counter()
        for number in range(count):
            answer = graph.run(graph.ask([[number]]))
            assert answer.meta is not None
            branch = answer.meta["routing"]["choose"]
            chosen[branch] += 1
            if rewarded:
                reward = float(users.random() < taken[branch])
                graph.run(graph.feedback(reward, request=[[number]], response=answer))
        return chosen

    with running(EXAMPLES / "bandit", data) as graph:
        before = rounds(graph, 60, rewarded=False)
        rounds(graph, 200, rewarded=True)
        after = rounds(graph, 100, rewarded=False)
    assert set(before) == {0, 1, 2}
    assert after[1] > 75
    with running(EXAMPLES / "bandit", data) as graph:
        assert rounds(graph, 100, rewarded=False)[1] > 75


def test_ensemble(data: Path) -> None:
    """The answer is the mean of the three models' answers, each of which is asked once."""
    row = [20.0, 65.0]
    alone = [1 / (1 + np.exp(-(row[0] - 18) / 5)), 1 / (1 + np.exp(-(row[1] - 70) / 5)), 0.3]
    with running(EXAMPLES / "ensemble", data) as graph:
        answer = graph.run(graph.ask([row]))
        assert np.asarray(answer.payload).tolist() == [pytest.approx([sum(alone) / 3])]
        assert list(answer.names) == ["rain"]
        assert answer.meta is not None
        assert set(answer.meta["requestPath"]) == {"average", "by-temperature", "by-humidity", "always"}


def test_chain_after_combiner(data: Path) -> None:
    """What follows the combiner gets the average, and the last step's answer is the graph's."""
    with running(EXAMPLES / "chain-after-combiner", data) as graph:
        assert list(graph([[1], [9]])) == ["no", "yes"]


def test_mixed_transports(data: Path, tmp_path: Path) -> None:
    """One graph asks a node over REST, one over gRPC and one in this process, and joins what they say."""
    example = EXAMPLES / "mixed-transports"
    here = tmp_path / "example"
    here.mkdir()
    (here / "components.py").write_text((example / "components.py").read_text("utf-8"), "utf-8")
    with (
        served("components.py:Words", folder=here) as words,
        served("components.py:Letters", folder=here) as letters,
    ):
        text = (example / "deployment.yaml").read_text("utf-8")
        for port, found in (("9101", words.http_port), ("9112", letters.grpc_port)):
            assert port in text
            text = text.replace(port, str(found))
        (here / "deployment.yaml").write_text(text, "utf-8")
        with running(here, data) as graph:
            answer: Any = graph(["one two three", "四 five"])
    assert np.asarray(answer).tolist() == [[3.0, 13.0, 13.0], [2.0, 6.0, 8.0]]
