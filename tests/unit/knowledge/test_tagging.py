"""Pieces of texts, batches of like length, and the best path through a CRF."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph_knowledge import tagging
from infergraph_knowledge.tagging import Piece, Tagger, batches, best_paths, pieces


@given(st.text(alphabet="字。！\n”a ", max_size=60), st.integers(1, 9))
def test_pieces_are_the_text(text, limit):
    """Pieces joined are the text, each starts where it says, none is over the limit, and none is empty but the only."""
    found = list(pieces(text, limit))
    assert "".join(piece.text for piece in found) == text
    assert all(text[piece.start :].startswith(piece.text) and len(piece.text) <= limit for piece in found)
    assert all(piece.text for piece in found) or found == [Piece(0, "")]


def test_pieces_end_with_sentences():
    """A long text is cut behind its last sentence that fits, closing quotes included."""
    assert [piece.text for piece in pieces("他说：“好。”然后走了。再见", 8)] == ["他说：“好。”", "然后走了。再见"]


@given(st.lists(st.integers(0, 20_000), max_size=200))
def test_batches_hold_every_text_once(lengths):
    """Every text that is not empty is in one batch, from long to short, and no padded batch is over the limits."""
    made = list(batches(lengths))
    assert sorted(itertools.chain(*made)) == [place for place, length in enumerate(lengths) if length]
    for batch in made:
        sizes = [lengths[place] for place in batch]
        assert sizes == sorted(sizes, reverse=True)
        assert len(batch) == 1 or (
            len(batch) <= tagging.BATCH_TEXTS and len(batch) * sizes[0] <= tagging.BATCH_CHARACTERS
        )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_best_paths_are_the_best_of_all(lengths, seed):
    """For every text of a padded batch the path has the highest score of all paths, tried one by one."""
    lengths = sorted(lengths, reverse=True)
    random = np.random.default_rng(seed)
    scores = random.normal(size=(len(lengths), lengths[0], 3))
    transitions = random.normal(size=(3, 3))

    def score(text, path):
        steps = sum(transitions[a, b] for a, b in itertools.pairwise(path))
        return steps + sum(scores[text, place, tag] for place, tag in enumerate(path))

    for text, path in enumerate(best_paths(scores, lengths, transitions)):
        every = itertools.product(range(3), repeat=lengths[text])
        assert tuple(path) == max(every, key=lambda tried: score(text, tried))


def test_best_paths_leave_the_scores_alone():
    """The encoder's array is not changed, not even where a batch of one needs no copy to be turned."""
    scores = np.ones((1, 4, 2))
    best_paths(scores, [4], np.eye(2))
    assert (scores == 1).all()


@given(st.lists(st.text(alphabet="ab。", max_size=40), max_size=20))
def test_tags_stand_in_the_order_of_the_texts(texts):
    """However texts are cut and batched, each character of each text gets its own tag."""

    def encode(ids, lengths):
        return np.eye(4)[ids]

    tagger = Tagger(number=lambda character: "ab。".index(character) + 1, encode=encode, transitions=np.zeros((4, 4)))
    assert tagger.tag(texts) == [["ab。".index(character) + 1 for character in text] for text in texts]
