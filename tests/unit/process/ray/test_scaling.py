"""How many replicas a group has, by its load over time."""

from __future__ import annotations

from infergraph.process.ray.scaling import Scaler, Scaling

SCALING = Scaling(least=1, most=4, target=2.0, up_s=3.0, down_s=10.0)


def numbers(loads: dict[float, float], scaling: Scaling = SCALING) -> list[int]:
    """The number after each observation of a load, by time."""
    scaler = Scaler(scaling)
    return [scaler.observe(load, now) for now, load in loads.items()]


def test_more_load_that_lasts_is_more_replicas() -> None:
    """Replicas are added once the load has been higher for long enough, as many as its least needs."""
    assert numbers({0.0: 6, 1.0: 6, 2.0: 6, 3.0: 6, 4.0: 8}) == [1, 1, 1, 3, 3]


def test_a_moment_of_load_changes_nothing() -> None:
    """A peak that is shorter than the time for more adds nothing."""
    assert set(numbers({float(now): 8 if now % 3 else 0 for now in range(30)})) == {1}


def test_less_load_that_lasts_is_fewer_replicas() -> None:
    """Replicas are removed once the load has been lower for long enough, down to what its most needs."""
    loads = {float(now): 8.0 for now in range(4)} | {float(now): 1.0 for now in range(4, 20)} | {12.0: 4.0}
    found = numbers(dict(sorted(loads.items())))
    assert found[3:15] == [4] * 11 + [2]
    assert found[-1] == 2


def test_the_bounds_hold() -> None:
    """Never fewer than the least, never more than the most, whatever the load."""
    assert numbers({float(now): 1000.0 for now in range(9)})[-1] == 4
    assert numbers({float(now): 0.0 for now in range(99)}, Scaling(least=2, most=4))[-1] == 2


def test_what_is_kept_is_bounded() -> None:
    """Observations that count no more are dropped."""
    scaler = Scaler(SCALING)
    for now in range(10_000):
        scaler.observe(now % 7, float(now))
    assert len(scaler._recommended) <= 12
