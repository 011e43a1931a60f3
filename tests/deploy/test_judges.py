"""Each judge finds nothing wrong in the chart, and refuses an object that is broken on purpose."""

from __future__ import annotations

import copy
import functools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks import custom_resources, kubernetes, policy, programs
from deploy.checks.objects import Object, of_kind
from deploy.checks.rendering import CHART, VARIANTS, manifests, rendered

EVERYTHING = ("trying, every switch on", "production")  # the objects of the other ways are among these, or like them


@functools.cache
def _every_object() -> tuple[Object, ...]:
    found: list[Object] = []
    for name in VARIANTS:
        found += [each for each in rendered(VARIANTS[name]) if each not in found]
    return tuple(found)


def first(kind: str) -> Any:
    """One object of a kind, to be broken."""
    return copy.deepcopy(of_kind(_every_object(), kind)[0])


def test_kubernetes_knows_every_field_in_three_versions() -> None:
    assert kubernetes.faults(_every_object()) == []


def test_what_the_workflow_on_kind_applies_is_known_too() -> None:
    visitor = yaml.safe_load((programs.ROOT / "deploy" / "kind" / "visitor.yaml").read_text(encoding="utf-8"))
    assert kubernetes.faults([visitor]) == []
    (container,) = visitor["spec"]["containers"]
    compile(container["args"][0], "visitor", "exec")
    rules = (policy.containers_are_bounded, policy.pods_are_confined)
    assert [fault for rule in rules for fault in rule([visitor])] == []
    health = next(each for each in of_kind(_every_object(), "Pod") if each["metadata"]["name"] == "health")
    assert visitor["metadata"]["labels"].items() <= health["metadata"]["labels"].items()


def test_an_unknown_field_a_wrong_type_and_a_kind_that_is_gone_are_refused() -> None:
    typo, wrong, gone = first("Deployment"), first("Service"), first("PodDisruptionBudget")
    typo["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    wrong["spec"]["ports"][0]["port"] = "80"
    gone["apiVersion"] = "policy/v1beta1"
    for broken, said in ((typo, "'readinesProbe' was unexpected"), (wrong, '"80" is not'), (gone, "has no")):
        assert len([fault for fault in kubernetes.faults([broken]) if said in fault]) == len(kubernetes.VERSIONS)


def test_every_custom_resource_is_one_that_its_project_knows() -> None:
    found = custom_resources.custom(_every_object())
    assert {each["kind"] for each in found} >= {
        *("AnalysisTemplate", "AuthorizationPolicy", "DestinationRule", "HTTPRoute", "PeerAuthentication"),
        *("PrometheusRule", "Rollout", "ServiceMonitor", "VerticalPodAutoscaler", "VirtualService"),
    }
    assert custom_resources.faults(found) == []


def test_custom_resources_that_are_broken_are_refused() -> None:
    missing, unknown, ranged, selector, pause = (first("Rollout") for _ in range(5))
    del missing["spec"]["template"]["spec"]["containers"]
    unknown["spec"]["strategy"]["canary"]["stepz"] = []
    ranged["spec"]["strategy"]["canary"]["maxSurge"] = {"percent": 5}
    del selector["spec"]["selector"]
    pause["spec"]["strategy"]["canary"]["steps"][1] = {"pause": {"duration": "two minutes"}}
    route, rule, monitor, analysis = (
        first(kind) for kind in ("HTTPRoute", "DestinationRule", "ServiceMonitor", "AnalysisTemplate")
    )
    route["spec"]["rules"][0]["backendRefs"][0]["port"] = 70_000
    rule["spec"]["trafficPolicy"]["loadBalancer"] = {"simple": "FASTEST"}
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    del analysis["spec"]["metrics"][0]["provider"]
    caught = {
        "validators": custom_resources.by_validators([missing, ranged, route, rule, analysis]),
        "types": custom_resources.by_types([unknown, monitor]),
        "rules": custom_resources.by_rules([selector, pause]),
    }
    assert {judge: len({fault.partition(":")[0] for fault in faults}) for judge, faults in caught.items()} == {
        "validators": 4,  # kinds: two of them are Rollouts
        "types": 2,
        "rules": 1,
    }, caught
    assert len(caught["validators"]) == 5
    assert any("stepz" in fault for fault in caught["types"])
    assert any("finds no pods" in fault for fault in caught["rules"])
    assert any("'two minutes'" in fault for fault in caught["rules"])


def test_yamllint_finds_nothing_in_what_is_rendered_and_in_the_files_of_values() -> None:
    texts = [(f"{name}/{path}", text) for name in EVERYTHING for path, text in manifests(VARIANTS[name]).items()]
    files = [path for path in (programs.ROOT / "deploy").rglob("*.yaml") if "templates" not in path.parts]
    texts += [(str(path), path.read_text(encoding="utf-8")) for path in files]
    assert list(programs.yamllint(texts)) == []


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "mode: 0644\n", "on: yes\n", "a:\n   - b\n  - c\n"])
def test_yamllint_refuses_what_helm_lets_through(text: str) -> None:
    assert list(programs.yamllint([("broken", text)])) != []


BROKEN_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec: {hostNetwork: true, containers: [{name: a, image: nginx, securityContext: {privileged: true}}]}
"""
BROKEN_DISK = """\
resource "aws_ebs_volume" "broken" {
  availability_zone = "eu-central-1a"
  size              = 1
}
"""


def test_checkov_finds_nothing_but_in_what_is_broken_on_purpose(tmp_path: Path) -> None:
    if not programs.CHECKOV.is_file():
        assert not os.environ.get("CI"), "CI never leaves checkov out: the session deploy_checks installs it"
        pytest.skip("no checkov here: python3 noxfile.py deploy_checks installs it")
    texts = manifests(VARIANTS["production, with Deployments"])
    texts["stores.yaml"] = manifests(VARIANTS["trying"])["templates/stores.yaml"]
    for name, text in {**texts, "broken.yaml": BROKEN_POD, "broken.tf": BROKEN_DISK}.items():
        (tmp_path / name.rpartition("/")[2]).write_text(text, encoding="utf-8")
    shutil.copytree(programs.ROOT / "deploy" / "terraform", tmp_path / "terraform")
    faults = programs.checkov(tmp_path)
    assert [fault for fault in faults if not fault.path.startswith("broken.")] == []
    assert {"CKV_K8S_16", "CKV_K8S_19", "CKV_K8S_20", "CKV_AWS_3"} <= {fault.check for fault in faults}


@pytest.mark.skipif(os.name == "nt", reason="hadolint has no wheel for Windows")
def test_hadolint_finds_nothing_in_the_containerfile_and_refuses_a_broken_one() -> None:
    files = sorted((programs.ROOT / "deploy").rglob("Containerfile"))
    assert {
        str(path): faults for path in files if (faults := programs.hadolint(path.read_text(encoding="utf-8")))
    } == {}
    faults = programs.hadolint("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    assert {fault.split()[1] for fault in faults} >= {"DL3006", "DL3008"}


def test_a_field_with_a_typo_in_a_template_is_refused(tmp_path: Path) -> None:
    copied = tmp_path / "shop"
    shutil.copytree(CHART, copied)
    helpers = copied / "templates" / "_helpers.tpl"
    helpers.write_text(
        helpers.read_text(encoding="utf-8").replace("terminationGracePeriodSeconds:", "terminationGracePeriod:"),
        encoding="utf-8",
    )
    faults = kubernetes.faults(of_kind(rendered(VARIANTS["trying"], copied), "Deployment"))
    assert any("'terminationGracePeriod' was unexpected" in fault for fault in faults)
