"""Who handles which event and what follows from it: what is wrong with that, and how it is drawn. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

__all__ = ["HandlerLink", "drawn", "faults"]


class HandlerLink(NamedTuple):
    """A handler: the event that it handles, whose it is, its name, and the events that it may publish."""

    handles: str
    by: str
    name: str
    publishes: tuple[str, ...]


def faults(links: Sequence[HandlerLink], ends: Collection[str], cycles: Collection[str]) -> list[str]:
    """What no one handles and is no declared end, and each cycle in which no event is declared to begin it again."""
    handled = {link.handles for link in links}
    found = [
        f"{link.by}: {link.name} publishes {event!r}, and nothing handles it: declare it in ends if that is meant"
        for link in links
        for event in link.publishes
        if event not in handled and event not in ends
    ]
    follows = {event: _following(links, event, cycles) for event in sorted(handled)}
    cycle = _cycle_in(follows)
    if cycle:
        found.append(f"{' -> '.join(cycle)} goes round: declare one of them in cycles if that is meant to end")
    return found


def _following(links: Sequence[HandlerLink], event: str, cycles: Collection[str]) -> list[str]:
    return [it for link in links if link.handles == event for it in link.publishes if it not in cycles]


def _cycle_in(follows: dict[str, list[str]]) -> list[str]:
    """The events of one cycle, the first one again at the end; empty without one."""
    over: set[str] = set()
    for event, first in follows.items():
        path = [event]
        branches = [iter(first)]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                over.add(path.pop())
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in over:
                path.append(following)
                branches.append(iter(follows.get(following, ())))
    return []


def drawn(links: Sequence[HandlerLink]) -> list[str]:
    """The lines of a Mermaid flowchart: event, handler, events."""
    events: dict[str, str] = {}
    for link in links:
        for event in (link.handles, *link.publishes):
            events.setdefault(event, f"e{len(events)}")
    return [
        "flowchart LR",
        *(f'  {node}(["{event}"])' for event, node in events.items()),
        *(line for number, link in enumerate(links) for line in _arrows(f"h{number}", link, events)),
    ]


def _arrows(node: str, link: HandlerLink, events: dict[str, str]) -> Iterator[str]:
    yield f'  {node}["{link.by}: {link.name}"]'
    yield f"  {events[link.handles]} --> {node}"
    for event in link.publishes:
        yield f"  {node} --> {events[event]}"
