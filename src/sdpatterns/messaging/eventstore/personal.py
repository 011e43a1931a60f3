"""Personal fields of events, under the key of their subject: forget the key, and they are gone."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from sdpatterns.core.cipher import SubjectCipher
from sdpatterns.errors import CodecError
from sdpatterns.messaging.schema.config import EventType
from sdpatterns.messaging.schema.schema import DATA

__all__ = ["EventData", "opened", "sealed", "unsealed_bytes"]

_SEALED = "$personal"


class EventData(NamedTuple):
    """The data of an event with its personal fields, whose they are (None where it has none), and if they are gone."""

    data: dict[str, Any]
    subject: str | None
    is_shredded: bool


async def sealed(
    cipher: SubjectCipher | None, kind: EventType, data: dict[str, Any]
) -> tuple[dict[str, Any], str | None]:
    """The data with its personal fields encrypted, and whose they are; None where it has none."""
    names = [name for name in kind.personal if name in data]
    if not names or kind.subject is None:
        return data, None
    assert cipher is not None
    subject = str(data[kind.subject])
    secret: Any = cipher.encrypt(subject, DATA.encode({name: data[name] for name in names}))
    if inspect.isawaitable(secret):
        secret = await secret
    open_ = {name: value for name, value in data.items() if name not in names}
    return {**open_, _SEALED: [subject, sorted(names), secret]}, subject


async def opened(cipher: SubjectCipher | None, kind: EventType | None, data: dict[str, Any]) -> EventData:
    """The data with its personal fields; with what stands in their place where the key is gone."""
    if _SEALED not in data:
        return EventData(data, None, is_shredded=False)
    rest = dict(data)
    subject, names, secret = rest.pop(_SEALED)
    if cipher is None:
        raise CodecError(f"the personal data of {subject!r} is encrypted, and this store has no cipher")
    found = await unsealed_bytes(cipher, subject, secret)
    if found is not None:
        return EventData({**rest, **DATA.decode(found)}, subject, is_shredded=False)
    in_place = {} if kind is None else kind.personal
    return EventData({**rest, **{name: in_place.get(name) for name in names}}, subject, is_shredded=True)


async def unsealed_bytes(cipher: SubjectCipher, subject: str, secret: bytes) -> bytes | None:
    """What `encrypt` was given, whether the cipher is async or not."""
    found = cipher.decrypt(subject, secret)
    return await found if inspect.isawaitable(found) else found
