"""Names say what things are and in which unit."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, Definition, Function, definitions, modules, parsed

SHAPELESS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "base", "misc"}
TIME_WORDS = {"timeout", "delay", "ttl", "interval", "duration", "period", "elapsed", "latency", "age", "wait"}
TIME_UNITS = ("_s", "_ms", "_us", "_ns")
PARTICIPLES = {"Lost", "Sent", "Shed", "Begun", "Given", "Hit", "Held", "Kept", "Left", "Met", "Run", "Seen", "Taken"}


def numbers(definition: Definition) -> Iterator[str]:
    """Parameters and fields that are plain numbers."""
    node = definition.node
    if isinstance(node, Function):
        listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        yield from (each.arg for each in listed if each.annotation and _is_number(each.annotation))
        return
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and _is_number(line.annotation):
            yield line.target.id


def _is_number(annotation: ast.expr) -> bool:
    return set(re.findall(r"\w+", ast.unparse(annotation))) <= {"int", "float", "None"}


def _is_somebody_elses(definition: Definition) -> bool:
    """A private class that stands in for one of the standard library has that one's parameters."""
    return definition.name.startswith("_") and "." in definition.name


def without_unit(name: str) -> bool:
    last = name.strip("_").split("_")[-1]
    return last in TIME_WORDS


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {path: set(path.relative_to(PACKAGE).with_suffix("").parts) for path in modules()}
    assert [str(path.relative_to(ROOT)) for path, names in parts.items() if names & SHAPELESS] == []


def test_units_stand_last() -> None:
    offences = [
        f"{definition.where}: {name}"
        for path in modules()
        for definition in definitions(path)
        for name in numbers(definition)
        if without_unit(name) and not _is_somebody_elses(definition)
    ]
    assert offences == []


def test_a_count_is_called_what_it_counts_and_then_max() -> None:
    offences = [
        f"{definition.where}: {name}"
        for path in modules()
        for definition in definitions(path)
        for name in numbers(definition)
        if re.match(r"(max|min|n|num)_", name) and not name.endswith(TIME_UNITS)
    ]
    assert offences == []


def test_notices_are_past_participles() -> None:
    offences = [
        definition.where
        for path in modules()
        if path.name == "notices.py" and path.parent.name != "core"
        for definition in definitions(path)
        if isinstance(definition.node, ast.ClassDef) and definition.is_public and not _is_past(definition.name)
    ]
    assert offences == []


def _is_past(name: str) -> bool:
    parts = re.findall(r"[A-Z][a-z]+", name)
    return any(part.endswith("ed") or part in PARTICIPLES for part in parts)


def test_errors_say_what_is_missing() -> None:
    """`LeaseNotHeld`, `CircuitIsOpen`; only a family of them may be called an error."""
    classes = [node for node in parsed(PACKAGE / "errors.py").body if isinstance(node, ast.ClassDef)]
    families = {ast.unparse(parent) for node in classes for parent in node.bases}
    offences = [
        node.name for node in classes if node.name.endswith(("Error", "Exception")) and node.name not in families
    ]
    assert offences == []


TWINS = {
    "AnsweredUnavailable": "httpx, httpx2 and aiohttp: each is an error of its own library",
    "AsyncPool": "httpx and httpx2: one core, two libraries that share no types",
    "AsyncTransport": "httpx and httpx2: one core, two libraries that share no types",
    "Transport": "httpx and httpx2: one core, two libraries that share no types",
    "CompressionMiddleware": "ASGI and WSGI",
    "ConditionalMiddleware": "ASGI and WSGI",
    "IdempotencyMiddleware": "ASGI and WSGI",
    "MetricsMiddleware": "ASGI and WSGI",
    "FenceMiddleware": "ASGI and WSGI",
    "RateLimitMiddleware": "ASGI and WSGI",
    "TracingMiddleware": "ASGI and WSGI",
}
"""Names of public classes that occur twice because you import the one for your framework, and what the two are."""

NAMED_TWICE = {"Attempts", "Drop", "Look", "Outcome", "Usage"}
"""Names that still stand for two things. The set may only shrink."""


def named_twice(folder: Path = PACKAGE) -> dict[str, list[str]]:
    """The public classes at the top of a module, by the names that more than one of them has."""
    found: dict[str, list[str]] = {}
    for path in modules(folder):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(f"{path.relative_to(folder)}:{node.lineno}")
    return {name: places for name, places in found.items() if len(places) > 1}


def test_a_class_name_stands_for_one_thing() -> None:
    twice = {name: places for name, places in named_twice().items() if name not in TWINS | dict.fromkeys(NAMED_TWICE)}
    assert twice == {}


def test_each_pair_of_twins_is_still_there() -> None:
    assert TWINS.keys() - named_twice().keys() == set()


def test_a_class_name_that_stands_for_two_things_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Page: ...\nclass _Own: ...\n")
    (tmp_path / "two.py").write_text("class Page: ...\nclass _Own: ...\nclass Other: ...\n")
    assert named_twice(tmp_path) == {"Page": ["one.py:1", "two.py:1"]}


def test_no_left_over_work_is_noted_in_the_code() -> None:
    words = re.compile(r"#.*\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    offences = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules(PACKAGE, ROOT / "tests", ROOT / "examples")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert offences == []


def test_no_case_is_called_by_where_it_lies_in_memory(request: pytest.FixtureRequest) -> None:
    """None of those collected with this one: in a run of everything, none at all."""
    cases = [item.nodeid for item in request.session.items]
    assert request.node.nodeid in cases
    assert not [case for case in cases if " at 0x" in case]
