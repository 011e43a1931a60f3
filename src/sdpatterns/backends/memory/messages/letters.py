"""Dead letters, in the order of their parking."""

from __future__ import annotations

from bisect import bisect_right

from sdpatterns.backends.memory.messages.kept import PARKED, KeptMessage
from sdpatterns.core.fence import next_fence
from sdpatterns.ports.queue import Parked

__all__ = ["Letters"]

_SLACK = 64


class Letters:
    """Entries by position. A position is the time of parking, or one more than the last."""

    def __init__(self, keep_us: int) -> None:
        self._keep_us = keep_us
        self._places: list[int] = []
        self._begin = 0
        self._at: dict[int, tuple[KeptMessage, int]] = {}
        self._of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._at)

    def add(self, entry: KeptMessage, now_us: int) -> None:
        """Park it."""
        entry.state = PARKED
        place = next_fence(self._places[-1] if self._places else 0, now_us)
        self._places.append(place)
        self._at[place] = (entry, now_us)
        self._of[entry.id] = place

    def removed(self, entry: KeptMessage) -> None:
        """It is parked no longer."""
        del self._at[self._of.pop(entry.id)]
        if len(self._places) > 2 * len(self._at) + _SLACK:
            # The last place stays, so that none is used twice.
            last = self._places[-1]
            self._places = [place for place in self._places if place in self._at or place == last]
            self._begin = 0

    def page(self, limit: int, after: int) -> list[Parked]:
        """Those behind a position."""
        found: list[Parked] = []
        places = self._places
        at = max(self._begin, bisect_right(places, after))
        while at < len(places) and len(found) < limit:
            letter = self._at.get(places[at])
            if letter is not None:
                entry, parked_us = letter
                found.append(entry.as_parked(places[at], parked_us))
            at += 1
        return found

    def too_old(self, now_us: int, most: int) -> list[KeptMessage]:
        """Up to `most` of those that were kept for long enough. They stay until `removed`."""
        found: list[KeptMessage] = []
        until_us = now_us - self._keep_us
        while self._begin < len(self._places) and self._places[self._begin] <= until_us and len(found) < most:
            letter = self._at.get(self._places[self._begin])
            if letter is not None:
                found.append(letter[0])
            self._begin += 1
        return found

    def is_too_old(self, entry: KeptMessage, now_us: int) -> bool:
        """Whether it was kept for long enough."""
        return self._of[entry.id] <= now_us - self._keep_us
