"""The page of figures shows what the committed results say, and all of them."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import capacity, crashes, plots, rollouts
from benchmarks.__main__ import DRAWINGS, PAGE, RESULTS, SEEDS, STORES_PAGE, TITLES, drawings, page, stores_page
from benchmarks.limiter_admits import PLACE, facts
from deploy.load.scaling import KINDS, laws
from tests.crash.matrix import BACKENDS, cells
from tests.crash.patterns import PROGRAMS

DOCS = PAGE.parent
QUOTED = {
    "patterns/circuit-breaker.md": [
        "| with a window of calls, of any size | {resilience_breaker[sdpatterns][ratio]:.2f} |",
        "| with no condition that needs the time of a call | {resilience_breaker[sdpatterns, in a row][ratio]:.2f} |",
        "| with a window of seconds | {resilience_breaker[sdpatterns, window of seconds][ratio]:.2f} |",
        "| with failures in a window of calls | {resilience_breaker[sdpatterns, dirty window of calls][ratio]:.2f} |",
        "| with a key | {resilience_breaker[sdpatterns, keyed][ratio]:.2f} |",
    ],
    "design/shop-speed.md": [
        (
            "| Product API | {shop_products_cpu[shop before, products][ratio]:.1f}x"
            " | {shop_products_cpu[shop, products][ratio]:.1f}x | at most 2.5x |"
        ),
        ("| `/livez` | {shop_live_cpu[shop before][ratio]:.1f}x | {shop_live_cpu[shop][ratio]:.1f}x | at most 2.0x |"),
        (
            "The home page takes {shop_products_cpu[shop, home page][us_each]:,.0f} µs of computing time"
            " ({shop_products_cpu[shop before, home page][us_each]:,.0f} before)"
        ),
    ],
    "patterns/retry.md": [
        "first attempt succeeds takes {resilience_retry[sdpatterns][ratio]:.2f} times as long as one of hyx",
    ],
    "patterns/pipeline.md": [
        "take {resilience_composed[sdpatterns][ratio]:.2f} times as long as the same four of pyresilience",
    ],
    "patterns/bulkhead.md": [
        (
            "A call with a slot free takes {resilience_bulkhead[sdpatterns][ratio]:.1f} times as long as one in an"
            " `asyncio.Semaphore`"
        ),
    ],
    "patterns/timeout.md": [
        "On asyncio it takes {resilience_timeout[sdpatterns][ratio]:.2f} times as long as `asyncio.timeout`",
    ],
    "backends/sql.md": [
        (
            "one task alone {states_sqlite_alone[sdpatterns][ratio]:.2f}x on SQLite and"
            " {states_postgres_alone[sdpatterns][ratio]:.2f}x on Postgres; 32 tasks on one key"
            " {states_sqlite_32_tasks_one_key[sdpatterns][ratio]:.3f}x and"
            " {states_postgres_32_tasks_one_key[sdpatterns][ratio]:.3f}x; 32 tasks on 1,000 keys"
            " {states_sqlite_32_tasks_1000_keys[sdpatterns][ratio]:.3f}x and"
            " {states_postgres_32_tasks_1000_keys[sdpatterns][ratio]:.3f}x."
        ),
        "a claim and a completion take {queues_postgres_statements[sdpatterns][ratio]:.2f}x the time.",
        (
            "message takes {queues_postgres_jobs[sdpatterns, messages][ratio]:.2f}x the time of pgqueuer's manager"
            " for each, a `Worker` of typed jobs {queues_postgres_jobs[sdpatterns][ratio]:.2f}x. An idle worker begins"
            " a new job after {queues_postgres_pickup[sdpatterns][ratio]:.2f}x the time that pgqueuer needs."
        ),
    ],
}
"""Where other pages speak of figures: in these words, filled in from the results."""


@pytest.mark.parametrize(
    ("page", "words"), [(page, words) for page, all_words in QUOTED.items() for words in all_words]
)
def test_a_figure_quoted_elsewhere_is_that_of_the_results(page, words):
    results: dict[str, Any] = {path.stem: json.loads(path.read_text()).get("cases") for path in RESULTS.glob("*.json")}
    assert words.format_map(results) in " ".join((DOCS / page).read_text().split())


def test_the_page_is_what_the_results_give():
    assert PAGE.read_text() == page(), "run: python -m benchmarks --page"


def test_the_tables_of_the_page_on_stores_are_what_the_backends_say_and_what_was_measured():
    assert STORES_PAGE.read_text() == stores_page(STORES_PAGE.read_text()), "run: python -m benchmarks --page"


def test_the_table_of_the_page_on_rollouts_is_what_was_measured():
    text = rollouts.PAGE.read_text()
    assert text == rollouts.page(text), "run: python -m benchmarks --page"
    assert "<!-- figures: rollout -->" in text
    cases = json.loads((RESULTS / "rollout.json").read_text())["cases"]
    within_limits = [cases[name]["sdpatterns"]["rolled_back_percent"] for name in list(cases)[:3]]
    assert max(within_limits) <= 0.1  # what `false_alarm` promises, in percent


def test_the_figures_of_the_page_on_sizing_are_what_was_measured():
    text = capacity.PAGE.read_text()
    assert text == capacity.page(text), "run: python -m benchmarks --page"
    assert all(f"<!-- figures: {name} -->" in text for name in capacity.TABLES)
    if facts := capacity.read():
        assert facts["laws"] == laws(facts["shops"])
        for kind, criteria in facts["criteria"].items():
            steps = [shop["kinds"][kind] for shop in facts["shops"].values()]
            assert all(step["failed"] <= criteria["failed_max"] * step["requests"] for step in steps)
            assert all(step["p95_ms"] <= criteria["p95_s"] * 1000 for step in steps)


def test_the_drawing_and_the_tables_on_sizing_show_each_point():
    step = {"p50_ms": 1.0, "p95_ms": 2.0, "cpu_ms": 3.0, "in_flight": 4.0}
    shops = {
        str(n): {"processes": 9 * n, "memory_mib": 500 * n, "kinds": {kind: {"per_s": per_s, **step} for kind in KINDS}}
        for n, per_s in ((1, 40.0), (2, 60.5), (4, 70.0))
    }
    facts = {"command": "c", "step_s": 8, "python": "3", "system": "s", "when": "2026-11-29", "shops": shops}
    facts["laws"] = laws(shops)
    drawn = ET.fromstring(plots.scaling(capacity.TITLE, facts))
    svg = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f"{svg}circle")) == 3 * len(KINDS)
    assert {"40.0", "60.5", "70.0"} <= {text.text for text in drawn.findall(f"{svg}text")}
    assert "| purchases | 2 | 60.5/s | 1.51x | 1 ms | 2 ms | 3 ms | 4.0 |" in capacity.sustained(facts)
    assert "| 4 | 36 | 2,000 MiB | 29 MiB |" in capacity.costs(facts)
    assert "| products | 40.0/s | 0." in capacity.laws(facts)


def test_the_tables_of_the_page_on_crashes_are_what_was_measured():
    text = crashes.PAGE.read_text()
    assert text == crashes.page(text), "run: python -m benchmarks --page"
    assert all(f"<!-- figures: {name} -->" in text for name in crashes.TABLES)


def test_the_crash_matrix_has_every_cell_and_no_cell_lost_anything():
    found = crashes.read("crash_matrix")["cells"]
    assert set(found) == {" ".join(cell) for cell in cells(list(PROGRAMS), BACKENDS)}
    # A cell in which nothing was taken over measured nothing.
    assert all(each["measured"] > 0 and each["items"] > 0 for each in found.values())
    assert {name: each for name, each in found.items() if each["lost"] or each["double"]} == {}


def test_sagas_lost_nothing_and_the_lock_without_a_fence_did():
    deaths = crashes.read("saga_deaths")["backends"]
    assert sum(each["rounds"] for each in deaths.values()) >= 500
    assert all(each["deaths"] > each["rounds"] for each in deaths.values())
    assert all(each["lost"] == each["double"] == 0 for each in deaths.values())
    locks = crashes.read("stopped_holders")["locks"]
    assert locks.pop("redis-py")["lost"] > 0
    assert all(each["lost"] == 0 and each["refused"] >= each["stops"] for each in locks.values())


def test_stores_on_their_strongest_settings_lost_nothing_and_the_weak_ones_did():
    """A run that kills nothing, or looks at nothing, finds that nothing is lost."""
    stores = json.loads((RESULTS / "store_losses.json").read_text())["stores"]
    lost = {}
    for name, found in stores.items():
        for whom in ("killed server", "killed program"):
            if figures := found.get(whom):
                assert figures["acknowledged"] > 500
                counted = [figures.get(word, 0) for word in ("lost", "messages_lost", "settled_again")]
                lost[name.partition(" (")[0], whom] = sum(counted)
    weak = [("memory", "killed program"), ("Valkey, no persistence", "killed server")]
    weak.append(("Postgres, `synchronous_commit=off`", "killed server"))
    assert all(lost.pop(each) > 0 for each in weak)
    assert set(lost.values()) == {0}, lost


def test_every_result_is_shown():
    assert {path.stem for path in RESULTS.glob("*.json")} == {
        *TITLES,
        "limiter_admits",
        *SEEDS,
        "simulation_mutants",
        "crash_matrix",
        "jobs_crash",
        "saga_deaths",
        "stopped_holders",
        "store_losses",
        "rollout",
        "web_before",
        *(["shop_scaling"] if capacity.read() else []),
    }


def test_the_plots_are_what_the_results_give():
    for name, drawing in drawings().items():
        assert (DRAWINGS / f"{name}.svg").read_text() == drawing, "run: python -m benchmarks --page"


def test_every_result_but_those_of_simulations_and_crashes_is_drawn():
    drawn = drawings().keys()
    assert drawn == {path.stem for path in RESULTS.glob("*.json")} - {
        *SEEDS,
        "simulation_mutants",
        "crash_matrix",
        "jobs_crash",
        "saga_deaths",
        "stopped_holders",
        "store_losses",
        "rollout",
    }
    shown = [*page().splitlines(), *capacity.PAGE.read_text().splitlines()]
    assert {f"{{{{ drawing {name} }}}}" for name in drawn} <= set(shown)


def test_what_the_algorithms_let_pass_is_what_is_committed():
    assert json.loads(PLACE.read_text()) == facts(), "run: python benchmarks/limiter_admits.py"
