"""A card number in the wrong field: a user's mistake, refused before it is written down anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from shop.validation import FieldError, Fields, InvalidInput, has_card_number, is_slug

from .test_card_numbers import digits_of, left_behind, traces
from .visitor import PLENTY, Visitor, checkout_body, new_name

pytestmark = pytest.mark.anyio

Opening = Callable[[], AbstractAsyncContextManager[Visitor]]
ELSEWHERE = {
    "name": "5555 5555 5555 4444",
    "line1": "5105-1051-0510-5100",
    "city": "4111111111111111",
    "postcode": "4012888888881881",
    "email": "4000056655665556@example.org",
}


async def test_no_field_of_a_checkout_accepts_a_card_number(opening: Opening, data_dir: Path) -> None:
    async with opening() as visitor:
        for field, number in ELSEWHERE.items():
            body: dict[str, Any] = checkout_body(await visitor.fill_cart())
            (body if field == "email" else body["address"])[field] = number
            key = {"Idempotency-Key": f'"{new_name("key")}"'}
            answer = await visitor.http.post("/api/v1/checkout", json=body, headers=key)
            assert answer.status_code == 422
            assert "card number" in answer.text
            assert digits_of(number)[:16] not in digits_of(answer.text)
        traced = traces()
    for number in ELSEWHERE.values():
        assert left_behind(data_dir, traced, digits_of(number)[:16]) == []


async def test_no_review_and_no_name_accepts_a_card_number(opening: Opening, data_dir: Path) -> None:
    author, text, cart, wanted = "5555555555554444", "5105105105105100", "4111111111111111", "4012888888881881"
    async with opening() as visitor:
        for said in ({"author": author, "text": "Good."}, {"author": "Ada", "text": f"Charge my {text}, please."}):
            form = {"key": new_name("key"), "stars": "5", **said}
            answer = await visitor.http.post(f"/products/{PLENTY}/reviews", data=form)
            assert answer.status_code == 422
            assert "card number" in answer.text
        line = await visitor.http.put(f"/api/v1/carts/{cart}/items/{PLENTY}", json={"quantity": 1})
        assert line.status_code == 404
        assert (await visitor.http.get("/products", params={"q": wanted})).status_code == 200
        traced = traces()
    for number in (author, text, cart, wanted):
        assert left_behind(data_dir, traced, number) == []


async def test_a_card_number_is_refused_as_idempotency_key(opening: Opening, data_dir: Path) -> None:
    key = "5555555555554444"
    async with opening() as visitor:
        answer = await visitor.check_out(await visitor.fill_cart(), key=key)
        assert (answer.status_code, answer.json()["detail"]) == (400, "An Idempotency-Key must not be a card number.")
        traced = traces()
    assert left_behind(data_dir, traced, key) == []


async def test_an_identifier_with_the_digits_of_a_card_is_accepted(shared: Visitor) -> None:
    """As one order in three thousand does, and one UUID in a thousand."""
    by_chance = "69f663304981348c5386"
    assert has_card_number(by_chance)
    cart_id = f"cart_{by_chance}"
    line = await shared.http.put(f"/api/v1/carts/{cart_id}/items/{PLENTY}", json={"quantity": 1})
    assert line.status_code == 200
    answer = await shared.check_out(cart_id, key=by_chance)
    assert answer.status_code == 201, answer.text


async def test_an_order_id_with_the_digits_of_a_card_is_placed(
    shared: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _bytes=10: "69f663304981348c5386")
    answer = await shared.buy()
    assert (answer.status_code, answer.json()["order_id"]) == (201, "ord_69f663304981348c5386")


@pytest.mark.parametrize("text", ["4242 4242 4242 4241", "0049 30 1234567890", "SP-00040", "1234567890123456", "N1"])
def test_other_long_numbers_are_accepted(text: str) -> None:
    fields = Fields({"text": text})
    assert fields.text("text") == text
    fields.done()
    assert is_slug("1234567890123456")


def test_the_field_is_named_and_its_value_is_not() -> None:
    fields = Fields({"text": "it is 4242 4242 4242 4242"})
    fields.text("text")
    with pytest.raises(InvalidInput) as refused:
        fields.done()
    assert refused.value.errors == (FieldError("/text", "must not contain a card number"),)
    assert not is_slug("4242424242424242")
