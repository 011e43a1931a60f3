"""The statements of `docs/design/queue-on-postgres.md`, which are those of the backend, and the rejected ones."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from sdpatterns.backends.sqlalchemy import metadata
from sdpatterns.backends.sqlalchemy.engine.transactions import PsycopgTransaction, Statement
from sdpatterns.backends.sqlalchemy.postgres import queue_statements
from sdpatterns.backends.sqlalchemy.tables import MESSAGES
from sdpatterns.core.runtime import finish

PAGE = Path(__file__).parents[2] / "docs" / "design" / "queue-on-postgres.md"
ON_PAGE = dict(re.findall(r"```sql\n-- ([^\n]+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
STATEMENTS = {
    "publish": queue_statements.INSERT,
    "lock keys": queue_statements.LOCK,
    "publish with keys": queue_statements.INSERT_WITH_KEYS,
    "leave markers for an old snapshot": queue_statements.MARKERS,
    "claim": queue_statements.CLAIM,
    "make what is due pass on": queue_statements.PROMOTE,
    "complete": queue_statements.COMPLETE,
    "hold messages, and try to lock their keys": queue_statements.HOLD,
    "complete and hand over": queue_statements.FINISH,
    "complete and leave a marker": queue_statements.MARK,
}
LEASE_US, MARKER_US = 600_000_000, 100_000

_NUMBERS = itertools.count()


def words(sql: str) -> str:
    return " ".join(sql.replace("(", " ( ").replace(")", " ) ").replace(";", " ").split())


def test_the_page_shows_the_statements_of_the_backend() -> None:
    assert set(STATEMENTS) == {name for name in ON_PAGE if not name.startswith("rejected")} - {"table"}
    for name, statement in STATEMENTS.items():
        assert words(ON_PAGE[name]) == words(statement.sql), name
    dialect = postgresql.dialect()
    indexes = sorted(MESSAGES.indexes, key=lambda index: str(index.name))
    made = [
        CreateTable(MESSAGES).compile(dialect=dialect),
        *[CreateIndex(each).compile(dialect=dialect) for each in indexes],
    ]
    assert words(ON_PAGE["table"]) == words(" ".join(map(str, made)))


class Client:
    """A connection, and the statements of the page by name."""

    def __init__(self, url: str, schema: str) -> None:
        self.connection = psycopg.connect(url, options=f"-c search_path={schema} -c lock_timeout=300ms")
        self.shift_us = 0

    def run(self, name: str, **given: Any) -> list[Any]:
        statement = STATEMENTS.get(name) or Statement(ON_PAGE[name], **{word: kind_of(given[word]) for word in given})
        given = {"queue": "mail", "shift_us": self.shift_us, **given}
        tx = PsycopgTransaction(self.connection)
        return list(finish(tx.fetch(statement, *[given[word] for word in statement.names])))

    def commit(self) -> None:
        self.connection.commit()

    def insert(self, payload: bytes, key: str | None = None, *, is_new: bool = True) -> None:
        given: dict[str, Any] = {
            "ids": [payload.decode()], "keys": [key], "tenants": [""], "delays": [0], "ranks": [0], "published": [0],
            "payloads": [payload], "headers": [None],
        }  # fmt: skip
        if key is None:
            self.run("publish", **given)
        else:
            self.run("publish with keys", **given, is_new=int(is_new))

    def publish(self, key: str, payload: bytes) -> None:
        """Publish with a key, in the transaction that is open."""
        [(is_new, _)] = self.run("lock keys", keys=[key])
        self.insert(payload, key, is_new=is_new)
        if not is_new:
            self.run("leave markers for an old snapshot", ids=[f"\\n{next(_NUMBERS)}"], keys=[key])

    def claim(self, n: int = 10) -> dict[bytes, Any]:
        """What a claim takes, by payload. Markers are settled, as a worker does."""
        rows: list[Any] = []
        # Twice, because what is due passes on between the two.
        for _ in range(2):
            rows += [row for row in self.run("claim", after="", n=n, lease_us=LEASE_US) if row[0] is not None]
            self.run("make what is due pass on", n=1000)
            self.commit()
        for row in [row for row in rows if row[1] is None]:
            self.complete(row)
        return {bytes(row[1]): row for row in rows if row[1] is not None}

    def complete(self, claimed: Any) -> None:
        """Complete a message with a key: hand over, or leave a marker where a publisher holds the key."""
        held = self.run("hold messages, and try to lock their keys", ids=[claimed[0]], fences=[claimed[5]])
        for name, key, is_locked, _ in held:
            if is_locked:
                self.run("complete and hand over", ids=[name], keys=[key])
            else:
                self.run("complete and leave a marker", ids=[name], wait_us=MARKER_US)
        self.commit()


def kind_of(value: Any) -> str:
    return "bigint" if isinstance(value, int) else "text"


@pytest.fixture
def clients(postgres_url: str) -> Iterator[list[Client]]:
    schema = f"queue_design_{next(_NUMBERS)}"
    with psycopg.connect(postgres_url, autocommit=True) as setup:
        setup.execute(cast("LiteralString", f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        setup.execute(cast("LiteralString", f"CREATE SCHEMA {schema}"))
        setup.execute(cast("LiteralString", f"SET search_path = {schema}"))
        setup.execute("CREATE TABLE tenants_with_work (queue text, tenant text, PRIMARY KEY (queue, tenant))")
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, connect_args={"options": f"-c search_path={schema}"})
    metadata.create_all(engine)
    engine.dispose()
    made = [Client(postgres_url, schema) for _ in range(3)]
    yield made
    for client in made:
        client.connection.close()


def test_two_transactions_that_publish_without_a_key_do_not_wait(clients: list[Client]) -> None:
    one, two, _ = clients
    one.insert(b"a")
    two.insert(b"b")
    two.commit()
    one.commit()
    assert set(two.claim()) == {b"a", b"b"}


def test_two_transactions_that_publish_to_different_keys_do_not_wait(clients: list[Client]) -> None:
    one, two, _ = clients
    one.publish("k1", b"a")
    two.publish("k2", b"b")
    two.commit()
    one.commit()
    assert set(two.claim()) == {b"a", b"b"}


def test_a_row_per_tenant_makes_the_second_transaction_of_a_tenant_wait(clients: list[Client]) -> None:
    one, two, _ = clients
    one.run("rejected: publish keeps a row per tenant", queue="mail", tenant="t")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        two.run("rejected: publish keeps a row per tenant", queue="mail", tenant="t")


def publish_two(client: Client) -> None:
    for payload in (b"first", b"second"):
        client.publish("k", payload)
    client.commit()


def reject(client: Client, how: str, n: int = 10) -> list[str]:
    """What a claim takes that was rejected."""
    rows = client.run(f"rejected: {how}", queue="mail", now=1 << 60, lease_us=LEASE_US, n=n)
    return [name for [name] in rows]


def test_skipping_locked_rows_alone_gives_two_workers_one_key(clients: list[Client]) -> None:
    publish_two(clients[0])
    taken = [reject(worker, "claim the earliest messages", 1) for worker in clients[1:]]
    assert taken == [["first"], ["second"]]


def test_two_workers_at_once_get_one_message_of_a_key(clients: list[Client]) -> None:
    publish_two(clients[0])
    rows = [worker.run("claim", after="", n=1, lease_us=LEASE_US) for worker in clients[1:]]
    assert [[row[0] for row in found] for found in rows] == [["first"], [None]]


def test_a_key_offers_nothing_while_its_first_message_is_out(clients: list[Client]) -> None:
    publisher, one, two = clients
    publish_two(publisher)
    first = one.claim()[b"first"]
    assert two.claim() == {}
    one.complete(first)
    assert list(two.claim()) == [b"second"]


def test_without_the_keys_lock_a_later_commit_with_a_smaller_number_comes_second(clients: list[Client]) -> None:
    early, late, worker = clients
    # As `publish with keys`, but without the lock; `early` takes its number first and commits last.
    early.insert(b"smaller number", "k")
    late.insert(b"larger number", "k")
    late.commit()
    assert reject(worker, "claim the earliest message of each key") == ["larger number"]
    worker.commit()
    early.commit()
    # While the other is still out.
    assert reject(worker, "claim the earliest message of each key") == ["smaller number"]


def test_two_transactions_that_publish_to_one_key_wait_for_each_other(clients: list[Client]) -> None:
    early, late, worker = clients
    early.publish("k", b"first")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        late.publish("k", b"second")
    late.connection.rollback()
    early.commit()
    late.publish("k", b"second")
    late.commit()
    first = worker.claim()
    assert list(first) == [b"first"]
    worker.complete(first[b"first"])
    assert list(worker.claim()) == [b"second"]


def test_a_worker_does_not_wait_for_an_open_publisher_and_strands_nothing(clients: list[Client]) -> None:
    publisher, worker, _ = clients
    publisher.publish("k", b"first")
    publisher.commit()
    first = worker.claim()[b"first"]
    publisher.publish("k", b"second")  # it sees the first message, which is out, and stays open
    worker.complete(first)
    worker.shift_us += 2 * MARKER_US
    assert worker.claim() == {}  # the marker, whose key is still held
    publisher.commit()
    worker.shift_us += 2 * MARKER_US
    assert worker.claim() == {}  # the marker, which hands over
    assert list(worker.claim()) == [b"second"]


def test_handing_over_without_the_keys_lock_strands_a_message(clients: list[Client]) -> None:
    publisher, worker, _ = clients
    publisher.publish("k", b"first")
    publisher.commit()
    name, *_ = worker.claim()[b"first"]
    publisher.publish("k", b"second")
    worker.run("complete and hand over", ids=[name], keys=["k"])
    worker.commit()
    publisher.commit()
    worker.shift_us += 10 * LEASE_US
    assert worker.claim() == {}


def test_a_publisher_with_an_old_snapshot_strands_nothing(clients: list[Client]) -> None:
    publisher, worker, other = clients
    other.publish("k", b"first")
    other.commit()
    publisher.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    publisher.run("lock keys", keys=["another key"])  # its snapshot is taken here, and shows the first message
    worker.complete(worker.claim()[b"first"])
    publisher.publish("k", b"second")
    publisher.commit()
    assert worker.claim() == {}  # the marker
    assert list(worker.claim()) == [b"second"]


def test_a_plain_publish_with_an_old_snapshot_strands_its_message(clients: list[Client]) -> None:
    publisher, worker, other = clients
    other.publish("k", b"first")
    other.commit()
    publisher.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    publisher.run("lock keys", keys=["another key"])
    worker.complete(worker.claim()[b"first"])
    publisher.run("lock keys", keys=["k"])
    publisher.insert(b"second", "k", is_new=True)
    publisher.commit()
    worker.shift_us += 10 * LEASE_US
    assert worker.claim() == {}


def test_a_worker_that_finishes_late_changes_nothing(clients: list[Client]) -> None:
    publisher, slow, quick = clients
    publish_two(publisher)
    stale = slow.claim()[b"first"]
    quick.shift_us += 2 * LEASE_US
    again = quick.claim()
    assert list(again) == [b"first"]
    slow.complete(stale)
    assert slow.claim() == {}
    quick.complete(again[b"first"])
    assert list(quick.claim()) == [b"second"]


def test_random_histories_keep_order_and_lose_nothing(clients: list[Client]) -> None:
    for seed in range(20):
        History(clients, random.Random(seed)).play()


class History:
    """Random publishers and workers on two keys; what was committed comes out in that order, each once."""

    def __init__(self, clients: list[Client], chance: random.Random) -> None:
        self.publishers, self.worker = clients[:2], clients[2]
        self.chance = chance
        self.open: dict[int, tuple[str, list[bytes]]] = {}
        self.committed: dict[str, list[bytes]] = {"k1": [], "k2": []}
        self.out: dict[str, Any] = {}
        self.finished: dict[str, list[bytes]] = {"k1": [], "k2": []}
        self.numbers = itertools.count()

    def play(self) -> None:
        for _ in range(40):
            self.chance.choice((self.publish, self.end, self.claim, self.complete))()
            self.worker.shift_us += self.chance.choice((0, 50_000, 150_000))
        while self.open:
            self.end()
        while self.finished != self.committed and self.worker.shift_us < 10 * LEASE_US:
            self.complete()
            self.claim()
            self.worker.shift_us += 150_000
        assert self.finished == self.committed

    def publish(self) -> None:
        index, key = self.chance.randrange(2), self.chance.choice(("k1", "k2"))
        held, payloads = self.open.get(index, (key, []))
        if any(other != index and key_of == held for other, (key_of, _) in self.open.items()):
            return  # it would wait for the other publisher
        payload = b"%d" % next(self.numbers)
        self.publishers[index].publish(held, payload)
        self.open[index] = held, [*payloads, payload]

    def end(self) -> None:
        if not self.open:
            return
        index = self.chance.choice(sorted(self.open))
        key, payloads = self.open.pop(index)
        if self.chance.random() < 0.3:
            self.publishers[index].connection.rollback()
        else:
            self.publishers[index].commit()
            self.committed[key] += payloads

    def claim(self) -> None:
        for payload, row in self.worker.claim().items():
            key = row[3]
            assert key not in self.out
            self.out[key] = payload, row

    def complete(self) -> None:
        for key, (payload, row) in list(self.out.items()):
            if self.chance.random() < 0.7:
                del self.out[key]
                self.worker.complete(row)
                self.finished[key].append(payload)
