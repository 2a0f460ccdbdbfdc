"""A stand-in for the task driver: notes its process id in the folder its source names, then does as told."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

order = json.load(sys.stdin)
folder = Path(order["source"]["driver_folder"])
(folder / f"{os.getpid()}.started").touch()
if order["source"].get("driver_exits"):
    sys.exit(order["source"]["driver_exits"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
