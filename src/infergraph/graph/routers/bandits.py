"""Multi-armed bandits: routers that learn the best branch from rewards; their counts are stored in one SQLite file.

    route ─▶ counts of all branches ─▶ branch          send_feedback ─▶ one atomic addition to its branch

All workers share the counts in the file, which survive a restart; the process keeps no state.

Source: the microservice specification, section 18; Thompson (1933) with Beta(1, 1) priors.
"""

from __future__ import annotations

import logging
import math
import os
import random
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infergraph.errors import PayloadError

_log = logging.getLogger("infergraph.bandit")

FILE_NAME = "bandits.sqlite"
_TABLES = """
create table if not exists branches (
    bandit text not null, branch integer not null, successes real not null, tries real not null,
    primary key (bandit, branch)
) without rowid;
create table if not exists history (
    bandit text not null, branch integer not null, successes real not null, tries real not null
);
"""
_ADD = """
insert into branches values (?, ?, ?, ?) on conflict (bandit, branch) do update
set successes = successes + excluded.successes, tries = tries + excluded.tries
"""


class Counts(NamedTuple):
    """The counts of a branch: rows that it answered, and the sum of their rewards."""

    successes: float = 0.0
    tries: float = 0.0

    @property
    def value(self) -> float:
        """The mean reward; 0 before the first."""
        return self.successes / self.tries if self.tries else 0.0


class CountStore:
    """The counts of bandits in one file.

    Args:
        path: the file; its folder is made.
        bandit: the key of this bandit's counts in the file.
    Promises: additions are atomic across processes and threads, and survive a crash of the process.
    """

    def __init__(self, path: Path, bandit: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._bandit = bandit
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")
        self._database.executescript(_TABLES)

    def read(self, branches: int) -> list[Counts]:
        """The counts of branches 0 to `branches` - 1."""
        counts = [Counts()] * branches
        with self._lock:
            rows = self._database.execute(
                "select branch, successes, tries from branches where bandit = ? and branch < ?",
                (self._bandit, branches),
            ).fetchall()
        for branch, successes, tries in rows:
            counts[branch] = Counts(successes, tries)
        return counts

    def add(self, branch: int, counts: Counts, *, history: bool = False) -> None:
        """Add to the counts of a branch, atomically."""
        row = (self._bandit, branch, counts.successes, counts.tries)
        with self._lock, self._database:
            self._database.execute("begin immediate")
            self._database.execute(_ADD, row)
            if history:
                self._database.execute("insert into history values (?, ?, ?, ?)", row)

    def history(self) -> list[tuple[int, Counts]]:
        """Every recorded addition, in order: the branch, and what was added."""
        with self._lock:
            rows = self._database.execute(
                "select branch, successes, tries from history where bandit = ? order by rowid", (self._bandit,)
            ).fetchall()
        return [(branch, Counts(successes, tries)) for branch, successes, tries in rows]

    def __del__(self) -> None:
        # A component has a `load` hook, but none to unload.
        if hasattr(self, "_database"):
            self._database.close()


class Bandit:
    """Base class of the bandits: the counts, and how feedback updates them.

    Args:
        n_branches: how many children there are.
        verbose: log each reward.
        seed: for reproducible draws; 0 is a seed, too.
        history: keep each reward, for `history()`.
        branch_names: names for the log, separated by colons.
        path: the file of the counts; by default `bandits.sqlite` in the data folder.
        key: of the counts; by default the node's name.
    Raises: ValueError if there is no branch, or not one name for each.
    """

    def __init__(
        self,
        n_branches: int,
        verbose: bool = False,
        seed: int | None = None,
        history: bool = False,
        branch_names: str = "",
        path: str = "",
        key: str = "",
    ) -> None:
        if n_branches < 1:
            raise ValueError(f"n_branches must be 1 or more, not {n_branches}")
        names = branch_names.split(":") if branch_names else [str(branch) for branch in range(n_branches)]
        if len(names) != n_branches:
            raise ValueError(f"branch_names names {len(names)} branches, not {n_branches}: {branch_names!r}")
        self.n_branches = n_branches
        self.branch_names = names
        self._verbose = verbose
        self._keeps_history = history
        self._path = path
        self._key = key
        self._rng = random.Random(seed)
        self._opened: CountStore | None = None

    def keep_in(self, folder: Path, key: str) -> None:
        """Set where the counts are stored, before `load`; a `path` or `key` given as a parameter takes precedence."""
        self._path = self._path or str(folder / FILE_NAME)
        self._key = self._key or key

    def load(self) -> None:
        """Open the file of the counts."""
        folder = Path(os.environ.get("INFERGRAPH_DATA_DIR") or ".infergraph")
        key = self._key or os.environ.get("PREDICTIVE_UNIT_ID") or type(self).__name__
        self._opened = CountStore(Path(self._path) if self._path else folder / FILE_NAME, key)

    @property
    def _store(self) -> CountStore:
        if self._opened is None:
            raise RuntimeError(f"{type(self).__name__} is not loaded: call load() first")
        return self._opened

    def counts(self) -> list[Counts]:
        """The counts of each branch, over all workers."""
        return self._store.read(self.n_branches)

    def history(self) -> list[tuple[int, Counts]]:
        """Every reward, if they are kept: the branch, and what was added to it."""
        return self._store.history()

    def send_feedback(
        self, features: Any, feature_names: Sequence[str], reward: float, truth: Any, routing: int | None = None
    ) -> None:
        """Count the reward for the branch that answered, once for each row of the request.

        Raises: PayloadError if the reward is not from 0 to 1, or the feedback names no branch.
        """
        if not (math.isfinite(reward) and 0 <= reward <= 1):
            raise PayloadError(f"a reward for {type(self).__name__} is from 0 to 1, not {reward!r}")
        if routing is None:
            raise PayloadError("the feedback names no branch: response.meta.routing lacks this router")
        if not 0 <= routing < self.n_branches:
            raise PayloadError(f"the feedback names branch {routing}, but there are {self.n_branches}")
        rows = _rows(features)
        self._store.add(int(routing), Counts(reward * rows, rows), history=self._keeps_history)
        if self._verbose:
            _log.info("%s: branch %s got %g for %d rows", self._key, self.branch_names[int(routing)], reward, rows)


class EpsilonGreedy(Bandit):
    """Chooses the best branch, except for a share of the requests, which go to another one at random.

    Args:
        epsilon: that share.
        best_branch: considered best before the first reward; random by default.
    """

    def __init__(
        self,
        n_branches: int,
        epsilon: float = 0.1,
        best_branch: int | None = None,
        verbose: bool = False,
        seed: int | None = None,
        history: bool = False,
        branch_names: str = "",
        path: str = "",
        key: str = "",
    ) -> None:
        super().__init__(n_branches, verbose, seed, history, branch_names, path, key)
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must be from 0 to 1, not {epsilon}")
        if best_branch is not None and not 0 <= best_branch < n_branches:
            raise ValueError(f"best_branch is {best_branch}, but there are {n_branches} branches")
        self.epsilon = epsilon
        self.best_branch = best_branch

    def route(self, features: Any, feature_names: Sequence[str]) -> int:
        """The branch for a request."""
        best = self._best()
        if self.n_branches == 1 or self._rng.random() >= self.epsilon:
            return best
        other = self._rng.randrange(self.n_branches - 1)
        return other if other < best else other + 1

    def _best(self) -> int:
        counts = self.counts()
        if self.best_branch is not None and not any(count.tries for count in counts):
            return self.best_branch
        highest = max(count.value for count in counts)
        return self._rng.choice([branch for branch, count in enumerate(counts) if count.value == highest])


class ThompsonSampling(Bandit):
    """Samples from the posterior of each branch, and chooses the branch with the highest sample."""

    def route(self, features: Any, feature_names: Sequence[str]) -> int:
        """The branch for a request."""
        draws = [
            self._rng.betavariate(1 + count.successes, 1 + max(count.tries - count.successes, 0.0))
            for count in self.counts()
        ]
        return draws.index(max(draws))


def _rows(features: Any) -> int:
    """How many rows a request had; one where it had no rows to count."""
    shape = getattr(features, "shape", None)
    if shape is None:
        return len(features) or 1 if isinstance(features, list | tuple) else 1
    return int(shape[0]) or 1 if shape else 1
