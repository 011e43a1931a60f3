"""Terraform files: read as HCL, laid out as `terraform fmt` does, and every name that one uses is there.

The arguments of resources are not checked: only the provider knows them, and it is no file of this repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import hcl2

TERRAFORM = Path(__file__).parents[1] / "terraform"
_ASSIGNMENT = re.compile(r'^( *)("[^"]+"|[\w.-]+)( +)= (?!.*[\[{(]$|<<)')
_REFERENCE = re.compile(r"\b(var|local|module|data)\.([\w-]+)(?:\.([\w-]+))?")
_OF_CALLS = {"source", "version", "count", "for_each", "depends_on", "providers"}


def folders(root: Path = TERRAFORM) -> list[Path]:
    """Each folder that Terraform takes as one module."""
    return sorted({path.parent for path in root.rglob("*.tf")})


def read(folder: Path) -> dict[str, list[Any]]:
    """The blocks of a module by their kind."""
    blocks: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("*.tf")):
        with path.open(encoding="utf-8") as file:
            for kind, found in hcl2.load(file).items():
                blocks.setdefault(kind, []).extend(found if isinstance(found, list) else [found])
    return blocks


def named(blocks: Sequence[Any]) -> dict[str, Any]:
    """Blocks with one label, by it."""
    return {_bare(label): body for block in blocks for label, body in block.items() if label != "__is_block__"}


def _bare(text: object) -> str:
    return str(text).strip('"')


def names(folder: Path) -> Iterator[str]:
    """References to variables, locals, data and modules that are not there, and arguments that a module lacks."""
    blocks = read(folder)
    variables, modules = named(blocks.get("variable", [])), named(blocks.get("module", []))
    data = {
        (kind, name) for each in blocks.get("data", []) for kind, found in _labels(each) for name, _ in _labels(found)
    }
    there = {
        "var": set(variables),
        "local": {key for each in blocks.get("locals", []) for key, _ in _labels(each)},
        "module": set(modules),
        "data": {kind for kind, _ in data},
    }
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))
    for kind, name, inner in sorted(set(_REFERENCE.findall(_without_comments(text)))):
        if name not in there[kind] or (kind == "data" and (name, inner) not in data):
            yield f"{folder.name}: {kind}.{name} is not there"
        elif kind == "module" and inner not in _outputs(folder, modules[name]):
            yield f"{folder.name}: module.{name} has no output {inner}"
    for name, call in modules.items():
        yield from _arguments(folder, name, call)
    used = {name for kind, name, _ in _REFERENCE.findall(text) if kind == "var"}
    yield from (f"{folder.name}: the variable {name} is not used" for name in sorted(set(variables) - used))


def _labels(block: Any) -> list[tuple[str, Any]]:
    return [(_bare(key), value) for key, value in block.items() if not str(key).startswith("__")]


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)^\s*#.*$", "", text)


def _place(folder: Path, call: Any) -> Path:
    return (folder / _bare(call["source"])).resolve()


def _outputs(folder: Path, call: Any) -> set[str]:
    return set(named(read(_place(folder, call)).get("output", [])))


def _arguments(folder: Path, name: str, call: Any) -> Iterator[str]:
    wanted = named(read(_place(folder, call)).get("variable", []))
    given = {key for key, _ in _labels(call)} - _OF_CALLS
    needed = {key for key, body in wanted.items() if "default" not in body}
    yield from (f"{folder.name}: module.{name} does not know {key}" for key in sorted(given - set(wanted)))
    yield from (f"{folder.name}: module.{name} needs {key}" for key in sorted(needed - given))


def layout(text: str) -> Iterator[str]:
    """Where a text is laid out otherwise than by `terraform fmt`: two spaces a level, equals signs below each other."""
    depth, lines = 0, text.split("\n")
    if lines[-1] or lines[-2:-1] == [""]:
        yield "the file does not end in one line feed"
    for number, line in enumerate(lines[:-1], 1):
        closing = bool(re.match(r"\s*[\]})]", line))
        if line and len(line) - len(line.lstrip(" ")) != 2 * (depth - closing):
            yield f"{number}: indented otherwise"
        if line != line.rstrip():
            yield f"{number}: spaces at the end"
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|#.*', "", line)
        more = sum(map(bare.count, "[{(")) - sum(map(bare.count, "]})"))
        depth += (more > 0) - (more < 0)  # a line that opens two, `jsonencode({`, is one level
    yield from _signs(lines)


def _signs(lines: Sequence[str]) -> Iterator[str]:
    numbered = [(number, _ASSIGNMENT.match(line)) for number, line in enumerate(lines, 1)]
    for (_, together), group in groupby(numbered, lambda each: (each[1] and each[1][1], bool(each[1]))):
        found = [(number, match) for number, match in group if match]
        width = max((len(match[2]) for _, match in found), default=0)
        if together:
            yield from (
                f"{number}: the equals sign stands elsewhere"
                for number, match in found
                if len(match[2] + match[3]) != width + 1
            )
