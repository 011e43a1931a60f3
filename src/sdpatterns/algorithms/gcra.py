"""GCRA, the generic cell rate algorithm: a limiter whose whole state is one instant.

```
      new = max(tat, now) + cost * interval
      |<------------ tolerance = burst * interval ----------->|
  ----+--------------------+----------------------------------+---->  time
     now                  tat (theoretical arrival time)     allowed up to here
```

A request conforms when the instant it moves the TAT to is no further than the tolerance from now.
All instants are integer microseconds, so that Python and Lua compute the same.

Source: ITU-T I.371 (GCRA); Turner, "New directions in communications" (1986).
"""

from __future__ import annotations

__all__ = ["booked"]


def booked(tat: int, now_us: int, increment_us: int, tolerance_us: int) -> tuple[int, int]:
    """The TAT after one more request, and how long that request must wait (0 or less: not at all).

    Keeps: whoever waits so long before starting never exceeds the rate.
    """
    after = (tat if tat > now_us else now_us) + increment_us
    return after, after - tolerance_us - now_us
