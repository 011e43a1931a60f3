"""The statements on events in Postgres. `docs/design/log-on-postgres.md` says why each is as it is."""

from __future__ import annotations

from sdpatterns.backends.sqlalchemy.engine.transactions import Statement
from sdpatterns.backends.sqlalchemy.postgres.dialect import NOW

__all__ = ["APPEND", "BACKWARDS", "DROP", "DROP_OF", "FORWARD", "MARK", "MARK_OF", "PAGE", "THERE", "TRY_APPEND"]

# ruff: noqa: S608 - every statement here is put together from the constants of this file


def _statement(sql: str, **types: str) -> Statement:
    shift = {"shift_us": "bigint"} if ":shift_us" in sql else {}
    return Statement(sql, log="text", **types, **shift)


_LAST = """last AS MATERIALIZED (
  SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS position FROM sdp_events_position_seq
)"""
"""The last position that was given out."""

_CLASS = "hashtext('sdp_events' || chr(31) || :log)"
_32_BITS = "4294967295"

# ---- append

_GIVEN = {
    "streams": "text[]",
    "expected": "bigint[]",
    "counts": "bigint[]",
    "places": "bigint[]",
    "numbers": "bigint[]",
    "ids": "text[]",
    "types": "text[]",
    "datas": "bytea[]",
    "metadatas": "text[]",
}

# The order in it matters: the last position is read, then a lock says so to the readers, then positions are drawn,
# which are therefore larger. The sort below the last INSERT sees to it that both locks are held by then.
_APPEND = f"""WITH at AS MATERIALIZED (SELECT {NOW} + :shift_us AS now_us), {_LAST},
open AS MATERIALIZED (
  SELECT pg_advisory_xact_lock_shared({_CLASS},
    CAST(((position + 2147483648) & {_32_BITS}) - 2147483648 AS integer)) FROM last
), w AS MATERIALIZED (
  SELECT w.*, EXISTS (SELECT FROM sdp_streams s WHERE s.log = :log AND s.stream = w.stream) AS is_there
  FROM unnest(:streams, :expected, :counts) WITH ORDINALITY AS w (stream, expected, n, place)
), locked AS MATERIALIZED (
  SELECT s.stream FROM sdp_streams s WHERE s.log = :log AND s.stream = ANY (ARRAY(SELECT stream FROM w))
  ORDER BY s.stream FOR UPDATE{{}}
), moved AS (
  INSERT INTO sdp_streams AS s (log, stream, version)
  SELECT :log, w.stream, w.n FROM w
  WHERE CASE WHEN w.is_there THEN w.stream IN (SELECT stream FROM locked) ELSE w.expected <= 0 END
  ORDER BY w.stream
  ON CONFLICT (log, stream) DO UPDATE SET version = s.version + excluded.version
  WHERE (SELECT w.expected FROM w WHERE w.stream = s.stream) IN (-1, s.version)
  RETURNING s.stream, s.version
), added AS (
  INSERT INTO sdp_events (log, stream, version, id, type, recorded_us, data, metadata)
  SELECT :log, w.stream, m.version - w.n + e.number, e.id, e.type, now_us, e.data, e.metadata
  FROM unnest(:places, :numbers, :ids, :types, :datas, :metadatas)
    AS e (place, number, id, type, data, metadata)
  JOIN w ON w.place = e.place JOIN moved m ON m.stream = w.stream CROSS JOIN at CROSS JOIN open
  ORDER BY e.place, e.number
  RETURNING stream, position
)
SELECT m.version, a.position, w.is_there AND w.stream NOT IN (SELECT stream FROM locked)
FROM w LEFT JOIN moved m ON m.stream = w.stream
LEFT JOIN (SELECT stream, max(position) AS position FROM added GROUP BY stream) a ON a.stream = w.stream
ORDER BY w.place"""

TRY_APPEND = _statement(_APPEND.format(" SKIP LOCKED"), **_GIVEN)
APPEND = _statement(_APPEND.format(""), **_GIVEN)

THERE = _statement(
    """SELECT coalesce(s.version, 0), ARRAY(
  SELECT e.id FROM sdp_events e WHERE e.log = :log AND e.stream = w.stream
    AND e.version > w.expected AND e.version <= w.expected + w.n ORDER BY e.version
), (SELECT e.position FROM sdp_events e WHERE e.log = :log AND e.stream = w.stream AND e.version = w.expected + w.n)
FROM unnest(:streams, :expected, :counts) WITH ORDINALITY AS w (stream, expected, n, place)
LEFT JOIN sdp_streams s ON s.log = :log AND s.stream = w.stream ORDER BY w.place""",
    streams="text[]",
    expected="bigint[]",
    counts="bigint[]",
)

# ---- read

_COLUMNS = "e.version, e.position, e.id, e.type, e.data, e.metadata, e.recorded_us"
_READ = f"""SELECT s.version, {_COLUMNS} FROM sdp_streams s LEFT JOIN LATERAL (
  SELECT * FROM sdp_events e WHERE e.log = :log AND e.stream = :stream AND e.version {{}} LIMIT :n
) e ON true WHERE s.log = :log AND s.stream = :stream ORDER BY e.version{{}}"""
_WANTED = {"stream": "text", "after": "bigint", "n": "bigint"}

FORWARD = _statement(_READ.format("> :after ORDER BY e.version", ""), **_WANTED)
BACKWARDS = _statement(_READ.format("< :after ORDER BY e.version DESC", " DESC"), **_WANTED)

# The last position first, and then the locks, for each of which the position is a parameter.
_OPEN = f"""open AS MATERIALIZED (
  SELECT last.position AS head, coalesce(o.low, last.position) AS safe, o.pids FROM last CROSS JOIN LATERAL (
    SELECT min(last.position - ((last.position - CAST(k.objid AS bigint)) & {_32_BITS})) AS low,
      array_agg(k.pid) AS pids
    FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.objsubid = 2
      AND k.classid = CAST(CAST({_CLASS} AS bigint) & {_32_BITS} AS oid)
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  ) o
)"""

PAGE = _statement(
    f"""WITH {_LAST}, {_OPEN}
SELECT open.safe, open.head, coalesce(g.trimmed, 0), coalesce(g.thinned, 0),
  CASE WHEN open.safe < open.head THEN coalesce((
    SELECT CAST(extract(epoch FROM clock_timestamp() - min(a.xact_start)) * 1000000 AS bigint)
    FROM pg_stat_activity a WHERE a.pid = ANY (open.pids)), 0) END,
  {_COLUMNS}, e.stream
FROM open LEFT JOIN sdp_logs g ON g.log = :log LEFT JOIN LATERAL (
  SELECT * FROM sdp_events e WHERE e.log = :log AND e.position > :after AND e.position <= :upto
  ORDER BY e.position LIMIT :n
) e ON true ORDER BY e.position""",
    after="bigint",
    upto="bigint",
    n="bigint",
)

# ---- trim

_KEEP_MARK = """ ON CONFLICT (log) DO UPDATE
SET trimmed = greatest(g.trimmed, excluded.trimmed), thinned = greatest(g.thinned, excluded.thinned)"""

MARK = _statement(
    f"""WITH {_LAST}, {_OPEN}, cut AS MATERIALIZED (SELECT least(:upto, safe) AS upto FROM open), marked AS (
  INSERT INTO sdp_logs AS g (log, position, trimmed, thinned) SELECT :log, 0, greatest(cut.upto, 0), 0 FROM cut
  {_KEEP_MARK}
) SELECT upto FROM cut""",
    upto="bigint",
)

MARK_OF = _statement(
    f"""WITH cut AS MATERIALIZED (
  SELECT max(version) AS upto, max(position) AS position FROM sdp_events
  WHERE log = :log AND stream = :stream AND version <= :upto
), marked AS (
  INSERT INTO sdp_logs AS g (log, position, trimmed, thinned)
  SELECT :log, 0, 0, cut.position FROM cut WHERE cut.position IS NOT NULL{_KEEP_MARK}
) SELECT coalesce(upto, 0) FROM cut""",
    stream="text",
    upto="bigint",
)

_GONE = """WITH gone AS (DELETE FROM sdp_events WHERE log = :log AND position = ANY (ARRAY(
  SELECT position FROM sdp_events WHERE log = :log AND {0} <= :upto ORDER BY {1} LIMIT :n FOR UPDATE SKIP LOCKED
)) RETURNING 1) SELECT count(*) FROM gone"""

DROP = _statement(_GONE.format("position", "position"), upto="bigint", n="bigint")
DROP_OF = _statement(_GONE.format("stream = :stream AND version", "version"), stream="text", upto="bigint", n="bigint")
