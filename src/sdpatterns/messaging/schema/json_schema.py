"""What this room needs of JSON schemas: follow references, and make up data that fits."""

from __future__ import annotations

from typing import Any

__all__ = ["followed", "made_up", "variants"]

_DEPTH_MAX = 20
_TEXTS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "PT1H",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "decimal": "1.50",
    "email": "name@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
}


def followed(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The schema, or what it refers to within the document."""
    for _ in range(_DEPTH_MAX):
        if not isinstance(schema, dict) or "$ref" not in schema:
            break
        found: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema if isinstance(schema, dict) else {}


def variants(schema: Any, root: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms that a value may have: the members of `anyOf` and `oneOf`, one for each type of a list."""
    schema = followed(schema, root)
    members = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if members:
        return [form for member in members for form in variants(member, root)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return [schema]


def made_up(schema: dict[str, Any]) -> Any:
    """Data that fits the schema, as far as types and formats say it; patterns are not followed."""
    return _made_up(schema, schema, 0)


def _made_up(schema: Any, root: dict[str, Any], depth: int) -> Any:
    schema = next((it for it in variants(schema, root) if it.get("type") != "null"), {"type": "null"})
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values or depth > _DEPTH_MAX:
        return values[0] if values else None
    kind = schema.get("type", "object" if "properties" in schema else None)
    if kind == "object":
        return {name: _made_up(it, root, depth + 1) for name, it in schema.get("properties", {}).items()}
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})] * schema.get("minItems", 0)
        return [_made_up(item, root, depth + 1) for item in items]
    if kind in {"integer", "number"}:
        return _number(schema)
    return {"string": _text(schema), "boolean": True}.get(str(kind))


def _number(schema: dict[str, Any]) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", low + 1)
    return min(low + 1, high)


def _text(schema: dict[str, Any]) -> str:
    if schema.get("contentEncoding") == "base64":
        return "Ynl0ZXM="
    text = _TEXTS.get(schema.get("format", ""), "text")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
