"""Error translation of packaged servers: invalid input, and models that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infergraph.errors import Fault, PayloadError, TargetError


@contextmanager
def input_faults(model: str, *also: type[Exception]) -> Iterator[None]:
    """Translate a model's errors about its input to a PayloadError with the library's message.

    Args:
        model: the model's name in the message.
        also: exceptions of the library that are about the input, besides ValueError and TypeError.
    """
    refusals: tuple[type[Exception], ...] = (ValueError, TypeError, *also)
    try:
        yield
    except refusals as error:
        raise PayloadError(f"the {model} cannot take this input: {error}") from error


@contextmanager
def reading(place: Path) -> Iterator[None]:
    """Translate a library's errors about a broken or foreign model file to one line that names the path.

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
