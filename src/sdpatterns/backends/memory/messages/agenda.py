"""Entries in the order of an instant, with removal from the middle."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from sdpatterns.backends.memory.messages.kept import KeptMessage

__all__ = ["Agenda"]

_SLACK = 64


class Agenda:
    """A heap. What is removed from its middle stays as a shell until it comes up, or until shells are the most.

    Costs: a removal is O(1), over time; an addition and a removal from the front O(log n).
    """

    __slots__ = ("_heap", "live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, KeptMessage, int]] = []
        self.live = 0

    def add(self, at_us: int, entry: KeptMessage) -> None:
        """Enter it at an instant, under its present turn."""
        heappush(self._heap, (at_us, entry.number, entry, entry.turn))
        self.live += 1

    def removed(self) -> None:
        """One of them has taken another turn."""
        self.live -= 1
        if len(self._heap) > 2 * self.live + _SLACK:
            self._heap = [item for item in self._heap if item[2].turn == item[3]]
            heapify(self._heap)

    def first_us(self) -> int | None:
        """The earliest instant."""
        heap = self._heap
        while heap:
            at_us, _, entry, turn = heap[0]
            if entry.turn == turn:
                return at_us
            heappop(heap)
        return None

    def take(self) -> KeptMessage:
        """Remove the earliest. There must be one."""
        while True:
            _, _, entry, turn = heappop(self._heap)
            if entry.turn == turn:
                self.live -= 1
                return entry
