"""The memory that the bodies in work take together, and the values that are read of them.

    connection ──hold, release──▶ BodiesMemory ◀──charge── ValuesAccount, one for each large message

A body within its own limit may take many times its size once it is read, so what it will take is charged before.
"""

from __future__ import annotations

import threading

from infergraph.errors import Overloaded, UploadTooLarge

_SHARE = 8
"""One message may take this part of the limit, so that one caller leaves room for others."""


class BodiesMemory:
    """The bytes of bodies and values in memory, and their limit; 0 for no limit.

    Promises: bodies are counted by the event loop alone; values by any thread.
    """

    def __init__(self, limit_bytes: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._bodies_bytes = 0
        self._values_bytes = 0
        self._lock = threading.Lock()

    @property
    def message_limit_bytes(self) -> int:
        """How much memory the values of one message may take; 0 for no limit."""
        return self._limit_bytes // _SHARE

    @property
    def taken_bytes(self) -> int:
        """What all bodies and values take now."""
        return self._bodies_bytes + self._values_bytes

    def hold(self, size_bytes: int) -> None:
        """Account for more bytes of a body in memory, until `release`.

        Raises: Overloaded if all together exceed the limit; the bytes are counted all the same.
        """
        self._bodies_bytes += size_bytes
        self._check()

    def release(self, size_bytes: int) -> None:
        """These bytes of a body are no longer in memory."""
        self._bodies_bytes -= size_bytes

    def charge(self, size_bytes: int) -> None:
        """Account for the values of a message, until they are charged back by a negative number.

        Raises: Overloaded if all together exceed the limit; nothing is counted then.
        """
        with self._lock:
            self._values_bytes += size_bytes
        try:
            if size_bytes > 0:
                self._check()
        except Overloaded:
            self.charge(-size_bytes)
            raise

    def _check(self) -> None:
        if 0 < self._limit_bytes < self.taken_bytes:
            raise Overloaded(
                f"the bodies in work, and the values that are read of them, take more than {self._limit_bytes} bytes "
                "of memory (setting bodies_limit_bytes); try again"
            )


def too_many_values(size_bytes: int, limit_bytes: int) -> UploadTooLarge:
    """The fault of a message whose values would take more than `BodiesMemory.message_limit_bytes`."""
    return UploadTooLarge(
        f"a message of {size_bytes} bytes holds so many values that they would take more than {limit_bytes} bytes of "
        "memory, an eighth of what all may take (setting bodies_limit_bytes); send them in several messages"
    )


class ValuesAccount:
    """What the values of one message were charged; given back when the message is freed."""

    __slots__ = ("_memory", "charged_bytes")

    def __init__(self, memory: BodiesMemory) -> None:
        self._memory = memory
        self.charged_bytes = 0

    @property
    def limit_bytes(self) -> int:
        """How much memory the values of the message may take; 0 for no limit."""
        return self._memory.message_limit_bytes

    def charge(self, size_bytes: int) -> None:
        """Charge more values. Raises: Overloaded as `BodiesMemory.charge` does."""
        self._memory.charge(size_bytes)
        self.charged_bytes += size_bytes

    def charge_within(self, size_bytes: int, message_bytes: int) -> None:
        """Charge more values of a message of that size.

        Raises: UploadTooLarge if it takes more than one message may; Overloaded as `BodiesMemory.charge` does.
        """
        if 0 < self.limit_bytes < self.charged_bytes + size_bytes:
            raise too_many_values(message_bytes, self.limit_bytes)
        self.charge(size_bytes)

    def clear(self) -> None:
        """Give back all that was charged."""
        if self.charged_bytes:
            self._memory.charge(-self.charged_bytes)
            self.charged_bytes = 0

    def __del__(self) -> None:
        self.clear()
