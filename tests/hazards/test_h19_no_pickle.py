"""Hazard 19: state that is unpickled runs whatever a forger put into it. Here nothing is unpickled."""

from __future__ import annotations

import ast
import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import sdpatterns
from sdpatterns.coordination.idempotency.decision import RecordCodec
from sdpatterns.core.codec import IntegersCodec, JsonCodec
from sdpatterns.errors import CodecError
from sdpatterns.traffic.ratelimit.decision import CellCodec

HOME = Path(sdpatterns.__file__).parent
CAN_RUN_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
YAML_SAFE = {"safe_load", "safe_dump", "dump", "YAMLError", "SafeDumper", "Node"}
"""What may be used of PyYAML, whose other loaders build any object."""
CALLS = {"eval", "exec", "compile", "__import__"}


def dangers(source: str) -> list[str]:
    """Imports and calls by which stored bytes could become running code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
            found += [f"line {node.lineno}: from yaml" for name in names if name == "yaml"]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(f"line {node.lineno}: {node.func.id}()")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml" and node.attr not in YAML_SAFE:
            found.append(f"line {node.lineno}: yaml.{node.attr}")
        found += [f"line {node.lineno}: {name}" for name in names if name in CAN_RUN_CODE]
    return found


@pytest.mark.parametrize(
    "bug",
    [
        *("import pickle", "from pickle import loads", "import marshal as m", "eval('1')"),
        *("yaml.load('1')", "yaml.unsafe_load('1')", "from yaml import load"),
    ],
)
def test_the_search_finds_what_it_looks_for(bug: str) -> None:
    assert dangers(f"def inside():\n    {bug}\n")


def test_no_module_can_unpickle() -> None:
    found = {
        str(path.relative_to(HOME)): dangers(path.read_text(encoding="utf-8")) for path in sorted(HOME.rglob("*.py"))
    }
    assert len(found) > 100
    assert {path: each for path, each in found.items() if each} == {}


class Forged:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_the_forged_bytes_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Forged(tmp_path / "owned")))
    assert (tmp_path / "owned").is_dir()


@pytest.mark.parametrize(
    "codec",
    [IntegersCodec(), JsonCodec[Any](lambda value: value, lambda plain: plain), RecordCodec(), CellCodec()],
    ids=lambda codec: type(codec).__name__,
)
def test_forged_bytes_are_refused_and_nothing_runs(codec: Any, tmp_path: Path) -> None:
    for head, protocol in itertools.product([b"", b"1:"], range(pickle.HIGHEST_PROTOCOL + 1)):
        with pytest.raises(CodecError):
            codec.decode(head + pickle.dumps(Forged(tmp_path / "owned"), protocol))
        assert not (tmp_path / "owned").exists(), (head, protocol)
