"""The first visitor after a start waits no longer than the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from jinja2 import Environment

from shop.gateway import rendering
from shop.stage.control import pages


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
