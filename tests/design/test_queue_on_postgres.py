"""The statements of `docs/design/queue-on-postgres.md`, run as they stand there, and the rejected ones."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "design" / "queue-on-postgres.md"
STATEMENTS = dict(re.findall(r"```sql\n-- ([^\n]+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
NOW, LEASE_US = 1_000_000, 30_000_000

_NUMBERS = itertools.count()


class Client:
    """A connection, and the statements of the page by name."""

    def __init__(self, url: str, schema: str) -> None:
        self.connection = psycopg.connect(url, options=f"-c search_path={schema} -c lock_timeout=300ms")
        self.now = NOW

    def run(self, name: str, **words: Any) -> list[Any]:
        text = re.sub(r":(\w+)", r"%(\1)s", STATEMENTS[name])
        given = {"queue": "mail", "now": self.now, "lease_us": LEASE_US, "n": 10, **words}
        cursor = self.connection.execute(cast("LiteralString", text), given)
        return cursor.fetchall() if cursor.description else []

    def commit(self) -> None:
        self.connection.commit()

    def publish(self, key: str, payload: bytes) -> None:
        """Publish with a key, in the transaction that is open."""
        self.run("lock a key", key=key)
        self.run("publish with a key", key=key, payload=payload)

    def claim(self, how: str = "claim") -> dict[bytes, Any]:
        """What a claim takes, by payload. Markers are settled, as a worker does."""
        rows = self.run(how)
        self.commit()
        for row in [row for row in rows if row[4] is None]:
            self.complete(row)
        return {bytes(row[4]): row for row in rows if row[4] is not None}

    def complete(self, claimed: Any) -> None:
        """Complete a message with a key: hand over, or leave a marker where a publisher holds the key."""
        number, key, fence, _, _ = claimed
        [(is_locked,)] = self.run("try to lock a key", key=key)
        how = "complete and hand over" if is_locked else "complete and leave a marker"
        self.run(how, id=number, key=key, fence=fence)
        self.commit()


@pytest.fixture
def clients(postgres_url: str) -> Iterator[list[Client]]:
    schema = f"queue_design_{next(_NUMBERS)}"
    with psycopg.connect(postgres_url, autocommit=True) as setup:
        setup.execute(cast("LiteralString", f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        setup.execute(cast("LiteralString", f"CREATE SCHEMA {schema}"))
        setup.execute(cast("LiteralString", f"SET search_path = {schema}"))
        setup.execute(cast("LiteralString", STATEMENTS["table"]))
        setup.execute("CREATE TABLE tenants_with_work (queue text, tenant text, PRIMARY KEY (queue, tenant))")
    made = [Client(postgres_url, schema) for _ in range(3)]
    yield made
    for client in made:
        client.connection.close()


def test_two_transactions_that_publish_without_a_key_do_not_wait(clients: list[Client]) -> None:
    one, two, _ = clients
    one.run("publish", payload=b"a")
    two.run("publish", payload=b"b")
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
    one.run("rejected: publish keeps a row per tenant", tenant="t")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        two.run("rejected: publish keeps a row per tenant", tenant="t")


def publish_two(client: Client) -> None:
    for payload in (b"first", b"second"):
        client.publish("k", payload)
    client.commit()


def claim_at_once(how: str, one: Client, two: Client) -> list[bytes]:
    """What two workers get that claim one message each while neither has committed."""
    got = [bytes(row[4]) for worker in (one, two) for row in worker.run(how, n=1)]
    one.commit()
    two.commit()
    return got


def test_skipping_locked_rows_alone_gives_two_workers_one_key(clients: list[Client]) -> None:
    publish_two(clients[0])
    assert claim_at_once("rejected: claim the earliest messages", *clients[1:]) == [b"first", b"second"]


def test_two_workers_at_once_get_one_message_of_a_key(clients: list[Client]) -> None:
    publish_two(clients[0])
    assert claim_at_once("claim", *clients[1:]) == [b"first"]


def test_a_key_offers_nothing_while_its_first_message_is_out(clients: list[Client]) -> None:
    publisher, one, two = clients
    publish_two(publisher)
    first = one.claim()[b"first"]
    assert two.claim() == {}
    one.complete(first)
    assert list(two.claim()) == [b"second"]


def test_without_the_keys_lock_a_later_commit_with_a_smaller_number_comes_second(clients: list[Client]) -> None:
    early, late, worker = clients
    # As `publish with a key`, but without the lock; `early` takes its number first and commits last.
    early.run("publish with a key", key="k", payload=b"smaller number")
    late.run("publish with a key", key="k", payload=b"larger number")
    late.commit()
    how = "rejected: claim the earliest message of each key"
    assert list(worker.claim(how)) == [b"larger number"]
    early.commit()
    assert list(worker.claim(how)) == [b"smaller number"]  # while the other is still out


def test_two_transactions_that_publish_to_one_key_wait_for_each_other(clients: list[Client]) -> None:
    early, late, worker = clients
    early.publish("k", b"first")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        late.run("lock a key", key="k")
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
    worker.now += 200_000
    assert worker.claim() == {}  # the marker, whose key is still held
    publisher.commit()
    worker.now += 200_000
    assert worker.claim() == {}  # the marker, which hands over
    assert list(worker.claim()) == [b"second"]


def test_handing_over_without_the_keys_lock_strands_a_message(clients: list[Client]) -> None:
    publisher, worker, _ = clients
    publisher.publish("k", b"first")
    publisher.commit()
    number, key, fence, _, _ = worker.claim()[b"first"]
    publisher.publish("k", b"second")
    worker.run("complete and hand over", id=number, key=key, fence=fence)
    worker.commit()
    publisher.commit()
    worker.now += 10 * LEASE_US
    assert worker.claim() == {}


def test_a_publisher_with_an_old_snapshot_strands_nothing(clients: list[Client]) -> None:
    publisher, worker, other = clients
    other.publish("k", b"first")
    other.commit()
    publisher.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    publisher.run("lock a key", key="another key")  # its snapshot is taken here, and shows the first message
    worker.complete(worker.claim()[b"first"])
    publisher.run("lock a key", key="k")
    publisher.run("publish with a key from an old snapshot", key="k", payload=b"second")
    publisher.commit()
    assert worker.claim() == {}  # the marker
    assert list(worker.claim()) == [b"second"]


def test_a_plain_publish_with_an_old_snapshot_strands_its_message(clients: list[Client]) -> None:
    publisher, worker, other = clients
    other.publish("k", b"first")
    other.commit()
    publisher.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    publisher.run("lock a key", key="another key")
    worker.complete(worker.claim()[b"first"])
    publisher.publish("k", b"second")
    publisher.commit()
    worker.now += 10 * LEASE_US
    assert worker.claim() == {}


def test_a_worker_that_finishes_late_changes_nothing(clients: list[Client]) -> None:
    publisher, slow, quick = clients
    publish_two(publisher)
    stale = slow.claim()[b"first"]
    quick.now += 2 * LEASE_US
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
            self.worker.now += self.chance.choice((0, 50_000, 150_000))
        while self.open:
            self.end()
        for _ in range(200):
            self.complete()
            self.claim()
            self.worker.now += 150_000
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
            key = row[1]
            assert key not in self.out
            self.out[key] = payload, row

    def complete(self) -> None:
        for key, (payload, row) in list(self.out.items()):
            if self.chance.random() < 0.7:
                del self.out[key]
                self.worker.complete(row)
                self.finished[key].append(payload)
