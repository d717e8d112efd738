"""The books that tickmart keeps of its own work, in schema ``ops``.

Belongs here: every statement on ops tables but the loader's own ledger (``warehouse``) and the request budget
(``budget``). Does not: judging what the books say (``orchestration``, ``dbt_project``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from datetime import date, datetime, timedelta
from typing import Any

import orjson
from psycopg2.extras import Json, RealDictCursor, execute_values

from ingestion.datasets import DATASETS, FEAR_GREED, KLINES, Dataset, Rejected, keys_of_newest_days, read_json
from ingestion.http import Attempt
from ingestion.settings import Settings
from ingestion.text import plain
from ingestion.warehouse import Connection


def record_attempts(connection: Connection, attempts: Iterable[Attempt], run_id: str) -> None:
    """Append HTTP attempts to ``ops.source_requests``."""
    names = [f.name for f in fields(Attempt)]
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            f"insert into ops.source_requests ({', '.join(names)}, run_id) values %s",  # noqa: S608
            [(*astuple(attempt), run_id) for attempt in attempts],
            page_size=1000,
        )


def record_rejected(
    connection: Connection, dataset: Dataset, object_key: str, rejected: Sequence[Rejected], batch_id: str
) -> int:
    """Keep refused records with their reasons, each once however often it comes; return how many were new."""
    rows = [
        (dataset.name, object_key, hashlib.sha256(r.record.encode()).hexdigest(), _jsonb(r.record), r.reason, batch_id)
        for r in rejected
    ]
    with connection, connection.cursor() as cursor:
        new = execute_values(
            cursor,
            """
            insert into ops.rejected_records (dataset, object_key, record_sha256, record, reason, batch_id) values %s
            on conflict (dataset, record_sha256, reason) do nothing
            returning rejected_id
            """,
            rows,
            fetch=True,
        )
    return len(new)


def _jsonb(text: str) -> str:
    """Return the record as Postgres takes it for jsonb; what it would refuse (NaN, NUL) becomes a JSON string."""
    try:
        read_json(text)
    except ValueError:
        return json.dumps(text.encode("utf-8", "replace").decode().replace("\0", "\ufffd"))
    return text


def record_new_fields(connection: Connection, dataset: Dataset, fields: dict[str, str], batch_id: str) -> list[str]:
    """Keep the fields (name: example) that a source sends beyond the declared ones; return those not known before."""
    if not fields:
        return []
    with connection, connection.cursor() as cursor:
        new = execute_values(
            cursor,
            """
            insert into ops.source_fields (dataset, field, example, batch_id) values %s
            on conflict (dataset, field) do nothing
            returning field
            """,
            [(dataset.name, name, example[:200], batch_id) for name, example in sorted(fields.items())],
            fetch=True,
        )
    return [row[0] for row in new]


def record_datasets(connection: Connection, settings: Settings, assets: Mapping[str, Iterable[str]]) -> None:
    """Make ``ops.datasets`` and ``ops.dataset_assets`` say what this version and these settings declare.

    ``assets`` are for each dataset the assets whose failed checks count for it.
    """
    rows = [(d.name, d.source, d.sla_seconds(settings), d.degraded_after_seconds(settings)) for d in DATASETS]
    pairs = [(dataset, asset) for dataset, names in assets.items() for asset in sorted(names)]
    with connection, connection.cursor() as cursor:
        cursor.execute("delete from ops.datasets where dataset <> all(%s)", ([d.name for d in DATASETS],))
        execute_values(
            cursor,
            """
            insert into ops.datasets as known (dataset, source, sla_seconds, degraded_after_seconds) values %s
            on conflict (dataset) do update set
                source = excluded.source, sla_seconds = excluded.sla_seconds,
                degraded_after_seconds = excluded.degraded_after_seconds, declared_at = clock_timestamp()
            where
                (known.source, known.sla_seconds, known.degraded_after_seconds)
                <> (excluded.source, excluded.sla_seconds, excluded.degraded_after_seconds)
            """,
            rows,
        )
        cursor.execute("delete from ops.dataset_assets")
        execute_values(cursor, "insert into ops.dataset_assets (dataset, asset) values %s", pairs, page_size=1000)


def forget_coverage(connection: Connection, dataset: Dataset, interval: str, day: date) -> None:
    """Have the day asked for again for every symbol that was asked for."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            update ops.coverage set is_final = false, answered_by = '{}'
            where dataset = %s and interval = %s and date = %s and source <> 'not_listed'
            """,
            (dataset.name, interval, day),
        )


def open_days(connection: Connection, dataset: Dataset, interval: str, before: date) -> dict[str, set[date]]:
    """Return for each symbol the days before one that have been asked for but are not final: their answer is lost."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select symbol, array_agg(date) from ops.coverage
            where dataset = %s and interval = %s and not is_final and date < %s
            group by symbol
            """,
            (dataset.name, interval, before),
        )
        found = {symbol: set(days) for symbol, days in cursor.fetchall()}
    connection.commit()
    return found


def restated_days(connection: Connection, batch_id: str) -> list[tuple[str, Any, Any]]:
    """Return day, old and new record of the sentiment index that a load found changed, but for its newest day."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select record_key ->> 'date', old_record, new_record from ops.restatements
            where
                dataset = %s
                and batch_id = %s
                and (record_key ->> 'date')::date < (select max(date) from raw.fear_greed)
            order by 1 desc
            """,
            (FEAR_GREED.name, batch_id),
        )
        found = cursor.fetchall()
    connection.commit()
    return found


def covered_days(connection: Connection, dataset: Dataset, interval: str, since: datetime) -> dict[str, set[date]]:
    """Return for each symbol the final days that were asked for and answered since a moment."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select symbol, array_agg(date) from ops.coverage
            where dataset = %s and interval = %s and is_final and checked_at >= %s
            group by symbol
            """,
            (dataset.name, interval, since),
        )
        found = {symbol: set(days) for symbol, days in cursor.fetchall()}
    connection.commit()
    return found


def record_coverage(
    connection: Connection,
    dataset: Dataset,
    interval: str,
    rows: Iterable[tuple[str, date, int, bool, str]],
    now: datetime,
    incomplete: Collection[str] = (),
) -> None:
    """Record which (symbol, day, closed bars, final, source) were requested and answered at ``now``.

    ``now`` is the exchange's time when the request began: bars that were closed by then had to be in the answer.
    ``incomplete`` names the symbols some of whose records were rejected: such an answer proves no absence.
    """
    answers: dict[tuple[str, str], list[Any]] = {}
    for symbol, day, bars, final, source in rows:
        answer = answers.setdefault((symbol, day.isoformat()), [bars, final, source, ""])
        answer[0], answer[2] = max(answer[0], bars), source
        if final and source != "not_listed" and symbol not in incomplete:
            # A day that is not over yet may still get bars, so that no answer speaks for all of it.
            answer[3] = f"{answer[3]},{source}".lstrip(",")
    columns: list[Any] = [list(column) for column in zip(*answers, strict=True)]
    columns += [list(column) for column in zip(*answers.values(), strict=True)]
    if not answers:
        return
    with connection, connection.cursor() as cursor:
        # Arrays: a fifty-symbol chunk has thousands of rows, and formatting each one took longer than writing it.
        cursor.execute(
            """
            insert into ops.coverage as c
                (dataset, symbol, interval, date, bars, is_final, source, closed_until, answered_by)
            select
                %s, asked.symbol, %s, asked.date, asked.bars, asked.is_final, asked.source,
                least(%s, (asked.date + 1)::timestamp at time zone 'UTC'),
                string_to_array(asked.ways, ',') || case
                    when asked.ways <> '' and asked.bars = 0 and asked.date > (s.last_bar_at at time zone 'UTC')::date
                        then array['status']
                end
            from unnest(%s::text[], %s::date[], %s::integer[], %s::boolean[], %s::text[], %s::text[])
                as asked (symbol, date, bars, is_final, source, ways)
            left join ops.symbol_status as s
                on s.symbol = asked.symbol and s.status not in ('', 'TRADING', 'FAILED', 'UNKNOWN')
            on conflict (dataset, symbol, interval, date) do update set
                bars = greatest(c.bars, excluded.bars), is_final = excluded.is_final, source = excluded.source,
                closed_until = excluded.closed_until, checked_at = clock_timestamp(),
                answered_by = array(
                    select distinct way from unnest(c.answered_by || excluded.answered_by) as way order by way
                )
            """,
            (dataset.name, interval, now, *columns),
        )


def clock(connection: Connection) -> datetime:
    """Return the database's time, by which ``checked_at`` is written."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        found: datetime = cursor.fetchone()[0]  # type: ignore[index]
    return found


def short_days(
    connection: Connection, dataset: Dataset, interval: str, since: datetime, day_bars: int
) -> list[tuple[str, date, int, list[str]]]:
    """Return (symbol, day, bars, ways that answered) of each short day answered since a moment and in no known gap.

    A day is short when it is over and brought fewer than ``day_bars``.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select symbol, date, bars, answered_by
            from ops.coverage as c
            where
                dataset = %s and interval = %s and checked_at >= %s
                and is_final and bars < %s and source <> 'not_listed'
                and not exists (
                    select 1 from ops.gaps as g
                    where
                        g.symbol = c.symbol and g.interval = c.interval and g.kind not in ('not_listed', 'delisted')
                        and g.gap_start < (c.date + 1)::timestamp at time zone 'UTC'
                        and g.gap_end > c.date::timestamp at time zone 'UTC'
                )
            order by date, symbol
            """,
            (dataset.name, interval, since, day_bars),
        )
        return cursor.fetchall()


def loaded_archives(connection: Connection) -> dict[str, str]:
    """Return the SHA-256 under which each archive file was last loaded, by its path."""
    with connection.cursor() as cursor:
        cursor.execute("select url, sha256 from ops.archive_files")
        found = dict(cursor.fetchall())
    connection.commit()
    return found


def record_archives(connection: Connection, files: Iterable[tuple[str, str, int]]) -> None:
    """Write down the archive files (path, SHA-256, rows) whose bars stand in bronze."""
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.archive_files (url, sha256, rows) values %s
            on conflict (url) do update set
                sha256 = excluded.sha256, rows = excluded.rows, loaded_at = clock_timestamp()
            """,
            list(files),
        )


def record_symbols(connection: Connection, status: dict[str, tuple[str, str | None]]) -> None:
    """Write down what the exchange said of each symbol: (status, detail)."""
    if not status:
        return
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.symbol_status (symbol, status, detail) values %s
            on conflict (symbol) do update set
                status = excluded.status, detail = excluded.detail, checked_at = clock_timestamp()
            """,
            [(symbol, word, detail) for symbol, (word, detail) in status.items()],
        )


def begin_backfill(
    connection: Connection, dataset: Dataset, source: str, start: date, end: date
) -> tuple[int, datetime]:
    """Begin a backfill, or resume the unfinished one with this start; return its id and when it first began.

    The end is not compared: it moves with the calendar. Another start is another backfill, which must not be recorded
    as finished by this one.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select backfill_id, started_at from ops.backfills
            where dataset = %s and source = %s and start_date = %s and finished_at is null
            order by started_at limit 1
            """,
            (dataset.name, source, start),
        )
        found = cursor.fetchone()
        if found is None:
            cursor.execute(
                """
                insert into ops.backfills (dataset, source, start_date, end_date) values (%s, %s, %s, %s)
                returning backfill_id, started_at
                """,
                (dataset.name, source, start, end),
            )
            found = cursor.fetchone()
    assert found is not None
    return found[0], found[1]


def end_backfill(connection: Connection, backfill_id: int, end: date) -> None:
    """Mark a backfill as finished if ``end`` reaches its end: the next one requests everything again."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.backfills set finished_at = clock_timestamp() where backfill_id = %s and end_date <= %s",
            (backfill_id, end),
        )


def unjudged_objects(connection: Connection, judge: str, dataset: Dataset, run_id: str) -> list[tuple[str, str]]:
    """Return key and batch of each object that a run has loaded, or an ended one that ``judge`` has not come to.

    A run that is killed behind its load, or whose models fail, leaves its objects to the next; what another run is at
    work on is left to that run. In order of the keys.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select l.object_key, l.batch_id
            from ops.load_ledger as l
            left join ops.runs as r on r.run_id = l.batch_id
            left join ops.judged_batches as j on j.judge = %(judge)s and j.batch_id = l.batch_id
            where
                l.dataset = %(dataset)s
                and (l.batch_id = %(run)s or (j.batch_id is null and r.status is distinct from 'running'))
            order by l.object_key
            """,
            {"judge": judge, "dataset": dataset.name, "run": run_id},
        )
        found = cursor.fetchall()
    connection.commit()
    return found


def mark_judged(connection: Connection, judge: str, batches: Iterable[str]) -> None:
    """Book that ``judge`` has come to what these batches loaded."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into ops.judged_batches (judge, batch_id) select %s, unnest(%s::text[]) on conflict do nothing",
            (judge, sorted(set(batches))),
        )


def newest_objects(connection: Connection, dataset: Dataset, days: int) -> list[str]:
    """Return the keys of the loaded objects of the newest days of the data, in order."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select object_key from ops.load_ledger where dataset = %s order by object_key", (dataset.name,))
        return keys_of_newest_days((key for (key,) in cursor.fetchall()), days)


def refusals(connection: Connection, run_ids: Sequence[str], asset: str) -> list[str]:
    """Return the blocking checks of an asset whose last result in these runs is not passed, one line each."""
    with connection.cursor() as cursor:
        cursor.execute(
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
        found = [row[0] for row in cursor.fetchall()]
    connection.commit()
    return found


def record_stage(
    connection: Connection,
    run_id: str,
    stage: str,
    dataset: str,
    *,
    status: str,
    rows: int,
    files: int,
    seconds: float,
    detail: dict[str, Any],
) -> None:
    """Write down what one stage of a run did; a retried stage replaces its line."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into ops.run_stages (run_id, stage, dataset, status, rows, files, seconds, detail)
            values (%s, %s, %s, %s, %s, %s, %s, %s)
            on conflict (run_id, stage, dataset) do update set
                status = excluded.status, rows = excluded.rows, files = excluded.files, seconds = excluded.seconds,
                detail = excluded.detail, ended_at = clock_timestamp()
            """,
            (run_id, stage, dataset, status, rows, files, seconds, Json(detail, dumps=as_json)),
        )


def record_checks(connection: Connection, run_id: str, results: Sequence[dict[str, Any]]) -> None:
    """Append verdicts to ``ops.check_results``; each names asset, check_name, source, severity and status at least."""
    columns = (
        "asset", "check_name", "source", "severity", "status", "blocking",
        "observed", "expected", "failed_rows", "sample",
    )  # fmt: skip
    rows = []
    for result in results:
        row = {**dict.fromkeys(columns), "blocking": False, **result}
        if row["sample"] is not None:
            row["sample"] = Json(row["sample"], dumps=as_json)
        rows.append((run_id, *(row[c] for c in columns)))
    with connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            f"insert into ops.check_results (run_id, {', '.join(columns)}) values %s",  # noqa: S608
            rows,
        )


def begin_run(connection: Connection, run_id: str, job: str) -> None:
    """Open a run in ``ops.runs``."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into ops.runs (run_id, job, started_at, status) values (%s, %s, clock_timestamp(), 'running')
            on conflict (run_id) do nothing
            """,
            (run_id, job),
        )


def beat(connection: Connection, run_id: str) -> None:
    """Note that the run's process lives."""
    with connection, connection.cursor() as cursor:
        cursor.execute("update ops.runs set beat_at = clock_timestamp() where run_id = %s", (run_id,))


def open_runs(connection: Connection) -> set[str]:
    """Return the runs that have begun and not ended."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select run_id from ops.runs where status = 'running'")
        return {run_id for (run_id,) in cursor.fetchall()}


def silent_runs(connection: Connection, run_ids: Sequence[str], silence_s: float) -> set[str]:
    """Return those of the runs whose process used to show that it lives, and has not for so long."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select run_id from ops.runs where run_id = any(%s) and beat_at < now() - make_interval(secs => %s)",
            (list(run_ids), silence_s),
        )
        return {run_id for (run_id,) in cursor.fetchall()}


def end_run(connection: Connection, run_id: str, status: str, summary: dict[str, Any]) -> None:
    """Close a run with its verdict and summary."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "update ops.runs set status = %s, summary = %s, ended_at = clock_timestamp() where run_id = %s",
            (status, Json(summary, dumps=as_json), run_id),
        )


def summarise_run(connection: Connection, run_id: str, earlier: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a run did, from ``ops``: its stages, its checks, and the result ok, partial or failed.

    ``earlier`` names the runs of which this one repeats some steps, the newest first: what it did not do again counts
    as they recorded it.
    """
    runs = [run_id, *earlier]
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(
            """
            select stage, dataset, status, rows, files, seconds, rows_per_s, detail
            from (
                select distinct on (stage, dataset) *, rows / nullif(seconds, 0) as rows_per_s
                from ops.run_stages
                where run_id = any(%(runs)s)
                order by stage, dataset, array_position(%(runs)s, run_id)
            ) as newest
            order by ended_at
            """,
            {"runs": runs},
        )
        stages = [dict(row) for row in cursor.fetchall()]
        cursor.execute(
            """
            select distinct on (asset, check_name)
                asset, check_name, source, severity, status, blocking, observed, expected, failed_rows
            from ops.check_results
            where run_id = any(%s)
            order by asset, check_name, check_id desc
            """,
            (runs,),
        )
        checks = [dict(row) for row in cursor.fetchall()]
        cursor.execute(
            """
            select source, count(distinct (asset, check_name)) as n
            from ops.check_results as known
            where
                checked_at >= now() - interval '48 hours'
                and status <> 'error'
                and not exists (
                    select from ops.check_results as own
                    where own.run_id = any(%s) and own.asset = known.asset and own.check_name = known.check_name
                )
            group by source order by source
            """,
            (runs,),
        )
        not_run = {row["source"]: row["n"] for row in cursor.fetchall()}
    connection.commit()
    failures = sorted((c for c in checks if c["status"] != "passed"), key=lambda c: c["severity"])
    errors = sum(c["severity"] == "error" for c in failures)
    verdict = "ok"
    if any(s["status"] == "partial" for s in stages):
        verdict = "partial"
    if any(s["status"] == "failed" for s in stages) or errors:
        verdict = "failed"
    return {
        "run_id": run_id,
        "status": verdict,
        "stages": stages,
        "checks": {
            "passed": len(checks) - len(failures),
            "failed": errors,
            "warned": len(failures) - errors,
            "failures": failures,
            # Checks of the last two days that this run had no reason to repeat, by who makes them.
            "not_run": not_run,
        },
    }


def as_json(value: Any) -> str:
    """Write JSON that Postgres takes: dates as text, decimals with their digits, NaN as null."""
    return orjson.dumps(value, default=plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()


def refresh_start(connection: Connection, symbols: Sequence[str], today: date, default_days: int) -> date:
    """Return the first day that a refresh must ask for: yesterday, or earlier if a symbol has not been asked since.

    A symbol never answered starts ``default_days`` ago; one that the exchange does not know, or no longer knows, holds
    nobody back.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select min(coalesce(c.last_final + 1, %(default)s))
            from unnest(%(symbols)s::text[]) as s (symbol)
            left join (
                select symbol, max(date) as last_final
                from ops.coverage where dataset = %(dataset)s and interval = '1h' and is_final group by symbol
            ) as c using (symbol)
            left join ops.symbol_status as o using (symbol)
            where coalesce(o.status, '') not in ('UNKNOWN', 'DELISTED')
            """,
            {"symbols": list(symbols), "default": today - timedelta(days=default_days), "dataset": KLINES.name},
        )
        found = cursor.fetchone()
    connection.commit()
    earliest = found[0] if found and found[0] else today
    return min(today - timedelta(days=1), earliest)


def close_runs(connection: Connection, run_ids: Sequence[str]) -> None:
    """Mark runs as failed whose process has gone."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            update ops.runs set status = 'failed', ended_at = clock_timestamp()
            where status = 'running' and run_id = any(%s)
            """,
            (list(run_ids),),
        )


def version(connection: Connection, name: str) -> str | None:
    """Return the version of a thing that stands in this database, or None."""
    with connection, connection.cursor() as cursor:
        cursor.execute("select version from ops.versions where name = %s", (name,))
        found = cursor.fetchone()
    return found[0] if found else None


def set_version(connection: Connection, name: str, value: str) -> None:
    """Write down which version of a thing stands in this database now."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into ops.versions (name, version) values (%s, %s)
            on conflict (name) do update set version = excluded.version, set_at = clock_timestamp()
            """,
            (name, value),
        )
