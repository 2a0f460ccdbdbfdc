"""One hop to a node: by the client of one fixed address, and by the one that balances; REST and gRPC.

    one replica       its IP address            a name that has this one
    three replicas    three fixed clients in turn, by hand      one that balances over them

The caller is this process, with a node's own unit; the replicas are servers of ours. Loads take turns in short rounds,
and the least of all rounds counts, so that a busy machine disturbs all alike. CPU time is that of the caller and of the
replicas. Three of them cost more a call than one for either client: each is woken for fewer calls at a time.
Run: python -m benchmarks.addresses [--calls 2000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import uvloop

from benchmarks import cost
from benchmarks.graphs import REPLICAS
from benchmarks.report import table
from benchmarks.servers import SERVERS, Running, running
from infergraph.graph.remote.grpc import GrpcUnit
from infergraph.graph.remote.rest import RestUnit
from infergraph.message import Context, Method, PredictiveUnit, Transport
from infergraph.net.discovery import Discovery
from infergraph.wire import prediction, proto_codec
from infergraph.wire.json_codec import JsonMessage

AT_ONCE, SHARE_WANTED = 8, 1.2
NAME = "replica.benchmark"
REST_BODY = b'{"data":{"names":["a","b"],"tensor":{"shape":[2,2],"values":[1.0,2.0,3.0,4.0]}}}'
TENSOR = prediction.Tensor(shape=[2, 2], values=[1.0, 2.0, 3.0, 4.0])
GRPC_BODY = prediction.SeldonMessage(data=prediction.DefaultData(tensor=TENSOR)).SerializeToString()
CONTEXTS = {"REST": Context(Transport.REST), "gRPC": Context(Transport.GRPC)}


class Cost(NamedTuple):
    """CPU µs of one call: of the caller alone, and with the replicas."""

    caller_us: float
    whole_us: float


async def one_address(host: str, port: int) -> Sequence[str]:
    """The IP of every name here."""
    return ["127.0.0.1"]


class Way(NamedTuple):
    """A way to the replicas: units that are called in turn. `baseline` is the number of the way to compare it with."""

    replicas: int
    title: str
    units: Sequence[PredictiveUnit]
    baseline: int


def ways(kind: str, ports: Sequence[int]) -> list[Way]:
    """All ways, each baseline before what is compared with it."""
    make = RestUnit if kind == "REST" else GrpcUnit
    named = make("node", NAME, ports[0], discovery=Discovery(look_up=one_address))
    balanced = make("node", "", 0, discovery=Discovery(hosts=tuple(f"127.0.0.1:{port}" for port in ports)))
    return [
        Way(1, "a fixed address", [make("node", "127.0.0.1", ports[0])], 0),
        Way(1, "a name", [named], 0),
        Way(REPLICAS, "fixed addresses in turn", [make("node", "127.0.0.1", port) for port in ports], 2),
        Way(REPLICAS, "balanced", [balanced], 2),
    ]


async def load(way: Way, kind: str, calls: int, replicas: Sequence[Running]) -> Cost:
    """The cost of one call among many."""
    turns = itertools.cycle(way.units)

    async def some() -> None:
        for _ in range(calls // AT_ONCE):
            message = JsonMessage(REST_BODY) if kind == "REST" else proto_codec.received(GRPC_BODY)
            await next(turns).answer(Method.PREDICT, message, CONTEXTS[kind])

    before, began = sum(cost.cpu_s(each.root) for each in replicas), time.process_time()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    caller_s = time.process_time() - began
    whole_s = caller_s + sum(cost.cpu_s(each.root) for each in replicas) - before
    return Cost(caller_s / calls * 1e6, whole_s / calls * 1e6)


async def compare(replicas: Sequence[Running], calls: int, rounds: int) -> list[list[str]]:
    """A row of the table for each transport and way."""
    rows = []
    for kind in CONTEXTS:
        to = ways(kind, [each.ports.http if kind == "REST" else each.ports.grpc for each in replicas])
        costs: list[list[Cost]] = [[] for _ in to]
        for number in range(rounds + 1):
            for way, found in zip(to, costs, strict=True):
                measured = await load(way, kind, calls, replicas)
                if number:  # the first round warms up
                    found.append(measured)
        for unit in itertools.chain.from_iterable(way.units for way in to):
            await unit.stop()
        least = [Cost(*map(min, zip(*found, strict=True))) for found in costs]
        for way, each in zip(to, least, strict=True):
            share = each.whole_us / least[way.baseline].whole_us
            verdict = "" if share <= SHARE_WANTED else ", **not met**"
            figures = f"{each.caller_us:.0f}", f"{each.whole_us:.0f}", f"{share:.2f}x{verdict}"
            rows.append([kind, str(way.replicas), way.title, *figures])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    ours = next(server for server in SERVERS if server.name == "ours")
    with ExitStack() as stack:
        replicas = [stack.enter_context(running(ours)) for _ in range(REPLICAS)]
        rows = uvloop.run(compare(replicas, options.calls, options.rounds))
    print(
        f"One hop, {AT_ONCE} calls in flight; wanted: at most {SHARE_WANTED}x of fixed addresses of these replicas.\n"
    )
    print(table(["", "replicas", "called at", "CPU µs of the caller", "with the replicas", "of fixed addresses"], rows))


if __name__ == "__main__":
    main()
