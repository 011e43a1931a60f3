"""The header Fencing-Token: the fence of the lease under which a client sends its request.

```
PUT /accounts/seller-7
Fencing-Token: 1764423172123456
```

There is no standard for it. `If-Match` says which version of a resource the client has read, and a late client may
have read the newest; the lock tokens of WebDAV (RFC 4918, 6.5) have no order. The value is a whole number from 1 to
2^63 - 1, in decimal digits. It is no Integer of a structured field (RFC 9651), because those end at 15 digits.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdpatterns.coordination.lease.register import FENCE_MAX
from sdpatterns.core.ranges import whole
from sdpatterns.web.problems import Problem

__all__ = ["HEADER", "MALFORMED", "MISSING", "fence_of", "fencing"]

HEADER = "Fencing-Token"
MISSING = Problem(status=428, detail=f"This request needs the header {HEADER}: the fence of the lease that you hold.")
MALFORMED = Problem(status=400, detail=f"The header {HEADER} has to be one number from 1 to {FENCE_MAX}.")

_DIGITS_MAX = len(str(FENCE_MAX))


def fencing(fence: int) -> dict[str, str]:
    """The header for a client's request: `client.put(url, headers=fencing(held.fence))`."""
    return {HEADER: str(whole("fence", fence, 1, FENCE_MAX))}


def fence_of(values: Sequence[str]) -> int:
    """The fence in the values of the header. Raises `ValueError` where they are not one number in its range."""
    text = values[0].strip(" \t") if len(values) == 1 else ""
    # Its length first: a number of a million digits would take long to read.
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and 1 <= int(text) <= FENCE_MAX):
        raise ValueError(MALFORMED.detail)
    return int(text)
