"""Objects of Kubernetes itself against the schemas of several of its versions, unknown fields refused.

The schemas are those of the package kubernetes-validate. Its own validator reads 1.5 MB again for each object, which
takes a quarter of a second; jsonschema-rs keeps what it has read.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import jsonschema_rs

from deploy.checks.objects import Object, called

VERSIONS = ("1.31", "1.34", "1.37")
"""The oldest that the chart installs on, one between, and the newest that is known here."""
CUSTOM_GROUPS = ("autoscaling.k8s.io", "gateway.networking.k8s.io")
"""Groups with the name of Kubernetes that a cluster knows only by an extra definition."""


def faults(objects: Iterable[Object]) -> list[str]:
    """What each version finds wrong; custom resources are left to `custom_resources`."""
    return [fault for each in objects if _is_built_in(each) for fault in _faults(each)]


def _is_built_in(found: Object) -> bool:
    group = found["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and group not in CUSTOM_GROUPS)


def _faults(found: Object) -> Iterator[str]:
    for version in VERSIONS:
        try:
            validator = _validator(version, found["kind"], found["apiVersion"])
        except FileNotFoundError:
            yield f"{called(found)}: Kubernetes {version} has no {found['kind']} in {found['apiVersion']}"
            continue
        for error in validator.iter_errors(found):
            yield f"{called(found)} on {version}: {'.'.join(map(str, error.instance_path))}: {error.message}"


@functools.cache
def _validator(version: str, kind: str, api_version: str) -> Any:
    group, _, name = api_version.rpartition("/")
    of_group = "-".join(part for part in (kind.lower(), group.partition(".")[0], name) if part)
    return jsonschema_rs.validator_for(_schema(version, f"{of_group}.json"), registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry([("json-schema:///_definitions.json", _schema(version, "_definitions.json"))])


def _schema(version: str, name: str) -> dict[str, Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found
