"""What was signed is trusted, and nothing else is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.algorithms.signing import Signer
from sdpatterns.errors import CodecError

OLD, NEW = b"o" * 32, b"n" * 32


@given(payload=st.binary(max_size=200), about=st.text(max_size=20))
def test_what_was_sealed_opens_for_the_same_purpose_and_thing_alone(payload: bytes, about: str) -> None:
    signer = Signer(NEW, purpose="cursor")
    text = signer.sealed(payload, about=about)
    assert signer.opened(text, about=about) == payload
    for stranger, thing in [
        (Signer(OLD, purpose="cursor"), about),
        (Signer(NEW, purpose="cookie"), about),
        (signer, about + "x"),
    ]:
        with pytest.raises(CodecError):
            stranger.opened(text, about=thing)


@given(payload=st.binary(max_size=40), data=st.data())
def test_every_change_of_a_character_is_found(payload: bytes, data: st.DataObject) -> None:
    signer = Signer(NEW, purpose="cursor")
    text = signer.sealed(payload)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda one: one != text[place]))
    with pytest.raises(CodecError):
        signer.opened(text[:place] + letter + text[place + 1 :])


def test_the_bits_that_the_last_letter_leaves_over_are_not_free() -> None:
    signer = Signer(NEW, purpose="cursor")
    text = signer.sealed(b"")
    spelled = [text[:-1] + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    others = [other for other in spelled if other != text]
    assert len(others) == 63
    for other in others:
        with pytest.raises(CodecError):
            signer.opened(other)


@given(text=st.text(max_size=100))
def test_whatever_is_handed_in_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(CodecError):
        Signer(NEW, purpose="cursor").opened(text)


def test_the_parts_cannot_be_shifted_against_each_other() -> None:
    one, other = Signer(NEW, purpose="ab"), Signer(NEW, purpose="a")
    tags = {one.tag(b"d", about="c"), other.tag(b"d", about="bc"), other.tag(b"cd", about="b"), one.tag(b"cd")}
    assert len(tags) == 4


def test_a_rotated_key_is_trusted_until_it_is_left_out() -> None:
    text = Signer(OLD, purpose="cursor").sealed(b"x")
    both = Signer(NEW, OLD, purpose="cursor")
    assert both.opened(text) == b"x"
    assert both.sealed(b"x") == Signer(NEW, purpose="cursor").sealed(b"x")
    with pytest.raises(CodecError):
        Signer(NEW, purpose="cursor").opened(text)


def test_the_digest_is_the_one_that_was_written_down() -> None:
    parts = b"".join(len(part).to_bytes(8, "big") + part for part in (b"cursor", b"orders", b"payload"))
    expected = hashlib.blake2b(parts, key=NEW, digest_size=32, person=b"sdpatterns/sign1").digest()
    assert Signer(NEW, purpose="cursor").tag(b"payload", about="orders") == expected


@pytest.mark.parametrize("keys", [(), (b"short",), (b"x" * 65,), ("x" * 32,), (NEW,) * 9], ids=range(5))
def test_bad_keys_are_refused_and_never_shown(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="keys") as caught:
        Signer(*keys, purpose="cursor")
    assert "xxxx" not in str(caught.value)


def test_a_signer_has_a_purpose_and_keeps_its_keys_to_itself() -> None:
    with pytest.raises(ValueError, match="purpose"):
        Signer(NEW, purpose="")
    assert repr(Signer(NEW, OLD, purpose="cursor")) == "Signer(purpose='cursor', 2 keys)"
