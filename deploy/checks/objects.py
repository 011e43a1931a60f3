"""Kubernetes objects as the checks see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet", "Rollout", "Job")


def called(found: Object) -> str:
    """The kind and name of an object, for messages."""
    return f"{found['kind']} {found['metadata']['name']}"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [found for found in objects if found["kind"] in kinds]


def pods(objects: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Each object that makes pods, with the metadata and spec of its pods."""
    for found in objects:
        if found["kind"] in WORKLOADS:
            yield found, found["spec"]["template"]
        elif found["kind"] == "Pod":
            yield found, found


def containers(objects: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Each container with the object that makes its pods."""
    for found, pod in pods(objects):
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            yield found, container


def matches(selector: Object, labels: Object) -> bool:
    """Whether `matchLabels` finds these labels; an empty selector finds all."""
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
