"""A message that has a JSON view of its own, whichever codec it came by."""

from __future__ import annotations

from typing import Any

from infergraph.message import Message


class WireMessage(Message):
    """A message that came off the wire, or that stands for a whole JSON document.

    It may carry more than its content (a status, unknown members), which its `document` shows.
    """

    __slots__ = ()

    @property
    def document(self) -> Any:
        """The JSON value of the message.

        Raises: PayloadError if it cannot be read.
        """
        raise NotImplementedError("each codec's message has its own view")

    @property
    def written(self) -> Any:
        """The same value, where arrays may still be NumPy's: what the JSON writer takes.

        Raises: PayloadError if it cannot be read.
        """
        return self.document

    @property
    def known_document(self) -> Any:
        """The document if it has been read; None if the content says all there is."""
        return None
