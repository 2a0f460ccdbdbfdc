"""How many task workers there should be: as many as finish the work in time, between two bounds.

seconds of work left ─▶ / the time it may take ─▶ more at once ┊ fewer only after a while
"""

from __future__ import annotations

import math

from infergraph.settings import WorkerBounds

SHRINK_S = 30.0
"""A worker has loaded the unit: it is kept for this long after it is no longer needed."""


class Scaling:
    """The number of task workers over time.

    Args:
        finish_s: within which the work should be finished.
    """

    def __init__(self, bounds: WorkerBounds, finish_s: float) -> None:
        self._bounds = bounds
        self._finish_s = finish_s
        self._count = bounds.least
        self._needed_at = 0.0

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to decide."""
        return self._bounds.least == self._bounds.most

    def wanted(self, work_s: float, now: float) -> int:
        """How many workers to have.

        Args:
            work_s: how long one worker would take for all the work that is known; 0 if that is not known yet.
            now: monotonic seconds.
        """
        least, most = self._bounds
        needed = min(most, max(least, 1, math.ceil(work_s / self._finish_s)))
        if needed >= self._count:
            self._count, self._needed_at = needed, now
        elif now - self._needed_at > SHRINK_S:
            self._count, self._needed_at = self._count - 1, now
        return self._count

    def rest(self) -> None:
        """All workers are ended, as there is no work."""
        self._count = self._bounds.least
