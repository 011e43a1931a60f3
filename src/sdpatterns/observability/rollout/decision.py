"""How strong the evidence is that the new version is worse: a machine changed in place, without a clock.

```
                        requests      failures
 since the last look    new:  n       k            If the new version fails r times as often as the old one, each
                        old:  m       l            failure is one of the new version's with probability

                                                          share(r) = n r / (n r + m)
```

Only the side on which failures occur is looked at. A fault that harms both versions alike, as a database that is away
does, adds failures on both sides in the right proportion, and is no evidence.

The evidence is a likelihood ratio: how much better the failures seen so far are explained by some `r` above the
tolerated one than by the tolerated one. It starts at 1. While the new version is within what is tolerated, the chance
that it **ever** reaches 1 / a is at most a (Ville's inequality). So one may look after each request or once an hour and
stop at any look. A test made for one look, such as a z-test at 99.9 %, gives false alarms when it is looked at again
and again.

Sources: Wald, "Sequential Tests of Statistical Hypotheses" (1945); Robbins, "Statistical Methods Related to the Law of
the Iterated Logarithm" (1970), for the mixture; Lindon, Malek, "Anytime-Valid Inference for Multinomial Count Data"
(2022), for counts of two arms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Counts", "Evidence"]

_MULTIPLES = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""The alternatives, as multiples of the tolerated ratio; all get the same weight. The spacing costs a few failures."""


class Counts(NamedTuple):
    """What callers saw of one version since it started; each number only grows.

    `failed` are requests without a good answer, also those that were never answered. `slow` are those that took
    longer than your objective allows.
    """

    requests: int
    failed: int = 0
    slow: int = 0

    def since(self, before: Counts) -> Counts:
        """What came after `before`; all of it where the count has started from zero in between."""
        if any(new < old for old, new in zip(before, self, strict=True)):
            return self
        return Counts(*(new - old for old, new in zip(before, self, strict=True)))


class Evidence:
    """The evidence that events of one kind are more frequent with the new version than `ratio_max` allows."""

    __slots__ = ("_ratio_max", "_sums")

    def __init__(self, ratio_max: float) -> None:
        self._ratio_max = ratio_max
        self._sums = [0.0] * len(_MULTIPLES)

    def add(self, new: int, new_requests: int, old: int, old_requests: int) -> None:
        """Count events of one look: `new` of `new_requests` and `old` of `old_requests`."""
        if not (new_requests and old_requests):
            return  # with one version alone nothing can be compared
        at_limit = new_requests * self._ratio_max
        for number, multiple in enumerate(_MULTIPLES):
            # A failure of the new version multiplies the ratio by share(worse) / share(limit), one of the old
            # version by (1 - share(worse)) / (1 - share(limit)).
            fewer = math.log((at_limit + old_requests) / (at_limit * multiple + old_requests))
            self._sums[number] += new * math.log(multiple) + (new + old) * fewer

    @property
    def log(self) -> float:
        """The logarithm of the likelihood ratio; 0 without any evidence, negative when all is well."""
        highest = max(self._sums)
        return highest + math.log(sum(math.exp(each - highest) for each in self._sums) / len(self._sums))
