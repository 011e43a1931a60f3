"""How many messages are worked on at once, where that follows the lag.

```
all places are taken for a second, and the last claim came back full  --> half as many places more, up to `most`
claims leave places free for ten seconds                              --> a third fewer, down to `least`
```
"""

from __future__ import annotations

__all__ = ["GROW_AFTER_S", "Places"]

GROW_AFTER_S = 1.0
SHRINK_AFTER_S = 10.0


class Places:
    """A number between `least` and `most`. A claim that comes back full means that more messages wait.

    So it costs no look at the queue. Growing takes a second for each step, because a burst that is over by then needs
    no more places; shrinking takes ten, because the next burst may come soon.
    """

    __slots__ = ("_is_full", "_least", "_most", "_since_s", "now")

    def __init__(self, least: int, most: int) -> None:
        self.now = least
        self._least = least
        self._most = most
        self._is_full = False
        self._since_s = float("-inf")

    @property
    def may_grow(self) -> bool:
        """Whether it is worth while to ask again soon."""
        return self._is_full and self.now < self._most

    def claimed(self, now_s: float, *, is_full: bool) -> None:
        """Note how a claim for all free places came back."""
        if is_full != self._is_full:
            self._is_full, self._since_s = is_full, now_s
        elif not is_full and self.now > self._least and now_s - self._since_s >= SHRINK_AFTER_S:
            self.now, self._since_s = max(self._least, self.now - max(1, self.now // 3)), now_s

    def grow(self, now_s: float) -> None:
        """All places are taken: there are more of them if that has been so for a second."""
        if self.may_grow and now_s - self._since_s >= GROW_AFTER_S:
            self.now, self._since_s = min(self._most, self.now + max(1, self.now // 2)), now_s
