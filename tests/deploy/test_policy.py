"""Our own rules hold for every way to install the chart, and each of them refuses what breaks it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest

from deploy.checks import edges, policy
from deploy.checks.objects import Object, of_kind
from deploy.checks.rendering import VARIANTS, rendered
from shop.settings import DEPLOYABLES, PUBLIC_PORT


@functools.cache
def _objects(name: str) -> tuple[Object, ...]:
    return tuple(rendered(VARIANTS[name]))


def objects(name: str) -> list[Object]:
    """Objects of the test's own, to be broken."""
    return copy.deepcopy(list(_objects(name)))


def one(found: list[Object], kind: str, name: str) -> Any:
    (each,) = (each for each in of_kind(found, kind) if each["metadata"]["name"] == name)
    return each


@pytest.mark.parametrize("name", VARIANTS)
def test_every_rule_holds(name: str) -> None:
    rules = [*policy.RULES, *(() if "trying" in name else policy.PRODUCTION_RULES)]
    assert {rule.__name__: broken for rule in rules if (broken := list(rule(objects(name))))} == {}


def _spec(kind: str, name: str) -> Callable[[list[Object]], Any]:
    return lambda found: one(found, kind, name)["spec"]


def _pod(kind: str, name: str) -> Callable[[list[Object]], Any]:
    return lambda found: one(found, kind, name)["spec"]["template"]["spec"]


def _container(kind: str, name: str) -> Callable[[list[Object]], Any]:
    return lambda found: one(found, kind, name)["spec"]["template"]["spec"]["containers"][0]


Break = Callable[[list[Object]], object]
CART = ("Rollout", "cart")
BREAKS: tuple[tuple[policy.Rule, Break, str], ...] = (
    (
        policy.budgets_leave_a_pod,
        lambda found: _spec("HorizontalPodAutoscaler", "cart")(found).update(minReplicas=1),
        "PodDisruptionBudget cart is over 1 replica",
    ),
    (
        policy.budgets_leave_a_pod,
        lambda found: _spec("PodDisruptionBudget", "cart")(found).update(maxUnavailable=3),
        "PodDisruptionBudget cart lets all 3 go",
    ),
    (
        policy.budgets_leave_a_pod,
        lambda found: _spec("PodDisruptionBudget", "cart")(found)["selector"]["matchLabels"].update({"x": "y"}),
        "PodDisruptionBudget cart finds no pods",
    ),
    (
        policy.scalers_scale_something,
        lambda found: _spec("HorizontalPodAutoscaler", "cart")(found)["scaleTargetRef"].update(kind="Deployment"),
        "HorizontalPodAutoscaler cart scales what is not there",
    ),
    (
        policy.scalers_scale_something,
        lambda found: _spec(*CART)(found).update(replicas=3),
        "HorizontalPodAutoscaler cart and Rollout cart both say how many",
    ),
    (
        policy.scalers_scale_something,
        lambda found: _spec("HorizontalPodAutoscaler", "cart")(found).update(maxReplicas=2),
        "HorizontalPodAutoscaler cart has a minimum over its maximum",
    ),
    (
        policy.containers_are_bounded,
        lambda found: _container(*CART)(found)["resources"]["limits"].pop("memory"),
        "Rollout cart: cart has no limits.memory",
    ),
    (
        policy.containers_are_probed,
        lambda found: _container(*CART)(found).pop("readinessProbe"),
        "Rollout cart: cart has no readinessProbe",
    ),
    (
        policy.containers_are_probed,
        lambda found: _container(*CART)(found)["livenessProbe"]["httpGet"].update(path="/readyz"),
        "Rollout cart: liveness asks /readyz, which asks the database too",
    ),
    (
        policy.pods_are_confined,
        lambda found: _pod(*CART)(found).pop("automountServiceAccountToken"),
        "Rollout cart gets a token of the cluster",
    ),
    (
        policy.pods_are_confined,
        lambda found: _container(*CART)(found)["securityContext"].update(readOnlyRootFilesystem=False),
        "Rollout cart: cart has no readOnlyRootFilesystem: True",
    ),
    (
        policy.pods_are_confined,
        lambda found: _pod(*CART)(found)["securityContext"].update(runAsUser=0),
        "Rollout cart may run as root",
    ),
    (
        policy.accounts_have_no_token,
        lambda found: one(found, "ServiceAccount", "cart").pop("automountServiceAccountToken"),
        "ServiceAccount cart gets a token",
    ),
    (
        policy.accounts_have_no_token,
        lambda found: _pod(*CART)(found).update(serviceAccountName="gateway"),
        "Rollout cart runs under the account gateway",
    ),
    (
        policy.services_lead_somewhere,
        lambda found: found.remove(one(found, *CART)),
        "Service cart finds no pods",
    ),
    (
        policy.services_lead_somewhere,
        lambda found: _container(*CART)(found)["ports"][0].update(name="basket"),
        "Service cart: its pods have no port cart",
    ),
    (
        policy.ends_fit_in_the_grace_period,
        lambda found: _pod("Rollout", "gateway")(found).update(terminationGracePeriodSeconds=22),
        "Rollout gateway is killed after 22 s",
    ),
    (
        policy.references_are_kept,
        lambda found: _container(*CART)(found)["envFrom"][0]["configMapRef"].update(name="shop-setting"),
        "Rollout cart reads shop-setting, which is not there",
    ),
    (
        policy.secrets_stay_secret,
        lambda found: one(found, "ConfigMap", "shop-settings")["data"].update(SHOP_VALKEY_URL="redis://:x@valkey"),
        "ConfigMap shop-settings has the URL of a store in it",
    ),
    (
        policy.images_are_digests,
        lambda found: _container(*CART)(found).update(image="registry.example.com/sdpatterns/shop:latest"),
        "Rollout cart: registry.example.com/sdpatterns/shop:latest",
    ),
    (
        policy.pods_are_spread,
        lambda found: _pod(*CART)(found).pop("topologySpreadConstraints"),
        "Rollout cart may stand in one zone",
    ),
    (
        policy.pods_are_spread,
        lambda found: found.remove(one(found, "PodDisruptionBudget", "cart")),
        "Rollout cart has no budget",
    ),
)


@pytest.mark.parametrize(("rule", "break_it", "said"), BREAKS, ids=[said for _, _, said in BREAKS])
def test_each_rule_refuses_what_breaks_it(rule: policy.Rule, break_it: Break, said: str) -> None:
    found = objects("production")
    break_it(found)
    assert said in list(rule(found))


def test_a_service_that_is_alone_is_not_doubled() -> None:
    found = objects("trying")
    one(found, "Deployment", "control")["spec"]["replicas"] = 2
    one(found, "Deployment", "psp")["spec"]["strategy"] = {"type": "RollingUpdate"}
    assert list(policy.who_is_alone_stays_alone(found)) == [
        "Deployment control may have several",
        "Deployment psp is two during an update",
    ]


def test_every_rule_is_broken_by_a_test() -> None:
    broken = {rule for rule, _, _ in BREAKS} | {policy.who_is_alone_stays_alone}
    assert broken == {*policy.RULES, *policy.PRODUCTION_RULES}


@pytest.mark.parametrize("name", VARIANTS)
def test_network_policies_let_services_call_whom_they_declare(name: str) -> None:
    found = objects(name)
    there = {each["metadata"]["name"] for each in of_kind(found, "Deployment", "Rollout")}
    allowed = edges.of_policies(found)
    assert {edge for edge in allowed if edge.caller in DEPLOYABLES and edge.callee in DEPLOYABLES} == edges.declared(
        there
    )
    stores = {"postgres", "valkey"} if "trying" in name else set()
    assert {edge for edge in allowed if edge.callee not in DEPLOYABLES} == {
        edges.Edge(caller, store, port)
        for store, port in (("postgres", 5432), ("valkey", 6379))
        if store in stores
        for caller in (("gateway",) if store == "valkey" else (*_with_data(), "schema"))
    }
    assert {edge for edge in allowed if edge.caller not in DEPLOYABLES and edge.callee in DEPLOYABLES} == {
        edges.Edge("health", "gateway", PUBLIC_PORT)
    }


def _with_data() -> tuple[str, ...]:
    return tuple(name for name in DEPLOYABLES if name not in {"gateway", "control"})


def test_a_policy_that_opens_more_is_seen() -> None:
    found = objects("trying")
    one(found, "NetworkPolicy", "inventory")["spec"]["egress"].append({"ports": [{"port": 9007}]})
    one(found, "NetworkPolicy", "payments")["spec"]["ingress"].append({})
    more = edges.of_policies(found) - edges.declared(DEPLOYABLES)
    assert edges.Edge("inventory", "payments", 9007) in more


def test_without_the_default_a_pod_of_no_policy_may_be_called() -> None:
    found = objects("trying")
    for name in ("default-deny", "names", "valkey", "gateway"):
        found.remove(one(found, "NetworkPolicy", name))
    assert edges.Edge("gateway", "valkey", 6379) in edges.of_policies(found)


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if "mesh" in variant.more])
def test_the_mesh_lets_services_call_whom_they_declare(name: str) -> None:
    found = objects(name)
    there = {each["metadata"]["name"] for each in of_kind(found, "Deployment", "Rollout")}
    assert edges.of_mesh(found) == edges.declared(there)
    (first,) = (each for each in of_kind(found, "AuthorizationPolicy") if each["metadata"]["name"] == "default-deny")
    assert first["spec"] == {}
