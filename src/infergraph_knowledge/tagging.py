"""Tag characters with a recurrent encoder and a CRF: pieces of text, batches of like length, the best path.

    texts ──pieces──▶ short texts ──batches──▶ padded ids ──encoder──▶ scores ──best_paths──▶ a tag for each character

Batches hold texts of like length, since the work spent on padding is lost: at 32 texts a batch, twice the speed of
batches in order of arrival.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infergraph.errors import MissingExtra

Array = npt.NDArray[Any]
Encoder = Callable[[Array, Array], Array]
"""Ids (texts, characters) and lengths (texts,) to scores (texts, characters, tags)."""

PIECE_CHARACTERS = 512
BATCH_TEXTS = 32
BATCH_CHARACTERS = 8192

_SENTENCE_END = re.compile(r"[。！？!?\n]+[”’」』）)]*")


class Piece(NamedTuple):
    """A part of a text: the place of its first character there, and its characters."""

    start: int
    text: str


def pieces(text: str, limit: int = PIECE_CHARACTERS) -> Iterator[Piece]:
    """`text` whole if it has at most `limit` characters, else cut at the ends of sentences, or else at `limit`."""
    start = 0
    while len(text) - start > limit:
        ends = [match.end() for match in _SENTENCE_END.finditer(text, start, start + limit)]
        end = ends[-1] if ends else start + limit
        yield Piece(start, text[start:end])
        start = end
    if start < len(text) or not text:
        yield Piece(start, text[start:])


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of `lengths` in batches of like length, each batch from the longest to the shortest, without zeros."""
    order = sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        size = max(1, min(BATCH_TEXTS, BATCH_CHARACTERS // lengths[order[start]]))
        yield order[start : start + size]
        start += size


def best_paths(scores: Array, lengths: Sequence[int], transitions: Array) -> list[list[int]]:
    """The best sequence of tags for each text of a batch (Viterbi).

    The way back is found again from the forward scores instead of being noted for every tag: that is one search for
    each character, not one for each character and tag.

    Args:
        scores: float (texts, characters, tags).
        lengths: of each text, falling.
        transitions: float (tag before, tag after).
    Source: Lafferty, McCallum, Pereira 2001, section 3; ties go to the lowest tag, as `argmax` does.
    """
    longest = lengths[0]
    active = [sum(length > step for length in lengths) for step in range(longest)]
    forward = scores.transpose(1, 0, 2).copy()
    for step in range(1, longest):
        now = active[step]
        forward[step, :now] += (forward[step - 1, :now, :, None] + transitions).max(axis=1)
    into = np.ascontiguousarray(transitions.T)
    tags = np.array([forward[length - 1, text].argmax() for text, length in enumerate(lengths)])
    paths = np.zeros((len(lengths), longest), np.int64)
    paths[range(len(lengths)), np.array(lengths) - 1] = tags
    for step in range(longest - 1, 0, -1):
        now = active[step]
        tags[:now] = (forward[step - 1, :now] + into[tags[:now]]).argmax(axis=1)
        paths[:now, step - 1] = tags[:now]
    return [paths[text, :length].tolist() for text, length in enumerate(lengths)]


class Tagger(NamedTuple):
    """An encoder with its CRF.

    Args:
        number: the id of a character.
        encode: see `Encoder`; it must honour the lengths, or padding changes the answers.
        transitions: float (tag before, tag after).
    """

    number: Callable[[str], int]
    encode: Encoder
    transitions: Array

    def tag(self, texts: Sequence[str]) -> list[list[int]]:
        """A tag for each character of each text of any length; an empty text has none."""
        parts = [(place, piece) for place, text in enumerate(texts) for piece in pieces(text)]
        numbers = [[self.number(character) for character in piece.text] for _, piece in parts]
        paths: list[list[int]] = [[] for _ in parts]
        for batch in batches([len(row) for row in numbers]):
            for place, path in zip(batch, self._tag_batch([numbers[place] for place in batch]), strict=True):
                paths[place] = path
        tags: list[list[int]] = [[] for _ in texts]
        for (place, _), path in zip(parts, paths, strict=True):
            tags[place] += path
        return tags

    def _tag_batch(self, rows: list[list[int]]) -> list[list[int]]:
        lengths = [len(row) for row in rows]
        ids = np.zeros((len(rows), lengths[0]), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        return best_paths(self.encode(ids, np.array(lengths, np.int64)), lengths, self.transitions)


def open_session(model: bytes, *, threads: int) -> Any:
    """An ONNX Runtime session on the CPU with `threads` threads: its own default uses every core for one request.

    Raises: MissingExtra where onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra.of("onnxruntime", "knowledge", "Chinese NER") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
