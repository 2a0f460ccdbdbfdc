"""The arms of bandit routers: the counts of each branch, and the posterior distribution of its value.

Source: Thompson (1933); the posterior of a branch with s successes in n tries is Beta(1 + s, 1 + n - s).
"""

from __future__ import annotations

import itertools
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

POINTS = 121
REACH = 4.5  # standard deviations on each side of the mean, covered by a curve
INTERVAL = 0.9


class Arm(NamedTuple):
    """A branch of a router.

    Args:
        branch: its number.
        successes: the sum of its rewards.
        tries: rows it answered that have a reward.
    """

    branch: int
    successes: float
    tries: float

    @property
    def value(self) -> float | None:
        """The mean reward; None before the first reward."""
        return self.successes / self.tries if self.tries else None


class Belief(NamedTuple):
    """The posterior distribution of a branch's value.

    Args:
        curve: values from 0 to 1, ascending, and the density at each.
        low, high: the value lies between them with probability INTERVAL.
    """

    curve: tuple[tuple[float, float], ...]
    low: float
    high: float

    @property
    def peak(self) -> float:
        """The maximum density."""
        return max(height for _, height in self.curve)


def read_arms(path: Path) -> dict[str, list[Arm]]:
    """The arms of every router in the file, by the router's key; empty if there is no file yet. Blocks.

    Raises: OSError if the file is not a store of counts.
    """
    if not path.is_file():
        return {}
    found: dict[str, list[Arm]] = {}
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=2)) as database:
            rows = database.execute("select bandit, branch, successes, tries from branches order by bandit, branch")
            for key, branch, successes, tries in rows:
                found.setdefault(key, []).append(Arm(branch, successes, tries))
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    return found


def belief(arm: Arm) -> Belief:
    """The posterior distribution of `arm`."""
    alpha, beta = 1.0 + max(arm.successes, 0.0), 1.0 + max(arm.tries - arm.successes, 0.0)
    mean = alpha / (alpha + beta)
    reach = REACH * math.sqrt(mean * (1 - mean) / (alpha + beta + 1))
    first, last = max(0.0, mean - reach), min(1.0, mean + reach)
    places = [first + (last - first) * step / (POINTS - 1) for step in range(POINTS)]
    scale = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
    curve = tuple((place, _density(place, alpha, beta, scale)) for place in places)
    return Belief(curve, _place_of((1 - INTERVAL) / 2, curve), _place_of((1 + INTERVAL) / 2, curve))


def _density(value: float, alpha: float, beta: float, scale: float) -> float:
    if value in (0.0, 1.0):
        exponent = alpha - 1 if value == 0.0 else beta - 1
        return 0.0 if exponent > 0 else math.exp(scale)
    return math.exp(scale + (alpha - 1) * math.log(value) + (beta - 1) * math.log1p(-value))


def _place_of(part: float, curve: tuple[tuple[float, float], ...]) -> float:
    """The quantile: the value with `part` of the area under the curve on its left."""
    slices = [(left + right) / 2 * (end - start) for (start, left), (end, right) in itertools.pairwise(curve)]
    wanted, passed = sum(slices) * part, 0.0
    for ((start, _), (end, _)), area in zip(itertools.pairwise(curve), slices, strict=True):
        if passed + area >= wanted:
            return start + (end - start) * (wanted - passed) / area if area else start
        passed += area
    return curve[-1][0]
