"""What a packaged server says about input that its model cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infergraph.errors import PayloadError


@contextmanager
def input_faults(model: str, *also: type[Exception]) -> Iterator[None]:
    """Turn what a model raises about its input into a PayloadError that keeps the model's own words.

    Args:
        model: what the model is called in the text.
        also: exceptions of the model's library that speak of the input, beside ValueError and TypeError.
    """
    refusals: tuple[type[Exception], ...] = (ValueError, TypeError, *also)
    try:
        yield
    except refusals as error:
        raise PayloadError(f"the {model} cannot take this input: {error}") from error
