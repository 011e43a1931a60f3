"""Messages that are due, by tenant: the tenants take turns."""

from __future__ import annotations

from collections import OrderedDict, deque

from sdpatterns.backends.memory.messages.agenda import Agenda
from sdpatterns.backends.memory.messages.kept import READY, KeptMessage

__all__ = ["Ready"]

_SLACK = 64


class Ready:
    """A ring of tenants that have something due, and an agenda for each.

    Costs: taking one is O(log n) in the messages of its tenant, however many tenants there are.
    """

    def __init__(self) -> None:
        self.count = 0
        # Ordered, because the first of a plain dict is slow to find once many were removed before it.
        self._tenants: OrderedDict[str, Agenda] = OrderedDict()
        self._since: deque[tuple[int, KeptMessage, int]] = deque()

    def put(self, entry: KeptMessage, since_us: int) -> None:
        """It is due, since an instant that is no earlier than that of those before it."""
        entry.state = READY
        tenants = self._tenants
        agenda = tenants.get(entry.tenant)
        if agenda is None:
            agenda = tenants[entry.tenant] = Agenda()
        agenda.add(entry.due_us + entry.rank_us, entry)
        self._since.append((since_us, entry, entry.turn))
        self.count += 1

    def removed(self, entry: KeptMessage) -> None:
        """It has taken another turn."""
        agenda = self._tenants[entry.tenant]
        agenda.removed()
        if not agenda.live:
            del self._tenants[entry.tenant]
        self.count -= 1
        self._tidy()

    def take(self, most: int) -> list[KeptMessage]:
        """Up to `most` of them, one of each tenant in turn. Each has to take another turn now."""
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
        return self._since[0][0] if self._since else None

    def _tidy(self) -> None:
        since = self._since
        while since and since[0][1].turn != since[0][2]:
            since.popleft()
        if len(since) > 2 * self.count + _SLACK:
            self._since = deque(item for item in since if item[1].turn == item[2])
