"""Messages in the order of an instant, with removal from the middle."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from sdpatterns.backends.memory.messages.kept import KeptMessage

__all__ = ["Agenda"]

_SLACK = 64


class Agenda:
    """A line, for what comes in the order of its instants, and a heap for the rest.

    Most come in order: what is due at once, and leases of the same length. A line costs a tenth of a heap, and
    nothing that the garbage collector has to look at. What is removed from the middle stays as a shell until it
    comes up, or until shells are the most.

    Costs: an addition in order and a removal are O(1), over time; another addition is O(log n).
    """

    __slots__ = ("_begin", "_heap", "_last_us", "_line", "live")

    def __init__(self) -> None:
        self.live = 0
        self._line: deque[KeptMessage] = deque()
        # The place of the first in line. A message whose place is not where it stands has left it.
        self._begin = 0
        self._last_us = 0
        self._heap: list[tuple[int, int, KeptMessage, int]] = []

    def add(self, at_us: int, kept: KeptMessage) -> None:
        """Enter it at an instant."""
        self.live += 1
        kept.at_us = at_us
        line = self._line
        if not line or at_us >= self._last_us:
            self._last_us = at_us
            kept.agenda = self
            kept.place = self._begin + len(line)
            line.append(kept)
        else:
            heappush(self._heap, (at_us, kept.number, kept, kept.turn))

    def removed(self) -> None:
        """One of them has left its place and taken another turn."""
        self.live -= 1
        if len(self._line) + len(self._heap) > 2 * self.live + _SLACK:
            self._drop_shells()

    def first_us(self) -> int | None:
        """The earliest instant."""
        self._tidy()
        line, heap = self._line, self._heap
        if not heap:
            return line[0].at_us if line else None
        return min(line[0].at_us, heap[0][0]) if line else heap[0][0]

    def take(self) -> KeptMessage:
        """Remove the earliest; there must be one."""
        self._tidy()
        self.live -= 1
        line, heap = self._line, self._heap
        if heap and (not line or heap[0][0] < line[0].at_us):
            return heappop(heap)[2]
        self._begin += 1
        return line.popleft()

    def _tidy(self) -> None:
        line, heap = self._line, self._heap
        while line and (line[0].place != self._begin or line[0].agenda is not self):
            line.popleft()
            self._begin += 1
        while heap and heap[0][2].turn != heap[0][3]:
            heappop(heap)

    def _drop_shells(self) -> None:
        self._heap = [item for item in self._heap if item[2].turn == item[3]]
        heapify(self._heap)
        line, begin = self._line, self._begin
        self._line = deque(
            kept for place, kept in enumerate(line, begin) if kept.place == place and kept.agenda is self
        )
        self._begin = 0
        for place, kept in enumerate(self._line):
            kept.place = place
