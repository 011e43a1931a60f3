"""The page of figures shows what the committed results say, and all of them."""

from __future__ import annotations

import json

from benchmarks.__main__ import DRAWINGS, PAGE, RESULTS, TITLES, drawings, page
from benchmarks.limiter_admits import PLACE, facts


def test_the_page_is_what_the_results_give():
    assert PAGE.read_text() == page(), "run: python -m benchmarks --page"


def test_every_result_is_shown():
    assert {path.stem for path in RESULTS.glob("*.json")} == {*TITLES, "limiter_admits", "simulation"}


def test_the_plots_are_what_the_results_give():
    for name, drawing in drawings().items():
        assert (DRAWINGS / f"{name}.svg").read_text() == drawing, "run: python -m benchmarks --page"


def test_what_the_algorithms_let_pass_is_what_is_committed():
    assert json.loads(PLACE.read_text()) == facts(), "run: python benchmarks/limiter_admits.py"
