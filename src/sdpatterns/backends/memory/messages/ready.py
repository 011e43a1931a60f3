"""Messages that are due, by tenant: the tenants take turns."""

from __future__ import annotations

from collections import OrderedDict, deque

from sdpatterns.backends.memory.messages.agenda import Agenda
from sdpatterns.backends.memory.messages.kept import READY, KeptMessage

__all__ = ["Ready"]

_SLACK = 64


class Ready:
    """A ring of tenants that have something due, and an agenda for each.

    Costs: taking one is O(1), or O(log n) in the messages of its tenant where ranks are used, however many tenants
    there are.
    """

    def __init__(self) -> None:
        self.count = 0
        # Ordered, because the first of a plain dict is slow to find once many were removed before it.
        self._tenants: OrderedDict[str, Agenda] = OrderedDict()
        # All of them in the order in which they became due. As in a line of an agenda, one whose place is not where
        # it stands has left.
        self._since: deque[KeptMessage] = deque()
        self._begin = 0

    def put(self, kept: KeptMessage, since_us: int) -> None:
        """It is due, since an instant that is no earlier than that of those before it."""
        agenda = self._tenants.get(kept.tenant)
        if agenda is None:
            agenda = self._tenants[kept.tenant] = Agenda()
        agenda.add(kept.due_us + kept.rank_us, kept)
        kept.state = READY
        kept.since_us = since_us
        kept.ready_place = self._begin + len(self._since)
        self._since.append(kept)
        self.count += 1

    def removed(self, kept: KeptMessage) -> None:
        """It is due no longer."""
        agenda = self._tenants[kept.tenant]
        agenda.removed()
        if not agenda.live:
            del self._tenants[kept.tenant]
        self.count -= 1
        self._tidy()

    def take(self, most: int) -> list[KeptMessage]:
        """Up to `most` of them, one of each tenant in turn. The state of each has to change now."""
        self._tidy()
        taken: list[KeptMessage] = []
        tenants = self._tenants
        while tenants and len(taken) < most:
            name = next(iter(tenants))
            agenda = tenants[name]
            if len(tenants) == 1:
                taken.extend([agenda.take() for _ in range(min(most - len(taken), agenda.live))])
            else:
                taken.append(agenda.take())
                tenants.move_to_end(name)
            if not agenda.live:
                del tenants[name]
        self.count -= len(taken)
        return taken

    def first_since_us(self) -> int | None:
        """Since when the one has been due that has been so for longest."""
        self._tidy()
        return self._since[0].since_us if self._since else None

    def _tidy(self) -> None:
        since = self._since
        while since and (since[0].state != READY or since[0].ready_place != self._begin):
            since.popleft()
            self._begin += 1
        if len(since) > 2 * self.count + _SLACK:
            begin = self._begin
            self._since = deque(
                kept for place, kept in enumerate(since, begin) if kept.ready_place == place and kept.state == READY
            )
            self._begin = 0
            for place, kept in enumerate(self._since):
                kept.ready_place = place
