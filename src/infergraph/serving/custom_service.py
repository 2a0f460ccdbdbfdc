"""The extra process of a component that has a `custom_service()`: that method is its body."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from infergraph import assembly, compat
from infergraph.observe import logs
from infergraph.serving.worker import die_with
from infergraph.settings import Settings
from infergraph.source import UnitSource


def start(source: UnitSource) -> None:
    """Start it; it ends with this process. One that returns or raises is not started again."""
    command = [sys.executable, "-P", "-m", "infergraph.serving.custom_service", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(source))
    process.stdin.close()


def main() -> None:
    """Construct the component and run its `custom_service()`."""
    die_with(int(sys.argv[1]))
    source = msgspec.json.decode(sys.stdin.buffer.read(), type=UnitSource)
    settings = msgspec.convert(source.settings, Settings)
    logs.configure(settings)
    compat.install()
    assembly.construct(source, settings).custom_service()


if __name__ == "__main__":
    main()
