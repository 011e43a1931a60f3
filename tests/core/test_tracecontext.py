"""traceparent and tracestate, strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.core.context import Trace
from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace, parse_tracestate, traceparent_of

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


def test_a_good_header_is_read_and_written_back() -> None:
    trace = parse_trace([GOOD], ["a=1,b=2"])
    assert trace == Trace(ID, SPAN, sampled=True, state="a=1,b=2")
    assert traceparent_of(trace) == GOOD


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True), ("fe", False)]
)
def test_of_the_flags_the_sampled_and_the_random_bit_are_known(flags: str, sampled: bool) -> None:
    trace = parse_trace([f"00-{ID}-{SPAN}-{flags}"])
    assert trace is not None
    assert trace.sampled is sampled
    assert traceparent_of(trace)[-2:] == f"{int(flags, 16) & 3:02x}"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        [GOOD, GOOD],
        [f"{GOOD},{GOOD}"],
        [GOOD.upper()],
        [f"00-{ID.upper()}-{SPAN}-01"],
        [f"00-{ID}-{SPAN.upper()}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{ID}-{'0' * 16}-01"],
        [f"ff-{ID}-{SPAN}-01"],
        [f"00-{ID}-{SPAN}-01-extra"],
        [f"00-{ID}-{SPAN}-01-"],
        [f"01-{ID}-{SPAN}-01extra"],
        [f"00-{ID[1:]}-{SPAN}-01"],
        [f"00-{ID}a-{SPAN}-01"],
        [f"00-{ID}-{SPAN}a-01"],
        [f"00-{ID}-{SPAN}-1"],
        [f"00-{ID}-{SPAN}-0g"],
        [f"0-{ID}-{SPAN}-01"],
        [f"00_{ID}_{SPAN}_01"],
        [f"00-{ID}-{SPAN}-01\n"],
        [f"00-{'٠' * 32}-{SPAN}-01"],
        [f"0x-{ID}-{SPAN}-01"],
        [f"00-{ID}-{SPAN}"],
    ],
)
def test_a_bad_header_names_no_trace(headers: list[str]) -> None:
    assert parse_trace(headers, ["a=1"]) is None


@pytest.mark.parametrize("header", [f" {GOOD}\t", f"01-{ID}-{SPAN}-01", f"cc-{ID}-{SPAN}-01-what-ever"])
def test_white_space_around_and_versions_to_come_are_read(header: str) -> None:
    assert parse_trace([header]) == Trace(ID, SPAN)


@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ([], ""),
        ([""], ""),
        (["a=1"], "a=1"),
        (["a=1 , b=2\t"], "a=1,b=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1,,b=2,"], "a=1,b=2"),
        (["tenant@system=v alue"], "tenant@system=v alue"),
        (["0a/_-*=~!"], "0a/_-*=~!"),
        (["a" * 256 + "=1"], "a" * 256 + "=1"),
        (["a=" + "x" * 256], "a=" + "x" * 256),
        (["a=1,a=2"], "a=1"),
        (["a=1", "a=1"], "a=1"),
        (["A=1"], ""),
        (["a"], ""),
        (["a="], ""),
        (["=1"], ""),
        (["a=1=2"], ""),
        (["a b=1"], ""),
        (["a=é"], ""),
        (["a=1\x00"], ""),
        (["a" * 257 + "=1"], ""),
        (["a=" + "x" * 257], ""),
        (["a@1=1"], "a@1=1"),
        (["t" * 255 + "@s=1"], ""),
        (["@s=1"], ""),
        (["a=1,B=2,c=3"], ""),
    ],
)
def test_a_tracestate_is_taken_whole_or_not_at_all(headers: list[str], state: str) -> None:
    assert parse_tracestate(headers) == state


def test_thirty_two_members_are_taken_and_not_one_more() -> None:
    members = [f"k{number}=1" for number in range(33)]
    assert parse_tracestate([",".join(members[:32])]) == ",".join(members[:32])
    assert parse_tracestate([",".join(members)]) == ""


def test_a_long_tracestate_loses_long_members_first_and_then_the_last() -> None:
    long = "z=" + "x" * 200
    short = [f"k{number}=" + "y" * 90 for number in range(5)]
    assert parse_tracestate([",".join([short[0], long, *short[1:]])]) == ",".join(short)
    assert parse_tracestate([",".join([*short, "last=1", "k9=" + "y" * 90])]) == ",".join([*short, "last=1"])


@given(st.lists(st.text(max_size=80), max_size=3), st.lists(st.text(max_size=80), max_size=3))
def test_nothing_that_comes_in_raises_and_what_goes_out_is_good(parents: list[str], states: list[str]) -> None:
    trace = parse_trace([GOOD], states)
    assert trace is not None
    assert len(trace.state) <= 512
    assert parse_tracestate([trace.state]) == trace.state
    other = parse_trace(parents, states)
    assert other is None or parse_trace([traceparent_of(other)]) == other._replace(state="")


def test_new_ids_are_never_all_zeros() -> None:
    trace = new_trace(lambda size: "00" * size)
    assert (trace.trace_id, trace.span_id) == ("0" * 31 + "1", "0" * 15 + "1")
    assert parse_trace([traceparent_of(trace)]) == trace
    child = child_of(Trace(ID, SPAN, sampled=False, state="a=1"), lambda size: "ab" * size)
    assert child == Trace(ID, "ab" * 8, sampled=False, state="a=1")
