"""Combiners that make one answer of several models' answers; plain components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infergraph.errors import PayloadError


class MajorityVote:
    """The class that most models chose, for each row.

    A model votes by a label for each row (an array of one axis, or one column), or by scores for each class (several
    columns), of which the highest is its vote. In a tie the model that comes first decides. Of dicts of arrays it is
    the vote by key.
    """

    execution = "inline"

    def aggregate(self, features: Sequence[Any], names: Sequence[Sequence[str]]) -> Any:
        """The winners.

        Returns: shape (rows,), or (rows, 1) where all voted so; labels as they came, or class numbers for scores.
        Raises: PayloadError if two answers have different numbers of rows.
        """
        if any(isinstance(answer, Mapping) for answer in features):
            return {key: self.aggregate(answers, names) for key, answers in _by_key(features).items()}
        votes = [_votes(np.asarray(answer), index) for index, answer in enumerate(features)]
        for index, vote in enumerate(votes):
            if len(vote) != len(votes[0]):
                text = f"cannot vote: child 0 answered {len(votes[0])} rows and child {index} {len(vote)}"
                raise PayloadError(text)
        winners = np.array([_winner(row) for row in zip(*votes, strict=True)])
        is_column = all(np.ndim(answer) == 2 and np.shape(answer)[1] == 1 for answer in features)
        return winners.reshape(-1, 1) if is_column else winners


class WeightedAverage:
    """The mean of the models' arrays, each with its own weight; of dicts of arrays the mean by key.

    Args:
        weights: one number for each child, in a list or separated by commas; they need not sum to 1.
    Raises: ValueError if they are not such numbers.
    """

    execution = "inline"

    def __init__(self, weights: str | Sequence[float]) -> None:
        parts = weights.split(",") if isinstance(weights, str) else weights
        self.weights = [float(weight) for weight in parts]
        if not self.weights or not all(np.isfinite(self.weights)) or min(self.weights) < 0 or not sum(self.weights) > 0:
            raise ValueError(f"weights must be finite numbers, none below 0 and not all 0: {weights!r}")

    def aggregate(self, features: Sequence[Any], names: Sequence[Sequence[str]]) -> Any:
        """The weighted mean, in the shape of the answers.

        Raises: PayloadError if there is not one answer for each weight, or two have different shapes.
        """
        if any(isinstance(answer, Mapping) for answer in features):
            return {key: self.aggregate(answers, names) for key, answers in _by_key(features).items()}
        arrays = [np.asarray(answer) for answer in features]
        if len(arrays) != len(self.weights):
            raise PayloadError(f"there are {len(self.weights)} weights for {len(arrays)} answers")
        for index, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                text = f"cannot average shapes {arrays[0].shape} of child 0 and {array.shape} of child {index}"
                raise PayloadError(text)
            if array.dtype.kind not in "biuf":
                raise PayloadError(f"cannot average the answer of child {index}: it is not an array of numbers")
        return np.average(arrays, axis=0, weights=self.weights)


def _by_key(answers: Sequence[Any]) -> dict[str, list[Any]]:
    """The models' values of each key.

    Raises: PayloadError if two answers have different keys.
    """
    keys = [list(answer) if isinstance(answer, Mapping) else None for answer in answers]
    for index, own in enumerate(keys):
        if own is None or keys[0] is None or set(own) != set(keys[0]):
            raise PayloadError(f"child 0 answered {keys[0] or 'an array'} and child {index} {own or 'an array'}")
    return {key: [answer[key] for answer in answers] for key in keys[0] or ()}


def _votes(answer: np.ndarray[Any, Any], index: int) -> list[Any]:
    if answer.ndim == 1 or (answer.ndim == 2 and answer.shape[1] == 1):
        return list(answer.reshape(-1).tolist())
    if answer.ndim == 2 and answer.shape[1] > 1 and answer.dtype.kind in "biuf":
        return list(np.argmax(answer, axis=1).tolist())
    raise PayloadError(f"child {index} answered shape {answer.shape}, which is not a vote")


def _winner(row: tuple[Any, ...]) -> Any:
    # Counter keeps the order in which labels came, and most_common keeps it among equals.
    return Counter(row).most_common(1)[0][0]
