"""How busy this machine is, for the few tests whose subject is a time on the wall."""

from __future__ import annotations

import time

SPIN_S = 0.02
SPINS = 5


def slowness() -> float:
    """How many seconds pass on the wall while this process works for one: 1.0 on an idle machine.

    Beside two processes that take both cores it is about 2, and so is everything else that is timed.
    """
    worked, passed = time.process_time(), time.monotonic()
    for _ in range(SPINS):
        end = time.process_time() + SPIN_S
        while time.process_time() < end:
            pass
        time.sleep(0)
    return max(1.0, (time.monotonic() - passed) / (time.process_time() - worked))
