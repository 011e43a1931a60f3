"""The W3C recommendation "Trace Context", clause by clause: each MUST that a participant can break.

https://www.w3.org/TR/trace-context-1/ (Recommendation, 23 November 2021); section numbers are its own. Where
level 2 changed a clause (keys, keys given twice, the flag for random ids), the test is that of level 2.
"""

from __future__ import annotations

import random
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns import Pipeline, Retry
from sdpatterns.core import context, tracecontext
from sdpatterns.core.context import Trace
from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace, parse_tracestate, random_id, traceparent_of
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.httpx import AsyncTransport
from tests.forks import in_child, needs_fork

pytestmark = pytest.mark.anyio

ID = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{ID}-{SPAN}-01"
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]")


class App:
    """Remembers where it was called, and calls on."""

    def __init__(self) -> None:
        self.seen: list[Trace | None] = []
        self.sent: list[httpx.Headers] = []

    async def __call__(self, scope, receive, send):
        self.seen.append(context.trace.get())

        def answer(request: httpx.Request) -> httpx.Response:
            self.sent.append(request.headers)
            return httpx.Response(200)

        pipeline = Pipeline(Retry(on=ConnectionError), name="next")
        async with httpx.AsyncClient(transport=AsyncTransport(pipeline, inner=httpx.MockTransport(answer))) as http:
            await http.get("http://next/")
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def passed_on(*headers: tuple[bytes, bytes]) -> tuple[Trace, httpx.Headers]:
    """Where the application stood, and what it sent to the next."""
    app = App()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(TracingMiddleware(app))) as http:
        await http.get("http://here/", headers=list(headers))
    (seen,), (sent,) = app.seen, app.sent
    assert seen is not None
    return seen, sent


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT", b"traceParent"])
async def test_3_2_1_the_name_is_read_in_any_case_and_sent_in_lower_case(name):
    seen, sent = await passed_on((name, GOOD.encode()))
    assert seen.trace_id == ID
    assert b"traceparent" in [key for key, _ in sent.raw]


@pytest.mark.parametrize("value", ["ff-" + GOOD[3:], "FF-" + GOOD[3:], "0-" + GOOD[3:], "zz-" + GOOD[3:], GOOD[3:]])
def test_3_2_2_1_version_ff_is_invalid_and_a_version_has_two_digits(value):
    assert parse_trace([value]) is None


@pytest.mark.parametrize(
    "trace_id", ["0" * 32, ID.upper(), ID[1:], ID + "0", ID[:-1] + "g", ID[:-1] + " ", ID[:-1] + "-"]
)
def test_3_2_2_3_an_invalid_trace_id_makes_the_header_be_ignored(trace_id):
    assert parse_trace([f"00-{trace_id}-{SPAN}-01"]) is None


@pytest.mark.parametrize("span_id", ["0" * 16, SPAN.upper(), SPAN[1:], SPAN + "0", SPAN[:-1] + "g"])
def test_3_2_2_4_an_invalid_parent_id_makes_the_header_be_ignored(span_id):
    assert parse_trace([f"00-{ID}-{span_id}-01"]) is None


@pytest.mark.parametrize("flags", ["", "1", "001", "0x", "0G", "0A", " 1"])
def test_3_2_2_5_flags_are_two_digits_in_lower_case(flags):
    assert parse_trace([f"00-{ID}-{SPAN}-{flags}"]) is None


@pytest.mark.parametrize("flags", range(256))
def test_3_2_2_5_2_flags_not_known_are_not_believed_and_sent_as_zero(flags):
    found = parse_trace([f"00-{ID}-{SPAN}-{flags:02x}"])
    assert found is not None
    assert traceparent_of(child_of(found))[-2:] == f"{flags & 3:02x}"


@pytest.mark.parametrize("rest", ["", "-", "-what", "-01-ff", "-\u00e9"])
def test_3_2_4_a_higher_version_is_read_as_far_as_it_is_known(rest):
    for version in ("01", "0a", "cc", "fe"):
        assert parse_trace([f"{version}-{ID}-{SPAN}-01{rest}"]) == Trace(ID, SPAN)


@pytest.mark.parametrize("rest", ["x", "0", " -x", ".what"])
def test_3_2_4_a_higher_version_ends_after_the_flags_or_goes_on_with_a_dash(rest):
    assert parse_trace([f"01-{ID}-{SPAN}-01{rest}"]) is None


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_3_2_4_what_is_shorter_than_55_characters_is_not_parsed(size):
    assert parse_trace([GOOD[:size]]) is None
    assert parse_trace(["01" + GOOD[2:size]]) is None


@pytest.mark.parametrize("rest", ["-", "-00", "0", "-what"])
def test_3_2_4_version_00_has_nothing_behind_the_flags(rest):
    assert parse_trace([GOOD + rest]) is None


async def test_3_2_4_what_is_sent_is_of_the_version_that_we_know():
    seen, sent = await passed_on((b"traceparent", b"cc" + GOOD[2:].encode() + b"-what"))
    assert seen.trace_id == ID
    assert sent["traceparent"].startswith(f"00-{ID}-")


async def test_3_2_several_traceparents_are_none():
    seen, _ = await passed_on((b"traceparent", GOOD.encode()), (b"traceparent", GOOD.encode()))
    assert seen.trace_id != ID
    assert parse_trace([f"{GOOD}, {GOOD}"]) is None


@pytest.mark.parametrize("name", [b"tracestate", b"TraceState"])
async def test_3_3_1_the_name_of_the_state_is_read_in_any_case_and_sent_in_lower_case(name):
    seen, sent = await passed_on((b"traceparent", GOOD.encode()), (name, b"a=1"))
    assert seen.state == "a=1"
    assert (b"tracestate", b"a=1") in sent.raw


async def test_3_3_1_several_headers_are_joined_in_their_order():
    headers = ((b"tracestate", b"a=1,b=2"), (b"tracestate", b"c=3"))
    _, sent = await passed_on((b"traceparent", GOOD.encode()), *headers)
    assert sent["tracestate"] == "a=1,b=2,c=3"


@pytest.mark.parametrize("header", ["a=1 , b=2", "a=1\t,\tb=2", " a=1,b=2 ", "a=1,,b=2", ",a=1, ,b=2,"])
def test_3_3_1_1_white_space_around_members_and_empty_members_are_allowed(header):
    assert parse_tracestate([header]) == "a=1,b=2"


def test_3_3_1_1_there_are_at_most_32_members():
    members = [f"k{number}=1" for number in range(33)]
    assert parse_tracestate([",".join(members[:32])]) == ",".join(members[:32])
    assert parse_tracestate([",".join(members[:20]), ",".join(members[20:])]) == ""


@pytest.mark.parametrize(
    "key",
    [
        *("a", "z" * 256, "a_-*/9", "tenant@system", "9tenant@system", "t" * 241 + "@" + "s" * 14),
        *("a@", "a@b@c", "a@@b", "a@9", "t" * 242 + "@s", "t@" + "s" * 15),
    ],
)
def test_3_3_1_3_1_good_keys(key):
    assert parse_tracestate([f"{key}=1"]) == f"{key}=1"


@pytest.mark.parametrize(
    "key",
    ["", "A", "a" * 257, "a b", "é", "a.b", "@a", "a@B", "t" * 255 + "@s", "_a"],
)
def test_3_3_1_3_1_a_bad_key_makes_the_whole_state_be_ignored(key):
    assert parse_tracestate([f"good=1,{key}=1"]) == ""


@pytest.mark.parametrize("key", ["a", "tenant@system"])
def test_3_3_1_3_1_of_a_key_given_twice_the_first_stays_and_so_do_the_others(key):
    assert parse_tracestate([f"{key}=1,b=2,{key}=3"]) == f"{key}=1,b=2"
    assert parse_tracestate([f"{key}=1", f"{key}=2"]) == f"{key}=1"


@pytest.mark.parametrize("value", ["1", "a b", "!#$%&'()*+-./:;<>?@[]^_`{|}~", "x" * 256, '"', "a  b"])
def test_3_3_1_3_2_good_values(value):
    assert parse_tracestate([f"a={value}"]) == f"a={value}"


@pytest.mark.parametrize("value", ["", "1=2", "x" * 257, "\x00", "\x7f", "é", "a\tb", "="])
def test_3_3_1_3_2_a_bad_value_makes_the_whole_state_be_ignored(value):
    assert parse_tracestate([f"good=1,a={value}"]) == ""


def test_3_3_1_5_512_characters_are_passed_on_whole():
    exactly = ",".join([f"k{number}=" + "v" * 97 for number in range(4)] + ["last=" + "v" * 103])
    assert len(exactly) == 512
    assert parse_tracestate([exactly]) == exactly


def test_3_3_1_5_beyond_that_members_go_whole_long_ones_first():
    long, short = "z=" + "x" * 130, [f"k{number}=" + "v" * 97 for number in range(5)]
    assert parse_tracestate([",".join([*short[:2], long, *short[2:]])]).split(",") == short


async def test_3_4_and_4_a_parent_id_is_new_for_each_request_sent():
    seen, sent = await passed_on((b"traceparent", GOOD.encode()))
    assert seen.span_id != SPAN
    found = parse_trace([sent["traceparent"]])
    assert found is not None
    assert found.trace_id == ID
    assert found.span_id not in {SPAN, seen.span_id}


@pytest.mark.parametrize("bad", [b"", b"00", GOOD.upper().encode(), b"ff" + GOOD[2:].encode(), GOOD.encode() + b"-x"])
async def test_4_3_an_invalid_traceparent_starts_a_new_trace_without_the_state(bad):
    seen, sent = await passed_on((b"traceparent", bad), (b"tracestate", b"a=1"))
    assert seen.trace_id != ID
    assert (seen.state, "tracestate" in sent) == ("", False)
    assert TRACEPARENT.fullmatch(sent["traceparent"])


async def test_4_3_a_state_without_a_traceparent_is_not_read():
    seen, sent = await passed_on((b"tracestate", b"a=1"))
    assert (seen.state, "tracestate" in sent) == ("", False)


@pytest.mark.parametrize("bad", [b"A=1", b"a", b"@a=1", b"a=1=2"])
async def test_4_3_an_invalid_state_is_dropped_and_the_trace_goes_on(bad):
    seen, sent = await passed_on((b"traceparent", GOOD.encode()), (b"tracestate", bad))
    assert seen.trace_id == ID
    assert "tracestate" not in sent
    assert sent["traceparent"].startswith(f"00-{ID}-")


@pytest.mark.parametrize("flags", ["00", "01", "02", "03"])
async def test_4_3_who_does_not_decide_passes_the_decision_on(flags):
    _, sent = await passed_on((b"traceparent", f"00-{ID}-{SPAN}-{flags}".encode()))
    assert sent["traceparent"][-2:] == flags


def test_5_ids_are_random_and_well_formed():
    found = {new_trace() for _ in range(1_000)}
    assert len(found) == 1_000
    assert all(TRACEPARENT.fullmatch(traceparent_of(trace)) for trace in found)


@given(st.lists(st.text(max_size=70), max_size=3), st.lists(st.text(max_size=600), max_size=3))
def test_whatever_comes_in_only_good_headers_go_out(parents, states):
    found = parse_trace(parents, states) or new_trace()
    assert TRACEPARENT.fullmatch(traceparent_of(child_of(found)))
    assert parse_tracestate([found.state]) == found.state
    assert len(found.state) <= 512


def test_ids_are_random_whatever_seed_the_program_sets() -> None:
    random.seed(1)
    first = random_id(16)
    random.seed(1)
    assert first != random_id(16)
    assert {len(random_id(8)) for _ in range(1_000)} == {16}
    assert len({random_id(16) for _ in range(1_000)}) == 1_000
    assert new_trace().random
    assert not new_trace(lambda size: "ab" * size).random


@needs_fork[0]
@needs_fork[1]
def test_a_forked_child_draws_other_ids_than_its_parent() -> None:
    state = tracecontext._CHANCE.getstate()
    expected = random_id(16)
    tracecontext._CHANCE.setstate(state)

    def differs() -> None:
        assert random_id(16) != expected

    assert in_child(differs) == 0
    assert random_id(16) == expected
