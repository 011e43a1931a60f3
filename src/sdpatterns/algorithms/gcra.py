"""GCRA, the generic cell rate algorithm: a limiter whose whole state is one instant.

```
      new = max(tat, now) + cost * interval
      |<------------ tolerance = burst * interval ----------->|
  ----+--------------------+----------------------------------+---->  time
     now                  tat (theoretical arrival time)     allowed up to here
```

A request conforms when the instant it moves the TAT to is no further than the tolerance from now.
All instants are whole microseconds below 2**53, as integers or as floats, so that Python and Lua
compute the same.

Source: ITU-T I.371 (GCRA); Turner, "New directions in communications" (1986).
"""

from __future__ import annotations

__all__ = ["booked"]


def booked(tat: float, now_us: float, increment_us: float, tolerance_us: float) -> tuple[float, float]:
    """The TAT after one more request, and how long that request must wait (0 or less: not at all).

    Keeps: requests that wait so long before they start never exceed the rate.
    """
    after = max(tat, now_us) + increment_us
    return after, after - tolerance_us - now_us
