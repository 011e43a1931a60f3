"""Sign bytes that you give to a client, and verify them when they come back: one keyed digest, several keys.

```
sealed:   base64url( tag | payload )        tag = blake2b-256, keyed, over (about, payload)
keys:     newest, older, ...                the first signs, each verifies: so keys are rotated
```

The digest is fixed: the bytes cannot choose how they are checked. Anyone can read the payload;
without a key no one can change it or use it for another purpose.

Source: RFC 7693 (BLAKE2, keyed hashing); RFC 4648, 5 (base64url).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from sdpatterns.errors import CodecError

__all__ = ["KEYS_MAX", "KEY_BYTES_MAX", "KEY_BYTES_MIN", "TAG_BYTES", "Signer"]

KEY_BYTES_MIN = 16
"""A shorter key could be guessed; 32 bytes of `secrets.token_bytes` are a good one."""
KEY_BYTES_MAX = 64
"""The longest key that the digest takes."""
KEYS_MAX = 8
"""Each key in use costs one digest per refused message."""
TAG_BYTES = 32

_PERSON = b"sdpatterns/sign1"


class Signer:
    """Signs with the first of its keys and trusts what any of them has signed.

    A key is rotated in three deploys: known everywhere as the last one, then moved to the front, and
    left out when nothing signed with the older one is of use any more. `purpose` keeps apart what
    several signers with one key sign.

    **Keeps**: the time of a comparison does not depend on where a tag differs. What was signed for
    one purpose, or `about` one thing, is refused for another. **May fail** with `CodecError`, which
    says no more than that. **Costs** one digest, about 2 µs; verifying, one for each key.
    """

    def __init__(self, *keys: bytes, purpose: str) -> None:
        if not 1 <= len(keys) <= KEYS_MAX:
            raise ValueError(f"keys must be from 1 to {KEYS_MAX}, got {len(keys)}")
        for key in keys:
            _check_key(key)
        if not purpose:
            raise ValueError("purpose must not be empty")
        self.purpose = purpose
        self._keys = keys

    def __repr__(self) -> str:
        return f"Signer(purpose={self.purpose!r}, {len(self._keys)} keys)"

    def tag(self, payload: bytes, *, about: str = "") -> bytes:
        """The tag of `payload` by the newest key."""
        return self._tag(self._keys[0], payload, about)

    def verifies(self, payload: bytes, tag: bytes, *, about: str = "") -> bool:
        """Whether `tag` is that of `payload` by any of the keys."""
        fits = [hmac.compare_digest(self._tag(key, payload, about), tag) for key in self._keys]
        # Only now: every key is tried, whichever fits.
        return any(fits)

    def sealed(self, payload: bytes, *, about: str = "") -> str:
        """Tag and payload as text that may stand in a URL, a header or a cookie."""
        return base64.urlsafe_b64encode(self.tag(payload, about=about) + payload).rstrip(b"=").decode()

    def opened(self, text: str, *, about: str = "") -> bytes:
        """The payload that `sealed` gave. Raises `CodecError` for anything else."""
        content = _decoded(text)
        tag, payload = content[:TAG_BYTES], content[TAG_BYTES:]
        if not self.verifies(payload, tag, about=about):
            raise CodecError("the signature does not fit")
        return payload

    def _tag(self, key: bytes, payload: bytes, about: str) -> bytes:
        # Each part with its length before it, so that no two sets of parts are the same bytes.
        digest = hashlib.blake2b(key=key, digest_size=TAG_BYTES, person=_PERSON)
        for part in (self.purpose.encode(), about.encode("utf-8", "surrogatepass"), payload):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()


def _check_key(key: object) -> None:
    if not isinstance(key, bytes) or not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        # The key itself is not for a message.
        raise ValueError(f"keys must be {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes each")


def _decoded(text: str) -> bytes:
    """Bytes of base64url without padding, in the one spelling that `sealed` writes."""
    try:
        raw = text.encode("ascii")
        content = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as cause:
        raise CodecError("the signature does not fit") from cause
    if base64.urlsafe_b64encode(content).rstrip(b"=") != raw:
        raise CodecError("the signature does not fit")
    return content
