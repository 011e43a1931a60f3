"""The dashboards: generated, and with panels that a reader can tell apart. What they ask is in `tests/shop`."""

from __future__ import annotations

import json

from deploy.monitoring.dashboards import BOARDS, texts
from deploy.monitoring.generate import DASHBOARDS


def test_they_are_those_that_the_table_gives() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}
    assert committed == texts()


def test_each_panel_has_a_number_a_place_and_queries_of_its_own() -> None:
    for name, text in texts().items():
        panels = json.loads(text)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels), name
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels), name
        assert all(panel["targets"] for panel in panels if panel["type"] != "row"), name


def test_no_two_have_one_title_and_no_two_panels_of_one_row() -> None:
    assert len({board.title for board in BOARDS}) == len({board.uid for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        for title, views in board.rows:
            assert len({view.title for view in views}) == len(views), (board.title, title)
