"""The log lines of one order, gathered from every process of the shop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from shop.problems import not_found
from shop.stage.control.replicas import Replicas
from shop.stage.log_lines import ANSWERED_MAX, VALUES_MAX
from shop.validation import is_slug


class Logs:
    """A search in the last lines that each process has kept; older ones are in files, or where those are collected."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def of_order(self, order_id: str) -> dict[str, Any]:
        """All lines of what was done for an order, by time; a 404 problem where there is none.

        The lines that name the order tell the correlation ids under which the shop worked for it. Lines with one of
        these belong to it too: of jobs, of the relay, and of services that do not know orders.
        """
        named = await self._with([order_id]) if is_slug(order_id) else []
        if not named:
            raise not_found("such order in the lines that are kept")
        ids = dict.fromkeys(line["correlation_id"] for line in named if "correlation_id" in line)
        lines = await self._with([order_id, *ids][:VALUES_MAX]) or named
        lines.sort(key=lambda line: str(line["time"]))
        return {"order_id": order_id, "lines": lines[:ANSWERED_MAX], "more": len(lines) > ANSWERED_MAX}

    async def _with(self, values: Iterable[str]) -> list[dict[str, Any]]:
        rows = await self._replicas.rows(f"/internal/logs?{urlencode([('value', value) for value in values])}")
        return [dict(row) for row in rows]
