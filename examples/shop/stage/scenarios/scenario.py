"""A scenario as it is written: a TOML file of steps, checked before anything happens."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEASURED_SKU = "SP-00045"  # what is bought to time one purchase

# What a step may do, and what may stand beside it; `say` may stand beside anything, or alone.
VERBS: Mapping[str, frozenset[str]] = {
    "switch": frozenset({"on"}),
    "fault": frozenset(),
    "heal": frozenset(),
    "load": frozenset(),
    "deliver": frozenset({"up_to"}),
    "crowd": frozenset({"presses", "sku", "apart_s", "patience_s", "at_least"}),
    "cancel_extra": frozenset(),
    "night": frozenset(),
    "reverse": frozenset(),
    "redrive": frozenset(),
    "flood": frozenset({"a_second"}),
    "searchers": frozenset({"searches", "while_rolling_out"}),
    "roll_out": frozenset({"has_bug", "at_once"}),
    "take_back": frozenset(),
    "wait_s": frozenset(),
    "expect": frozenset({"of", "equals", "above", "below", "within_s", "found", "always"}),
    "record": frozenset({"of", "column", "unit"}),
}

COLUMNS = ("without", "with")


class InvalidScenario(ValueError):
    """A scenario file is invalid; the message says where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to do: its verb with its object, what stands beside it, and the caption that goes with it."""

    verb: str
    object: Any
    details: Mapping[str, Any] = field(default_factory=dict)
    say: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A whole scenario."""

    name: str
    title: str
    summary: str
    takes_s: int
    sku: str
    needs_replicas: bool
    """Whether it can be played only where a service has several replicas."""
    steps: tuple[Step, ...]

    def card(self) -> dict[str, Any]:
        """What a list of scenarios shows of it."""
        return {"name": self.name, "title": self.title, "summary": self.summary, "takes_s": self.takes_s}


def names() -> list[str]:
    """The scenarios there are."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def load(name: str) -> Scenario:
    """A scenario by its name; KeyError for one that is not there."""
    if name not in names():
        raise KeyError(name)
    return parse(name, (HERE / f"{name}.toml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Scenario:
    """A scenario from its file's text; InvalidScenario says what is wrong with it."""
    try:
        document = tomllib.loads(text)
        return Scenario(
            name=name,
            title=document["title"],
            summary=document["summary"],
            takes_s=document["takes_s"],
            sku=document.get("sku", MEASURED_SKU),
            needs_replicas=document.get("needs_replicas", False),
            steps=tuple(_step(number, table) for number, table in enumerate(document["steps"], 1)),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidScenario(f"{name}: {error!r}") from None


def _step(number: int, table: Mapping[str, Any]) -> Step:
    say = table.get("say", "")
    verbs = [verb for verb in VERBS if verb in table]
    if not verbs and say:
        return Step(verb="wait_s", object=0, say=say)
    if len(verbs) != 1:
        raise InvalidScenario(f"step {number} must do exactly one thing, not {verbs or 'nothing'}")
    verb = verbs[0]
    details = {key: value for key, value in table.items() if key not in (verb, "say")}
    if not details.keys() <= VERBS[verb]:
        raise InvalidScenario(f"step {number}: {sorted(details.keys() - VERBS[verb])} does not go with {verb}")
    if verb == "record" and ("of" not in details or details.get("column") not in COLUMNS):
        raise InvalidScenario(f"step {number}: a record needs `of`, and a `column`: {' or '.join(COLUMNS)}")
    if verb == "expect" and ("of" not in details or not details.keys() & {"equals", "above", "below"}):
        raise InvalidScenario(f"step {number}: an expectation needs `of`, and `equals`, `above` or `below`")
    return Step(verb=verb, object=table[verb], details=details, say=say)
