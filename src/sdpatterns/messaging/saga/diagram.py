"""A run as a Mermaid flowchart: its steps in the order in which they began, and what became of each."""

from __future__ import annotations

from sdpatterns.messaging.saga.journal import Journal, RunStatus, StepRecord

__all__ = ["as_mermaid"]

_ENDS = {
    RunStatus.COMPLETED: "completed",
    RunStatus.UNDONE: "undone",
    RunStatus.CLOSED: "never started",
    RunStatus.PARKED: "parked",
}


def as_mermaid(journal: Journal) -> list[str]:
    """The lines of a diagram of what the journal says."""
    saga = "run" if journal.started is None else journal.started.saga
    lines = ["flowchart LR", f"  start([{_text(saga)}])"]
    before = "start"
    for number, (name, record) in enumerate(journal.steps.items()):
        node = f"s{number}"
        left, right = ("{{", "}}") if record.kind in {"sleep", "signal"} else ("[", "]")
        lines.append(f"  {node}{left}{_text(f'{name}: {_state(record, journal)}')}{right}")
        lines.append(f"  {before} --> {node}")
        before = node
    end = _ENDS.get(journal.status)
    if end is not None:
        lines += [f"  end1([{_text(end)}])", f"  {before} --> end1"]
    return lines


def _state(record: StepRecord, journal: Journal) -> str:
    if record.is_undone:
        return "undone"
    if record.error is not None:
        return "failed"
    if record.is_done:
        return "done"
    if record.kind in {"sleep", "signal"}:
        return record.kind
    return "not done" if journal.ended is not None else f"attempt {record.attempts + 1}"


def _text(text: str) -> str:
    return '"' + text.replace('"', "#quot;").replace("\n", " ") + '"'
