"""How often a rollout is rolled back without a reason, and how soon with one, beside a test made for one look.

Requests are drawn at random: 20 a second, 5 % of them for the new version, a look each second for ten minutes. The
z-test compares the two shares of failures at each look, at the same 0.1 %, as an analysis of fixed thresholds would.

    python benchmarks/rollout.py [rollouts]
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Callable
from statistics import median

from harness import RESULTS, machine

from sdpatterns.observability.rollout import Counts, Rollout

PER_S, WEIGHT, LOOKS, FALSE_ALARM = 20, 0.05, 600, 0.001
Z_AT_FALSE_ALARM = 3.09  # one-sided 0.1 %

Judge = Callable[[Counts, Counts, float], bool]
"""Whether the new version is to be rolled back, after one more look."""


def ours(ratio_max: float) -> Judge:
    rollout = Rollout("bench", weights=(WEIGHT,), requests_min=10**9, step_max_s=1e9, ratio_max=ratio_max)
    rollout.observe(Counts(0), Counts(0), now_s=0.0)
    return lambda new, old, now_s: rollout.observe(new, old, now_s=now_s).verdict == "roll_back"


def z_test(ratio_max: float) -> Judge:
    def judge(new: Counts, old: Counts, _: float) -> bool:
        if not new.requests:
            return False
        limit = ratio_max * old.failed / old.requests
        spread = math.sqrt(max(limit * (1 - limit), 1e-12) / new.requests)
        return (new.failed / new.requests - limit) / spread > Z_AT_FALSE_ALARM

    return judge


def looks_until_rolled_back(judge: Judge, old_rate: float, new_rate: float, dice: random.Random) -> int | None:
    new = old = Counts(0)
    for look in range(1, LOOKS + 1):
        for_new = sum(dice.random() < WEIGHT for _ in range(PER_S))
        new = Counts(new.requests + for_new, new.failed + sum(dice.random() < new_rate for _ in range(for_new)))
        for_old = PER_S - for_new
        old = Counts(old.requests + for_old, old.failed + sum(dice.random() < old_rate for _ in range(for_old)))
        if judge(new, old, look):
            return look
    return None


def row(
    make: Callable[[float], Judge], ratio_max: float, old_rate: float, new_rate: float, times: int
) -> dict[str, object]:
    dice = random.Random(f"{old_rate}-{new_rate}-{ratio_max}")
    ends = [looks_until_rolled_back(make(ratio_max), old_rate, new_rate, dice) for _ in range(times)]
    found = [look for look in ends if look is not None]
    return {
        "rolled_back_percent": round(100 * len(found) / times, 2),
        "seconds_median": median(found) if found else None,
        "requests_of_the_new_version": round(median(found) * PER_S * WEIGHT) if found else None,
    }


CASES = {
    "as good, 1 % fail": (1.0, 0.01, 0.01),
    "as good, 20 % fail": (1.0, 0.2, 0.2),
    "at the limit: 1.5 % beside 1 %": (1.5, 0.01, 0.015),
    "5 % beside 1 %": (1.5, 0.01, 0.05),
    "10 % beside 1 %": (1.5, 0.01, 0.10),
    "30 % beside 1 %": (1.5, 0.01, 0.30),
    "30 % beside 0.1 %": (1.5, 0.001, 0.30),
    "all fail, beside 0.1 %": (1.5, 0.001, 1.0),
}


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    table = {
        case: {name: row(make, *rates, times) for name, make in (("sdpatterns", ours), ("z-test at each look", z_test))}
        for case, rates in CASES.items()
    }
    for case, rows in table.items():
        print(case, rows)
    facts = {**machine(["sdpatterns"]), "rollouts": times, "cases": table}
    (RESULTS / "rollout.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
