"""Nothing secret is written down, and nothing else is lost."""

from __future__ import annotations

import json
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.observability.logs import JsonFormatter
from sdpatterns.observability.redaction import is_card_number, redacted, redacted_text

CARDS = [
    "4111111111111111",
    "4222222222222",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
]


def checked(stem: str) -> str:
    """The number with the digit that makes it pass."""
    return next(f"{stem}{digit}" for digit in range(10) if luhn(f"{stem}{digit}"))


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_keeps_its_last_four_digits_alone(card):
    assert is_card_number(card)
    for separator in ("", " ", "-"):
        shown = separator.join(card[at : at + 4] for at in range(0, len(card), 4))
        found = redacted_text(f"paid with {shown}, thanks")
        assert found.replace(separator or "\0", "") == f"paid with {'*' * (len(card) - 4)}{card[-4:]}, thanks".replace(
            separator or "\0", ""
        )
        assert len(found) == len(f"paid with {shown}, thanks")
    assert redacted({"card": int(card)}) == {"card": "*" * (len(card) - 4) + card[-4:]}


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112",
        "1763928736123456",
        "2026-11-23 20:59:37.123456",
        "41111111111111111111111",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "tokens_left=3",
        "the tokens are gone",
        "ftp://host/path:8080@",
    ],
)
def test_other_numbers_and_words_stay(text):
    assert redacted_text(text) == text
    assert redacted([text, 17, True, None, 1.5]) == [text, 17, True, None, 1.5]


def test_a_card_number_beside_other_numbers_is_found():
    assert redacted_text("2026 4111 1111 1111 1111 99") == "2026 **** **** **** 1111 99"
    assert redacted_text("4111111111111111 5555555555554444") == "************1111 ************4444"


@given(
    st.text("0123456789", min_size=14, max_size=14),
    st.text("abc ,;.\n", max_size=20),
    st.text("abc ,;.\n", max_size=20),
    st.sampled_from(["", " ", "-"]),
)
def test_no_card_number_passes_whatever_surrounds_it(stem, before, after, separator):
    card = checked("4" + stem)
    shown = separator.join(card[at : at + 4] for at in range(0, 16, 4))
    found = redacted({"nested": [{"text": f"{before}{shown}{after}"}]})["nested"][0]["text"]
    assert shown not in found
    assert found.endswith(shown[-4:] + after)
    assert found.startswith(before)


@given(st.text("0123456789", min_size=1, max_size=30).filter(lambda digits: not is_card_number(digits)))
def test_no_number_is_masked_that_is_no_card(digits):
    assert redacted_text(f"id {digits}.") == f"id {digits}."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("got Basic dXNlcjpwYXNz back", "got Basic *** back"),
        ("password=hunter2&user=ann", "password=***&user=ann"),
        ('{"client_secret": "s p a c e", "n": 1}', '{"client_secret": ***, "n": 1}'),
        ("api-key: k-1; next", "api-key: ***; next"),
        ("postgresql://shop:hunter2@db/shop", "postgresql://shop:***@db/shop"),
        ("postgresql://shop:hun@ter2@db/shop", "postgresql://shop:***@db/shop"),
        (f"https://u:{'x' * 900}@h", "https://u:***@h"),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ("Bearer abc:def!ghi-jkl", "Bearer ***"),
        ("Basic authentication failed", "Basic authentication failed"),
        ("the basic settings", "the basic settings"),
        ("Authorization: Token abcdef", "Authorization: *** ***"),
        ('authorization: Digest username="a b", response="c"', "authorization: *** ***"),
        ("Cookie: sid=abc; other=def", "Cookie: ***"),
        (r"{\"password\": \"hunter 2\", \"n\": 1}", r"{\"password\": ***, \"n\": 1}"),
        (r'{"password": "a\"b c", "n": 1}', '{"password": ***, "n": 1}'),
        ('{"password": "cut off', '{"password": ***'),
        ("password=b'hunter2', n=1", "password=***, n=1"),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("db_password_old: abc", "db_password_old: ***"),
        ("sessionid=abc; credentials=x", "sessionid=***; credentials=***"),
        ("password:   hunter2", "password:   ***"),
        ("next=%2Fcb%3Ftoken%3Dabc", "next=%2Fcb%3Ftoken%3D***"),
    ],
)
def test_secrets_in_a_text_are_masked(text, found):
    assert redacted_text(text) == found


@pytest.mark.parametrize(
    "key",
    ["password", "PASSWORD", "db_password_old", "access_token", "Set-Cookie", "X-Api-Key", "authorization", "cvc"],
)
def test_secret_keys_are_masked_at_any_depth(key):
    assert redacted({"a": [{key: {"x": 1}}], "tokens_left": 3}) == {"a": [{key: "***"}], "tokens_left": 3}


def test_what_is_too_deep_is_masked_whole():
    deep: list = []
    deep.append(deep)
    assert "***" in json.dumps(redacted(deep))


def test_a_long_text_takes_time_in_proportion_to_its_length():
    def took_s(text: str) -> float:
        begun = time.process_time()
        redacted_text(text)
        return time.process_time() - begun

    for piece in (
        "4 1-",
        "1",
        "token=",
        "://a:",
        "bearer ",
        'secret="',
        "41111111111111 ",
        "basic ",
        "authorization: a b",
        "cookie: a=b; ",
        'secret=\\"',
        "secret='\\'",
        "4%20",
        "secret_",
        "://a:@",
    ):
        short, long = took_s(piece * 125), took_s(piece * 2_000)
        assert long < 64 * max(short, 0.002), piece


def test_a_log_line_is_redacted_in_all_its_parts():
    error = ValueError("card 4111111111111111 refused")

    class Odd:
        def __repr__(self) -> str:
            return "Odd(token=abc)"

    fields = {"msg": "paid %s", "args": ("4111 1111 1111 1111",), "exc_info": (ValueError, error, None)}
    record = logging.makeLogRecord({**fields, "password": "x", "odd": Odd()})
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "paid **** **** **** 1111"
    assert "************1111 refused" in line["error"]
    assert (line["password"], line["odd"]) == ("***", "Odd(token=***)")
    assert "4111" in json.loads(JsonFormatter(redacts=False).format(record))["message"]


@pytest.mark.parametrize(
    "separator", ["+", "%20", "  ", " - ", "\t", "\u00a0", "\u2009", "\u200b", "\u2010", "\u2013", "\ufeff"]
)
def test_a_card_number_is_found_in_whatever_way_it_is_spaced(separator):
    shown = separator.join(["4111", "1111", "1111", "1111"])
    assert redacted_text(f"card={shown}&n=1") == f"card={separator.join(['****', '****', '****', '1111'])}&n=1"


def test_a_card_number_in_the_digits_of_another_script_is_one():
    arabic = "4111111111111111".translate({48 + digit: 0x660 + digit for digit in range(10)})
    assert redacted_text(arabic) == "*" * 12 + arabic[-4:]


def test_a_number_before_a_card_number_does_not_hide_it():
    for stem in range(5000, 7000):
        assert "4111 1111" not in redacted_text(f"{stem} 1111 4111 1111 1111 1111"), stem


def test_numbers_pairs_and_bytes_are_looked_at_too():
    assert redacted([4111111111111111.0, -4111111111111111, b"password=x"]) == [
        "************1111", "************1111", b"password=***",
    ]  # fmt: skip
    assert redacted({b"Cookie": "x", "headers": [("cookie", "sid=1"), [b"x-api-key", b"k"], ("accept", "a")]}) == {
        b"Cookie": "***", "headers": [("cookie", "***"), [b"x-api-key", "***"], ("accept", "a")],
    }  # fmt: skip
    assert redacted([10**5000, float("inf"), float("nan")])[:2] == [10**5000, float("inf")]


def test_what_refers_to_itself_in_many_places_takes_no_time_without_end():
    parent: dict = {}
    parent["children"] = [{"parent": parent} for _ in range(50)]
    begun = time.process_time()
    assert "***" in json.dumps(redacted(parent))
    assert time.process_time() - begun < 10
