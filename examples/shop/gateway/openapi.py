"""The public API in words that programs understand: OpenAPI 3.1, served at /api/v1/openapi.json."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.catalog.domain import FIELDS, categories
from shop.catalog.search import NAME_MAX, PAGE_DEFAULT, PAGE_MAX, PRICE_MAX_MINOR, QUERY_MAX, SORTS
from shop.gateway.bandwidth import BATCH_PATH
from shop.gateway.schemas import SCHEMAS, SLUG, Schema, ref
from shop.gateway.versions import FIELDS_2

PATH = "/api/v1/openapi.json"
_JSON = "application/json"
_PROBLEM = {"application/problem+json": {"schema": ref("Problem")}}
_EXAMPLE_SKU, _EXAMPLE_CART = "SP-00040", "an-example"
_EXAMPLE_CHECKOUT = {
    "cart_id": _EXAMPLE_CART,
    "email": "ada@example.org",
    "address": {"name": "Ada", "line1": "1 Row", "city": "London", "postcode": "N1", "country": "GB"},
    "card": {"number": "4242 4242 4242 4242", "expiry": "12/30", "cvc": "123"},
}


def routes() -> list[Route]:
    """The document."""
    told = document()

    async def openapi(request: Request) -> Response:
        return JSONResponse(told)

    return [Route(PATH, openapi)]


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The reference shop",
            "version": "2",
            "description": "Prices are in minor units. Errors are problem documents (RFC 9457). GET answers have an "
            "ETag and obey If-None-Match and If-Match; answers come in zstd, br or gzip where that is accepted.",
        },
        "paths": {**_products(), **_carts(), **_orders(), **_more()},
        "components": {"schemas": SCHEMAS},
    }


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    *,
    parameters: tuple[Schema, ...] = (),
    body: Schema | None = None,
) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": name, "summary": summary, "responses": {**answers, **_ALWAYS}}
    if parameters:
        described["parameters"] = list(parameters)
    if body is not None:
        described["requestBody"] = {"required": True, "content": {_JSON: body}}
    return described


def _answer(description: str, schema: Schema, *headers: str) -> dict[str, Any]:
    told = {"description": description, "content": {_JSON: {"schema": schema}}}
    return {**told, "headers": {name: _HEADERS[name] for name in headers}} if headers else told


def _problem(description: str, *headers: str) -> dict[str, Any]:
    told = {"description": description, "content": _PROBLEM}
    return {**told, "headers": {name: _HEADERS[name] for name in headers}} if headers else told


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


_HEADERS = {
    "ETag": _header("The tag of this very answer (RFC 9110, 8.8.3)."),
    "Link": _header("The first page and the next (RFC 8288)."),
    "Location": _header("Where the order can be looked at."),
    "Retry-After": _header("Seconds to wait (RFC 9110, 10.2.3).", pattern="^[0-9]+$"),
}
_ALWAYS = {
    "414": _problem("The address is longer than any here."),
    "429": _problem("This client asks for too much.", "Retry-After"),
    "500": _problem("Our fault."),
    "502": _problem("A service of ours answered something unreadable."),
    "503": _problem("Something that is needed does not answer, or is too busy.", "Retry-After"),
}
_CONDITIONAL = {
    "304": {"description": "The client has it already.", "headers": {"ETag": _HEADERS["ETag"]}},
    "412": _problem("It has another tag than the request says."),
}
_WITH_BODY = {
    "400": _problem("The body is missing, cut short, or no JSON."),
    "408": _problem("The body took too long."),
    "413": _problem("The body is too large."),
    "415": _problem("The body is of another type than application/json."),
}
_UNACCEPTABLE = {"422": _problem("Some values cannot be accepted.")}


def _missing(what: str) -> dict[str, Any]:
    return {"404": _problem(f"There is no such {what}.")}


def _query(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_path(name: str, example: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": SLUG, "example": example}


def _tag(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


_CONDITIONS = (
    _tag("If-None-Match", "Answer 304 where the answer has one of these tags."),
    _tag("If-Match", "Answer 412 where the answer has none of these tags."),
)
_ACCEPT_VERSION = {
    "name": "Accept-Version",
    "in": "header",
    "description": "The version of the answer; the first where none is named.",
    "schema": {"type": "string", "enum": ["1", "2"]},
}
_SKU, _CART_ID = _in_path("sku", _EXAMPLE_SKU), _in_path("cart_id", _EXAMPLE_CART)
_ORDER_ID = _in_path("order_id", "ord_0123456789abcdef0123")
_EMPTY = {"const": ""}  # as a form sends what was not filled in; it means the same as saying nothing


def _whole(low: int, high: int) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, _EMPTY]}


_PRICE = _whole(0, PRICE_MAX_MINOR)


def _fields(*known: str) -> Schema:
    one = "|".join(known)
    described = f"Only these fields, any of {', '.join(known)}; all where it is empty."
    return _query("fields", described, type="string", pattern=f"^(({one})(,({one}))*)?$")


_FIELDS_1 = _fields(*FIELDS)
_FIELDS_2 = _fields(*FIELDS_2, "available", "price", r"price\(amount_minor\)", r"price\(currency\)")
_NARROWED = (
    _query(
        "limit",
        f"Products on a page, {PAGE_DEFAULT} where it is not said.",
        **_whole(1, PAGE_MAX),
    ),
    _query("cursor", "What the page before said as `next`; signed, and for this list alone.", type="string"),
    _query("q", "Words, or their beginnings.", type="string", maxLength=QUERY_MAX),
    _query("category", "One of the categories.", enum=["", *categories()]),
    _query("maker", "One of the makers.", type="string", maxLength=NAME_MAX),
    _query("price_from", "The lowest price, in minor units.", **_PRICE),
    _query("price_below", "What the price is below, in minor units.", **_PRICE),
    _query("sort", "The order of the list.", enum=["", *SORTS]),
)


def _listing(name: str, summary: str, schema: Schema, *parameters: Schema, **more: Any) -> dict[str, Any]:
    answers = {"200": _answer("A page.", schema, "ETag", "Link"), **_CONDITIONAL, **_UNACCEPTABLE, **more}
    return {"get": _operation(name, summary, answers, parameters=(*_NARROWED, *_CONDITIONS, *parameters))}


def _product(name: str, summary: str, schema: Schema, *parameters: Schema, **more: Any) -> dict[str, Any]:
    answers = {"200": _answer("The product.", schema, "ETag"), **_CONDITIONAL, **_missing("product"), **_UNACCEPTABLE}
    return {"get": _operation(name, summary, {**answers, **more}, parameters=(_SKU, *_CONDITIONS, *parameters))}


def _products() -> dict[str, Any]:
    either = {"anyOf": [ref("Products"), ref("Products2")]}, {"anyOf": [ref("Product"), ref("Product2")]}
    # Beside Accept-Version the fields of either version may be named.
    fields = _query("fields", "Fields of that version.", type="string")
    versions = {"400": _problem("Accept-Version names no version."), "406": _problem("There is no such version.")}
    return {
        "/api/v1/products": _listing("listProducts", "Products, page by page", ref("Products"), _FIELDS_1),
        "/api/v1/products/{sku}": _product("getProduct", "A product", ref("Product"), _FIELDS_1),
        "/api/v2/products": _listing("listProducts2", "Products with whole prices", ref("Products2"), _FIELDS_2),
        "/api/v2/products/{sku}": _product("getProduct2", "A product with a whole price", ref("Product2"), _FIELDS_2),
        "/api/products": _listing(
            "listProductsByHeader",
            "Products in the version that is named",
            either[0],
            fields,
            _ACCEPT_VERSION,
            **versions,
        ),
        "/api/products/{sku}": _product(
            "getProductByHeader",
            "A product in the version that is named",
            either[1],
            fields,
            _ACCEPT_VERSION,
            **versions,
        ),
    }


def _carts() -> dict[str, Any]:
    cart = _answer("The cart, at today's prices.", ref("Cart"))
    quantity = {
        "schema": {
            "type": "object",
            "properties": {"quantity": {"type": "integer", "minimum": 1, "maximum": 999}},
            "required": ["quantity"],
        },
        "example": {"quantity": 2},
    }
    put = {"200": cart, **_WITH_BODY, **_missing("product or cart"), **_UNACCEPTABLE}
    put["409"] = _problem("The cart is full, or the drop is not open yet.")
    line = (_CART_ID, _SKU)
    show = {"200": _answer("The cart.", ref("Cart"), "ETag"), **_CONDITIONAL, **_missing("cart")}
    return {
        "/api/v1/carts/{cart_id}": {
            "get": _operation("getCart", "A cart", show, parameters=(_CART_ID, *_CONDITIONS)),
        },
        "/api/v1/carts/{cart_id}/items/{sku}": {
            "put": _operation(
                "putItem", "Set how many pieces of a product are in a cart", put, parameters=line, body=quantity
            ),
            "delete": _operation(
                "dropItem", "Take a product out of a cart", {"200": cart, **_missing("cart")}, parameters=line
            ),
        },
    }


def _key(*, required: bool) -> Schema:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": "1 to 255 characters in quotes. The same request with the same key is carried out once.",
        "schema": {"type": "string", "pattern": '^"[A-Za-z0-9_-]{1,255}"$'},
        "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
    }


def _orders() -> dict[str, Any]:
    placed = {
        "201": _answer("The order is paid.", ref("OrderSummary"), "Location"),
        **_WITH_BODY,
        "402": _problem("The card was declined. Nothing was charged."),
        "409": _problem("A product is sold out, or a request with this key is in flight."),
        "422": _problem("Some values cannot be accepted, the cart is empty, or the key was used for another request."),
    }
    cancelled = {
        "200": _answer("The order is cancelled, the money is back.", ref("OrderSummary")),
        "202": _answer("The order is being cancelled.", ref("OrderSummary")),
        **_missing("order"),
        "400": _problem("The Idempotency-Key is no string."),
        "408": _WITH_BODY["408"],
        "409": _problem("An order that was never paid cannot be cancelled."),
        "413": _WITH_BODY["413"],
        "422": _problem("The Idempotency-Key was used for another request."),
    }
    returned = {**cancelled, "409": _problem("An order that was never paid or not sent yet cannot come back.")}
    shown = {"200": _answer("The order.", ref("Order"), "ETag"), **_CONDITIONAL, **_missing("order")}
    body = {"schema": ref("Checkout"), "example": _EXAMPLE_CHECKOUT}
    return {
        "/api/v1/checkout": {
            "post": _operation(
                "checkOut", "Buy what is in a cart", placed, parameters=(_key(required=True),), body=body
            ),
        },
        "/api/v1/orders/{order_id}": {
            "get": _operation("getOrder", "An order", shown, parameters=(_ORDER_ID, *_CONDITIONS)),
        },
        "/api/v1/orders/{order_id}/cancel": {
            "post": _operation(
                "cancelOrder",
                "Take an order back; asking again changes nothing",
                cancelled,
                parameters=(_ORDER_ID, _key(required=False)),
            ),
        },
        "/api/v1/orders/{order_id}/return": {
            "post": _operation(
                "returnOrder",
                "Give a parcel back; asking again changes nothing",
                returned,
                parameters=(_ORDER_ID, _key(required=False)),
            ),
        },
    }


def _more() -> dict[str, Any]:
    batch = [{"id": "a", "path": f"/api/v1/products/{_EXAMPLE_SKU}"}, {"id": "b", "path": "/api/v1/products/nobody"}]
    answers = {"200": _answer("An answer for each request, in their order.", ref("BatchAnswers")), **_WITH_BODY}
    return {
        BATCH_PATH: {
            "post": _operation(
                "batch",
                "Many requests in one, each with its own status",
                answers,
                body={"schema": ref("Batch"), "example": batch},
            ),
        },
        PATH: {
            "get": _operation(
                "openapi",
                "This document",
                {"200": _answer("The document.", {"type": "object"}, "ETag"), **_CONDITIONAL},
                parameters=_CONDITIONS,
            ),
        },
    }
