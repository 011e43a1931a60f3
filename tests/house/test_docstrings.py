"""Every public thing promises something; what people import first tells the whole of it."""

from __future__ import annotations

import ast
import collections
import functools
import inspect
from pathlib import Path

import sdpatterns
from tests.house.source import (
    PACKAGE,
    ROOT,
    Definition,
    Function,
    called,
    definitions,
    is_public_module,
    modules,
    parsed,
)

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


def test_every_public_module_has_a_docstring() -> None:
    silent = [str(path.relative_to(ROOT)) for path in public_modules() if not ast.get_docstring(parsed(path))]
    assert silent == []


def test_every_public_function_and_class_has_a_docstring() -> None:
    silent = [
        definition.where
        for path in public_modules()
        for definition in definitions(path)
        if definition.is_public and not speaks_for_itself(definition) and not ast.get_docstring(definition.node)
    ]
    assert silent == []


def repeats_a_promise(definition: Definition) -> bool:
    """Whether a method has the words of the Protocol or base class that it implements as its own docstring."""
    implements = isinstance(definition.node, Function) and "." in definition.name and not _is_in_a_protocol(definition)
    return implements and (definition.node.name, ast.get_docstring(definition.node)) in promises()


@functools.cache
def promises() -> frozenset[tuple[str, str | None]]:
    """The methods of all Protocols with their docstrings."""
    return frozenset(
        (definition.node.name, text)
        for path in modules()
        for definition in definitions(path)
        if isinstance(definition.node, Function) and _is_in_a_protocol(definition)
        if (text := ast.get_docstring(definition.node))
    )


REPEATS_LEFT = {"backends": 27}
"""How many implementations still repeat the docstring of their Protocol. A number may only shrink."""


def test_an_implementation_of_a_protocol_repeats_no_docstring() -> None:
    repeats = [each for path in modules() for each in definitions(path) if repeats_a_promise(each)]
    rooms = collections.Counter(each.path.relative_to(PACKAGE).parts[0] for each in repeats)
    more = {room: count for room, count in rooms.items() if count > REPEATS_LEFT.get(room, 0)}
    assert {room: [each.where for each in repeats if room in each.path.parts] for room in more} == {}


def test_each_pattern_on_the_front_door_says_what_it_keeps_how_it_may_fail_and_what_it_costs() -> None:
    incomplete = {name: missing for name in sorted(sdpatterns.__all__) if (missing := _missing_sections(name))}
    assert incomplete == {}


def _missing_sections(name: str) -> list[str]:
    thing = getattr(sdpatterns, name)
    text = inspect.getdoc(thing)
    if not text:
        return ["docstring"]
    is_class = inspect.isclass(thing) and not issubclass(thing, BaseException)
    is_pattern = is_class and any(hasattr(thing, verb) for verb in ("protect", "acquire", "call"))
    return [section for section in SECTIONS if is_pattern and section not in text]


def test_the_tree_of_errors_is_drawn_on_its_page() -> None:
    page = parsed(PACKAGE / "errors.py")
    drawing = ast.get_docstring(page) or ""
    missing = [node.name for node in page.body if isinstance(node, ast.ClassDef) and node.name not in drawing]
    assert missing == []


JUDGES = frozenset({"raises", "warns", "expect"})
"""pytest's and Playwright's; other files' are told by their names, `assert_...`."""
JUDGED_BY_ITS_PAGE = {"test_the_blocks_of_a_page_run"}
"""Runs what holds the assertions."""


def test_test_functions_assert_something() -> None:
    """A test that cannot fail is worse than none."""
    empty = [where for path in modules(ROOT / "tests") for where in _without_judgement(path)]
    assert [where for where in empty if where.split()[-1] not in JUDGED_BY_ITS_PAGE] == []


def test_a_test_that_asserts_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "test_any.py"
    page.write_text(
        """
def own(value): assert value
def test_one(): assert 1
def test_two(): own(1)
def test_three(): assert_settled(1)
def test_four():
    with pytest.raises(ValueError): int("")
def test_five(): "must check: assert"
def test_six(): asyncio.run(checked())
def test_seven(): unknown(1)
"""
    )
    assert [where.split()[-1] for where in _without_judgement(page)] == ["test_five", "test_six", "test_seven"]


def _without_judgement(path: Path) -> list[str]:
    """The tests of a module that neither assert nor call what does: a check of the module's own, or a known one."""
    functions = [each for each in definitions(path) if isinstance(each.node, Function) and not each.inside_function]
    judges = JUDGES | {each.node.name for each in functions if _judges(each.node, JUDGES)}
    return [
        f"{path.name}:{each.node.lineno} {each.node.name}"
        for each in functions
        if each.node.name.startswith("test_") and not _judges(each.node, judges)
    ]


def _judges(node: ast.AST, judges: frozenset[str]) -> bool:
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = called(part)
            if name in judges or name.startswith("assert_"):
                return True
    return False
