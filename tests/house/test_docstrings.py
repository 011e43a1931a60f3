"""Every public thing promises something; what people import first tells the whole of it."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path

import pytest

import sdpatterns
from tests.house.source import PACKAGE, ROOT, Definition, Function, definitions, is_public_module, modules, parsed

SECTIONS = ("**Keeps**", "**May fail**", "**Costs**")


@functools.cache
def promised() -> frozenset[str]:
    """Names of methods that a word of the core, a port or any other Protocol promises, with a docstring."""
    return frozenset(
        definition.node.name
        for path in modules()
        for definition in definitions(path)
        if isinstance(definition.node, Function) and "." in definition.name and ast.get_docstring(definition.node)
        if definition.path.relative_to(PACKAGE).parts[0] in {"core", "ports"} or _is_in_a_protocol(definition)
    )


@functools.cache
def _protocols(path: Path) -> frozenset[str]:
    return frozenset(
        definition.name
        for definition in definitions(path)
        if isinstance(definition.node, ast.ClassDef)
        and any(ast.unparse(parent).startswith("Protocol") for parent in definition.node.bases)
    )


def _is_in_a_protocol(definition: Definition) -> bool:
    return definition.name.rpartition(".")[0] in _protocols(definition.path)


def public_modules() -> list[Path]:
    return [path for path in modules() if is_public_module(path)]


def speaks_for_itself(definition: Definition) -> bool:
    """Overloads belong to something, who keeps a promise repeats it by its name, and so does a test."""
    shares = any(word.endswith(("overload", ".setter", "override")) for word in definition.decorators)
    keeps = "." in definition.name and definition.node.name in promised()
    tests = definition.node.name.startswith("test_") and "testing" in definition.path.parts
    return shares or keeps or tests


@pytest.mark.parametrize("path", public_modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_public_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("path", public_modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_public_thing_has_a_docstring(path: Path) -> None:
    silent = [
        definition.where
        for definition in definitions(path)
        if definition.is_public and not speaks_for_itself(definition) and not ast.get_docstring(definition.node)
    ]
    assert silent == []


@pytest.mark.parametrize("name", sorted(sdpatterns.__all__))
def test_a_pattern_on_the_front_door_tells_what_it_keeps_what_may_fail_and_what_it_costs(name: str) -> None:
    thing = getattr(sdpatterns, name)
    if not inspect.isclass(thing) or issubclass(thing, BaseException):
        assert inspect.getdoc(thing)
        return
    text = inspect.getdoc(thing) or ""
    is_pattern = any(hasattr(thing, verb) for verb in ("protect", "acquire", "call"))
    missing = [section for section in SECTIONS if is_pattern and section not in text]
    assert text
    assert missing == []


def test_the_tree_of_errors_is_drawn_on_its_page() -> None:
    page = parsed(PACKAGE / "errors.py")
    drawing = ast.get_docstring(page) or ""
    missing = [node.name for node in page.body if isinstance(node, ast.ClassDef) and node.name not in drawing]
    assert missing == []


def test_test_functions_assert_something() -> None:
    """A test that cannot fail is worse than none."""
    empty = [
        definition.where
        for path in modules(ROOT / "tests")
        for definition in definitions(path)
        if isinstance(definition.node, Function)
        and definition.node.name.startswith("test_")
        and not definition.inside_function
        and not _can_fail(definition.node)
    ]
    assert empty == []


def _can_fail(node: Function) -> bool:
    """It asserts, expects an exception, or leaves the judging to a named check."""
    text = ast.unparse(node)
    return any(word in text for word in ("assert", "pytest.raises", "pytest.warns", "check", "expect", "must", "run("))
