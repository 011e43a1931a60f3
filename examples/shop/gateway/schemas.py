"""The shapes of the public API, as JSON Schema (2020-12); the bounds are those the services check."""

from __future__ import annotations

from typing import Any

from shop.catalog.domain import categories
from shop.gateway.bandwidth import BATCH_MAX

Schema = dict[str, Any]

SLUG: Schema = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"}
MINOR: Schema = {"type": "integer", "description": "An amount in minor units: cents, pence."}
INSTANT: Schema = {"type": "string", "format": "date-time"}
_CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 120}
_STATUS: Schema = {"type": "string", "enum": ["pending", "paid", "undoing", "failed", "cancelled"]}


def ref(name: str) -> Schema:
    """One of the schemas below."""
    return {"$ref": f"#/components/schemas/{name}"}


def a_list_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def exactly(**properties: Schema) -> Schema:
    """An object with all of these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _some_of(**properties: Schema) -> Schema:
    """An object with those of these properties that were asked for."""
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def _sent(**properties: Schema) -> Schema:
    """What a client sends: all of these properties; others are ignored."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _optional(schema: Schema, **properties: Schema) -> Schema:
    """What a client sends, with properties that may be left out."""
    return {**schema, "properties": {**schema["properties"], **properties}}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_PRODUCT = {
    "sku": SLUG,
    "title": {"type": "string"},
    "description": {"type": "string"},
    "category": {"type": "string", "enum": list(categories())},
    "maker": {"type": "string"},
    "drop": {"type": "boolean", "description": "Whether it is a limited drop: one batch, never again."},
    "opens_at": _or_null({**INSTANT, "description": "Cannot be bought before this instant."}),
    "available": _or_null({"type": "integer", "minimum": 0, "description": "Free pieces; null while unknown."}),
}

_SUMMARY = {"order_id": SLUG, "status": _STATUS, "total_minor": MINOR, "currency": _CURRENCY}

SCHEMAS: dict[str, Schema] = {
    "Problem": {
        "description": "What is wrong (RFC 9457). Some kinds have members of their own.",
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "errors": {
                "description": "Each field that was refused, by its JSON pointer.",
                **a_list_of(exactly(pointer={"type": "string"}, detail={"type": "string"})),
            },
        },
        "required": ["type", "title", "status"],
    },
    "Product": _some_of(**_PRODUCT, price_minor=MINOR, currency=_CURRENCY),
    "Products": exactly(items=a_list_of(ref("Product")), next=ref("Cursor")),
    "Price": _some_of(amount_minor=MINOR, currency=_CURRENCY),
    "Product2": _some_of(**_PRODUCT, price=ref("Price")),
    "Products2": exactly(items=a_list_of(ref("Product2")), next=ref("Cursor")),
    "Cursor": _or_null({"type": "string", "description": "Where the next page begins; null on the last one."}),
    "Cart": exactly(
        cart_id=SLUG,
        items=a_list_of(ref("CartLine")),
        total_minor=MINOR,
        currency=_CURRENCY,
    ),
    "CartLine": exactly(
        sku=SLUG,
        title={"type": "string"},
        maker={"type": "string"},
        quantity={"type": "integer", "minimum": 1},
        price_minor=MINOR,
        line_minor=MINOR,
        currency=_CURRENCY,
    ),
    "Checkout": _optional(
        _sent(
            cart_id=SLUG,
            email={"type": "string", "maxLength": 254, "examples": ["ada@example.org"]},
            address=_sent(
                name=_TEXT,
                line1=_TEXT,
                city=_TEXT,
                postcode={**_TEXT, "maxLength": 16},
                country={"type": "string", "pattern": "^[A-Z]{2}$"},
            ),
            card=_sent(
                number={"type": "string", "maxLength": 32, "description": "12 to 19 digits with their check digit."},
                expiry={"type": "string", "pattern": "^(0[1-9]|1[0-2])/[0-9]{2}$"},
                cvc={"type": "string", "pattern": "^[0-9]{3,4}$"},
            ),
        ),
        coupon=_or_null({**SLUG, "description": "The code of a coupon."}),
    ),
    "OrderSummary": exactly(**_SUMMARY),
    "Order": exactly(
        **_SUMMARY,
        reason={"type": "string", "description": "Why it is being undone, or was; empty for one that is paid."},
        placed_at=INSTANT,
        coupon={"type": "string", "description": "The coupon that was used; empty without one."},
        discount_minor={**MINOR, "description": "What the coupon took off."},
        items=a_list_of(
            exactly(
                sku=SLUG,
                title={"type": "string"},
                maker={"type": "string"},
                quantity={"type": "integer"},
                price_minor=MINOR,
            ),
        ),
        history=a_list_of(exactly(step={"type": "string"}, state={"type": "string"}, at=INSTANT)),
    ),
    "Batch": {**a_list_of(ref("BatchItem")), "minItems": 1, "maxItems": BATCH_MAX},
    "BatchItem": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$", "description": "Unique in the batch."},
            # What is wrong with these is a problem of this request alone, in an answer of 200.
            "method": {"description": "GET, PUT, POST or DELETE; GET where it is not said."},
            "path": {"description": "A path of this API with its query."},
            "headers": {"description": "An object of strings: Idempotency-Key, If-Match and the like."},
            "body": {"description": "Any JSON value."},
        },
        "required": ["id"],
    },
    "BatchAnswers": a_list_of(
        {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "status": {"type": "integer", "minimum": 200, "maximum": 599},
                "headers": {"type": "object"},
                "body": {"description": "JSON as it is, other text as a string."},
                "body_base64": {"type": "string"},
            },
            "required": ["id", "status", "headers"],
        }
    ),
}
