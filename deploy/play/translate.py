"""What podman cannot do with the chart, said in its own words: a small list of rules, told as they are applied.

podman 4 plays Pods, ConfigMaps as environment, limits and security contexts as Kubernetes does. All else is one of
the rules below: each changes the objects in one way, and its sentence is what the person who runs it reads.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Object: TypeAlias = dict[str, Any]
WORKLOADS = ("Deployment", "Rollout", "StatefulSet")
_KNOWN = (*WORKLOADS, "Job", "ConfigMap", "Secret", "Service")


class Probe(NamedTuple):
    """How a pod is asked whether it is ready: a path, or, without one, whether the port is open."""

    port: int
    path: str = ""


@dataclass(slots=True)
class Workload:
    """Pods of one kind, as the command runs them."""

    name: str
    replicas: int
    pod: Object
    """The pod as podman gets it, still without a name."""
    names: list[str] = field(default_factory=list)
    """Under which names others find it."""
    ready: Probe | None = None
    pause_s: float = 0.0
    """How long a pod goes on before it is told to end."""
    grace_s: int = 30
    """How long it may then take."""
    recreated: bool = False
    """Whether the old pod ends before the new one begins."""


@dataclass(slots=True)
class World:
    """The objects of the chart on their way to podman."""

    objects: list[Object]
    secrets: dict[str, str] = field(default_factory=dict)
    config_maps: list[Object] = field(default_factory=list)
    jobs: list[Workload] = field(default_factory=list)
    workloads: dict[str, Workload] = field(default_factory=dict)

    def taken(self, *kinds: str) -> Iterator[Object]:
        """The objects of these kinds, which are then done with."""
        found = [each for each in self.objects if each["kind"] in kinds]
        self.objects = [each for each in self.objects if each["kind"] not in kinds]
        return iter(found)

    def pods(self) -> Iterator[Workload]:
        """All that is played."""
        yield from self.jobs
        yield from self.workloads.values()

    def manifest(self, workload: Workload, pod: str) -> list[Object]:
        """What podman plays for one pod."""
        named = deepcopy(workload.pod)
        named["metadata"]["name"] = pod
        claims = []
        for volume in named["spec"].get("volumes", ()):
            name = volume["persistentVolumeClaim"]["claimName"] = f"{pod}-{volume['name']}"
            claims.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}})
        return [*self.config_maps, *claims, named]


Rule: TypeAlias = Callable[[World], int]
"""Changes the world; gives how often."""


def workloads_as_pods(world: World) -> int:
    """Deployments and StatefulSets become Pods with numbers: the command starts, ends and replaces them."""
    for found in world.taken(*WORKLOADS):
        spec, name = found["spec"], found["metadata"]["name"]
        recreated = spec.get("strategy", {}).get("type") == "Recreate"
        world.workloads[name] = Workload(name, spec.get("replicas", 1), _pod(spec["template"]), recreated=recreated)
    return len(world.workloads)


def jobs_first(world: World) -> int:
    """A Job becomes a Pod that the command runs to its end, once the stores are ready and before all else starts."""
    world.jobs = [
        Workload(found["metadata"]["name"], 1, _pod(found["spec"]["template"])) for found in world.taken("Job")
    ]
    return len(world.jobs)


def _pod(template: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", **deepcopy(template)}


def services_as_names(world: World) -> int:
    """A headless Service becomes a name on podman's network; pods that are not ready stay in its answers."""
    count = 0
    for found in world.taken("Service"):
        if found["spec"].get("clusterIP") == "None":
            wanted = found["spec"]["selector"].items()
            for workload in world.workloads.values():
                if wanted <= workload.pod["metadata"]["labels"].items():
                    workload.names.append(found["metadata"]["name"])
                    count += 1
        else:
            world.objects.append({**found, "kind": "Service with an address"})
    return count


def secrets_as_json(world: World) -> int:
    """A Secret becomes a podman secret: JSON with values in base64, which its pods read as environment."""
    for found in world.taken("Secret"):
        plain = {name: base64.b64encode(value.encode()).decode() for name, value in found.get("stringData", {}).items()}
        world.secrets[found["metadata"]["name"]] = json.dumps({**found.get("data", {}), **plain})
    return len(world.secrets)


def words_filled_in(world: World) -> int:
    """A `$(NAME)` in the words of a container is filled in from its Secret: podman passes it on as it is written."""
    count = 0
    for workload in world.pods():
        for container in workload.pod["spec"]["containers"]:
            known = {f"$({each['name']})": each["valueFrom"]["secretKeyRef"] for each in _from_secrets(container)}
            words = container.get("args", ())
            if known.keys() & set(words):
                container["args"] = [_value(world, known[word]) if word in known else word for word in words]
                count += 1
    return count


def _from_secrets(container: Object) -> list[Object]:
    return [each for each in container.get("env", ()) if "secretKeyRef" in each.get("valueFrom", {})]


def _value(world: World, reference: Mapping[str, str]) -> str:
    return base64.b64decode(json.loads(world.secrets[reference["name"]])[reference["key"]]).decode()


def config_maps_with_each_pod(world: World) -> int:
    """A ConfigMap goes with each Pod: podman keeps none."""
    world.config_maps = list(world.taken("ConfigMap"))
    return len(world.config_maps)


def probes_by_command(world: World) -> int:
    """Probes are taken out; the command asks for readiness itself, and podman starts again what ends."""
    count = 0
    for workload in world.pods():
        for container in workload.pod["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            found = {kind: container.pop(kind) for kind in _PROBES if kind in container}
            workload.ready = workload.ready or _probe(found.get("readinessProbe", {}), ports)
            count += len(found)
    return count


_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def _probe(told: Mapping[str, Any], ports: Mapping[str, int]) -> Probe | None:
    asked = told.get("httpGet") or told.get("tcpSocket")
    if asked is None:
        # A program inside is asked by Kubernetes. From here one sees whether the port is open.
        return Probe(next(iter(ports.values()))) if told else None
    return Probe(ports.get(asked["port"], asked["port"]), asked.get("path", ""))


def ends_by_command(world: World) -> int:
    """A preStop hook and the grace period are kept by the command, which tells a pod to end as a kubelet does."""
    count = 0
    for workload in world.pods():
        spec = workload.pod["spec"]
        workload.grace_s = spec.pop("terminationGracePeriodSeconds", workload.grace_s)
        for container in spec["containers"]:
            hook = container.pop("lifecycle", {}).get("preStop", {})
            workload.pause_s = max(workload.pause_s, hook.get("sleep", {}).get("seconds", 0))
            count += bool(hook)
    return count


def ports_closed(world: World) -> int:
    """Ports of containers are taken out: podman would publish them on every address of this machine."""
    containers = [container for workload in world.pods() for container in workload.pod["spec"]["containers"]]
    return sum(len(container.pop("ports", ())) for container in containers)


def volumes_by_name(world: World) -> int:
    """An emptyDir or a claim becomes a named volume of the pod, removed at the end; podman breaks an emptyDir."""
    count = 0
    for workload in world.pods():
        spec = workload.pod["spec"]
        used = [mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", ())]
        spec["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(used)]
        count += len(spec["volumes"])
    return count


def names_asked_again(world: World) -> int:
    """Look-ups are asked again after a second: one that podman's name server loses would take five or more."""
    options = [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "4"}]
    pods = [workload.pod["spec"] for workload in world.pods()]
    for spec in pods:
        spec["dnsConfig"] = {"options": options}
    return len(pods)


def left_out(world: World) -> int:
    """What needs a control plane is left out, and is checked against schemas instead."""
    count = len(world.objects)
    world.objects = []
    return count


RULES: tuple[Rule, ...] = (
    workloads_as_pods,
    jobs_first,
    services_as_names,
    secrets_as_json,
    words_filled_in,
    config_maps_with_each_pod,
    probes_by_command,
    ends_by_command,
    ports_closed,
    volumes_by_name,
    names_asked_again,
    left_out,
)


def translated(objects: list[Object], say: Callable[[str], None] = lambda _line: None) -> World:
    """The chart's objects for podman; what each rule did is said in a line."""
    world = World(deepcopy(objects))
    for rule in RULES:
        kinds = ", ".join(sorted({each["kind"] for each in world.objects if each["kind"] not in _KNOWN}))
        count = rule(world)
        if count:
            told = f" ({kinds})" if rule is left_out else ""
            say(f"{count:4} × {(rule.__doc__ or '').strip()}{told}")
    return world
