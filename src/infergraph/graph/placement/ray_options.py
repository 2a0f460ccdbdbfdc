"""What a place asks for, as Ray takes it: the options of an actor, and the load that a replica shall have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infergraph.graph.placement.quantities import GPU, amount
from infergraph.graph.spec import member

_IN_FLIGHT = "infergraph_requests_in_flight"


def actor_options(resources: Mapping[str, Any]) -> dict[str, Any]:
    """What an actor reserves, from the resources of a container; requests come before limits."""
    found: dict[str, Any] = {}
    asked = {**(member(resources, "limits") or {}), **(member(resources, "requests") or {})}
    found["num_cpus"] = _whole(amount(asked.get("cpu")) or 0.0)
    if GPU in asked:
        found["num_gpus"] = _whole(amount(asked[GPU]) or 0.0)
    if "memory" in asked:
        found["memory"] = int(amount(asked["memory"]) or 0)
    others = {name: _whole(amount(value) or 0.0) for name, value in asked.items() if "/" in name and name != GPU}
    return found | ({"resources": others} if others else {})


def asks_for_cpus(resources: Mapping[str, Any]) -> bool:
    """Whether the resources of a container say anything of CPUs."""
    return any(amount(member(member(resources, kind), "cpu")) for kind in ("requests", "limits"))


def in_flight_target(metric: Mapping[str, Any]) -> int | float | None:
    """The requests in progress that a metric of an autoscaler asks for in each pod; None for any other metric."""
    pods = member(metric, "pods")
    new, old = member(member(pods, "metric"), "name"), member(pods, "metricName")
    if _IN_FLIGHT not in (new, old):
        return None
    value = member(member(pods, "target"), "averageValue") if new else member(pods, "targetAverageValue")
    number = amount(value)
    return None if number is None else _whole(number)


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() else number
