"""The shop's pure parts: values, money, pages, cards, steps, verdicts, faults."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.cursors import Cursors
from shop.cart.domain import Line as CartLine
from shop.cart.domain import priced
from shop.catalog.domain import DROPS, FIELDS, pick, seed_products
from shop.catalog.search import Mark, parse_page
from shop.gateway.domain import by_field, checkout_from_form, money, step_words
from shop.inventory.domain import DROP_PIECES, Line, Stock, merge, seed_stock
from shop.ordering.domain import luhn, parse_checkout
from shop.payments.domain import ASKED, DOUBT_S, Card, Payment, entries, out_of_doubt
from shop.stage.control.domain import STUCK_S, disagreements, expected_minor, judge_money, judge_progress, judge_stock
from shop.stage.faults import Fault, FaultInjector, parse
from shop.validation import FieldError, Fields, InvalidInput, printable

from .visitor import checkout_body

NOW = (2026, 11)
FAULT = Fault(target="psp", kind="fail", percent=50, ttl_s=10, seed=4)


def test_the_same_seed_gives_the_same_range_and_another_seed_another() -> None:
    first, again, other = (list(seed_products(seed, 200)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({product.sku for product in first}) == 200
    assert all(product.price_minor > 0 for product in first)


def test_drops_have_few_pieces_and_other_products_have_many() -> None:
    stock = list(seed_stock(1, 100))
    assert [item.received for item in stock[:DROPS]] == [DROP_PIECES] * DROPS
    assert min(item.received for item in stock[DROPS:]) > DROP_PIECES
    assert all(item.balanced for item in stock)
    assert [item.sku for item in stock] == [product.sku for product in seed_products(1, 100)]


CURSORS = Cursors(bytes(32))


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True), st.integers(0, 999_999_999))
def test_a_cursor_decodes_to_its_position(sku: str, price_minor: int) -> None:
    cursor = CURSORS.made((sku, price_minor), of=parse_page({"q": "oak"}, CURSORS).of)
    assert parse_page({"q": "oak", "cursor": cursor}, CURSORS).after == Mark(sku, price_minor)


@given(st.text(min_size=1, max_size=40))
def test_a_cursor_that_was_not_made_by_the_shop_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        parse_page({"cursor": cursor}, CURSORS)


def test_a_page_request_takes_its_words_and_fields() -> None:
    page = parse_page({"q": " Oak  LAMP ", "fields": "title,sku", "limit": "7"}, CURSORS)
    assert (page.filter.words, page.fields, page.limit) == (("oak", "lamp"), ("sku", "title"), 7)
    assert page.after is None
    assert parse_page({}, CURSORS).fields == FIELDS
    product = next(seed_products(1))
    assert pick(product, ("sku",)) == {"sku": "SP-00001"}


def test_a_cart_is_priced_by_the_catalog_and_omits_products_that_are_gone() -> None:
    products = {"a": {"title": "A", "maker": "M", "price_minor": 250, "currency": "EUR"}}
    cart = priced("c", [CartLine("a", 3), CartLine("gone", 1)], products)
    assert cart["total_minor"] == 750
    assert [item["sku"] for item in cart["items"]] == ["a"]


def test_lines_of_one_product_become_one_and_all_buyers_take_them_in_one_order() -> None:
    assert merge([Line("b", 1), Line("a", 2), Line("b", 3)]) == [Line("a", 2), Line("b", 4)]


@pytest.mark.parametrize("stock", [Stock("s", 10, 4, 3, 2), Stock("s", 10, -1, 6, 5), Stock("s", 10, 11, 0, 0)])
def test_stock_that_does_not_add_up_is_not_balanced(stock: Stock) -> None:
    assert not stock.balanced


@pytest.mark.parametrize("number", ["4242424242424242", "4000000000000002", "378282246310005"])
def test_card_numbers_have_a_check_digit(number: str) -> None:
    assert luhn(number)
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not luhn(wrong)


def test_a_checkout_does_not_show_its_card() -> None:
    body = checkout_body("c")
    body["card"]["number"] = "4242 4242 4242 4242"
    checkout = parse_checkout(body, NOW)
    assert checkout.card["number"] == "4242424242424242"
    assert "4242" not in repr(checkout)
    assert "4242" not in repr(Card(**checkout.card))


def test_all_invalid_fields_are_named_at_once() -> None:
    body = checkout_body("c")
    body["email"] = "nobody"
    body["card"]["cvc"] = "1"
    body["address"] = []
    with pytest.raises(InvalidInput) as refusal:
        parse_checkout(body, NOW)
    assert {error.pointer.split("/")[1] for error in refusal.value.errors} == {"email", "card", "address"}


def test_a_card_lasts_until_the_end_of_its_month() -> None:
    body = checkout_body("c")
    body["card"]["expiry"] = "11/26"
    parse_checkout(body, NOW)
    body["card"]["expiry"] = "10/26"
    with pytest.raises(InvalidInput):
        parse_checkout(body, NOW)


@given(st.integers(min_value=1, max_value=10**12), st.sampled_from(["charge", "refund"]))
def test_both_sides_of_a_booking_are_zero_together(amount_minor: int, kind: str) -> None:
    assert sum(entry.amount_minor for entry in entries("o", kind, amount_minor)) == 0


def test_an_uncertain_payment_is_settled_when_the_provider_can_no_longer_charge() -> None:
    payment = Payment("o", 100, ASKED, wanted=True, charge_id=None, asked_at_us=0)
    assert not out_of_doubt(payment, int(DOUBT_S * 1_000_000))
    assert out_of_doubt(payment, int(DOUBT_S * 1_000_000) + 1)


def test_a_fault_repeats_itself_by_its_seed_and_heals() -> None:
    def history() -> list[tuple[str, bool]]:
        injector = FaultInjector()
        injector.begin(FAULT, 0.0)
        return [tuple(injector.next(1.0)) for _ in range(50)]

    assert history() == history()
    assert {kind for kind, _ in history()} == {"well", "fail"}
    injector = FaultInjector()
    injector.begin(replace(FAULT, percent=100), 0.0)
    assert injector.next(9.9).kind == "fail"
    assert injector.next(10.0).kind == "well"
    assert injector.current(5.0) is None, "once healed it stays healed"


def test_a_fault_is_checked() -> None:
    body = {"target": "psp", "kind": "hang", "percent": 1, "ttl_s": 1, "seed": 0}
    assert parse(body).kind == "hang"
    with pytest.raises(InvalidInput, match="kind"):
        parse({**body, "kind": "explode"})


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({"status": "paid", "total_minor": 5}, 5),
        ({"status": "failed", "total_minor": 5}, 0),
        ({"status": "pending", "total_minor": 5}, None),
        ({"status": "undoing", "total_minor": 5}, None),
        (None, 0),
    ],
)
def test_what_should_be_charged_for_an_order(order: dict[str, object] | None, expected: int | None) -> None:
    assert expected_minor(order) == expected


def test_totals_that_agree_by_accident_do_not_hide_a_wrong_order() -> None:
    orders = {name: {"status": "paid", "total_minor": 5} for name in ("a", "b")}
    wrong = disagreements(orders, {"a": 10})
    assert wrong == ["a", "b"]
    assert not judge_money(10, 10, 0, wrong).holds
    assert disagreements(orders, {"a": 5, "b": 5, "nobody's": 5}) == ["nobody's"]


def test_an_order_in_flight_counts_as_wrong_only_when_it_is_stuck() -> None:
    assert disagreements({"a": {"status": "undoing", "total_minor": 5}}, {"a": 5}) == []
    counts = {"undoing": {"orders": 1, "oldest_at_us": 0}}
    assert judge_progress(counts, int(STUCK_S * 1e6) - 1).holds
    assert not judge_progress(counts, int(STUCK_S * 1e6)).holds


def test_a_stock_that_differs_from_its_reservations_does_not_hold() -> None:
    audit = {"received": 1, "free": 1, "reserved": 0, "sold": 0, "unbalanced": [], "apart": []}
    assert judge_stock(audit).holds
    assert not judge_stock({**audit, "apart": ["s"]}).holds


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "€0.00"), (5, "€0.05"), (123_456_789, "€1,234,567.89"), (-250, "−€2.50")]
)
def test_money_as_people_write_it(amount: int, shown: str) -> None:
    assert money(amount) == shown


def test_the_form_and_the_api_speak_of_the_same_fields() -> None:
    form = {"email": "a@b.de", "address_country": "de", "card_number": "4242"}
    checkout = checkout_from_form(form, "c")
    assert checkout["address"]["country"] == "DE"
    with pytest.raises(InvalidInput) as refusal:
        parse_checkout(checkout, NOW)
    names = by_field([error._asdict() for error in refusal.value.errors])
    assert {"address_name", "address_line1", "card_number", "card_cvc"} <= names.keys()


def test_a_step_has_words() -> None:
    assert step_words({"step": "charge", "state": "done"}) == "Card charged"


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    if printable(text):
        assert not any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in text)


def test_fields_of_a_body_that_is_no_object() -> None:
    fields = Fields([])
    fields.text("a")
    with pytest.raises(InvalidInput) as refusal:
        fields.done()
    assert refusal.value.errors[0] == FieldError("/", "must be an object")
