"""How many bytes the index takes: those in use, without what is free for rows to come."""

from sqlalchemy import Connection, bindparam, text

from jtask_index.schema import metadata

_SQLITE = text(
    "SELECT (pages.page_count - free.freelist_count) * size.page_size"
    " FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size"
)

# Files of PostgreSQL do not shrink, and do not say how much in them is free: rows times the mean
# width of each column, which it knows from its own `ANALYZE`. 28 bytes come with each row, 16 with
# each entry of an index, whose pages are filled to some 70 percent. Long values lie elsewhere.
# Its numbers of rows are of some time ago: only how many there are for a run is taken from them.
_POSTGRESQL = text(
    """
    SELECT coalesce(sum(live * (overhead + width) / filled + elsewhere), 0)::bigint FROM (
        SELECT
            :runs * s.n_live_tup::float / nullif(counted.n_live_tup, 0) * CASE
                WHEN r.reltuples >= 0 AND t.reltuples > 0 THEN least(1, r.reltuples / t.reltuples)
                ELSE 1
            END AS live,
            CASE r.relkind WHEN 'i' THEN 16 ELSE 28 END AS overhead,
            CASE r.relkind WHEN 'i' THEN 0.7 ELSE 1.0 END AS filled,
            CASE WHEN r.reltoastrelid = 0 THEN 0
                ELSE pg_total_relation_size(r.reltoastrelid) END AS elsewhere,
            (
                SELECT coalesce(sum(p.avg_width), 0)
                FROM pg_attribute a JOIN pg_stats p ON p.attname = a.attname
                WHERE a.attrelid = r.oid AND p.tablename = t.relname
                    AND p.schemaname = current_schema()
            ) AS width
        FROM pg_class r
            LEFT JOIN pg_index i ON i.indexrelid = r.oid
            JOIN pg_class t ON t.oid = coalesce(i.indrelid, r.oid)
            JOIN pg_stat_user_tables s ON s.relid = t.oid
            JOIN pg_stat_user_tables counted
                ON counted.relname = 'task_run' AND counted.schemaname = s.schemaname
        WHERE r.relkind IN ('r', 'i') AND t.relname IN :tables
            AND s.schemaname = current_schema()
    ) AS relations
    """
).bindparams(bindparam("tables", expanding=True))


def used_bytes(connection: Connection, runs: int) -> int:
    """Return how many bytes tables and indexes take; in PostgreSQL about so many.

    Args:
        connection: To the database.
        runs: How many there are.
    """
    if connection.dialect.name == "sqlite":
        return int(connection.scalar(_SQLITE) or 0)
    return int(connection.scalar(_POSTGRESQL, {"tables": list(metadata.tables), "runs": runs}) or 0)
