"""What the shop's HTTP clients share: they speak plain HTTP on this machine, and trust no authority."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def no_authority() -> ssl.SSLContext:
    """What a client is to be given: it would read the machine's certificates, a tenth of a start each time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
