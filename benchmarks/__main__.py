"""Run every benchmark, keep its figures, and write the page that shows them.

    python -m benchmarks                 run all (some minutes), then write the page
    python -m benchmarks resilience      run one program, then write the page
    python -m benchmarks --page          write the page from the figures that are there

The page, docs/benchmarks.md, and the plots in docs/drawings/ hold nothing but what is in `results/`;
a test compares them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import capacity, crashes, plots, rollouts
from benchmarks.tables import filled
from sdpatterns.backends import from_url
from sdpatterns.ports.timekeeping import Skewed

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
DRAWINGS = HERE.parent / "docs" / "drawings"
STORES_PAGE = HERE.parent / "docs" / "how-to" / "choose-a-store.md"
PROGRAMS = [
    "resilience",
    "limiter_memory",
    "limiter_redis",
    "queues_redis",
    "locks",
    "queues_sql",
    "log_sql",
    "sagas",
    "projection",
    "states_sql",
    "web",
    "clients",
    "shop",
    "limiter_admits",
    "store_losses",
    "rollout",
]
SEEDS = ("simulation", "simulation_nodes", "simulation_20000")
TITLES = {
    "resilience_breaker": "Circuit breaker, closed, one call",
    "resilience_retry": "Retry, the first try succeeds",
    "resilience_timeout": "Timeout, the call is in time",
    "resilience_bulkhead": "Bulkhead, a slot is free",
    "resilience_composed": "Retry, timeout, breaker and bulkhead around one call",
    "limiter_memory_1_key": "Rate limiter in memory, one key",
    "limiter_memory_100k_keys": "Rate limiter in memory, 100,000 keys",
    "limiter_redis_1_tasks": "Rate limiter on Redis, one decision after another",
    "limiter_redis_32_tasks": "Rate limiter on Redis, 32 tasks",
    "limiter_redis_256_tasks": "Rate limiter on Redis, 256 tasks",
    "queues_redis_jobs": "A job that does nothing, on Redis",
    "queues_redis_pickup": "Until an idle worker on Redis begins a job",
    "locks_alone": "Take and release a lock on Redis, one pair after another",
    "locks_contended": "A lock on Redis with 50 contenders that hold it for 2 ms, each holder",
    "locks_contended_epoll": "The same on a loop whose timers count whole milliseconds",
    "queues_postgres_statements": "A message on Postgres, claimed and completed in batches of 200",
    "queues_postgres_jobs": "A job that does nothing, on Postgres",
    "queues_postgres_pickup": "Until an idle worker on Postgres begins a job",
    "log_sqlite_singles": "An event appended to a log in SQLite, one by one",
    "log_sqlite_normal_singles": "The same without a wait for the disk (`synchronous=NORMAL`)",
    "log_sqlite_batches": "An event appended to a log in SQLite, in batches of 100",
    "log_sqlite_load": "An event of a stream of 1,000 that is read from a log in SQLite",
    "log_postgres_singles": "An event appended to a log in Postgres, one by one",
    "log_postgres_batches": "An event appended to a log in Postgres, in batches of 100",
    "log_postgres_load": "An event of a stream of 1,000 that is read from a log in Postgres",
    "eventstore_sqlite_singles": "An event stored in SQLite, one by one",
    "eventstore_sqlite_normal_singles": "The same without a wait for the disk (`synchronous=NORMAL`)",
    "eventstore_sqlite_batches": "An event stored in SQLite, in batches of 100",
    "eventstore_sqlite_load": "An event of a stream of 1,000 that is loaded from SQLite and replayed",
    "eventstore_postgres_singles": "An event stored in Postgres, one by one",
    "eventstore_postgres_batches": "An event stored in Postgres, in batches of 100",
    "eventstore_postgres_load": "An event of a stream of 1,000 that is loaded from Postgres and replayed",
    "sagas_sqlite_alone": "A step of a saga on SQLite, one run at a time",
    "sagas_sqlite_at_once": "A step of a saga on SQLite, 50 runs at once",
    "sagas_postgres_alone": "A step of a saga on Postgres, one run at a time",
    "sagas_postgres_at_once": "A step of a saga on Postgres, 50 runs at once",
    "projection_partitions": "An event that a projection applies with a wait of 10 ms, in partitions",
    "states_sqlite_alone": "One step on SQLite, one task",
    "states_sqlite_32_tasks_one_key": "One step on SQLite, 32 tasks on one key",
    "states_sqlite_32_tasks_1000_keys": "One step on SQLite, 32 tasks on 1,000 keys",
    "states_postgres_alone": "One step on Postgres, one task",
    "states_postgres_32_tasks_one_key": "One step on Postgres, 32 tasks on one key",
    "states_postgres_32_tasks_1000_keys": "One step on Postgres, 32 tasks on 1,000 keys",
    "web_asgi": "A request through one ASGI middleware",
    "web_wsgi": "A request through one WSGI middleware",
    "clients_1_at_once": "A request of an HTTP client, one after another",
    "clients_16_at_once": "A request of an HTTP client, 16 at once",
    "shop_products_cpu": "Pages of the shop beside a bare gateway and service, computing time of the server",
    "shop_products": "Pages of the shop beside a bare gateway and service, time until the answer, 8 clients",
    "shop_live_cpu": "The shop's /livez beside a bare application, computing time of the server",
    "shop_live": "The shop's /livez beside a bare application, time until the answer, 8 clients",
}
HEAD = """# Benchmarks

These benchmarks compare sdpatterns with other libraries. Each table comes from one run in which all cases took turns,
so a busy machine was busy for all of them. Read the ratio: it is the median over the rounds, with its quartiles. In the
plots it is a dot with a bar, on a scale of powers of ten. The absolute times are those of one shared machine. The
figures are committed in `benchmarks/results/`; `python -m benchmarks` makes them and this page.
"""


BEFORE_TITLE = "What one ASGI middleware adds to a request, beside commit f6869c3"
BEFORE = """\
The CPU time of a request through the middleware, less that of a request without it. Both commits take turns, each in a
process of its own, which is a new one after three turns. A middleware that does nothing has the same code on both
sides, so its ratio shows how far a figure below a microsecond can be trusted. It also shows what no middleware can go
below: one call and one `await` of the application. Metrics without a listener cost no more than that. Less is not
possible, because `__call__` has to be an async function: servers recognize ASGI 3 by it.

What compression cost before depends on what else the process did: 16 µs in a process that does nothing else, about 70
in one that served other requests first. Now it is the same in both.
"""


def read(name: str) -> dict[str, Any]:
    """The committed figures of one table."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def table(name: str) -> str:
    """One table, with what it was measured on."""
    facts = read(name)
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    rows = [f"| | µs each | of {facts['against']} | quartiles |", "|---|---:|---:|---:|"]
    for case, figures in facts["cases"].items():
        low, high = figures["ratio_quartiles"]
        rows.append(f"| {case} | {figures['us_each']:,.2f} | {figures['ratio']:.2f}x | {low:.2f} to {high:.2f} |")
    made = f"`{facts['command']}`, Python {facts['python']}, {facts['system']}, {facts['when'][:10]}"
    made += f"; {versions}." if versions else "."
    return "\n".join([f"## {TITLES[name]}", "", f"{{{{ drawing {name} }}}}", "", *rows, "", made])


def before() -> str:
    """What each ASGI middleware costs, beside an earlier release."""
    facts = read("web_before")
    rows = ["| | µs before | µs now | now, of before | quartiles |", "|---|---:|---:|---:|---:|"]
    for case, figures in facts["cases"].items():
        low, high = figures["ratio_quartiles"]
        times = f"{figures['before_us']:,.2f} | {figures['now_us']:,.2f}"
        rows.append(f"| {case} | {times} | {figures['ratio']:.2f}x | {low:.2f} to {high:.2f} |")
    made = f"`{facts['command']}`, {facts['rounds']} rounds, Python {facts['python']}, {facts['system']}"
    head = [f"## {BEFORE_TITLE}", "", "{{ drawing web_before }}", "", BEFORE]
    return "\n".join([*head, *rows, "", f"{made}, {facts['when'][:10]}."])


def admits() -> str:
    """What each algorithm lets pass: the plot, and where the table is."""
    return "\n".join(
        [
            "## What each algorithm of the limiter lets pass", "",
            "The limit is 10 a second for all. The thin line counts the requests that come, the thick one those that",
            "pass; the vertical lines are full seconds, at which a fixed window begins again. The",
            "[rate limiter's page](patterns/rate-limiter.md#other-algorithms) has the same as a table.", "",
            "{{ drawing limiter_admits }}", "",
            f"`{read('limiter_admits')['command']}`, in virtual time: the same on every machine.",
        ]
    )  # fmt: skip


def drawings() -> dict[str, str]:
    """Each plot by its name."""
    made = {name: plots.ratios(title, read(name)) for name, title in TITLES.items()}
    made["web_before"] = plots.ratios(BEFORE_TITLE, {**read("web_before"), "against": "commit f6869c3"})
    if scaled := capacity.read():
        made["shop_scaling"] = plots.scaling(capacity.TITLE, scaled)
    return made | {"limiter_admits": plots.admitted(read("limiter_admits"))}


def simulation() -> str:
    """What the seeded worlds found, and which of the bugs that were planted."""
    return "\n\n".join(["## Simulated worlds", *map(seeds, SEEDS), planted()])


def planted() -> str:
    """The bugs that were planted, and the first seed of each world that found them."""
    facts = read("simulation_mutants")
    rows = ["| planted bug | world | found by seed |", "|---|---|---:|"]
    rows += [f"| {each['what']} | {each['world']} | {each.get('seed', 'none')} |" for each in facts["mutants"]]
    return "\n".join([*rows, "", f"`{facts['command']}`."])


def seeds(name: str) -> str:
    """One run of several worlds."""
    facts = read(name)
    rows = ["| world | seeds | violations | faults and events that happened |", "|---|---:|---:|---:|"]
    for world in facts["worlds"]:
        first, last = world["seeds"]
        events = sum(world["happened"].values())
        rows.append(f"| {world['world']} | {last - first:,} | {world['violations']} | {events:,} |")
    made = f"`{facts['command']}`, Python {facts['python']}, {facts['machine']}."
    return "\n".join([*rows, "", made])


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEAD.rstrip(), *map(table, TITLES), before(), admits(), simulation()]) + "\n"


_URLS = {
    "memory": "memory://",
    "SQLite": "sqlite+aiosqlite:///file",
    "Postgres": "postgresql+asyncpg://host/database",
    "Redis, Valkey": "redis://host",
    "NATS": "nats://host",
    "etcd": "etcd://host",
}


def ports() -> str:
    """What each store can do, as its backend says."""
    rows = ["| | states | signals | log of events | queues, with | `within` your transaction | `blocking()` | clock |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for name, url in _URLS.items():
        backend: Any = from_url(url)
        queue = ", ".join(sorted(backend.queue("any").capabilities)) if hasattr(backend, "queue") else "no"
        clock = backend.states.clock
        words = [
            _yes(hasattr(backend, "states")),
            _yes(hasattr(backend, "signals")),
            _yes(hasattr(backend, "log")),
            queue,
        ]
        words += [_yes(hasattr(backend, "within")), _yes(_blocks(url))]
        rows.append(f"| {' | '.join([name, *words, 'skewed' if isinstance(clock, Skewed) else 'server'])} |")
    return "\n".join(rows)


def _yes(is_so: object, /) -> str:
    return "yes" if is_so else "no"


def _blocks(url: str) -> bool:
    try:
        from_url(re.sub(r"\+\w+", "", url), blocking=True)
    except TypeError:
        return False
    return True


def losses() -> str:
    """What was acknowledged and what was gone when a server or a program was killed."""
    facts = read("store_losses")
    rows = ["| store, setting | killed | steps acknowledged | lost | messages acknowledged | lost "]
    rows[0] += "| settled | handed out again |"
    rows.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for name, found in facts["stores"].items():
        for whom in ("server", "program"):
            if figures := found.get(f"killed {whom}"):
                words = ("acknowledged", "lost", "messages", "messages_lost", "settled", "settled_again")
                cells = [f"{figures[word]:,}" if word in figures else "" for word in words]
                rows.append(f"| {' | '.join([name, f'the {whom}', *cells])} |")
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    rounds = min(found["rounds"] for found in facts["stores"].values())
    made = f"`{facts['command']}`: {rounds} rounds, so as many kills for each line."
    made += f" Python {facts['python']}, {facts['system']}, {facts['when'][:10]}; {versions}."
    return "\n".join([*rows, "", made])


def stores_page(text: str) -> str:
    """The page on stores with its tables as they are now."""
    return filled(text, {"ports": ports, "losses": losses})


def main() -> None:
    words = argparse.ArgumentParser("python -m benchmarks", description="Run benchmarks, then write their page.")
    words.add_argument("program", nargs="*", help=f"only these: {', '.join(PROGRAMS)}")
    words.add_argument("--page", action="store_true", help="run none: write the page from the figures that are there")
    given = words.parse_args()
    if unknown := set(given.program) - set(PROGRAMS):
        words.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    for name in () if given.page else given.program or PROGRAMS:
        print(f">>> {name}", flush=True)
        subprocess.run([sys.executable, f"{HERE.name}/{name}.py"], check=True, cwd=HERE.parent)
    PAGE.write_text(page())
    STORES_PAGE.write_text(stores_page(STORES_PAGE.read_text()))
    crashes.PAGE.write_text(crashes.page(crashes.PAGE.read_text()))
    rollouts.PAGE.write_text(rollouts.page(rollouts.PAGE.read_text()))
    capacity.PAGE.write_text(capacity.page(capacity.PAGE.read_text()))
    for name, drawing in drawings().items():
        (DRAWINGS / f"{name}.svg").write_text(drawing)


if __name__ == "__main__":
    main()
