"""What the public conformance suite for W3C Trace Context asks a service: its 41 cases, at level 2.

The suite is `test/test.py` of https://github.com/w3c/trace-context. It sends requests to a service and looks at
the requests that the service makes. Each case here has a name in plain English and the name of the suite's test.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "ID", "SPAN", "Case", "Sent"]

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{ID}-{SPAN}-01"


class Sent(NamedTuple):
    """One request to the service, and what its own requests must say."""

    headers: tuple[tuple[str, str], ...]
    keeps_trace: bool
    state: str | None = None


class Case(NamedTuple):
    """One test of the suite."""

    name: str
    suite: str
    requests: tuple[Sent, ...]
    calls: int = 1
    flags: str | None = None

    @property
    def id(self) -> str:
        """How pytest names it."""
        return f"{self.name} ({self.suite})"


def kept(*parents: str) -> tuple[Sent, ...]:
    """Requests whose trace goes on."""
    return tuple(Sent((("traceparent", parent),), keeps_trace=True) for parent in parents)


def left(*parents: str) -> tuple[Sent, ...]:
    """Requests for which a new trace starts."""
    return tuple(Sent((("traceparent", parent),), keeps_trace=False) for parent in parents)


def named(name: str, value: str, *, keeps_trace: bool, state: str | None = None) -> Sent:
    """A request with a valid traceparent, unless the named header is one, and this header."""
    before = () if "parent" in name.lower() else (("traceparent", GOOD),)
    return Sent((*before, (name, value)), keeps_trace, state)


def state(*given: str, sent: str | None) -> Sent:
    """A request with a valid traceparent and these tracestate headers."""
    return Sent((("traceparent", GOOD), *(("tracestate", each) for each in given)), keeps_trace=True, state=sent)


def same(*given: str) -> Sent:
    """The same, passed on as one header without white space."""
    return state(*given, sent=",".join(given))


WORDS = "-what-the-future-will-be-like"
PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
TENS = [",".join(MEMBERS[start : start + 10]) for start in (0, 10, 20)]
ZEROS = f"00-{'0' * 32}-{SPAN}-01"

PARENTS = (
    Case("no header starts a new trace", "both_traceparent_and_tracestate_missing", (Sent((), keeps_trace=False),)),
    Case("a traceparent alone is kept", "traceparent_included_tracestate_missing", kept(GOOD)),
    Case(
        "two traceparents count as none",
        "traceparent_duplicated",
        (Sent((("traceparent", GOOD.replace("9012-", "9011-")), ("traceparent", GOOD)), keeps_trace=False),),
    ),
    Case(
        "other header names are not read",
        "traceparent_header_name",
        tuple(named(name, GOOD, keeps_trace=False) for name in ("trace-parent", "trace.parent")),
    ),
    Case(
        "the header name is read in any case",
        "traceparent_header_name_valid_casing",
        tuple(named(name, GOOD, keeps_trace=True) for name in ("TraceParent", "TrAcEpArEnT", "TRACEPARENT")),
    ),
    Case("version 00 ends after the flags", "traceparent_version_0x00", left(GOOD + ".", GOOD + WORDS)),
    Case(
        "a later version is read as far as it is known",
        "traceparent_version_0xcc",
        (*kept("cc" + GOOD[2:], "cc" + GOOD[2:] + WORDS), *left("cc" + GOOD[2:] + "." + WORDS[1:])),
    ),
    Case("version ff is invalid", "traceparent_version_0xff", left("ff" + GOOD[2:])),
    Case(
        "a version of other characters",
        "traceparent_version_illegal_characters",
        left(".0" + GOOD[2:], "0." + GOOD[2:]),
    ),
    Case("a version too long", "traceparent_version_too_long", left("000" + GOOD[2:], "0000" + GOOD[2:])),
    Case("a version too short", "traceparent_version_too_short", left("0" + GOOD[2:])),
    Case("a trace id of zeros", "traceparent_trace_id_all_zero", left(ZEROS)),
    Case(
        "a trace id of other characters",
        "traceparent_trace_id_illegal_characters",
        left(f"00-.{ID[1:]}-{SPAN}-01", f"00-{ID[:-1]}.-{SPAN}-01"),
    ),
    Case("a trace id too long", "traceparent_trace_id_too_long", left(f"00-{ID}3-{SPAN}-01")),
    Case("a trace id too short", "traceparent_trace_id_too_short", left(f"00-{ID[:-1]}-{SPAN}-01")),
    Case("a parent id of zeros", "traceparent_parent_id_all_zero", left(f"00-{ID}-{'0' * 16}-01")),
    Case(
        "a parent id of other characters",
        "traceparent_parent_id_illegal_characters",
        left(f"00-{ID}-.{SPAN[1:]}-01", f"00-{ID}-{SPAN[:-1]}.-01"),
    ),
    Case("a parent id too long", "traceparent_parent_id_too_long", left(f"00-{ID}-{SPAN}7-01")),
    Case("a parent id too short", "traceparent_parent_id_too_short", left(f"00-{ID}-{SPAN[:-1]}-01")),
    Case(
        "flags of other characters",
        "traceparent_trace_flags_illegal_characters",
        left(f"00-{ID}-{SPAN}-.0", f"00-{ID}-{SPAN}-0."),
    ),
    Case("flags too long", "traceparent_trace_flags_too_long", left(f"00-{ID}-{SPAN}-001")),
    Case("flags too short", "traceparent_trace_flags_too_short", left(f"00-{ID}-{SPAN}-1")),
    Case(
        "white space around a traceparent",
        "traceparent_ows_handling",
        kept(" " + GOOD, "\t" + GOOD, GOOD + " ", GOOD + "\t", f"\t {GOOD} \t"),
    ),
)
STATES = (
    Case(
        "a tracestate without a traceparent is dropped",
        "tracestate_included_traceparent_missing",
        tuple(Sent((("tracestate", each),), keeps_trace=False) for each in ("foo=1", "foo=1,bar=2")),
    ),
    Case("a tracestate is passed on", "tracestate_included_traceparent_included", (same("foo=1,bar=2"),)),
    Case(
        "other names of the tracestate are not read",
        "tracestate_header_name",
        tuple(named(name, "foo=1", keeps_trace=True) for name in ("trace-state", "trace.state")),
    ),
    Case(
        "the name of the tracestate is read in any case",
        "tracestate_header_name_valid_casing",
        tuple(
            named(name, "foo=1", keeps_trace=True, state="foo=1") for name in ("TraceState", "TrAcEsTaTe", "TRACESTATE")
        ),
    ),
    Case(
        "an empty tracestate is left out",
        "tracestate_empty_header",
        (state("", sent=None), state("foo=1", "", sent="foo=1"), state("", "foo=1", sent="foo=1")),
    ),
    Case(
        "several tracestates are joined in their order",
        "tracestate_multiple_headers_different_keys",
        (same("foo=1,bar=2", "rojo=1,congo=2", "baz=3"),),
    ),
    Case(
        "of a key given twice the first stays",
        "tracestate_duplicated_keys",
        tuple(
            state(*given, sent="foo=1")
            for given in (["foo=1,foo=1"], ["foo=1,foo=2"], ["foo=1", "foo=1"], ["foo=1", "foo=2"])
        ),
    ),
    Case(
        "all characters of keys and values",
        "tracestate_all_allowed_characters",
        (same(f"{PLAIN}={VALUE}"), same(f"{PLAIN}@a-z0-9_-*/={VALUE}")),
    ),
    Case(
        "white space around members",
        "tracestate_ows_handling",
        (
            state("foo=1 \t , \t bar=2, \t baz=3", sent="foo=1,bar=2,baz=3"),
            state("foo=1\t \t,\t \tbar=2,\t \tbaz=3", sent="foo=1,bar=2,baz=3"),
            *(state(each, sent="foo=1") for each in (" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t")),
        ),
    ),
    Case(
        "a key of other characters drops the tracestate",
        "tracestate_key_illegal_characters",
        (state("foo =1", sent=None), state("FOO=1", sent=None), state("foo.bar=1", sent=None)),
    ),
    Case(
        "a key has @ anywhere but in front",
        "tracestate_key_illegal_vendor_format",
        (
            same("foo@=1,bar=2"),
            state("@foo=1,bar=2", sent=None),
            same("foo@@bar=1,bar=2"),
            same("foo@bar@baz=1,bar=2"),
        ),
    ),
    Case(
        "32 members are passed on, 33 are dropped",
        "tracestate_member_count_limit",
        (same(*TENS, ",".join(MEMBERS[30:32])), state(*TENS, ",".join(MEMBERS[30:]), sent=None)),
    ),
    Case(
        "a key has at most 256 characters",
        "tracestate_key_length_limit",
        (
            same("foo=1", "z" * 256 + "=1"),
            state("foo=1", "z" * 257 + "=1", sent=None),
            same("foo=1", "t" * 241 + "@" + "v" * 14 + "=1"),
            same("foo=1", "t" * 242 + "@v=1"),
            same("foo=1", "t@" + "v" * 15 + "=1"),
        ),
    ),
    Case(
        "a value of other characters drops the tracestate",
        "tracestate_value_illegal_characters",
        (state("foo=bar=baz", sent=None), state("foo=,bar=3", sent=None)),
    ),
    Case("the random flag is passed on", "propagates_random_flag", kept(f"00-{ID}-{SPAN}-02"), flags="02"),
)
SEVERAL = (
    Case("three calls in one kept trace", "multiple_requests_with_valid_traceparent", kept(GOOD), calls=3),
    Case(
        "three calls in a new trace",
        "multiple_requests_without_traceparent",
        (Sent((), keeps_trace=False),),
        calls=3,
    ),
    Case(
        "three calls behind an invalid traceparent",
        "multiple_requests_with_illegal_traceparent",
        left(ZEROS),
        calls=3,
    ),
)
CASES = (*PARENTS, *STATES, *SEVERAL)
