"""The first visitor after a start waits no longer than the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jinja2 import Environment

from shop.gateway import rendering
from shop.stage.control import pages
from shop.stage.control.pages import render


@pytest.mark.parametrize("build", [rendering._templates, pages._environment], ids=["storefront", "control room"])
def test_templates_are_compiled_before_the_first_request(
    build: Callable[[], Environment], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = build()

    def compiled_late(*_arguments: object, **_options: object) -> None:
        pytest.fail("a template was compiled for a visitor")

    monkeypatch.setattr(environment, "compile", compiled_late)
    names = environment.list_templates()
    assert len(names) > 5
    for name in names:
        environment.get_template(name)


def test_a_defence_that_is_new_has_a_card_at_once() -> None:
    harm = {"count": 3, "unit": "orders lost", "detail": "of 9 orders", "source": "the ledger"}
    hedge = {"on": False, "since": "2030-01-01T10:00:00+00:00", "harm": harm, "state": {"hedged": 2}}
    bare: dict[str, Any] = {"invariants": {}, "orders": {}, "scenario": None, "load": {"visitors": 0}}
    bare |= {
        "age_s": None,
        "lanes": {},
        "history": {},
        "faults": [],
        "services": [],
        "edges": [],
        "election": {},
        "defences": {"slow_start": hedge},
        "queues": {},
        "dead_letters": [],
        "sagas": {},
        "rollout": {"can_begin": []},
        "game_day": None,
        "budgets": [],
        "service_map": {"window_s": 30.0, "calls": []},
        "projections": {},
    }
    page = render(bare, [])
    assert 'data-defence="slow_start" data-on="false"' in page
    assert ">Slow start</h3>" in page
    assert "orders lost" in page
