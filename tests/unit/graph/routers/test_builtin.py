"""The built-in units, and the routers and combiners that come as components."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_units import Doing, Saying, node
from infergraph.errors import GraphError, MethodMissing, PayloadError, RoutingError
from infergraph.graph.executor import Graph
from infergraph.graph.routers import builtin
from infergraph.graph.routers.bandits import FILE_NAME, Bandit, Counts, EpsilonGreedy, ThompsonSampling
from infergraph.graph.routers.combiners import MajorityVote, WeightedAverage
from infergraph.graph.spec import Endpoint, Node
from infergraph.message import Context, Encoding, Feedback, FeedbackContent, Message, Method, PredictiveUnit
from infergraph.wire.json_codec import JsonMessage


def built(place: Node, rng: random.Random | None = None) -> PredictiveUnit:
    assert builtin.applies(place)
    return builtin.build(place, rng or random.Random(7))


def ask(unit: PredictiveUnit, method: Method, request: Any) -> Message:
    return asyncio.run(unit.answer(method, request, Context()))


def ab(children: int = 2, **parameters: Any) -> Node:
    places = [node(f"n{child}") for child in range(children)]
    return node("ab", None, *places, implementation="RANDOM_ABTEST", parameters=parameters)


def drawn(unit: PredictiveUnit, times: int = 2000) -> Counter[int]:
    async def draw() -> Counter[int]:
        x = Message.of("x", Encoding.STR)
        return Counter([(await unit.answer(Method.ROUTE, x, Context())).payload[0][0] for _ in range(times)])

    return asyncio.run(draw())


# ── built-ins ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", [Encoding.TENSOR, Encoding.NDARRAY, Encoding.STR])
def test_simple_model(encoding: Encoding) -> None:
    """SIMPLE_MODEL answers its three values for its three classes, in the request's own array encoding."""
    request = Message.of(np.array([[1.0]]) if encoding.is_array else "x", encoding, meta={"puid": "p"})
    answer = ask(built(node("m", None, implementation="SIMPLE_MODEL")), Method.PREDICT, request)
    assert answer.payload.tolist() == [[0.1, 0.9, 0.5]]
    assert tuple(answer.names) == ("class0", "class1", "class2")
    assert answer.encoding is (encoding if encoding.is_array else Encoding.TENSOR)
    assert answer.meta == {"puid": "p"}


def test_simple_model_answers_anything() -> None:
    """SIMPLE_MODEL answers also a body that is no message."""
    answer = ask(built(node("m", implementation="SIMPLE_MODEL")), Method.PREDICT, JsonMessage(b"hello", "text/plain"))
    assert answer.payload.tolist() == [[0.1, 0.9, 0.5]]


def test_simple_router_in_a_graph() -> None:
    """SIMPLE_ROUTER sends everything to child 0 and asks no other."""
    a, b = Saying("a"), Saying("b")
    root = node("r", None, node("a"), node("b"), implementation="SIMPLE_ROUTER")
    graph = Graph(root, {"r": built(root), "a": a, "b": b})
    answer = ask(graph, Method.PREDICT, Message.of("x", Encoding.STR))
    assert answer.payload == ["a", "predict", "x"]
    assert not b.asked
    assert answer.meta == {"routing": {"r": 0}, "requestPath": {"r": "SIMPLE_ROUTER"}}


def test_average_combiner_in_a_graph() -> None:
    """AVERAGE_COMBINER answers the elementwise mean with the names of the first child."""
    root = node("c", None, node("a"), node("b"), implementation="AVERAGE_COMBINER")
    units = [
        Doing(name, lambda _, v=value: np.array([[1.0, v]]), Encoding.TENSOR) for name, value in (("a", 2), ("b", 4))
    ]
    graph = Graph(root, {"c": built(root), **{unit.name: unit for unit in units}})
    answer = ask(graph, Method.PREDICT, Message.of("x", Encoding.STR))
    assert answer.payload.tolist() == [[1.0, 3.0]]
    assert answer.encoding is Encoding.TENSOR


def test_average_names_what_does_not_fit() -> None:
    """Shapes that differ, and answers that are no numbers, are PayloadErrors that name both sides."""
    unit = built(node("c", "COMBINER", node("a"), implementation="AVERAGE_COMBINER"))
    arrays = [Message.of(np.zeros(shape), Encoding.TENSOR) for shape in ((1, 2), (1, 3))]
    with pytest.raises(PayloadError, match=r"shapes \(1, 2\) of child 0 and \(1, 3\) of child 1"):
        ask(unit, Method.AGGREGATE, arrays)
    with pytest.raises(PayloadError, match="child 1"):
        ask(unit, Method.AGGREGATE, [arrays[0], Message.of("x", Encoding.STR)])
    with pytest.raises(PayloadError, match="no answers"):
        ask(unit, Method.AGGREGATE, [])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=5),
)
def test_average_is_the_mean(rows: list[list[float]]) -> None:
    """For any number of children the answer is their mean."""
    unit = built(node("c", "COMBINER", node("a"), implementation="AVERAGE_COMBINER"))
    messages = [Message.of(np.array([row]), Encoding.TENSOR) for row in rows]
    answer = ask(unit, Method.AGGREGATE, messages).payload[0]
    assert answer == pytest.approx([sum(column) / len(rows) for column in zip(*rows, strict=True)], abs=1e-6)


@pytest.mark.parametrize(
    ("parameters", "children", "shares"),
    [
        ({}, 2, [0.5, 0.5]),
        ({}, 4, [0.25] * 4),
        ({}, 1, [1.0]),
        ({"ratioA": 0.2}, 2, [0.2, 0.8]),
        ({"ratioA": 0.2, "other": 1}, 2, [0.2, 0.8]),
        ({"ratioA": 2}, 2, [1.0, 0.0]),
        ({"ratioA": -1}, 2, [0.0, 1.0]),
        ({"ratioA": 0}, 3, [0.0, 1.0, 0.0]),
        ({"weights": "1,2,7"}, 3, [0.1, 0.2, 0.7]),
        ({"weights": "0,1,0"}, 3, [0.0, 1.0, 0.0]),
    ],
)
def test_abtest_shares(parameters: dict[str, Any], children: int, shares: list[float]) -> None:
    """Children are drawn by their shares: equal ones, ratioA for the first two, or any weights."""
    counts = drawn(built(ab(children, **parameters)))
    assert set(counts) == {child for child, share in enumerate(shares) if share}
    for child, share in enumerate(shares):
        assert counts[child] / 2000 == pytest.approx(share, abs=0.05)


def test_abtest_seed() -> None:
    """The same seed gives the same draws, seed 0 too; without one the given generator draws."""

    def draws(unit: PredictiveUnit) -> list[int]:
        x = Message.of("x", Encoding.STR)
        return [ask(unit, Method.ROUTE, x).payload[0][0] for _ in range(20)]

    seeded = [draws(built(ab(4, seed=0), random.Random(other))) for other in range(2)]
    assert seeded[0] == seeded[1] == draws(built(ab(4), random.Random(0)))
    assert draws(built(ab(4, seed=1))) != seeded[0]


@pytest.mark.parametrize(
    "parameters", [{"weights": "1"}, {"weights": "1,-1"}, {"weights": "0,0"},
                   {"weights": "1,x"}, {"seed": "x"}],
)  # fmt: skip
def test_abtest_parameters_that_do_not_fit(parameters: dict[str, Any]) -> None:
    """A parameter that cannot be used is an error at start that names the node and the parameter."""
    with pytest.raises(GraphError, match=f"{next(iter(parameters))} of node 'ab'"):
        built(ab(2, **parameters))


def test_abtest_takes_a_ratio_that_is_no_number_and_refuses_its_requests(caplog: pytest.LogCaptureFixture) -> None:
    """As in the reference the graph starts, with a word in the log, and each request is a fault that names it."""
    place = ab(2, ratioA="half")
    graph = Graph(place, {"ab": built(place), "n0": Saying("n0"), "n1": Saying("n1")})
    assert "ratioA of node 'ab' is 'half', not a number" in caplog.text
    with pytest.raises(RoutingError, match="ratioA of node 'ab' is 'half', not a number"):
        ask(graph, Method.PREDICT, Message.of("x", Encoding.STR))


def test_abtest_with_one_child_and_no_share_for_it() -> None:
    """A draw for a child that is not there is a RoutingError."""
    place = ab(1, ratioA=0)
    graph = Graph(place, {"ab": built(place), "n0": Saying("n0")})
    with pytest.raises(RoutingError, match="route 1 of node ab names no child"):
        ask(graph, Method.PREDICT, Message.of("x", Encoding.STR))


def test_where_a_built_in_applies() -> None:
    """With an endpoint and a type of the same phase, the node at the endpoint is asked; else the built-in."""
    there = Endpoint(service_host="h", service_port=1)
    assert builtin.applies(node("r", "ROUTER", implementation="RANDOM_ABTEST"))
    assert builtin.applies(node("r", None, implementation="RANDOM_ABTEST", endpoint=there))
    assert not builtin.applies(node("r", "ROUTER", implementation="RANDOM_ABTEST", endpoint=there))
    assert not builtin.applies(node("r", None, implementation="RANDOM_ABTEST", endpoint=there, methods=("ROUTE",)))
    assert not builtin.applies(node("m", implementation="SKLEARN_SERVER"))
    assert not builtin.applies(node("m"))


@pytest.mark.parametrize("implementation", ["SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER"])
def test_what_a_built_in_does_not_do(implementation: str) -> None:
    """A built-in takes feedback silently, refuses other methods, and tells its name."""
    unit = built(node("n", None, node("a"), implementation=implementation))
    feedback = Feedback(FeedbackContent(None, None, 1.0, None))
    assert ask(unit, Method.SEND_FEEDBACK, feedback).payload == []
    with pytest.raises(MethodMissing, match=implementation):
        ask(unit, Method.TRANSFORM_OUTPUT, Message.of("x", Encoding.STR))
    assert asyncio.run(unit.metadata()) == {"name": "n", "platform": implementation}


# ── bandits ─────────────────────────────────────────────────────────────────────────────────────────────────────────

X = np.zeros((1, 2))


def loaded(bandit: Bandit, folder: Path, key: str = "r") -> Any:
    bandit.keep_in(folder, key)
    bandit.load()
    return bandit


def routes(bandit: Any, times: int = 3000) -> Counter[int]:
    return Counter(bandit.route(X, []) for _ in range(times))


def test_epsilon_greedy_explores_by_epsilon(tmp_path: Path) -> None:
    """The best branch gets 1 - epsilon of the requests, the others share the rest."""
    bandit = loaded(EpsilonGreedy(n_branches=3, epsilon=0.3, seed=0), tmp_path)
    bandit.send_feedback(X, [], 1.0, None, routing=1)
    counts = routes(bandit)
    assert counts[1] / 3000 == pytest.approx(0.7, abs=0.04)
    assert counts[0] / 3000 == pytest.approx(0.15, abs=0.04)


def test_epsilon_greedy_before_the_first_reward(tmp_path: Path) -> None:
    """Branch 0 can be named the best to begin with; with no word all are alike."""
    assert set(routes(loaded(EpsilonGreedy(3, epsilon=0, best_branch=0), tmp_path), 50)) == {0}
    assert set(routes(loaded(EpsilonGreedy(3, epsilon=0, seed=1), tmp_path), 200)) == {0, 1, 2}


def test_a_single_branch(tmp_path: Path) -> None:
    """One branch is always taken, also when exploring."""
    assert set(routes(loaded(EpsilonGreedy(1, epsilon=1.0), tmp_path), 20)) == {0}
    assert set(routes(loaded(ThompsonSampling(1), tmp_path), 20)) == {0}


@pytest.mark.parametrize("kind", [EpsilonGreedy, ThompsonSampling])
def test_bandits_learn(kind: type[Bandit], tmp_path: Path) -> None:
    """Rewarded by chance, 0.2, 0.8 and 0.4, the router comes to prefer the second branch by far."""
    bandit = loaded(kind(n_branches=3, seed=5), tmp_path)
    world = random.Random(11)
    for _ in range(400):
        branch = bandit.route(X, [])
        bandit.send_feedback(X, [], float(world.random() < (0.2, 0.8, 0.4)[branch]), None, routing=branch)
    assert routes(bandit, 1000)[1] > 750


def test_seed_zero_counts(tmp_path: Path) -> None:
    """Two routers with seed 0 choose alike, one with seed 1 does not."""
    sequences = []
    for seed in (0, 0, 1):
        bandit = loaded(EpsilonGreedy(5, epsilon=0.5, seed=seed), tmp_path)
        sequences.append([bandit.route(X, []) for _ in range(30)])
    assert sequences[0] == sequences[1] != sequences[2]


def test_counts_are_shared_and_survive(tmp_path: Path) -> None:
    """Two workers on one file see each other's rewards at once, and a third finds them after both are gone."""
    one, two = (loaded(ThompsonSampling(2), tmp_path) for _ in range(2))
    one.send_feedback(np.zeros((4, 1)), [], 0.5, None, routing=0)
    two.send_feedback(np.zeros((2, 1)), [], 1.0, None, routing=0)
    assert one.counts() == two.counts() == [Counts(4.0, 6.0), Counts()]
    del one, two
    assert loaded(EpsilonGreedy(2), tmp_path).counts() == [Counts(4.0, 6.0), Counts()]


def test_routers_of_other_names_learn_apart(tmp_path: Path) -> None:
    """Each node has counts of its own in the shared file; a given path and key stay."""
    loaded(ThompsonSampling(2), tmp_path, "r").send_feedback(X, [], 1.0, None, routing=1)
    assert loaded(ThompsonSampling(2), tmp_path, "s").counts() == [Counts(), Counts()]
    elsewhere = loaded(ThompsonSampling(2, path=str(tmp_path / "own" / "f.sqlite"), key="r"), tmp_path, "s")
    elsewhere.send_feedback(X, [], 1.0, None, routing=0)
    assert (tmp_path / "own" / "f.sqlite").exists()
    assert loaded(ThompsonSampling(2), tmp_path, "r").counts() == [Counts(), Counts(1.0, 1.0)]


def test_writers_side_by_side(tmp_path: Path) -> None:
    """No addition of several threads and connections is lost."""
    bandits = [loaded(EpsilonGreedy(2), tmp_path) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        for work in [pool.submit(b.send_feedback, X, [], 1.0, None, routing=1) for b in bandits for _ in range(50)]:
            work.result()
    assert bandits[0].counts()[1] == Counts(150.0, 150.0)


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan"), float("inf")])
def test_rewards_are_checked(reward: float, tmp_path: Path) -> None:
    """A reward that is not from 0 to 1 is refused and changes nothing."""
    bandit = loaded(ThompsonSampling(2), tmp_path)
    with pytest.raises(PayloadError, match="from 0 to 1"):
        bandit.send_feedback(X, [], reward, None, routing=0)
    assert bandit.counts() == [Counts(), Counts()]


@pytest.mark.parametrize("routing", [None, -1, 2])
def test_feedback_without_a_branch(routing: int | None, tmp_path: Path) -> None:
    """A feedback that names no branch of this router is refused."""
    with pytest.raises(PayloadError, match="the feedback names"):
        loaded(EpsilonGreedy(2), tmp_path).send_feedback(X, [], 1.0, None, routing=routing)


@pytest.mark.parametrize(
    ("features", "rows"), [(X, 1), (np.zeros((3, 2)), 3), (np.array([]), 1), ([], 1), ([1, 2], 2), (None, 1), ("x", 1)]
)
def test_rows_of_a_feedback(features: Any, rows: int, tmp_path: Path) -> None:
    """A reward counts for each row of the request, and once where the request had no rows to count."""
    bandit = loaded(EpsilonGreedy(1), tmp_path)
    bandit.send_feedback(features, [], 0.25, None, routing=0)
    assert bandit.counts() == [Counts(0.25 * rows, rows)]


def test_history(tmp_path: Path) -> None:
    """Rewards are kept one by one when asked for, and only then."""
    bandit = loaded(ThompsonSampling(2, history=True), tmp_path)
    bandit.send_feedback(X, [], 1.0, None, routing=1)
    bandit.send_feedback(X, [], 0.0, None, routing=0)
    assert bandit.history() == [(1, Counts(1.0, 1.0)), (0, Counts(0.0, 1.0))]
    quiet = loaded(ThompsonSampling(2), tmp_path, "quiet")
    quiet.send_feedback(X, [], 1.0, None, routing=1)
    assert quiet.history() == []


@pytest.mark.parametrize(
    "given_arguments",
    [{"n_branches": 0}, {"n_branches": 2, "branch_names": "a"}, {"n_branches": 2, "epsilon": 1.5},
     {"n_branches": 2, "best_branch": 2}],
)  # fmt: skip
def test_arguments_are_checked(given_arguments: dict[str, Any]) -> None:
    """A router that cannot work is refused when it is made."""
    with pytest.raises(ValueError, match=r"branch|epsilon"):
        EpsilonGreedy(**given_arguments)


def test_data_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that nobody told where to keep its counts keeps them in the data folder, under the node's name."""
    monkeypatch.setenv("INFERGRAPH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "router-1")
    bandit = ThompsonSampling(2)
    bandit.load()
    bandit.send_feedback(X, [], 1.0, None, routing=1)
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        assert database.execute("select * from branches").fetchall() == [("router-1", 1, 1.0, 1.0)]
    database.close()


# ── ensembles ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_majority_vote() -> None:
    """The label of most models wins for each row; in a tie the model that comes first."""
    vote = MajorityVote()
    assert vote.aggregate([np.array([1, 2, 3]), np.array([1, 3, 2]), np.array([0, 3, 1])], []).tolist() == [1, 3, 3]
    labels = [np.array([["cat"], ["dog"]]), np.array([["dog"], ["dog"]]), np.array([["cat"], ["cat"]])]
    assert vote.aggregate(labels, []).tolist() == [["cat"], ["dog"]]


def test_majority_vote_of_scores() -> None:
    """Scores vote for their highest class, also beside labels."""
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert MajorityVote().aggregate([scores, np.array([1, 1]), scores], []).tolist() == [1, 0]


def test_majority_vote_that_cannot_be() -> None:
    """Different numbers of rows, and answers that are no votes, are refused with the child's number."""
    with pytest.raises(PayloadError, match="child 0 answered 2 rows and child 1 3"):
        MajorityVote().aggregate([np.zeros(2), np.zeros(3)], [])
    with pytest.raises(PayloadError, match="child 1"):
        MajorityVote().aggregate([np.zeros(2), np.zeros((2, 2, 2))], [])


def test_weighted_average() -> None:
    """Each answer counts by its weight, whatever the weights sum to."""
    arrays = [np.array([[1.0, 0.0]]), np.array([[4.0, 3.0]])]
    assert WeightedAverage("2, 1").aggregate(arrays, []).tolist() == [[2.0, 1.0]]
    assert WeightedAverage([0.5, 0.5]).aggregate(arrays, []).tolist() == [[2.5, 1.5]]


def test_weighted_average_that_cannot_be() -> None:
    """Weights that are none, too few, and arrays that do not fit are refused with what is wrong."""
    for weights in ("", "x", "-1,2", "0,0", "nan,1"):
        with pytest.raises(ValueError, match=r"weights|convert"):
            WeightedAverage(weights)
    average = WeightedAverage("1,1")
    with pytest.raises(PayloadError, match="2 weights for 1 answers"):
        average.aggregate([np.zeros(1)], [])
    with pytest.raises(PayloadError, match=r"shapes \(1,\) of child 0 and \(2,\) of child 1"):
        average.aggregate([np.zeros(1), np.zeros(2)], [])
    with pytest.raises(PayloadError, match="not an array of numbers"):
        average.aggregate([np.zeros(1), np.array(["x"])], [])
