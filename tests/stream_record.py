"""What streaming components of a test share with it: both run in one process."""

from __future__ import annotations

import threading
from queue import SimpleQueue

CLOSED: SimpleQueue[tuple[str, int]] = SimpleQueue()
"""The generators that ran their `finally`: the thread's name, and how many items they gave."""

GO = threading.Event()
"""What the component Waits waits for after its first item."""
