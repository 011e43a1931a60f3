"""CloudEvents 1.0, judged by the package that its makers publish."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Theirs
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.errors import CodecError
from sdpatterns.messaging.cloudevents import CloudEvent

AT = dt.datetime(2026, 11, 29, 6, 30, 15, 250_000, tzinfo=dt.UTC)
FULL = CloudEvent(
    id="e-1", source="/orders", type="order.placed", subject="o-1 ü%", time=AT, dataschema="https://x.example/order",
    data={"total": 990, "note": "größer"}, extensions={"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"},
)  # fmt: skip
RAW = CloudEvent(
    id="e-2", source="/pictures", type="picture.taken", data=b"\x00\xff", datacontenttype="image/png", time=AT
)
BARE = CloudEvent(id="e-3", source="/x", type="y", datacontenttype=None, time=AT)
"""All have a time, because the reference adds one where there is none."""


def attributes_of(event: Theirs) -> dict[str, Any]:
    return {name: value for name, value in event.get_attributes().items() if value is not None}


@pytest.mark.parametrize("ours", [FULL, RAW, BARE], ids=["full", "bytes", "bare"])
def test_what_we_write_is_read_by_the_reference_in_both_modes(ours: CloudEvent) -> None:
    structured = from_structured(
        HTTPMessage({"content-type": "application/cloudevents+json"}, ours.structured()), JSONFormat(), Theirs
    )
    headers, body = ours.binary()
    binary = from_binary(HTTPMessage(headers, body), JSONFormat(), Theirs)
    for theirs in (structured, binary):
        assert (theirs.get_id(), theirs.get_source(), theirs.get_type()) == (ours.id, ours.source, ours.type)
        assert (theirs.get_subject(), theirs.get_time()) == (ours.subject, ours.time)
        assert theirs.get_datacontenttype() == ours.datacontenttype
        assert (theirs.get_data() or None) == ours.data
        for name, value in ours.extensions.items():
            assert theirs.get_extension(name) == value


@pytest.mark.parametrize("ours", [FULL, RAW, BARE], ids=["full", "bytes", "bare"])
def test_what_the_reference_writes_is_read_by_us_in_both_modes(ours: CloudEvent) -> None:
    attributes: dict[str, Any] = {**ours.attributes()}
    if ours.time is not None:
        attributes["time"] = ours.time
    theirs = Theirs(attributes, ours.data)
    structured, binary = to_structured(theirs, JSONFormat()), to_binary(theirs, JSONFormat())
    assert CloudEvent.from_structured(structured.body) == ours
    assert CloudEvent.from_binary(binary.headers, binary.body) == ours


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda it: st.lists(it, max_size=3)
)


@given(texts, texts, texts, texts | st.none(), plain | st.binary(max_size=40))
def test_an_event_comes_back_as_it_went(event_id: str, source: str, kind: str, subject: str | None, data: Any) -> None:
    content = "application/octet-stream" if isinstance(data, bytes) else "application/json"
    event = CloudEvent(id=event_id, source=source, type=kind, subject=subject, data=data, datacontenttype=content)
    assert CloudEvent.from_structured(event.structured()) == event
    expected = CloudEvent(
        id=event_id,
        source=source,
        type=kind,
        subject=subject,
        data=data or (data if data != b"" else None),
        datacontenttype=content,
    )
    assert CloudEvent.from_binary(*event.binary()) == (expected if data == b"" else event)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"nonsense", b'{"specversion":"1.0"}',
        b'{"specversion":"0.3","id":"1","source":"a","type":"b"}',
        b'{"specversion":"1.0","id":"","source":"a","type":"b"}',
        b'{"specversion":"1.0","id":1,"source":"a","type":"b"}',
        b'{"specversion":"1.0","id":"1","source":"a","type":"b","time":"yesterday"}',
        b'{"specversion":"1.0","id":"1","source":"a","type":"b","data_base64":"%"}',
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(CodecError, match="not a CloudEvent"):
        CloudEvent.from_structured(body)


@pytest.mark.parametrize("headers", [{}, {"ce-id": "1", "ce-source": "a", "ce-type": "b"}, {"ce-specversion": "1.0"}])
def test_headers_without_an_event_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CodecError, match="not a CloudEvent"):
        CloudEvent.from_binary(headers, json.dumps({}).encode())


@pytest.mark.parametrize("name", ["Camel", "with-dash", "id", "data", "x" * 21, ""])
def test_an_attribute_that_the_specification_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="extensions must have names"):
        CloudEvent(id="1", source="a", type="b", extensions={name: "x"})


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time must have a time zone"):
        CloudEvent(id="1", source="a", type="b", time=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
