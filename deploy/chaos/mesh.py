"""From an experiment to resources of Chaos Mesh: what a file breaks in a shop, broken in a cluster.

| fault | resource |
|---|---|
| `fail`, `slow`, `hang`, `lost` | HTTPChaos on the context's port: 500, a delay, a minute's delay, cut after the work |
| `cut` | NetworkChaos between the service and Postgres |
| `kill`, `cpu` of `cluster_faults` | PodChaos, StressChaos |

The other kinds are acted out by the shop's own code, and no proxy or kernel can do the same: they are listed at the
head of the file. HTTPChaos knows no share of requests. So the percentage chooses pods there, not requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shop.settings import DEPLOYABLES, PORTS
from shop.stage.faults import SLOW_S
from shop.stage.gameday.experiment import ClusterFault, Experiment, PlannedFault

NAMESPACE = "shop"
HANGS_S = 60
_CPU = {"workers": 1, "load": 90}

Object = dict[str, Any]


def resources(experiment: Experiment) -> list[Object]:
    """The resources that break what an experiment breaks."""
    faults: list[PlannedFault | ClusterFault] = [*experiment.faults, *experiment.cluster_faults]
    found = [made for fault in faults if (made := _made(fault)) is not None]
    return [_object(experiment, number, kind, spec) for number, (kind, spec) in enumerate(found, 1)]


def left_out(experiment: Experiment) -> list[str]:
    """The faults that only the shop itself can act out."""
    return [f"{fault.target}: {fault.kind}" for fault in experiment.faults if _made(fault) is None]


def begins(experiment: Experiment) -> Iterator[str]:
    """When to create which resource, where that is not at once."""
    for fault in experiment.faults:
        if fault.after_s:
            yield f"{fault.target}: {fault.kind} begins {fault.after_s} s after the others"


_AT_THE_PORT: dict[str, Object] = {
    "fail": {"target": "Response", "replace": {"code": 500}},
    "slow": {"target": "Request", "delay": f"{SLOW_S * 1000:.0f}ms"},
    "hang": {"target": "Request", "delay": f"{HANGS_S}s"},
    "lost": {"target": "Response", "abort": True},
}


def _made(fault: PlannedFault | ClusterFault) -> tuple[str, Object] | None:
    """The kind of a resource and its spec; None where there is none for this fault."""
    lasting = {**_pods(fault), "duration": f"{fault.ttl_s}s"}
    if fault.kind in _AT_THE_PORT:
        return "HTTPChaos", {**lasting, **_http(fault), **_AT_THE_PORT[fault.kind]}
    if fault.kind == "cut":
        postgres = {"mode": "all", "selector": _selector("postgres")}
        return "NetworkChaos", {**lasting, "action": "partition", "direction": "to", "target": postgres}
    if fault.kind == "kill":
        return "PodChaos", {**_pods(fault), "action": "pod-kill", "gracePeriod": 0}
    return ("StressChaos", {**lasting, "stressors": {"cpu": dict(_CPU)}}) if fault.kind == "cpu" else None


def _http(fault: PlannedFault | ClusterFault) -> Object:
    return {"port": PORTS[fault.target], "path": "*"}


def _pods(fault: PlannedFault | ClusterFault) -> Object:
    deployable = next(name for name, contexts in DEPLOYABLES.items() if fault.target in (name, *contexts))
    share: Object = {"mode": "all"}
    if fault.percent < 100:
        share = {"mode": "fixed-percent", "value": str(fault.percent)}
    return {**share, "selector": _selector(deployable)}


def _selector(deployable: str) -> Object:
    return {"namespaces": [NAMESPACE], "labelSelectors": {"app.kubernetes.io/name": deployable}}


def _object(experiment: Experiment, number: int, kind: str, spec: Object) -> Object:
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": f"{experiment.name}-{number}",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/part-of": "shop", "shop.sdpatterns/experiment": experiment.name},
        },
        "spec": spec,
    }
