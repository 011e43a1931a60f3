"""The page of figures shows what the committed results say, and all of them."""

from __future__ import annotations

from benchmarks.__main__ import PAGE, RESULTS, TITLES, page


def test_the_page_is_what_the_results_give():
    assert PAGE.read_text() == page(), "run: python -m benchmarks --page"


def test_every_result_is_shown():
    assert {path.stem for path in RESULTS.glob("*.json")} == {*TITLES, "simulation"}
