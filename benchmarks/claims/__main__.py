"""Ask all libraries all questions, keep the answers, and write the page that shows them.

    python -m benchmarks.claims           ask (half a minute), then write the page
    python -m benchmarks.claims --page    write the page from the answers that are there

The page, docs/comparison.md, says nothing that is not in `found.json`; a test compares the two.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.metadata
import inspect
import json
import logging
import platform
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOUND = Path(__file__).parent / "found.json"
PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"


class Question(NamedTuple):
    """Something that every library of a kind can be asked."""

    name: str
    kind: str
    title: str
    how: str
    right: str


QUESTIONS = [
    Question(
        "probes",
        "breakers",
        "How many calls reach a failing service when the open time ends?",
        "A breaker is open. Its time is over, the service still fails, and fifty callers come at once.",
        "1 of 50",
    ),
    Question(
        "late_success",
        "breakers",
        "Does a success from before the trip close the circuit?",
        "A slow call begins, three others fail and open the circuit, then the slow one succeeds.",
        "still open",
    ),
    Question(
        "cancellations",
        "breakers",
        "Do callers who give up open the circuit?",
        "Ten callers are cancelled while a healthy service works for them; the circuit opens after three failures.",
        "closed",
    ),
    Question(
        "frames",
        "breakers",
        "How deep is the traceback of the 200th refusal?",
        "An exception object that is raised again and again keeps every frame it ever passed.",
        "at most 10",
    ),
    Question(
        "side_by_side",
        "breakers",
        "May two threads be inside the protected function?",
        "Two threads call at the same time; a breaker that holds its lock across the call lets only one work.",
        "both at once",
    ),
    Question(
        "by_eight_threads",
        "limiters",
        "How many of 2,000 pass a limit of 1,000?",
        "Eight threads ask 250 times each for one key whose limit does not come back during the run.",
        "1,000",
    ),
    Question(
        "forgotten",
        "limiters",
        "Is a key that used up its limit still refused after 2,000 others passed by?",
        "Each library in memory with its default settings; the limit comes back after ten minutes.",
        "still refused",
    ),
    Question(
        "second_key",
        "limiters",
        "Has a second key a limit of its own?",
        "The way of use that the library's own first example shows, with two keys.",
        "has its own",
    ),
    Question(
        "clock_set_back",
        "limiters",
        "What does a wall clock that is set back by an hour do to a limit of one a second?",
        "The limit is used, the clock is set back, and 1.1 s later the same key asks again.",
        "free after its second",
    ),
    Question(
        "big_among_small",
        "limiters",
        "How many later requests for 1 overtake a waiting request for 10?",
        "A request for 10 waits at a limit of 200 a second while sixty requests for 1 arrive behind it.",
        "0 of 60",
    ),
    Question(
        "cancelled",
        "retries",
        "How many attempts follow after the caller was cancelled?",
        "Each library is told to repeat whatever fails; the caller is cancelled in the first attempt.",
        "0",
    ),
    Question(
        "under_trio",
        "retries",
        "Does a retry work under trio?",
        "The first attempt fails, and the second succeeds after a pause of milliseconds.",
        "yes",
    ),
    Question(
        "other_body",
        "idempotency",
        "What does another body get under a key that was used before?",
        "The same key and path, another JSON body.",
        "422",
    ),
    Question(
        "other_path",
        "idempotency",
        "What does another path get under that key?",
        "The same key and body, another path.",
        "422",
    ),
    Question(
        "after_a_failure",
        "idempotency",
        "May a request that failed be sent again?",
        "The application raises at the first request and is well at the second, with the same key.",
        "201",
    ),
]

HEAD = """# Comparison

This page compares what sdpatterns and other Python libraries do in difficult situations. The programs in
`benchmarks/claims/` ask all of them in one run. Each library is used in memory, as its own documentation shows. An
answer in **bold** is the one that we think is right; a library may have chosen another one on purpose. An empty cell
means that the library was not asked, because it cannot be used in this way. [Benchmarks](benchmarks.md) shows how fast
they are.
"""


def _makers() -> dict[str, Mapping[str, Callable[..., Any]]]:
    from benchmarks.claims import breakers, idempotency, limiters, retries

    return {
        "breakers": breakers.MAKERS,
        "breakers.side_by_side": breakers.PLAIN,
        "limiters": limiters.SYNC,
        "limiters.big_among_small": limiters.WAITING,
        "retries": retries.MAKERS,
        "idempotency": idempotency.MAKERS,
    }


def _asked(question: Question, make: Callable[..., Any]) -> str:
    ask = getattr(importlib.import_module(f"benchmarks.claims.{question.kind}"), question.name)

    async def awaited() -> str:
        answer: str = await ask(make)
        return answer

    return asyncio.run(awaited()) if inspect.iscoroutinefunction(ask) else ask(make)


def ask() -> dict[str, Any]:
    """Ask each library all questions."""
    warnings.simplefilter("ignore")
    logging.disable()
    makers = _makers()
    answers: dict[str, dict[str, str]] = {}
    for question in QUESTIONS:
        whom = makers.get(f"{question.kind}.{question.name}", makers[question.kind])
        answers[question.name] = {name: _asked(question, make) for name, make in whom.items()}
        print(question.title, answers[question.name], flush=True)
    packages = sorted({name.partition(",")[0] for found in answers.values() for name in found})
    return {
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks.claims",
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "answers": answers,
    }


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer is the one we hold to be right."""
    if question.right.startswith("at most "):
        return answer.isdigit() and int(answer) <= int(question.right.removeprefix("at most "))
    return answer == question.right


def section(kind: str, answers: Mapping[str, Mapping[str, str]]) -> str:
    """All questions of a kind: the answers of all libraries in one table, then how each was asked."""
    asked = [question for question in QUESTIONS if question.kind == kind]
    names = list(dict.fromkeys(name for question in asked for name in answers[question.name]))
    rows = [f"| | {' | '.join(question.title for question in asked)} |", f"|---|{'---|' * len(asked)}"]
    for name in names:
        cells = [_cell(question, answers[question.name].get(name)) for question in asked]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    how = [f"- *{question.title}* {question.how}" for question in asked]
    return "\n".join([*rows, "", *how])


def _cell(question: Question, answer: str | None) -> str:
    if answer is None:
        return ""
    return f"**{answer}**" if is_right(question, answer) else answer


_TITLES = {
    "breakers": "Circuit breakers",
    "limiters": "Rate limiters",
    "retries": "Retries",
    "idempotency": "Idempotency keys",
}


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [HEAD.rstrip()]
    for kind, title in _TITLES.items():
        parts += [f"## {title}", section(kind, found["answers"])]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    parts.append(f"`{found['command']}`, Python {found['python']}, {found['when'][:10]}; {versions}.")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    if sys.argv[1:] != ["--page"]:
        FOUND.write_text(json.dumps(ask(), indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(json.loads(FOUND.read_text())))


if __name__ == "__main__":
    main()
