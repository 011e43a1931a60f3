"""The control room's page: rendered once with the present state, then kept up to date by its script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from shop.headers import SECURITY_HEADERS
from shop.settings import VISITORS_MAX
from shop.stage.control.service import Control
from shop.stage.faults import KINDS, TTL_MAX_S

_HERE = Path(__file__).parent
ORDER_STATUSES = ("paid", "pending", "undoing", "failed")
FIRST = "payment-provider-dies"  # the story that a newcomer is invited to
STATE_AGE_MAX_S = 2.0
PAGE_PATIENCE_S = 1.5


class Defence(NamedTuple):
    """What a card says about a defence, apart from its current figures."""

    title: str
    promise: str
    code: str


DEFENCES = {
    "limiter": Defence(
        "Limiter",
        "Limits how many searches each client may make per second, so that one client cannot slow down all others.",
        "examples/shop/gateway/defences.py",
    ),
    "breaker": Defence(
        "Circuit breaker",
        "After too many failed calls it stops calling the payment provider, so that customers get an answer at once.",
        "examples/shop/payments/defences.py",
    ),
    "idempotency": Defence(
        "Idempotency",
        "Pressing Pay twice, or sending a request again, is one purchase and is charged once.",
        "examples/shop/ordering/defences.py",
    ),
    "fencing": Defence(
        "Fencing",
        "Who pays sellers, or uses a coupon, may freeze and come back late. Then its write is refused.",
        "examples/shop/payments/defences.py",
    ),
    "outbox": Defence(
        "Outbox",
        "The news of a paid order is stored with the order itself, and handed on until it has arrived.",
        "examples/shop/ordering/defences.py",
    ),
    "undo": Defence(
        "Saga undo",
        "What an order has done before it failed is taken back: the charge, the pieces, the lines of the cart.",
        "examples/shop/ordering/sagas.py",
    ),
    "upcaster": Defence(
        "Upcaster",
        "An order that the shop's first release wrote is read as one of today, by every reader.",
        "examples/shop/ordering/events.py",
    ),
    "position": Defence(
        "Position with effect",
        "The tables of orders and how far they have read the log change in one transaction, so that no event is lost.",
        "examples/shop/ordering/defences.py",
    ),
    "inbox": Defence(
        "Inbox",
        "News that comes twice is taken once: one mail, one invoice, one parcel.",
        "examples/shop/fulfilment/defences.py",
    ),
    "jobs": Defence(
        "Jobs",
        "A message that cannot be delivered is put aside after a few attempts. The others do not wait for it.",
        "examples/shop/fulfilment/defences.py",
    ),
}

KIND_WORDS = {
    "fail": "answers 500",
    "slow": "answers after 1.5 s",
    "hang": "never answers",
    "late": "charges 4 s later, after the caller has gone",
    "twice": "does everything twice",
    "older": "writes new orders as its first release did",
    "cut": "loses its database in the middle of writing its tables",
    "pause": "its leader stops in the middle of a payout",
    "lost": "does its work, and its answer is lost",
    "poison": "refuses one product: the seed is its number",
}


SAGA_WORDS = {
    "running": "Under way",
    "undoing": "Being undone",
    "parked": "Wait for a person",
    "completed": "Done",
    "undone": "Undone",
}


def lag_words(projections: Mapping[str, Mapping[str, int]]) -> str:
    """How far the tables are behind the events, in words."""
    behind = {name: lag["behind"] for name, lag in projections.items()}
    return ", ".join(f"{name}: {count} events behind" for name, count in behind.items())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _hyphenless(name: str) -> str:
    return name.replace("-", " ")


def _decimal(figure: float) -> str:
    return f"{figure:.1f}" if figure < 10 else f"{figure:,.0f}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(words=_words, hyphenless=_hyphenless, decimal=_decimal)
    environment.globals.update(
        order_statuses=ORDER_STATUSES,
        visitors_max=VISITORS_MAX,
        kinds=KINDS,
        ttl_max_s=TTL_MAX_S,
        kind_words=KIND_WORDS,
        saga_words=SAGA_WORDS,
        lag_words=lag_words,
    )
    for name in environment.list_templates():
        environment.get_template(name)  # compiled before the shop opens, not while the first visitor waits
    return environment


_ENVIRONMENT = _environment()


def described(name: str) -> Defence:
    """What a card says about a defence; one without a description here is shown by its name."""
    return DEFENCES.get(name) or Defence(_words(name).capitalize(), "", "")


def render(state: Mapping[str, Any], scenarios: list[dict[str, Any]]) -> str:
    """The page, as it stands at this moment."""
    first = sorted(scenarios, key=lambda scenario: scenario["name"] != FIRST)
    return _ENVIRONMENT.get_template("control.html").render(
        state=state, scenarios=first, first=FIRST, cards={name: described(name) for name in state["defences"]}
    )


def pages(control: Control) -> list[BaseRoute]:
    """The routes of the page."""

    async def room(_request: Request) -> Response:
        page = render(await control.state(STATE_AGE_MAX_S, PAGE_PATIENCE_S), control.scenarios.cards())
        return HTMLResponse(page, headers={**SECURITY_HEADERS, "Cache-Control": "no-store"})

    return [
        Route("/control", room),
        Mount("/control/static", StaticFiles(directory=_HERE / "static")),
    ]
