"""Rules of our own for the shop's objects: what no schema knows. Each gives what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from deploy.checks.objects import Object, called, containers, matches, of_kind, pods
from shop.serving import ends_s
from shop.settings import ALONE, DEPLOYABLES

Rule: TypeAlias = Callable[[Sequence[Object]], Iterator[str]]
_SCALED = ("Deployment", "Rollout")
_LASTING = (*_SCALED, "StatefulSet")


def budgets_leave_a_pod(objects: Sequence[Object]) -> Iterator[str]:
    """A budget over a single pod would keep a node from ever being emptied."""
    for budget in of_kind(objects, "PodDisruptionBudget"):
        counts = [
            _replicas(objects, found)
            for found in of_kind(objects, *_LASTING)
            if matches(budget["spec"]["selector"], found["spec"]["template"]["metadata"]["labels"])
        ]
        if not counts:
            yield f"{called(budget)} finds no pods"
        yield from (f"{called(budget)} is over {count} replica" for count in counts if count < 2)
        allowed = budget["spec"].get("maxUnavailable", 0)
        yield from (f"{called(budget)} lets all {count} go" for count in counts if 2 <= count <= allowed)


def _replicas(objects: Sequence[Object], found: Object) -> int:
    scaled = _scalers(objects, found)
    return int(scaled[0]["spec"]["minReplicas"] if scaled else found["spec"].get("replicas", 1))


def _scalers(objects: Sequence[Object], found: Object) -> list[Object]:
    return [
        scaler
        for scaler in of_kind(objects, "HorizontalPodAutoscaler")
        if (scaler["spec"]["scaleTargetRef"]["kind"], scaler["spec"]["scaleTargetRef"]["name"])
        == (found["kind"], found["metadata"]["name"])
    ]


def scalers_scale_something(objects: Sequence[Object]) -> Iterator[str]:
    """A scaler finds what it scales, which asks for processor time and leaves the number of pods to it."""
    targets = {(each["kind"], each["metadata"]["name"]): each for each in of_kind(objects, *_SCALED)}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler", "VerticalPodAutoscaler"):
        spec = scaler["spec"]
        wanted = spec.get("scaleTargetRef") or spec["targetRef"]
        found = targets.get((wanted["kind"], wanted["name"]))
        if found is None:
            yield f"{called(scaler)} scales what is not there"
        elif "minReplicas" in spec and "replicas" in found["spec"]:
            yield f"{called(scaler)} and {called(found)} both say how many"
        if "minReplicas" in spec and spec["minReplicas"] > spec["maxReplicas"]:
            yield f"{called(scaler)} has a minimum over its maximum"


def containers_are_bounded(objects: Sequence[Object]) -> Iterator[str]:
    """Requests and limits of both kinds, in every container."""
    for found, container in containers(objects):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(resources.get(kind, {}))
            yield from (f"{called(found)}: {container['name']} has no {kind}.{name}" for name in sorted(missing))


def containers_are_probed(objects: Sequence[Object]) -> Iterator[str]:
    """What lasts has three probes, and liveness asks the process alone."""
    for found, container in containers(of_kind(objects, *_LASTING)):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"{called(found)}: {container['name']} has no {probe}"
        live = container.get("livenessProbe", {}).get("httpGet", {}).get("path", "/livez")
        if live != "/livez":
            yield f"{called(found)}: liveness asks {live}, which asks the database too"


def pods_are_confined(objects: Sequence[Object]) -> Iterator[str]:
    """No root, no writes beside the volumes, no capabilities, no way to more rights, no token of the cluster."""
    for found, pod in pods(objects):
        spec = pod["spec"]
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{called(found)} gets a token of the cluster"
        security = spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{called(found)} may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{called(found)} may ask the kernel for anything"
    for found, container in containers(objects):
        security = container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        yield from (
            f"{called(found)}: {container['name']} has no {name}: {value}"
            for name, value in wanted.items()
            if security.get(name) != value
        )


def accounts_have_no_token(objects: Sequence[Object]) -> Iterator[str]:
    """Each pod of a service has an account of its own, and no account a token."""
    accounts = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceAccount")}
    for account in accounts.values():
        if account.get("automountServiceAccountToken") is not False:
            yield f"{called(account)} gets a token"
    for found in of_kind(objects, *_SCALED):
        name = found["spec"]["template"]["spec"].get("serviceAccountName")
        if name not in accounts or name != found["metadata"]["name"]:
            yield f"{called(found)} runs under the account {name}"


def services_lead_somewhere(objects: Sequence[Object]) -> Iterator[str]:
    """Each Service finds pods, and its ports are ports of theirs."""
    for service in of_kind(objects, "Service"):
        if service["spec"].get("type") == "ExternalName":
            continue
        found = [
            pod for _, pod in pods(objects) if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        if not found:
            yield f"{called(service)} finds no pods"
        ports = {port["name"] for pod in found for one in pod["spec"]["containers"] for port in one.get("ports", ())}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"{called(service)}: its pods have no port {port['targetPort']}"


def ends_fit_in_the_grace_period(objects: Sequence[Object]) -> Iterator[str]:
    """The hook, the drain delay, and the drain of the slowest context end before the pod is killed."""
    (settings,) = of_kind(objects, "ConfigMap")
    delay_s = int(settings["data"]["SHOP_DRAIN_DELAY_S"])
    for found in of_kind(objects, *_SCALED):
        spec = found["spec"]["template"]["spec"]
        hook_s = max(one["lifecycle"]["preStop"]["sleep"]["seconds"] for one in spec["containers"])
        drains_s = max(ends_s(context) for context in DEPLOYABLES.get(found["metadata"]["name"], ("",)))
        if spec["terminationGracePeriodSeconds"] < hook_s + delay_s + drains_s + 1:
            yield f"{called(found)} is killed after {spec['terminationGracePeriodSeconds']} s"


def who_is_alone_stays_alone(objects: Sequence[Object]) -> Iterator[str]:
    """One replica, replaced and not joined by the next one, not scaled, without a budget."""
    for found in of_kind(objects, *_SCALED):
        if found["metadata"]["name"] not in ALONE:
            continue
        if found["kind"] != "Deployment" or found["spec"].get("replicas") != 1:
            yield f"{called(found)} may have several"
        elif found["spec"]["strategy"] != {"type": "Recreate"}:
            yield f"{called(found)} is two during an update"
        if _scalers(objects, found):
            yield f"{called(found)} is scaled"


def references_are_kept(objects: Sequence[Object]) -> Iterator[str]:
    """Each ConfigMap and Secret that a pod names is in the chart, or is the one that a person makes."""
    there = {each["metadata"]["name"] for each in of_kind(objects, "ConfigMap", "Secret")} | {"shop-stores"}
    for found, container in containers(objects):
        named = [each["configMapRef"]["name"] for each in container.get("envFrom", ())]
        named += [
            each["valueFrom"]["secretKeyRef"]["name"]
            for each in container.get("env", ())
            if "secretKeyRef" in each.get("valueFrom", {})
        ]
        yield from (f"{called(found)} reads {name}, which is not there" for name in named if name not in there)


def secrets_stay_secret(objects: Sequence[Object]) -> Iterator[str]:
    """No URL of a store stands in a pod or in the ConfigMap."""
    for found in objects:
        if found["kind"] != "Secret" and ("postgresql+" in str(found) or "redis://" in str(found)):
            yield f"{called(found)} has the URL of a store in it"


RULES: tuple[Rule, ...] = (
    budgets_leave_a_pod,
    scalers_scale_something,
    containers_are_bounded,
    containers_are_probed,
    pods_are_confined,
    accounts_have_no_token,
    services_lead_somewhere,
    ends_fit_in_the_grace_period,
    who_is_alone_stays_alone,
    references_are_kept,
    secrets_stay_secret,
)


def images_are_digests(objects: Sequence[Object]) -> Iterator[str]:
    """For production: the image that was checked, not what a tag points to today."""
    for found, container in containers(objects):
        if "@sha256:" not in container["image"]:
            yield f"{called(found)}: {container['image']}"


def pods_are_spread(objects: Sequence[Object]) -> Iterator[str]:
    """For production: who may have several has pods in each zone, and a budget."""
    budgets = of_kind(objects, "PodDisruptionBudget")
    for found in of_kind(objects, *_SCALED):
        template = found["spec"]["template"]
        if found["metadata"]["name"] in ALONE:
            continue
        keys = [each["topologyKey"] for each in template["spec"].get("topologySpreadConstraints", ())]
        if "topology.kubernetes.io/zone" not in keys:
            yield f"{called(found)} may stand in one zone"
        if not any(matches(each["spec"]["selector"], template["metadata"]["labels"]) for each in budgets):
            yield f"{called(found)} has no budget"


PRODUCTION_RULES: tuple[Rule, ...] = (images_are_digests, pods_are_spread)
