"""What a pattern needs of a cipher that has a key for each subject: forget the key, and the data is gone."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

__all__ = ["SubjectCipher"]


class SubjectCipher(Protocol):
    """Encrypts the personal data of one subject (a customer, a patient) with a key of its own. Async or plain."""

    def encrypt(self, subject: str, data: bytes, /) -> bytes | Awaitable[bytes]:
        """The data, for who has the subject's key; makes a key for a new subject."""
        ...

    def decrypt(self, subject: str, data: bytes, /) -> bytes | Awaitable[bytes | None] | None:
        """The data again; None where the subject's key is gone for good."""
        ...
