"""A stand-in for the task driver: notes its process id in the folder its source names, then does as told."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

source = json.loads(json.loads(sys.stdin.readline())["source"])
folder = Path(source["driver_folder"])
(folder / f"{os.getpid()}.started").touch()
if "driver_exits" in source:
    sys.exit(source["driver_exits"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
sys.stdin.read()  # ends when the supervisor is dead
