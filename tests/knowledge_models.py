"""Components with real models, each loaded once for all tests of a run; weights are fetched where they are missing."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

from infergraph_knowledge import fetch
from infergraph_knowledge.chinese import ChineseJe, ChineseNer, ChineseRe, MsraNer
from infergraph_knowledge.english import EnglishJe, EnglishNer, EnglishRe
from infergraph_knowledge.lac import Lexer


@functools.cache
def weights() -> Path:
    """The weights folder, with everything in it."""
    folder = fetch.weights_folder()
    for name in fetch.WEIGHTS:
        fetch.fetch(name, folder)
    return folder


@functools.cache
def lexer() -> Lexer:
    """LAC."""
    return Lexer.load()


def _loaded(component):
    with warnings.catch_warnings():
        # spaCy's compiled parts define types that the interpreter warns about while it imports them.
        warnings.simplefilter("ignore", DeprecationWarning)
        component.load()
    return component


@functools.cache
def chinese_ner() -> ChineseNer:
    """Chinese NER, style graph."""
    return _loaded(ChineseNer())


@functools.cache
def msra_ner() -> MsraNer:
    """Chinese NER of the MSRA kind."""
    return _loaded(MsraNer(str(weights())))


@functools.cache
def chinese_re(means: str = "both", best: bool = False) -> ChineseRe:
    """Chinese RE."""
    return _loaded(ChineseRe(means=means, best=best, weights=str(weights())))


@functools.cache
def chinese_je(means: str = "both") -> ChineseJe:
    """Chinese JE."""
    return _loaded(ChineseJe(means=means, weights=str(weights())))


@functools.cache
def english_ner() -> EnglishNer:
    """English NER."""
    return _loaded(EnglishNer())


@functools.cache
def english_re() -> EnglishRe:
    """English RE."""
    return _loaded(EnglishRe())


@functools.cache
def english_je() -> EnglishJe:
    """English JE."""
    return _loaded(EnglishJe())
