"""What a packaged server says about input that its model cannot take, and of a model that it cannot read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infergraph.errors import Fault, PayloadError, TargetError


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


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Turn whatever a library raises over a model that is broken, or not its own, into one line that names the place.

    Raises: TargetError.
    """
    try:
        yield
    except Fault:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0][:300]
        text = f"the model at {place} cannot be read: {type(error).__name__}"
        raise TargetError(f"{text}: {said}" if said else text) from error
