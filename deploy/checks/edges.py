"""Who may call whom, as the network policies and the mesh let them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from deploy import services
from deploy.checks.objects import Object, matches, of_kind, pods

NAME = "app.kubernetes.io/name"


class Edge(NamedTuple):
    """One service may open a connection to another one's port."""

    caller: str
    callee: str
    port: int


def declared(there: Iterable[str]) -> set[Edge]:
    """What the registry allows among these services."""
    here = set(there)
    return {
        Edge(caller, callee, port)
        for caller in here
        for callee, ports in services.calls(caller).items()
        if callee in here
        for port in ports
    }


def of_policies(objects: Sequence[Object]) -> set[Edge]:
    """What network policies let through: the policies of both ends must allow it, and without one all is allowed."""
    policies = of_kind(objects, "NetworkPolicy")
    labels = {pod["metadata"]["labels"][NAME]: pod["metadata"]["labels"] for _, pod in pods(objects)}
    ports = {
        pod["metadata"]["labels"][NAME]: [
            port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", ())
        ]
        for _, pod in pods(objects)
    }
    return {
        Edge(caller, callee, port)
        for caller in labels
        for callee in labels
        for port in ports[callee]
        if _allows(policies, "Egress", labels[caller], labels[callee], port)
        and _allows(policies, "Ingress", labels[callee], labels[caller], port)
    }


def _allows(policies: Sequence[Object], way: str, of: Object, other: Object, port: int) -> bool:
    mine = [
        each for each in policies if way in each["spec"]["policyTypes"] and matches(each["spec"]["podSelector"], of)
    ]
    side = "to" if way == "Egress" else "from"
    rules = [rule for each in mine for rule in each["spec"].get(way.lower()) or ()]
    return not mine or any(_rule_allows(rule, side, other, port) for rule in rules)


def _rule_allows(rule: Object, side: str, other: Object, port: int) -> bool:
    """Whether a rule opens a port to pods with these labels in the same namespace."""
    opened = [each["port"] for each in rule.get("ports", ())]
    selectors = [peer["podSelector"] for peer in rule.get(side, ()) if set(peer) == {"podSelector"}]
    reached = side not in rule or any(matches(selector, other) for selector in selectors)
    return reached and (not opened or port in opened)


def of_mesh(objects: Sequence[Object]) -> set[Edge]:
    """What the mesh's authorization policies let members of it do."""
    return {
        Edge(principal.rpartition("/")[2], found["metadata"]["name"], int(port))
        for found in of_kind(objects, "AuthorizationPolicy")
        for rule in found["spec"].get("rules", ())
        for principal in _principals(rule)
        for to in rule["to"]
        for port in to["operation"].get("ports", ())
    }


def _principals(rule: Object) -> Iterator[str]:
    for source in rule.get("from", ()):
        yield from source["source"].get("principals", ())
