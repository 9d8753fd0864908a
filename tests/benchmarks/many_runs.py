"""Fill an index with many runs by SQL alone: skewed, as those of a company are.

A few tasks, tenants and tags have most runs, and many have few. Workers come and go. Some values
occur only among the oldest runs, so that whoever looks for them from the newest on has far to go.
"""

import sqlite3
from pathlib import Path

BEGUN = 1_750_000_000_000
"""When the first run is made, milliseconds since the epoch."""

APART = 100
"""Milliseconds between two runs."""

TASKS, TENANTS, WORKERS = 200, 10_000, 40
RUNS_OF_WORKERS = 100_000  # after which others take over
_CHUNK = 500_000


def fill(file: Path, runs: int) -> None:
    """Write rows as the index does, in order of time.

    Args:
        file: An index that has tables and no runs.
        runs: How many.
    """
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000", "temp_store=2"):
        connection.execute(f"PRAGMA {pragma}")
    # One that is made at the end is sorted once; one that is there takes each row by itself.
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    for start in range(0, runs, _CHUNK):
        connection.execute("BEGIN")
        connection.execute("DROP TABLE IF EXISTS temp.made")
        count = min(_CHUNK, runs - start)
        of_it = {"first": start, "last": start + count - 1, "runs": runs}
        connection.execute(_MADE, of_it)
        for statement in _WRITTEN:
            connection.execute(statement)
        connection.execute("COMMIT")
    for _, sql in indexes:
        connection.execute(sql)
    for statement in _COUNTED:
        connection.execute(statement)
    connection.execute("DROP TABLE temp.made")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def run_id(number: int) -> str:
    """Return the id of a run, counted from 0 for the oldest."""
    millis = BEGUN + number * APART
    return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7000-8000-0123456789ab"


def instant(number: int) -> float:
    """Return when a run was made, seconds since the epoch."""
    return (BEGUN + number * APART) / 1000


def _chance(factor: int) -> str:
    """Return SQL for a number from 0 to 1 that looks like chance."""
    return f"((i * {factor} % 4294967296) / 4294967296.0)"


# Powers of what is even make it skewed: of 200 tasks, the first has a sixth of all runs.
_MADE = f"""
CREATE TEMP TABLE made AS
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last),
drawn AS (
  SELECT i, {_chance(2654435761)} AS a, {_chance(2246822519)} AS b, {_chance(3266489917)} AS c,
         {_chance(668265263)} AS d, {_chance(374761393)} AS e FROM n
), chosen AS (
  SELECT *, ({BEGUN} + i * {APART}) AS millis, CAST({TASKS} * a * a * a AS INT) AS task,
    CAST({TENANTS} * b * b * b AS INT) AS tenant,
    CASE WHEN i > :runs - 2000 AND c < 0.5 THEN 'Running'
         WHEN i > :runs - 20000 AND c < 0.6 THEN 'Scheduled'
         WHEN c < 0.945 THEN 'Completed' WHEN c < 0.97 THEN 'Failed' WHEN c < 0.98 THEN 'Cached'
         WHEN c < 0.99 THEN 'Cancelled' WHEN c < 0.993 THEN 'Crashed' WHEN c < 0.996 THEN 'TimedOut'
         WHEN c < 0.9995 THEN 'AwaitingRetry' WHEN i < :runs / 20 THEN 'NotReady'
         ELSE 'Expired' END AS state
  FROM drawn
)
SELECT i, a, b, d, e, task, tenant, state, millis / 1000.0 AS created,
  state NOT IN ('Running', 'Scheduled', 'AwaitingRetry') AS is_over,
  printf('%08x-%04x-7000-8000-0123456789ab', millis >> 16, millis & 65535) AS run_id,
  CASE WHEN d < 0.1 THEN printf('%08x-%04x-7000-8000-0123456789ab',
         (millis - (i % 10 + 1) * {APART}) >> 16, (millis - (i % 10 + 1) * {APART}) & 65535)
       WHEN d < 0.11 THEN printf('%08x-%04x-7000-8000-0123456789ab', {BEGUN} >> 16, {BEGUN} & 65535)
       ELSE '' END AS parent,
  CASE WHEN state = 'Failed' THEN
         CASE WHEN i < :runs / 100 AND e < 0.01 THEN 'OldError'
              WHEN e < 0.00001 THEN 'RareError'
              ELSE 'Error' || CAST(12 * e * e AS INT) END
       WHEN state IN ('Crashed', 'TimedOut', 'NotReady', 'Expired') THEN state ELSE '' END AS error,
  0.01 + 100 * e * e * e * e * e * e * e * e AS took,
  CASE WHEN d > 0.98 THEN 2 + (d > 0.998) + (d > 0.9998) + (d > 0.99998) ELSE 1 END AS attempt,
  'host-' || (i / {RUNS_OF_WORKERS}) || '-' || CAST({WORKERS} * d AS INT) AS worker,
  CASE WHEN e < 0.4 THEN 'eu' WHEN e < 0.6 THEN 'us' WHEN e < 0.61 THEN 'vip'
       WHEN e < 0.6102 THEN 'rare' WHEN e < 0.7 AND i < :runs / 50 THEN 'old'
       WHEN e > 0.9 THEN 'release-' || (i / 50000) ELSE '' END AS tag,
  CASE WHEN i = 4711 THEN 'the first needle' WHEN i % 1000000 = 4711 THEN 'a needle of millions'
       WHEN d < 0.01 THEN 'urgent: somebody waits' ELSE 'what somebody wrote about it' END AS note
FROM chosen
"""

_WRITTEN = (
    """INSERT INTO task_run (run_id, task, task_name, run_name, queue, state, at, until, created,
       started, ended, took, attempt, worker, parent, version, tags, detail, error, arguments,
       states)
       SELECT run_id, 'task' || task || '-0123456789ab', 'task' || task, '', 'queue' || (task % 10),
       state, created + 1, NULL, created, iif(state = 'Scheduled', NULL, created + 0.5),
       iif(is_over, created + 0.5 + took, NULL), iif(is_over, took, NULL), attempt,
       iif(state = 'Scheduled', '', worker), parent, '', iif(tag = '', '', '["' || tag || '"]'),
       iif(error = '', '', error || ': no room left'), error, '{"tenant":' || tenant ||
       ',"order":{"id":' || i || ',"size":' || (i % 7) || '},"note":"' || note || '"}', 4
       FROM made ORDER BY run_id""",
    """INSERT INTO task_run_state (run_id, number, state, at, until, attempt, worker, detail)
       SELECT run_id, number, iif(number = 4, state, name), created + number / 10.0, NULL, 1,
       iif(number = 1, '', worker), '' FROM made, (SELECT 1 AS number, 'Scheduled' AS name
       UNION ALL SELECT 2, 'Pending' UNION ALL SELECT 3, 'Running' UNION ALL SELECT 4, '')
       ORDER BY run_id, number""",
    "INSERT INTO task_run_tag (run_id, tag) SELECT run_id, tag FROM made WHERE tag <> '' "
    "ORDER BY run_id",
    """INSERT INTO task_run_argument (run_id, path, value, number)
       SELECT run_id, path, value, number FROM (
       SELECT run_id, 'tenant' AS path, CAST(tenant AS TEXT) AS value, tenant AS number FROM made
       UNION ALL SELECT run_id, 'note', note, NULL FROM made
       UNION ALL SELECT run_id, 'order.id', CAST(i AS TEXT), i FROM made
       UNION ALL SELECT run_id, 'order.size', CAST(i % 7 AS TEXT), i % 7 FROM made)
       ORDER BY run_id, path""",
)

_COUNTED = (
    "INSERT INTO task_run_count (task, queue, state, runs) "
    "SELECT task, queue, state, count(*) FROM task_run GROUP BY 1, 2, 3",
    """INSERT INTO task_run_minute (minute, task, queue, state, error, step, runs)
       SELECT CAST(ended / 60 AS INT), task, queue, state, error,
       iif(took <= 0.001, 0, CAST(ceil(ln(took / 0.001) / ln(1.25)) AS INT)), count(*)
       FROM task_run WHERE ended IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6""",
)
