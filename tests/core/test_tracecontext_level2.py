"""What a public conformance suite for trace context asks a service, level 2, each kind of request by its name."""

from __future__ import annotations

from collections.abc import Sequence

from sdpatterns.core.tracecontext import child_of, new_trace, parse_trace, traceparent_of

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{ID}-{SPAN}-01"
PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]

PARENTS: dict[str, tuple[Sequence[str], bool]] = {
    "no traceparent": ([], False),
    "a traceparent": ([GOOD], True),
    "two traceparents": ([GOOD.replace("12-", "11-", 1), GOOD], False),
    "version 00 with a dot behind": ([GOOD + "."], False),
    "version 00 with more behind": ([GOOD + "-what-the-future-will-be-like"], False),
    "version cc": (["cc" + GOOD[2:]], True),
    "version cc with more behind": (["cc" + GOOD[2:] + "-what-the-future-will-be-like"], True),
    "version cc with a dot behind": (["cc" + GOOD[2:] + ".what-the-future-will-be-like"], False),
    "version ff": (["ff" + GOOD[2:]], False),
    "an illegal version": ([".0" + GOOD[2:]], False),
    "a version too long": (["000" + GOOD[2:]], False),
    "a version too short": (["0" + GOOD[2:]], False),
    "a trace id of zeros": ([f"00-{'0' * 32}-{SPAN}-01"], False),
    "an illegal trace id": ([f"00-.{ID[1:]}-{SPAN}-01"], False),
    "a trace id too long": ([f"00-{ID}3-{SPAN}-01"], False),
    "a trace id too short": ([f"00-{ID[1:]}-{SPAN}-01"], False),
    "a parent id of zeros": ([f"00-{ID}-{'0' * 16}-01"], False),
    "an illegal parent id": ([f"00-{ID}-{SPAN[:-1]}.-01"], False),
    "a parent id too long": ([f"00-{ID}-{SPAN}7-01"], False),
    "a parent id too short": ([f"00-{ID}-{SPAN[1:]}-01"], False),
    "illegal flags": ([f"00-{ID}-{SPAN}-.0"], False),
    "flags too long": ([f"00-{ID}-{SPAN}-001"], False),
    "flags too short": ([f"00-{ID}-{SPAN}-1"], False),
    "white space around": (["\t " + GOOD + " \t"], True),
    "unknown flags": ([f"00-{ID}-{SPAN}-ff"], True),
}
STATES: dict[str, tuple[Sequence[str], str]] = {
    "two members": (["foo=1,bar=2"], "foo=1,bar=2"),
    "an empty header": ([""], ""),
    "an empty header behind another": (["foo=1", ""], "foo=1"),
    "several headers": (["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    "a key twice in a header": (["foo=1,bar=2,foo=2"], "foo=1,bar=2"),
    "a key twice in two headers": (["foo=1", "foo=2"], "foo=1"),
    "all characters of keys and values": ([f"{PLAIN}@={VALUE}"], f"{PLAIN}@={VALUE}"),
    "white space around members": (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
    "illegal keys": (["foo =1", "bar=2"], ""),
    "an upper-case key": (["FOO=1"], ""),
    "a key that begins with @": (["@foo=1,bar=2"], ""),
    "keys with @ wherever they like": (["foo@=1,foo@@bar=1,foo@bar@baz=1"], "foo@=1,foo@@bar=1,foo@bar@baz=1"),
    "32 members": ([",".join(MEMBERS[:10]), ",".join(MEMBERS[10:32])], ",".join(MEMBERS[:32])),
    "33 members": ([",".join(MEMBERS[:10]), ",".join(MEMBERS[10:])], ""),
    "a key of 256 characters": (["foo=1", "z" * 256 + "=1"], "foo=1," + "z" * 256 + "=1"),
    "a key of 257 characters": (["foo=1", "z" * 257 + "=1"], ""),
    "a long tenant and a long system": (["t" * 242 + "@" + "v" * 13 + "=1"], "t" * 242 + "@" + "v" * 13 + "=1"),
    "an equals sign in a value": (["foo=bar=baz"], ""),
    "an empty value": (["foo=,bar=3"], ""),
}


def test_each_kind_of_traceparent_is_kept_or_starts_a_new_trace() -> None:
    for kind, (given, is_kept) in PARENTS.items():
        found = parse_trace(given, ["foo=1"])
        assert (found is not None) is is_kept, kind
        if found is not None:
            assert (found.trace_id, found.state) == (ID, "foo=1"), kind
            assert traceparent_of(child_of(found))[36:52] != SPAN, kind


def test_each_kind_of_tracestate_is_passed_on_or_dropped_and_the_trace_goes_on() -> None:
    for kind, (given, kept) in STATES.items():
        found = parse_trace([GOOD], given)
        assert found is not None, kind
        assert (found.trace_id, found.state) == (ID, kept), kind


def test_the_sampled_and_the_random_flag_are_passed_on_and_no_other() -> None:
    for flags in range(256):
        found = parse_trace([f"00-{ID}-{SPAN}-{flags:02x}"])
        assert found is not None
        assert (found.sampled, found.random) == (bool(flags & 1), bool(flags & 2))
        assert traceparent_of(child_of(child_of(found)))[-2:] == f"{flags & 3:02x}"


def test_a_new_trace_says_that_its_id_is_random_where_it_is() -> None:
    assert traceparent_of(new_trace()).endswith("-03")
    assert traceparent_of(new_trace(sampled=False)).endswith("-02")
    assert traceparent_of(new_trace(lambda size: "ab" * size)).endswith("-01")
