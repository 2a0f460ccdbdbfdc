"""Tag the words of a Chinese sentence with relations: the perceptron `kg.model` of jiagu, in compact arrays.

    archive ──convert──▶ jiagu-kg.npz ──load──▶ RelationTagger ──tag──▶ a label and the scores of all for each word

A label is `O`, `B-实体`/`I-实体` for the entity that relations start at, or `B-<relation>+` and `B-<relation>-` for the
entity they end at: `+` where that comes after the first in the text, `-` where before. (jiagu's own reader takes the
sign the other way round.)
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infergraph.errors import MissingExtra
from infergraph_knowledge.pickles import ListedUnpickler

FILE_NAME = "jiagu-kg.npz"
MEMBER = "jiagu-0.2.3/jiagu/model/kg.model"
OUTSIDE = "O"
HEAD = "B-实体"

Scores = npt.NDArray[np.float32]
Choice = str | Callable[[Scores], str]
"""A label to give, or a function that chooses it by the scores of all labels."""


def convert(archive: Path, target: Path) -> None:
    """Write the relation weights of jiagu's source archive to `target`.

    The archive's nested dictionaries take 600 MB in memory; the arrays written here take a quarter, with the same
    answers.
    """
    with tarfile.open(archive) as files:
        member = files.extractfile(MEMBER)
        if member is None:
            raise FileNotFoundError(f"{MEMBER} in {archive}")
        pickled = gzip.decompress(member.read())
    weights, labels = ListedUnpickler(io.BytesIO(pickled), {("builtins", "set"): set}).load()
    ordered = sorted(labels)
    numbers = {label: number for number, label in enumerate(ordered)}
    features = list(weights)
    ends = np.zeros(len(features) + 1, np.int32)
    ends[1:] = np.cumsum([len(weights[feature]) for feature in features])
    pairs = [(numbers[label], value) for feature in features for label, value in weights[feature].items()]
    with target.open("wb") as file:
        np.savez_compressed(
            file,
            features=np.frombuffer("\n".join(features).encode("utf-8", "surrogatepass"), np.uint8),
            labels=np.array(ordered),
            ends=ends,
            indices=np.array([number for number, _ in pairs], np.uint8),
            values=np.array([value for _, value in pairs], np.float32),
        )


class Tagged(NamedTuple):
    """A label for each word, and the scores (labels,) it was chosen by."""

    labels: list[str]
    scores: list[Scores]


class RelationTagger:
    """An averaged perceptron over words that sees two words each way and its own last two labels."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        text = arrays["features"].tobytes().decode("utf-8", "surrogatepass")
        self._features = {feature: number for number, feature in enumerate(text.split("\n"))}
        self._ends, self._indices, self._values = arrays["ends"], arrays["indices"], arrays["values"]
        self.labels = [str(label) for label in arrays["labels"]]
        self.numbers = {label: number for number, label in enumerate(self.labels)}

    @classmethod
    def load(cls, folder: Path) -> RelationTagger:
        """The tagger over the weights in `folder`.

        Raises: MissingExtra where they were not fetched.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise MissingExtra(f"there are no relation weights at {path}: run `infergraph knowledge fetch jiagu`")
        with np.load(path, allow_pickle=False) as arrays:
            return cls({name: arrays[name] for name in arrays.files})

    def tag(
        self, words: Sequence[str], choices: Mapping[int, Choice] | None = None, *, stop: int | None = None
    ) -> Tagged:
        """Label `words` from left to right.

        Args:
            choices: for some places, what to label them instead of the best; later labels depend on it.
            stop: label only the first `stop` words.
        """
        tagged = Tagged([], [])
        context = ["-START-", "-START2-", *words, "-END-", "-END2-"]
        before, before2 = "-START-", "-START2-"
        for place in range(len(words) if stop is None else stop):
            scores = self._scores(_features(context[place : place + 5], before, before2))
            choice = (choices or {}).get(place)
            label = choice if isinstance(choice, str) else (choice or self._best)(scores)
            tagged.labels.append(label)
            tagged.scores.append(scores)
            before, before2 = label, before
        return tagged

    def _best(self, scores: Scores) -> str:
        # jiagu breaks a tie for the label that sorts last.
        return self.labels[len(scores) - 1 - int(scores[::-1].argmax())]

    def _scores(self, features: Sequence[str]) -> Scores:
        scores = np.zeros(len(self.labels), np.float32)
        for feature in features:
            number = self._features.get(feature)
            if number is not None:
                begin, end = self._ends[number], self._ends[number + 1]
                scores[self._indices[begin:end]] += self._values[begin:end]
        return scores


def _features(context: Sequence[str], before: str, before2: str) -> tuple[str, ...]:
    """The names of jiagu's features; `context` is the word with two neighbours on each side."""
    left2, left, word, right, right2 = context
    return (
        "bias",
        f"i suffix {word[-3:]}",
        f"i pref1 {word[0]}",
        f"i-1 tag {before}",
        f"i-2 tag {before2}",
        f"i tag+i-2 tag {before} {before2}",
        f"i word {word}",
        f"i-1 tag+i word {before} {word}",
        f"i-1 word {left}",
        f"i-1 suffix {left[-3:]}",
        f"i-2 word {left2}",
        f"i+1 word {right}",
        f"i+1 suffix {right[-3:]}",
        f"i+2 word {right2}",
    )
