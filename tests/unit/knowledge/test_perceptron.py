"""The relation tagger: its conversion from the packaged pickle, and how it labels."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile

import pytest

from infergraph.errors import MissingExtra
from infergraph_knowledge import perceptron
from infergraph_knowledge.perceptron import RelationTagger

LABELS = {"O", "B-实体", "B-作者+", "B-作者-"}
WEIGHTS = {
    "bias": {"O": 0.5},
    "i word 三体": {"B-实体": 2.0},
    "i word 刘慈欣": {"B-作者+": 1.0, "B-作者-": 1.0},
    "i-1 tag B-实体": {"B-作者+": 1.0},
    "i suffix \ud83d": {"O": 1.0},
}


@pytest.fixture
def tagger(tmp_path):
    """A tagger converted from a small archive of the packaged form."""
    data = gzip.compress(pickle.dumps((WEIGHTS, LABELS), 3))
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(perceptron.MEMBER)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    perceptron.convert(tmp_path / "archive.tar.gz", tmp_path / perceptron.FILE_NAME)
    return RelationTagger.load(tmp_path)


def test_labels_are_the_best_and_see_the_labels_before(tagger):
    """Each word gets the label of the highest score, and the label before counts."""
    assert tagger.tag(["三体", "刘慈欣"]).labels == ["B-实体", "B-作者+"]
    assert tagger.tag(["是", "书"]).labels == ["O", "O"]


def test_a_tie_goes_to_the_label_that_sorts_last(tagger):
    """As in the package that the weights come from."""
    assert tagger.tag(["刘慈欣"]).labels == ["B-作者-"]


def test_a_choice_stands_for_the_best(tagger):
    """A forced label is taken, later labels depend on it, and a choice by function sees the scores."""
    seen = []

    def choose(scores):
        seen.append(scores.tolist())
        return "B-作者-"

    tagged = tagger.tag(["书", "刘慈欣", "。"], {0: "B-实体", 1: choose}, stop=2)
    assert tagged.labels == ["B-实体", "B-作者-"]
    assert seen == [tagged.scores[1].tolist()] == [[2.0, 1.0, 0.0, 0.5]]


def test_no_weights_is_told_with_the_command_that_fetches_them(tmp_path):
    """Where the weights were not fetched, the fault says how."""
    with pytest.raises(MissingExtra, match="run `infergraph knowledge fetch jiagu`"):
        RelationTagger.load(tmp_path)
