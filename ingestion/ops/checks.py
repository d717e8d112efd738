"""Check results and the bronze objects that still need validation in the ``ops`` schema."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg2.extras import Json

from ingestion.database.connections import Connection, execute, fetch, write_rows
from ingestion.datasets import DAY_FILE, MONTH_FILE, Dataset, keys_of_newest_days
from ingestion.ops.runs import as_json

# The regular expression of the keys of merged objects.
MERGED = f"/({DAY_FILE}|{MONTH_FILE})$".replace(".", r"\.")


def unvalidated_objects(connection: Connection, validator: str, dataset: Dataset, run_id: str) -> list[tuple[str, str]]:
    """Return key and batch of each object that this run loaded, or an ended run without validation by ``validator``.

    A run that is killed after its load, or whose models fail, leaves its objects to the next run; objects of another
    running run are left to that run. In order of the keys.
    """
    return fetch(
        connection,
        """
        select l.object_key, l.batch_id
        from ops.load_ledger as l
        left join ops.runs as r on r.run_id = l.batch_id
        left join ops.judged_batches as j on j.judge = %(validator)s and j.batch_id = l.batch_id
        where
            l.dataset = %(dataset)s
            -- the objects of a merged one have rows of their own
            and l.object_key !~ %(merged)s
            and (l.batch_id = %(run)s or (j.batch_id is null and r.status is distinct from 'running'))
        order by l.object_key
        """,
        {"validator": validator, "dataset": dataset.name, "run": run_id, "merged": MERGED},
    )


def mark_validated(connection: Connection, validator: str, batches: Iterable[str]) -> None:
    """Record that ``validator`` has validated what these batches loaded."""
    execute(
        connection,
        "insert into ops.judged_batches (judge, batch_id) select %s, unnest(%s::text[]) on conflict do nothing",
        (validator, sorted(set(batches))),
    )


def newest_objects(connection: Connection, dataset: Dataset, days: int) -> list[str]:
    """Return the keys of the loaded objects of the newest days of the data, in order."""
    query = "select object_key from ops.load_ledger where dataset = %s and object_key !~ %s order by object_key"
    rows = fetch(connection, query, (dataset.name, MERGED))
    return keys_of_newest_days((key for (key,) in rows), days)


def record_checks(connection: Connection, run_id: str, results: Sequence[dict[str, Any]]) -> None:
    """Append results to ``ops.check_results``; each has at least asset, check_name, source, severity and status."""
    columns = (
        "asset", "check_name", "description", "source", "severity", "status", "blocking",
        "observed", "expected", "failed_rows", "sample",
    )  # fmt: skip
    rows = []
    for result in results:
        row = {**dict.fromkeys(columns), "blocking": False, **result}
        if row["sample"] is not None:
            row["sample"] = Json(row["sample"], dumps=as_json)
        rows.append((run_id, *(row[c] for c in columns)))
    write_rows(connection, f"insert into ops.check_results (run_id, {', '.join(columns)}) values %s", rows)  # noqa: S608


def last_status(connection: Connection, asset: str, check_name: str) -> str | None:
    """Return the newest status of a check in the last eight days, after which its incident is closed."""
    query = """
        select status from ops.check_results
        where asset = %s and check_name = %s and checked_at >= now() - interval '8 days'
        order by checked_at desc, check_id desc limit 1
    """
    found = fetch(connection, query, (asset, check_name))
    return found[0][0] if found else None


def failed_blocking_checks(connection: Connection, run_ids: Sequence[str], asset: str) -> list[str]:
    """Return the blocking checks of an asset whose last result in these runs is not passed, one line each."""
    rows = fetch(
        connection,
        """
        select check_name || ' (' || coalesce(observed, status) || ')' from (
            select distinct on (check_name) check_name, status, observed
            from ops.check_results where run_id = any(%s) and asset = %s and blocking
            order by check_name, check_id desc
        ) as latest
        where status <> 'passed' order by check_name
        """,
        (list(run_ids), asset),
    )
    return [line for (line,) in rows]
