"""The statements on messages in Postgres. `docs/design/queue-on-postgres.md` says why each is as it is."""

from __future__ import annotations

from sdpatterns.backends.sqlalchemy.engine.transactions import Statement
from sdpatterns.backends.sqlalchemy.messages.verbs import COUNTED_MAX
from sdpatterns.backends.sqlalchemy.postgres.dialect import NOW

__all__ = [
    "CLAIM", "COMPLETE", "DEPTH", "DISCARD", "EXTEND", "FINISH", "HOLD", "HOLD_PARKED", "HOLD_WAITING", "INSERT",
    "INSERT_WITH_KEYS", "KEEP", "KEYS_OF", "LOCK", "MARK", "MARKERS", "PARKED", "PROMOTE", "REQUEUE", "SWEEP",
    "TRY_LOCK",
]  # fmt: skip

# ruff: noqa: S608 - every statement here is put together from the constants of this file

_AT = f"at AS MATERIALIZED (SELECT {NOW} + :shift_us AS now_us)"
"""The time, asked for once in a statement."""

_HASH = "hashtextextended(:queue || chr(31) || {}, 0)"
_IS_NEW = "current_setting('transaction_isolation') IN ('read committed', 'read uncommitted')"
"""Whether each statement sees what was committed before it began. Otherwise only what was before the transaction."""

_IS_OUT = "m.is_leased AND m.state = 1 AND m.due_us > {}"
"""Whether a worker has it, and for how long."""


def _statement(sql: str, **types: str) -> Statement:
    shift = {"shift_us": "bigint"} if ":shift_us" in sql else {}
    return Statement(sql, queue="text", **types, **shift)


# ---- publish

_TIMES = "due_us, rank_us, order_us, fence, attempt, published_us"
_COLUMNS = f"queue, id, key, tenant, state, is_leased, {_TIMES}, payload, headers"
_GIVEN = {
    "ids": "text[]",
    "keys": "text[]",
    "tenants": "text[]",
    "delays": "bigint[]",
    "ranks": "bigint[]",
    "published": "bigint[]",
    "payloads": "bytea[]",
    "headers": "text[]",
}
_ROWS = f"""WITH {_AT}, w AS MATERIALIZED (
  SELECT * FROM unnest(:ids, :keys, :tenants, :delays, :ranks, :published, :payloads, :headers)
    WITH ORDINALITY AS w (id, key, tenant, delay_us, rank_us, published_us, payload, headers, place)
  WHERE NOT EXISTS (
    SELECT FROM sdp_parked p WHERE p.queue = :queue AND p.id = w.id AND p.expires_us > (SELECT now_us FROM at)){{}}
) INSERT INTO sdp_messages ({_COLUMNS})
SELECT :queue, w.id, w.key, w.tenant, {{}}, false,
  now_us + w.delay_us, w.rank_us, now_us + w.delay_us + w.rank_us, 0, 0,
  coalesce(nullif(w.published_us, 0), now_us), w.payload, w.headers
FROM w CROSS JOIN at ORDER BY w.place
ON CONFLICT (queue, id) DO NOTHING RETURNING id"""
_WHEN = "CASE WHEN w.delay_us > 0 THEN 1 ELSE 0 END"

INSERT = _statement(_ROWS.format("", _WHEN), **_GIVEN)

# Those that are there already are left out first: else the second of a key would stand behind one that is not added.
INSERT_WITH_KEYS = _statement(
    _ROWS.format(
        " AND NOT EXISTS (SELECT FROM sdp_messages m WHERE m.queue = :queue AND m.id = w.id)",
        "CASE WHEN w.key IS NOT NULL AND (:is_new = 0"
        " OR row_number() OVER (PARTITION BY w.key ORDER BY w.place) > 1"
        " OR EXISTS (SELECT FROM sdp_messages m WHERE m.queue = :queue AND m.key = w.key))"
        f" THEN 2 ELSE {_WHEN} END",
    ),
    **_GIVEN,
    is_new="bigint",
)

MARKERS = _statement(
    f"WITH {_AT} INSERT INTO sdp_messages ({_COLUMNS})"
    " SELECT :queue, w.id, w.key, '', 0, false, now_us, 0, now_us, 0, 0, now_us, NULL, NULL"
    " FROM unnest(:ids, :keys) AS w (id, key) CROSS JOIN at",
    ids="text[]",
    keys="text[]",
)

_HASHES = f"(SELECT DISTINCT {_HASH.format('w.key')} AS hash FROM unnest(:keys) AS w (key) ORDER BY 1) h"
# In order, because two that lock the same keys in two orders would wait for each other.
LOCK = _statement(f"SELECT {_IS_NEW}, pg_advisory_xact_lock(hash) FROM {_HASHES}", keys="text[]")
TRY_LOCK = _statement(f"SELECT {_IS_NEW}, pg_try_advisory_xact_lock(hash) FROM {_HASHES}", keys="text[]")

KEYS_OF = _statement(
    "SELECT key FROM sdp_messages WHERE queue = :queue AND id = ANY (:ids) AND key IS NOT NULL", ids="text[]"
)

# ---- claim

# `later` and `earlier` go from tenant to tenant, a look into the index for each: the loose index scan. Of each tenant
# as many messages are taken as fall to it. LIMIT at the end stops it all as soon as there are enough.
CLAIM = _statement(
    f"""WITH RECURSIVE {_AT}, later (tenant) AS (
  SELECT min(tenant) FROM sdp_messages WHERE queue = :queue AND state = 0 AND tenant > :after
  UNION ALL
  SELECT (SELECT min(m.tenant) FROM sdp_messages m WHERE m.queue = :queue AND m.state = 0 AND m.tenant > l.tenant)
  FROM later l WHERE l.tenant IS NOT NULL
), earlier (tenant) AS (
  SELECT min(tenant) FROM sdp_messages WHERE queue = :queue AND state = 0 AND tenant <= :after
  UNION ALL
  SELECT (SELECT min(m.tenant) FROM sdp_messages m
    WHERE m.queue = :queue AND m.state = 0 AND m.tenant > e.tenant AND m.tenant <= :after)
  FROM earlier e WHERE e.tenant IS NOT NULL
), tenants AS MATERIALIZED (
  SELECT tenant FROM later WHERE tenant IS NOT NULL UNION ALL SELECT tenant FROM earlier WHERE tenant IS NOT NULL
  LIMIT :n
), share AS MATERIALIZED (
  SELECT (:n + count(*) - 1) / greatest(count(*), 1) AS n FROM tenants
), taken AS (
  UPDATE sdp_messages m
  SET state = 1, is_leased = true, due_us = now_us + :lease_us,
    fence = greatest(m.fence + 1, now_us), attempt = m.attempt + 1
  FROM at
  WHERE m.queue = :queue AND m.id = ANY (ARRAY(
    SELECT f.id FROM tenants t CROSS JOIN LATERAL (
      SELECT id FROM sdp_messages
      WHERE queue = :queue AND tenant = t.tenant AND state = 0
      ORDER BY order_us, number LIMIT (SELECT n FROM share) FOR UPDATE SKIP LOCKED
    ) f LIMIT :n))
  RETURNING m.id, m.payload, m.headers, m.key, m.tenant, m.fence, m.attempt, m.published_us, m.due_us,
    m.order_us, m.number
)
SELECT taken.*, share.n, next.due_us - at.now_us
FROM at CROSS JOIN share CROSS JOIN (
  SELECT min(due_us) AS due_us FROM sdp_messages WHERE queue = :queue AND state = 1
) next LEFT JOIN taken ON true
ORDER BY order_us, number""",
    after="text",
    n="bigint",
    lease_us="bigint",
)

PROMOTE = _statement(
    f"WITH {_AT} UPDATE sdp_messages m SET state = 0, order_us = m.due_us + m.rank_us"
    " WHERE m.queue = :queue AND m.id = ANY (ARRAY(SELECT id FROM sdp_messages"
    " WHERE queue = :queue AND state = 1 AND due_us <= (SELECT now_us FROM at)"
    " ORDER BY due_us LIMIT :n FOR UPDATE SKIP LOCKED))",
    n="bigint",
)

_WANTED = "w AS MATERIALIZED (SELECT * FROM unnest(:ids, :fences) AS w (id, fence))"
# One look by the primary key for each claim, whatever the statistics say: OFFSET 0 keeps the planner from making a join
# of it. The message is found by id and fence alone, because a condition on its state would invite another index.
_FOUND = """mine AS MATERIALIZED (
  SELECT f.id FROM w CROSS JOIN LATERAL (
    SELECT m.id FROM sdp_messages m
    WHERE m.queue = :queue AND m.id = w.id AND m.fence = w.fence AND m.is_leased OFFSET 0
  ) f
)"""
# The fence again, because another worker may claim the message between the look and the write.
_MINE = (
    "m.queue = :queue AND m.id = ANY (ARRAY(SELECT id FROM mine)) AND m.fence = ANY (ARRAY(SELECT fence FROM w))"
    " AND m.is_leased"
)
_CLAIMS = {"ids": "text[]", "fences": "bigint[]"}

EXTEND = _statement(
    f"WITH {_AT}, {_WANTED}, {_FOUND}"
    " UPDATE sdp_messages m SET state = 1, due_us = now_us + :lease_us FROM at"
    f" WHERE {_MINE} RETURNING m.id, m.fence",
    **_CLAIMS,
    lease_us="bigint",
)

# ---- settle

COMPLETE = _statement(
    f"WITH {_WANTED}, {_FOUND} DELETE FROM sdp_messages m WHERE {_MINE} RETURNING m.id, m.fence", **_CLAIMS
)

REQUEUE = _statement(
    f"WITH {_AT}, w AS MATERIALIZED (SELECT * FROM unnest(:ids, :fences, :afters, :uncounted, :payloads, :headers)"
    f" AS w (id, fence, after_us, uncounted, payload, headers)), {_FOUND}"
    " UPDATE sdp_messages m SET state = CASE WHEN w.after_us > 0 THEN 1 ELSE 0 END, is_leased = false,"
    " due_us = now_us + w.after_us, order_us = now_us + w.after_us + m.rank_us, attempt = m.attempt - w.uncounted,"
    " payload = coalesce(w.payload, m.payload), headers = coalesce(w.headers, m.headers)"
    f" FROM w CROSS JOIN at WHERE {_MINE} AND w.id = m.id AND w.fence = m.fence RETURNING m.id, m.fence",
    **_CLAIMS,
    afters="bigint[]",
    uncounted="bigint[]",
    payloads="bytea[]",
    headers="text[]",
)

# ---- what hands over to the next message of a key

_TRIED = f"m.key IS NULL OR (pg_try_advisory_xact_lock({_HASH.format('m.key')}) AND {_IS_NEW})"

# In order, because two that lock the same rows in two orders would wait for each other.
HOLD = _statement(
    f"SELECT m.id, m.key, {_TRIED}, m.fence"
    " FROM (SELECT * FROM unnest(:ids, :fences) AS w (id, fence) ORDER BY id) w CROSS JOIN LATERAL ("
    "SELECT m.id, m.key, m.fence FROM sdp_messages m"
    " WHERE m.queue = :queue AND m.id = w.id AND m.fence = w.fence AND m.is_leased FOR UPDATE) m",
    **_CLAIMS,
)

HOLD_WAITING = _statement(
    f"SELECT m.id, m.key, {_TRIED} FROM sdp_messages m WHERE m.queue = :queue AND m.id = ANY (:ids)"
    f" AND NOT ({_IS_OUT.format(f'{NOW} + :shift_us')}) ORDER BY m.id FOR UPDATE",
    ids="text[]",
)

FINISH = _statement(
    f"""WITH {_AT}, done AS (
  DELETE FROM sdp_messages WHERE queue = :queue AND id = ANY (:ids)
), first AS MATERIALIZED (
  SELECT f.id FROM (SELECT DISTINCT w.key FROM unnest(:keys) AS w (key)) k CROSS JOIN LATERAL (
    SELECT id, state FROM sdp_messages
    WHERE queue = :queue AND key = k.key AND payload IS NOT NULL AND id <> ALL (ARRAY(SELECT unnest(:ids)))
    ORDER BY number LIMIT 1
  ) f WHERE f.state = 2
)
UPDATE sdp_messages m
SET state = CASE WHEN m.due_us > at.now_us THEN 1 ELSE 0 END, order_us = m.due_us + m.rank_us
FROM first CROSS JOIN at WHERE m.queue = :queue AND m.id = first.id RETURNING m.id""",
    ids="text[]",
    keys="text[]",
)

# Not a name that a caller could give: among those a backslash always stands before another one or a 0.
MARK = _statement(
    f"WITH {_AT} UPDATE sdp_messages m SET id = CASE WHEN m.payload IS NULL THEN m.id ELSE '\\m' || m.number END,"
    " payload = NULL, headers = NULL, state = 1, is_leased = false, fence = m.fence + 1, due_us = now_us + :wait_us"
    " FROM at WHERE m.queue = :queue AND m.id = ANY (:ids)",
    ids="text[]",
    wait_us="bigint",
)

# ---- dead letters

KEEP = _statement(
    f"WITH {_AT} INSERT INTO sdp_parked (queue, id, key, tenant, rank_us, attempt, published_us, parked_us, expires_us,"
    " reason, payload, headers)"
    " SELECT m.queue, m.id, m.key, m.tenant, m.rank_us, m.attempt, m.published_us, now_us, now_us + w.keep_us,"
    " w.reason, m.payload, m.headers"
    " FROM unnest(:ids, :reasons, :keeps) WITH ORDINALITY AS w (id, reason, keep_us, place) CROSS JOIN at"
    " JOIN sdp_messages m ON m.queue = :queue AND m.id = w.id ORDER BY w.place"
    " ON CONFLICT (queue, id) DO UPDATE SET key = excluded.key, tenant = excluded.tenant, rank_us = excluded.rank_us,"
    " attempt = excluded.attempt, published_us = excluded.published_us, parked_us = excluded.parked_us,"
    " expires_us = excluded.expires_us, reason = excluded.reason, payload = excluded.payload,"
    " headers = excluded.headers",
    ids="text[]",
    reasons="text[]",
    keeps="bigint[]",
)

_IS_KEPT = f"queue = :queue AND expires_us > {NOW} + :shift_us"

PARKED = _statement(
    "SELECT position, id, payload, headers, key, tenant, attempt, reason, published_us, parked_us FROM sdp_parked"
    f" WHERE {_IS_KEPT} AND position > :after ORDER BY position LIMIT :n",
    after="bigint",
    n="bigint",
)

HOLD_PARKED = _statement(
    "SELECT id, key, tenant, rank_us, published_us, payload, headers FROM sdp_parked"
    f" WHERE {_IS_KEPT} AND id = ANY (:ids) ORDER BY id FOR UPDATE",
    ids="text[]",
)

DISCARD = _statement(
    f"DELETE FROM sdp_parked WHERE queue = :queue AND id = ANY (:ids) RETURNING id, expires_us > {NOW} + :shift_us",
    ids="text[]",
)

SWEEP = _statement(
    "WITH gone AS (DELETE FROM sdp_parked WHERE position = ANY (ARRAY(SELECT position FROM sdp_parked"
    f" WHERE queue = :queue AND expires_us <= {NOW} + :shift_us ORDER BY expires_us LIMIT :n FOR UPDATE SKIP LOCKED))"
    " RETURNING 1) SELECT count(*) FROM gone",
    n="bigint",
)

# Each part reads a bounded piece of one index. A part for all states would have to read all rows of the queue.
DEPTH = _statement(
    f"""WITH {_AT}, ready AS (
  SELECT due_us FROM sdp_messages WHERE queue = :queue AND state = 0
  ORDER BY tenant, order_us, number LIMIT {COUNTED_MAX}
), later AS (
  SELECT due_us, is_leased, payload IS NOT NULL AS is_message FROM sdp_messages WHERE queue = :queue AND state = 1
  ORDER BY due_us LIMIT {COUNTED_MAX}
), keyed AS (
  SELECT state FROM sdp_messages WHERE queue = :queue AND key IS NOT NULL ORDER BY key, number LIMIT {COUNTED_MAX}
), kept AS (
  SELECT 1 FROM sdp_parked WHERE {_IS_KEPT} LIMIT {COUNTED_MAX}
), m AS (
  SELECT due_us, false AS is_leased, true AS is_message FROM ready UNION ALL SELECT * FROM later
)
SELECT count(*) FILTER (WHERE is_message AND due_us <= now_us),
  count(*) FILTER (WHERE is_message AND due_us > now_us AND NOT is_leased)
    + (SELECT count(*) FROM keyed WHERE state = 2),
  count(*) FILTER (WHERE is_message AND due_us > now_us AND is_leased),
  (SELECT count(*) FROM kept),
  coalesce(max(now_us) - min(due_us) FILTER (WHERE is_message AND due_us <= now_us), 0),
  greatest((SELECT count(*) FROM ready), (SELECT count(*) FROM later), (SELECT count(*) FROM keyed),
    (SELECT count(*) FROM kept)) >= {COUNTED_MAX}
FROM m CROSS JOIN at"""
)
