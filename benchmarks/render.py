"""How long it takes to render deployment files as Kubernetes objects.

    python -m benchmarks.render [--documents 100]

The documents are those of the contract tests, in turn, each under a name of its own, in one file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import yaml

from infergraph.render.kubernetes import render
from infergraph.render.manifests import stream
from infergraph.render.options import Options

CASES = Path(__file__).parents[1] / "tests" / "contract" / "cases" / "kubernetes"
WANTED_S = 5.0
"""What a hundred documents may take."""


def _documents() -> Iterator[dict[str, object]]:
    for path in sorted(CASES.glob("[0-9]*.yaml")):
        yield from yaml.safe_load_all(path.read_text("utf-8"))


def text_of(number: int) -> str:
    """A file of a number of documents."""
    found = []
    for place, document in enumerate(islice(cycle(_documents()), number)):
        text = yaml.safe_dump(document, sort_keys=False)
        name = document["metadata"]["name"]  # type: ignore[index]
        found.append(
            text.replace(f"name: {name}\n", f"name: {name}-{place}\n", 1).replace("front-door", f"door-{place}")
        )
    return "---\n".join(found)


def main() -> None:
    """Print the time and the CPU time of one rendering, the best of three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    number = parser.parse_args().documents
    text = text_of(number)
    times = []
    for _ in range(3):
        begun, used = time.perf_counter(), time.process_time()
        rendered = render(text, "deployments.yaml", Options(image="registry.example.org/app:1"))
        size = len(stream(rendered.objects, "deployments.yaml"))
        times.append((time.perf_counter() - begun, time.process_time() - used))
        assert not rendered.refusals, rendered.refusals[0]
    took_s, cpu_s = min(times)
    objects = len(rendered.objects)
    print(
        f"{number} documents, {objects} objects, {size} bytes: {took_s:.2f} s, CPU {cpu_s:.2f} s (wanted: {WANTED_S} s)"
    )


if __name__ == "__main__":
    main()
