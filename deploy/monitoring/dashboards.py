"""The shop's dashboards for Grafana 11.6, from one table: what is in a row, and which query each panel shows.

`python -m deploy.monitoring.generate` writes them into `dashboards/`. Import them there, or mount the folder where
Grafana provisions from.
"""

from __future__ import annotations

import itertools
import json
from typing import NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

RATE = "[$__rate_interval]"
REQUESTS = "sdpatterns_request_finished_total"
SECONDS = "sdpatterns_request_finished_duration_seconds_bucket"
WATCHED = 'route!~"/internal/view|/metrics|/livez|/readyz|/control.*"'
"""Leaves out what the control room and Prometheus ask: that is no traffic."""
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 24, 8


class Query(NamedTuple):
    """A query, and the name of its lines."""

    expr: str
    legend: str = ""


class View(NamedTuple):
    """A panel: lines over time, or the last value as a big number."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    big: bool = False
    description: str = ""


Rows: TypeAlias = tuple[tuple[str, tuple[View, ...]], ...]


class Board(NamedTuple):
    """A dashboard: its rows, and whether one service is chosen in it."""

    uid: str
    title: str
    rows: Rows
    of_one_service: bool = False


def view(title: str, unit: str, *queries: tuple[str, str], big: bool = False, description: str = "") -> View:
    """A panel of these queries."""
    return View(title, unit, tuple(Query(*query) for query in queries), big, description)


def rate(metric: str, by: str, selector: str = "") -> tuple[str, str]:
    """Events per second, and a line for each value of the label."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))", f"{{{{{by}}}}}"


def quantile(part: float, bucket: str, by: str, selector: str = "") -> tuple[str, str]:
    """The time that this part of the events stays below."""
    inside = f"sum by (le, {by}) (rate({bucket}{{{selector}}}{RATE}))"
    return f"histogram_quantile({part}, {inside})", f"p{part * 100:g} {{{{{by}}}}}"


def failing(by: str, selector: str) -> tuple[str, str]:
    """The part of requests that is answered with 5xx, 0 where none was."""
    total = f"sum by ({by}) (rate({REQUESTS}{{{selector}}}{RATE}))"
    failed = f'sum by ({by}) (rate({REQUESTS}{{{selector},status=~"5.."}}{RATE}))'
    return f"({failed} or 0 * {total}) / ({total} > 0)", f"{{{{{by}}}}}"


ONE = 'name="$service"'
CALLS = "sdpatterns_call_finished_total"
JOB = "exported_job"
"""What Prometheus makes of our label `job`, because that name is taken by the job that scrapes."""
OUTBOX_LAG = "sdpatterns_event_published_lag_seconds_bucket"
FLEET: Rows = (
    (
        "Rate, errors, duration",
        (
            view("Requests", "reqps", rate(REQUESTS, "name", WATCHED)),
            view("Failed requests", "percentunit", failing("name", WATCHED)),
            view("Duration, 95 of 100", "s", quantile(0.95, SECONDS, "name", WATCHED)),
        ),
    ),
    (
        "Calls between services",
        (
            view(
                "Calls",
                "reqps",
                (f"sum by (name, to) (rate({CALLS}{RATE}))", "{{name}} to {{to}}"),
            ),
            view(
                "Failed calls",
                "reqps",
                (
                    f'sum by (name, to) (rate({CALLS}{{failed="true"}}{RATE}))',
                    "{{name}} to {{to}}",
                ),
            ),
            view(
                "Programs that answer scrapes", "short", ('sum(up{app_kubernetes_io_part_of="shop"})', "up"), big=True
            ),
        ),
    ),
)
SERVICE: Rows = (
    (
        "Rate, errors, duration",
        (
            view("Requests by route", "reqps", rate(REQUESTS, "route", f"{ONE},{WATCHED}")),
            view("Failed requests by route", "percentunit", failing("route", f"{ONE},{WATCHED}")),
            view(
                "Duration",
                "s",
                quantile(0.5, SECONDS, "name", f"{ONE},{WATCHED}"),
                quantile(0.99, SECONDS, "name", f"{ONE},{WATCHED}"),
            ),
        ),
    ),
    (
        "Utilisation, saturation, errors of all resources",
        (
            view(
                "Utilisation",
                "percentunit",
                ("sdpatterns_resource_used / (sdpatterns_resource_capacity > 0)", "{{kind}} {{name}}"),
            ),
            view("Saturation", "short", ("sdpatterns_resource_waiting", "{{kind}} {{name}}")),
            view("Errors", "short", (f"increase(sdpatterns_resource_errors_total{RATE})", "{{kind}} {{name}}")),
        ),
    ),
)
FIRING = 'sum by (alertname) (ALERTS{alertstate="firing"})'
SLOS: Rows = (
    (
        "Now",
        (
            view(
                "Error budget left in 30 days",
                "percentunit",
                ("slo:period_error_budget_remaining:ratio", "{{slo}}"),
                big=True,
                description="Below 0 the objective is missed.",
            ),
            view(
                "Burn rate",
                "short",
                ("slo:current_burn_rate:ratio", "{{slo}}"),
                big=True,
                description="1 uses up the budget in exactly 30 days.",
            ),
            view(
                "Alerts that fire",
                "short",
                ('sum by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),
                big=True,
            ),
        ),
    ),
    (
        "Over time",
        (
            view("Error budget left", "percentunit", ("slo:period_error_budget_remaining:ratio", "{{slo}}")),
            view("Failed events, 5 minutes", "percentunit", ("slo:sli_error:ratio_rate5m", "{{slo}}")),
            view("Failed events, 1 hour", "percentunit", ("slo:sli_error:ratio_rate1h", "{{slo}}")),
        ),
    ),
)
RESILIENCE: Rows = (
    (
        "Circuit breakers and retries",
        (
            view(
                "Breakers",
                "short",
                (f"sum by (name) (increase(sdpatterns_circuit_opened_total{RATE}))", "{{name}} opened"),
                (f"sum by (name) (increase(sdpatterns_circuit_closed_total{RATE}))", "{{name}} closed"),
            ),
            view("Calls refused by a breaker", "reqps", rate("sdpatterns_call_refused_total", "name")),
            view(
                "Retries",
                "reqps",
                (f"sum by (name) (rate(sdpatterns_retry_scheduled_total{RATE}))", "{{name}} tries again"),
                (f"sum by (name) (rate(sdpatterns_retries_exhausted_total{RATE}))", "{{name}} gives up"),
            ),
        ),
    ),
    (
        "Limiters, bulkheads, leases",
        (
            view("Refused by a limiter", "reqps", rate("sdpatterns_limit_reached_total", "name")),
            view(
                "Bulkheads",
                "short",
                ('sdpatterns_resource_used{kind="bulkhead"}', "{{name}} in use"),
                ('sdpatterns_resource_waiting{kind="bulkhead"}', "{{name}} waiting"),
                (f"sum by (name) (increase(sdpatterns_slot_refused_total{RATE}))", "{{name}} refused"),
            ),
            view(
                "Leases",
                "short",
                (f"sum by (name) (increase(sdpatterns_lease_taken_total{RATE}))", "{{name}} taken"),
                (f"sum by (name) (increase(sdpatterns_lease_left_total{RATE}))", "{{name}} lost"),
            ),
        ),
    ),
)
WORK: Rows = (
    (
        "Jobs",
        (
            view("Jobs done", "reqps", rate("sdpatterns_job_completed_total", JOB)),
            view("Wait, 95 of 100", "s", quantile(0.95, "sdpatterns_job_completed_waited_seconds_bucket", JOB)),
            view(
                "Lost and abandoned",
                "short",
                (f"sum by ({JOB}) (increase(sdpatterns_job_lost_total{RATE}))", "{{exported_job}} lost"),
                (f"sum by ({JOB}) (increase(sdpatterns_job_abandoned_total{RATE}))", "{{exported_job}} abandoned"),
            ),
        ),
    ),
    (
        "Sagas",
        (
            view(
                "Runs",
                "reqps",
                (f"sum by (saga) (rate(sdpatterns_saga_started_total{RATE}))", "{{saga}} started"),
                (f"sum by (saga, status) (rate(sdpatterns_saga_ended_total{RATE}))", "{{saga}} {{status}}"),
            ),
            view("Duration, 95 of 100", "s", quantile(0.95, "sdpatterns_saga_ended_duration_seconds_bucket", "saga")),
            view(
                "Parked and lost",
                "short",
                (f"sum by (saga) (increase(sdpatterns_saga_parked_total{RATE}))", "{{saga}} parked"),
                (f"sum by (saga) (increase(sdpatterns_saga_lost_total{RATE}))", "{{saga}} lost"),
            ),
        ),
    ),
    (
        "Events",
        (
            view("Events published", "reqps", rate("sdpatterns_event_published_total", "name")),
            view(
                "Lag of the outbox, 95 of 100",
                "s",
                quantile(0.95, "sdpatterns_event_published_lag_seconds_bucket", "name"),
            ),
            view(
                "Projections",
                "short",
                ('sdpatterns_resource_waiting{kind="projection"}', "{{name}} behind"),
                (f"sum by (name) (increase(sdpatterns_stream_parked_total{RATE}))", "{{name}} parked"),
            ),
        ),
    ),
)
CHECKOUT = 'name="gateway",route="/api/v1/checkout"'
ORDERS = f'{REQUESTS}{{{CHECKOUT},status="201"}}'
CART = 'name="gateway",route="/api/v1/carts/{cart_id}/items/{sku}",method="PUT"'
BUSINESS: Rows = (
    (
        "Sales",
        (
            view(
                "Orders a minute",
                "short",
                (f'60 * sum(rate({REQUESTS}{{{CHECKOUT},status="201"}}{RATE}))', "orders"),
                big=True,
            ),
            view(
                "Orders for each product put into a cart",
                "percentunit",
                (
                    f"sum(rate({ORDERS}[1h])) / (sum(rate({REQUESTS}{{{CART}}}[1h])) > 0)",
                    "conversion",
                ),
                big=True,
            ),
            view("Checkouts by answer", "reqps", rate(REQUESTS, "status", CHECKOUT)),
        ),
    ),
    (
        "From the shelf to the parcel",
        (
            view(
                "Products looked at",
                "reqps",
                (f'sum(rate({REQUESTS}{{name="gateway",route="/api/v1/products/{{sku}}"}}{RATE}))', "looks"),
            ),
            view(
                "Orders undone",
                "short",
                (f'sum by (saga) (increase(sdpatterns_saga_ended_total{{status="undone"}}{RATE}))', "{{saga}}"),
            ),
            view(
                "Parcels and letters",
                "reqps",
                (
                    f'sum by ({JOB}) (rate(sdpatterns_job_completed_total{{{JOB}=~"ship|confirm|bill"}}{RATE}))',
                    "{{exported_job}}",
                ),
            ),
        ),
    ),
)
BOARDS = (
    Board("shop-fleet", "Shop: all services", FLEET),
    Board("shop-service", "Shop: one service", SERVICE, of_one_service=True),
    Board("shop-slo", "Shop: objectives and budgets", SLOS),
    Board("shop-resilience", "Shop: resilience", RESILIENCE),
    Board("shop-work", "Shop: jobs, sagas, events", WORK),
    Board("shop-business", "Shop: business", BUSINESS),
)


def texts() -> dict[str, str]:
    """The JSON of each dashboard, by the name of its file."""
    return {f"{board.uid}.json": _json(_built(board)) for board in BOARDS}


def _json(built: models.Dashboard) -> str:
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _built(board: Board) -> models.Dashboard:
    made = builders.Dashboard(board.title).uid(board.uid).tags(["shop", "sdpatterns"]).editable()
    made = made.time("now-1h", "now").refresh("10s").tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    if board.of_one_service:
        services = builders.QueryVariable("service").label("Service").datasource(_SOURCE)
        made = made.with_variable(services.query(f"label_values({REQUESTS}, name)"))
    numbers = itertools.count(1)
    for title, views in board.rows:
        made = made.with_row(builders.Row(title).id(next(numbers)))
        for each in views:
            made = made.with_panel(_panel(each, _WIDTH // len(views)).id(next(numbers)))
    return made.build()


def _panel(view: View, width: int) -> stat.Panel | timeseries.Panel:
    panel: stat.Panel | timeseries.Panel
    if view.big:
        options = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
        panel = stat.Panel().reduce_options(options).graph_mode(common.BigValueGraphMode.AREA)
    else:
        panel = timeseries.Panel().fill_opacity(10).show_points(common.VisibilityMode.NEVER)
    panel = panel.title(view.title).unit(view.unit).datasource(_SOURCE).span(width).height(_HEIGHT)
    if view.description:
        panel = panel.description(view.description)
    for number, query in enumerate(view.queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("ABCDEFGH"[number])
        panel = panel.with_target(target.datasource(_SOURCE))
    return panel
