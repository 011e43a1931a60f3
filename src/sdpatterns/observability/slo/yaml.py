"""SLO files and rule files as YAML, by PyYAML."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sdpatterns.observability.rules import RuleGroup, rule_file
from sdpatterns.observability.slo.config import SLOFile

try:
    import yaml
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[slo]"') from missing

__all__ = ["read_slo_file", "written_rules"]

_WIDTH = 120


def read_slo_file(text: str) -> SLOFile:
    """The objectives that the text of a file holds. `ValueError` says where it is wrong, and how."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise ValueError(f"this is no YAML: {wrong}") from wrong
    return SLOFile.parsed(document)


def written_rules(groups: Iterable[RuleGroup]) -> str:
    """The text of a rule file; a query of several lines keeps them."""
    return yaml.dump(rule_file(groups), Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, and indents lists as people do."""

    def increase_indent(self, *words: Any, **named: Any) -> Any:
        return super().increase_indent(*words, **{**named, "indentless": False})


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
