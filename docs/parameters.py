"""Parameters of a pattern in the reference, as a table: what its page says of each setting, with type and default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

PATTERNS = Path(__file__).parent / "patterns"
PAGES = {
    "Bulkhead": "bulkhead",
    "CircuitBreaker": "circuit-breaker",
    "Election": "election",
    "Fallback": "fallback",
    "Idempotency": "idempotency",
    "Lease": "lease",
    "Quota": "quota",
    "RateLimiter": "rate-limiter",
    "Retry": "retry",
    "Semaphore": "semaphore",
    "Timeout": "timeout",
}
EVERYWHERE = {
    "alternatives": "functions and values; a value must be the last",
    "callers": "a function that names each attempt, for tests",
    "name": "the name in events, metrics and errors; it also separates the state of two objects in one store",
    "owners": "a function that names the holder of a claim, for tests",
    "random": "a function that gives a number from 0 to 1, for tests",
    "store": "where the state is: `backend.states`",
}


def settings(page: str) -> dict[str, str]:
    """The meaning of each setting, by the table of the page."""
    table = (
        (PATTERNS / f"{page}.md")
        .read_text(encoding="utf-8")
        .split("## Settings")[1]
    )
    rows = re.findall(r"^\| (`.+?) \|(?:.*\|)? (.+?) \|$", table, re.MULTILINE)
    return {
        name: meaning
        for names, meaning in rows
        for name in re.findall(r"`(\w+)[`=]", names)
    }


def without_settings(text: str, names: list[str]) -> str:
    """The docstring without a paragraph that explains the settings, which the table does too."""
    paragraphs = text.split("\n\n")
    explained = [
        sum(name in names for name in re.findall(r"`(\w+)`[^`.]*:", each))
        for each in paragraphs
    ]
    return "\n\n".join(
        each
        for each, count in zip(paragraphs, explained, strict=True)
        if count < 3
    )


class Parameters(griffe.Extension):
    """Adds an `Args` section to the docstrings of the patterns."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """What griffe calls with every class, when its members are known."""
        page = PAGES.get(cls.name)
        if (
            page is None
            or cls.docstring is None
            or "Args:" in cls.docstring.value
        ):
            return
        known = {**EVERYWHERE, **settings(page)}
        names = [
            parameter.name
            for parameter in cls.parameters
            if parameter.name != "self"
        ]
        lines = [
            f"    {name}: {known[name]}" for name in names if name in known
        ]
        said = without_settings(cls.docstring.value, names)
        cls.docstring.value = said + "\n\nArgs:\n" + "\n".join(lines) + "\n"
