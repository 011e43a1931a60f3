"""CloudEvents 1.0: an envelope for events that other systems read too.

```
structured   one JSON document with all attributes and the data
binary       the data as it is, and the attributes as headers: ce-id, ce-source, ce-type ...
```

Source: CloudEvents specification 1.0.2 (CNCF), its JSON format and its HTTP protocol binding.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from sdpatterns.core.keys import join_key, short_key
from sdpatterns.errors import CodecError

__all__ = ["CloudEvent"]

_SPEC = "1.0"
_JSON = "application/json"
_NAME = re.compile(r"[a-z0-9]{1,20}")
_KNOWN = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
_SAFE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloudEvent:
    """Something that happened. `source` says where (a URI reference), `type` what, `subject` to which thing.

    `id` is unique within its source: who gets an event twice knows it by both. `data` is JSON's plain values, or
    bytes of the kind that `datacontenttype` names. `extensions` are further attributes, with names of small letters
    and digits. Raises `ValueError` for an attribute that the specification does not allow.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: dt.datetime | None = None
    datacontenttype: str | None = _JSON
    dataschema: str | None = None
    data: Any = None
    extensions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the attributes."""
        for field in ("id", "source", "type"):
            if not isinstance(getattr(self, field), str) or not getattr(self, field):
                raise ValueError(f"{field} must be a text that is not empty, got {getattr(self, field)!r}")
        if self.time is not None and self.time.tzinfo is None:
            raise ValueError("time must have a time zone")
        for name in self.extensions:
            if not _NAME.fullmatch(name) or name in _KNOWN or name == "data":
                raise ValueError(f"extensions must have names of 1 to 20 small letters and digits, got {name!r}")

    @property
    def identity(self) -> str:
        """Source and id as one key: who gets an event twice knows it by this. A long one is a digest."""
        return short_key(quote(join_key(self.source, self.id), safe=_SAFE + "%"))

    def attributes(self) -> dict[str, str]:
        """All but the data, as texts."""
        found = {
            "specversion": _SPEC, "id": self.id, "source": self.source, "type": self.type, "subject": self.subject,
            "time": None if self.time is None else _written(self.time),
            "datacontenttype": self.datacontenttype, "dataschema": self.dataschema, **self.extensions,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def structured(self) -> bytes:
        """The event as one JSON document, of the type `application/cloudevents+json`."""
        document: dict[str, Any] = dict(self.attributes())
        if isinstance(self.data, bytes):
            document["data_base64"] = base64.b64encode(self.data).decode()
        elif self.data is not None:
            document["data"] = self.data
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Headers for HTTP or a broker, and the data as the body."""
        attributes = self.attributes()
        kind = attributes.pop("datacontenttype", None)
        headers = {f"ce-{name}": quote(value, safe=_SAFE) for name, value in attributes.items()}
        if kind is not None:
            headers["content-type"] = kind
        if isinstance(self.data, bytes):
            return headers, self.data
        return headers, b"" if self.data is None else json.dumps(self.data, separators=(",", ":")).encode()

    @classmethod
    def received(cls, headers: Mapping[str, str], body: bytes) -> CloudEvent:
        """The event in a message of either kind; its `content-type` tells which. Raises `CodecError` for no event."""
        kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        is_document = kind.lower().startswith("application/cloudevents+json")
        return cls.from_structured(body) if is_document else cls.from_binary(headers, body)

    @classmethod
    def from_structured(cls, body: bytes) -> CloudEvent:
        """The event in a JSON document. Raises `CodecError` for anything else."""
        try:
            document = json.loads(body)
            data = document.pop("data", None)
            raw = document.pop("data_base64", None)
            return cls._of(document, data if raw is None else base64.b64decode(raw, validate=True))
        except (ValueError, TypeError, AttributeError, binascii.Error) as cause:
            raise CodecError(f"not a CloudEvent: {cause}") from cause

    @classmethod
    def from_binary(cls, headers: Mapping[str, str], body: bytes) -> CloudEvent:
        """The event in headers and a body. Raises `CodecError` for anything else."""
        lowered = {name.lower(): value for name, value in headers.items()}
        attributes = {name[3:]: unquote(value) for name, value in lowered.items() if name.startswith("ce-")}
        kind = lowered.get("content-type")
        if kind is not None:
            attributes["datacontenttype"] = kind
        try:
            data: Any = None
            if body:
                data = json.loads(body) if _is_json(kind) else body
            return cls._of(attributes, data)
        except (ValueError, TypeError) as cause:
            raise CodecError(f"not a CloudEvent: {cause}") from cause

    @classmethod
    def _of(cls, attributes: dict[str, Any], data: Any) -> CloudEvent:
        if attributes.pop("specversion", None) != _SPEC:
            raise ValueError(f"specversion must be {_SPEC}")
        time = attributes.pop("time", None)
        extensions = {name: attributes.pop(name) for name in list(attributes) if name not in _KNOWN}
        missing = {"id", "source", "type"} - attributes.keys()
        if missing:
            raise ValueError(f"without {', '.join(sorted(missing))}")
        attributes.setdefault("datacontenttype", None)
        at = None if time is None else dt.datetime.fromisoformat(time)
        return cls(time=at, data=data, extensions=extensions, **attributes)


def _written(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _is_json(kind: str | None) -> bool:
    essence = "" if kind is None else kind.partition(";")[0].strip().lower()
    return essence in {_JSON, ""} or essence.endswith("+json")
