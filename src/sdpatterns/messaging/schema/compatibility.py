"""May two releases with these two schemas of one version share a log? Pure.

| direction | question | broken by |
|---|---|---|
| backward | does the new release read what is stored? | a field added without a default, a narrower type |
| forward | does the earlier release read what the new one writes? | a removed field that it needs, a wider type |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from sdpatterns.messaging.schema.json_schema import variants

__all__ = ["Break", "Direction", "breaks_between"]

Direction: TypeAlias = Literal["backward", "forward", "both"]

_NOTES = frozenset({"title", "description", "default", "examples", "$defs", "deprecated"})
_TYPES = frozenset({"type", "format", "enum", "const", "contentEncoding"})
_DEPTH_MAX = 50


class Break(NamedTuple):
    """Why two releases cannot share a log."""

    direction: Direction
    field: str
    what: str


def breaks_between(before: dict[str, Any], after: dict[str, Any]) -> list[Break]:
    """What keeps a release with the schema `after` and one with `before` from reading each other's events."""
    return list(_values(_Pair(before, before), _Pair(after, after), "", 0))


class _Pair(NamedTuple):
    """A schema, and the document that its references are within."""

    schema: Any
    root: dict[str, Any]

    def of(self, schema: Any) -> _Pair:
        return _Pair(schema, self.root)

    def field(self, name: str) -> _Pair:
        return self.of(self.fields().get(name))

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = self.schema.get("properties", {})
        return found


def _values(before: _Pair, after: _Pair, path: str, depth: int) -> Iterator[Break]:
    olds, news = (variants(it.schema, it.root) for it in (before, after))
    for inside in ("object", "array"):
        old, new = ([it for it in forms if it.get("type") == inside] for forms in (olds, news))
        if len(old) == len(new) == 1 and depth < _DEPTH_MAX:
            # What is within is compared by itself, and here only that both have it.
            compare = _objects if inside == "object" else _arrays
            yield from compare(before.of(old[0]), after.of(new[0]), path, depth + 1)
            olds, news = ([it for it in forms if it.get("type") != inside] for forms in (olds, news))
    yield from _leaves(olds, news, path)


def _objects(before: _Pair, after: _Pair, path: str, depth: int) -> Iterator[Break]:
    old, new = before.fields(), after.fields()
    needed_before, needed = (set(it.schema.get("required", ())) for it in (before, after))
    added, removed = [it for it in new if it not in old], [it for it in old if it not in new]
    for name in added:
        if name in needed:
            yield Break("backward", _at(path, name), "added without a default")
        elif before.schema.get("additionalProperties") is False:
            yield Break("forward", _at(path, name), "added: earlier readers forbid fields that they do not know")
    for name in removed:
        likely = [it for it in added if not list(_values(before.field(name), after.field(it), "", depth))]
        told = f"renamed to {likely[0]!r}" if len(removed) == len(likely) == 1 else "removed"
        why = "earlier readers need it" if name in needed_before else "what stored events have in it is not read"
        yield Break("forward" if name in needed_before else "backward", _at(path, name), f"{told}: {why}")
    for name in old.keys() & new.keys():
        if name in needed - needed_before:
            yield Break("backward", _at(path, name), "lost its default: stored events may not have it")
        yield from _values(before.field(name), after.field(name), _at(path, name), depth)
    others = [it.schema.get("additionalProperties") for it in (before, after)]
    if all(isinstance(it, dict) for it in others):
        yield from _values(before.of(others[0]), after.of(others[1]), _at(path, "*"), depth)


def _arrays(before: _Pair, after: _Pair, path: str, depth: int) -> Iterator[Break]:
    olds, news = (it.schema.get("prefixItems") or [it.schema.get("items", {})] for it in (before, after))
    if len(olds) != len(news):
        yield Break("both", path, f"retyped: {len(olds)} items before, {len(news)} now")
        return
    for old, new in zip(olds, news, strict=True):
        yield from _values(before.of(old), after.of(new), _at(path, "[]"), depth)


def _leaves(olds: list[dict[str, Any]], news: list[dict[str, Any]], path: str) -> Iterator[Break]:
    before, after = ({text for form in forms for text in _told(form, _TYPES)} for forms in (olds, news))
    takes_before, takes = (_with_whole_numbers(it) for it in (before, after))
    # A schema that says nothing takes anything.
    is_wider = not after <= takes_before and "anything" not in before
    is_narrower = not before <= takes and "anything" not in after
    if before != after and (is_wider or is_narrower):
        what = f"{' or '.join(sorted(before)) or 'nothing'} before, {' or '.join(sorted(after)) or 'nothing'} now"
        if is_wider and is_narrower:
            yield Break("both", path, f"retyped: {what}")
        elif is_wider:
            yield Break("forward", path, f"wider: {what}")
        else:
            yield Break("backward", path, f"narrower: {what}")
        return
    limits_before, limits = (sorted(_limits(form) for form in forms) for forms in (olds, news))
    if limits_before != limits:
        yield Break("both", path, f"limits changed: {' '.join(limits_before)} before, {' '.join(limits)} now")


def _told(form: dict[str, Any], words: frozenset[str]) -> list[str]:
    """The type in words, or each of its values."""
    if "const" in form or "enum" in form:
        return [json.dumps(value, default=str) for value in form.get("enum", [form.get("const")])]
    found = [str(form[word]) for word in ("type", "format", "contentEncoding") if word in words and word in form]
    return [" ".join(found) or "anything"]


def _with_whole_numbers(told: set[str]) -> set[str]:
    """A reader of numbers reads whole ones too."""
    return told | {"integer"} if "number" in told else told


def _limits(form: dict[str, Any]) -> str:
    found = {word: value for word, value in form.items() if word not in _NOTES | _TYPES}
    return json.dumps(found, sort_keys=True, default=str) if found else ""


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
