"""What the suites cost: each check alone and each suite over years of hourly bars, and all of them over one refresh.

    python benchmarks/quality_suites.py [--symbols 50] [--years 3] [--refresh]

Prints, for each suite, wall and CPU seconds, this process's and Postgres', and without --refresh the
seconds of each rule alone. Not collected by pytest; TICKMART_HOME must be a folder of its own.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa

from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.settings import load_settings
from ingestion.sources.binance.dataset import KLINES, klines_key
from orchestration.cli.tools import run_dbt as dbt
from orchestration.quality import data_docs, mart_queries, suites
from orchestration.quality import frames as frames_of_bronze
from orchestration.quality import queries as quality_queries
from orchestration.quality.runner import SuiteResult, validate_frame, validate_query
from orchestration.quality.suites import Suite
from orchestration.quality.validation import merge_results
from orchestration.session import session

LAST_DAY = date(2024, 12, 31)
# Random walks up to the last hour but one of the last day.
FILL = """
insert into raw.universe (crypto_id, binance_symbol, name, category, batch_id, loaded_at)
select
    case i when 1 then 'bitcoin' else 'asset-' || i end, 'A' || i || 'USDT', 'Asset ' || i, 'bench', 'bench',
    '2020-01-01'
from generate_series(1, %(symbols)s) as i;
select setseed(0.5);
insert into raw.binance_klines
select
    'A' || i || 'USDT', '1h', opened_at, close, close * 1.01, close * 0.99, close, volume,
    opened_at + interval '59 minutes 59.999 seconds', round(close * volume, 8), 1000, volume / 2,
    round(close * volume / 2, 8),
    '2025-01-01 00:01+00', 'bench'
from generate_series(1, %(symbols)s) as i
cross join lateral (
    select
        opened_at,
        round((exp(sum(random() - 0.5) over (order by opened_at) * 0.01) * 100 / i)::numeric, 8) as close,
        round((random() * 1000)::numeric, 3) as volume
    from generate_series(
        '2025-01-01 00:00+00'::timestamptz - interval '1 hour' * %(hours)s, '2024-12-31 22:00+00', '1 hour'
    ) as opened_at
    where i > 0
) as bars
order by i, opened_at;
vacuum analyze raw.binance_klines;
"""
# A snapshot of each hour and the history of the index.
BESIDE = """
insert into raw.coingecko_markets (crypto_id, snapshot_at, symbol, name, current_price, market_cap, total_volume,
    payload, batch_id, loaded_at)
select u.crypto_id, at, u.crypto_id, u.name, 100, 1000, 10, '{}', 'bench', '2025-01-01'
from raw.universe as u
cross join generate_series('2024-12-01'::timestamptz, '2024-12-31 23:00+00', '1 hour') as at;
insert into raw.fear_greed (date, value, classification, batch_id, loaded_at)
select day::date, 50, 'Neutral', 'bench', '2025-01-01'
from generate_series(timestamp '2018-02-01', '2024-12-31', '1 day') as day;
insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
select 'binance/klines/interval=1h/date=' || (open_time at time zone 'UTC')::date || '/bars.parquet', 'binance_klines',
    '', '', count(*), count(*), 0, 0, 'bench'
from raw.binance_klines group by 1;
insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
select 'coingecko/markets/date=' || to_char(snapshot_at at time zone 'UTC', 'YYYY-MM-DD/HH24MISS') || 'Z.parquet',
    'coingecko_markets', '', '', count(*), count(*), 0, 0, 'bench'
from raw.coingecko_markets group by 1;
insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
select 'alternative_me/fear_greed/date=2024-12-31/index.parquet', 'fear_greed', '', '', count(*), count(*), 0, 0,
    'bench'
from raw.fear_greed;
insert into ops.coverage (dataset, symbol, interval, date, bars, is_final, source, closed_until)
select 'binance_klines', symbol, '1h', (open_time at time zone 'UTC')::date, count(*), true, 'rest',
    max(open_time) + interval '1 hour'
from raw.binance_klines group by 2, 4;
analyze raw.coingecko_markets; analyze ops.load_ledger; analyze ops.coverage
"""


def fill(connection: Connection, symbols: int, hours: int) -> None:
    """Fill raw and ops with the history."""
    connection.rollback()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("set time zone 'UTC'")
        for statement in [*FILL.split(";\n"), *BESIDE.split(";\n")]:
            if statement.strip():
                cursor.execute(statement, {"symbols": symbols, "hours": hours} if "%(" in statement else None)


def bars(connection: Connection, start: date, end: date) -> list[pa.Table]:
    """The bars of a range of days as bronze stores them, a table of some 200,000 at a time."""
    names = [c.name for c in KLINES.columns]
    wanted = [f"round({c.name}, 8)" if c.postgres == "numeric" else c.name for c in KLINES.columns]
    tables = []
    step = timedelta(days=160)
    while start < end:
        with connection.cursor() as cursor:
            cursor.execute(
                f"select {', '.join(wanted)} from raw.binance_klines where open_time >= %s and open_time < %s",
                (datetime(start.year, start.month, start.day, tzinfo=UTC), min(start + step, end)),
            )
            columns = list(zip(*cursor.fetchall(), strict=True))
        fields = [pa.array(values, c.arrow) for values, c in zip(columns, KLINES.columns, strict=True)]
        keys = [klines_key("1h", at.date()) for at in columns[2]]
        tables.append(pa.table([*fields, pa.array(keys)], names=[*names, "object_key"]))
        start += step
    return tables


def measured(postmaster: int, work: Callable[[], SuiteResult]) -> tuple[SuiteResult, float, float, float]:
    """The result, wall seconds, CPU seconds of this process, and those of Postgres."""

    def postgres() -> float:
        times = psutil.Process(postmaster).cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    before, own, began = postgres(), time.process_time(), time.perf_counter()
    result = work()
    wall, own = time.perf_counter() - began, time.process_time() - own
    time.sleep(0.3)  # a backend is counted once it has ended
    return result, wall, own, postgres() - before


def queries(spans: Sequence[quality_queries.Span], snapshots: Sequence[datetime]) -> dict[Suite, str]:
    """Each suite's query over spans of days and some snapshots."""
    objects = [f"coingecko/markets/date={at:%Y-%m-%d/%H%M%S}Z.parquet" for at in snapshots]
    return {
        suites.KLINES_COMPLETENESS: quality_queries.klines_completeness(spans),
        **{s: quality_queries.freshness(s.asset[1], 2) for s in suites.FRESHNESS},
        suites.KLINES_RECONCILIATION: quality_queries.klines_reconciliation(spans),
        suites.MARKETS_RECONCILIATION: quality_queries.markets_reconciliation(objects),
        suites.FEAR_GREED_RECONCILIATION: quality_queries.fear_greed_reconciliation(
            [f"alternative_me/fear_greed/date={LAST_DAY}/index.parquet"]
        ),
        suites.FCT_PRICES: mart_queries.fct_prices(spans),
        suites.DIVERGENCE: mart_queries.DIVERGENCE,
    }


def prepared(symbols: int, years: float) -> tuple[int, date, dict[str, list]]:
    """Fill and build unless it was done before; return the server's process, the first day and the frames of bronze."""
    days = round(years * 365.25)
    end = LAST_DAY + timedelta(days=1)
    settings = load_settings()
    assert settings.postgres is not None
    with connections.closing(connections.connect(settings.postgres)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                "select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int from raw.universe limit 1"
            )
            found = cursor.fetchone()
        if found is None:
            fill(connection, symbols, days * 24)
            assert dbt(settings.home / "dbt" / "bench", ["run", "--full-refresh", "--quiet"]) == 0
            return prepared(symbols, years)
        tracked = [f"A{i}USDT" for i in range(1, symbols + 1)]
        parts = {"one refresh": end - timedelta(days=2), "all": end - timedelta(days=days)}
        frames = {
            name: [frames_of_bronze.to_frame([table], KLINES, tracked) for table in bars(connection, first, end)]
            for name, first in parts.items()
        }
    return found[0], parts["all"], frames


def whole_suites(postmaster: int, title: str, frames: list, found: dict[Suite, str | None]) -> dict[Suite, SuiteResult]:
    """Run each suite, and print what it cost."""
    print(f"\n{title + ':':30} {'rows':>10} {'wall s':>7} {'own CPU':>8} {'Postgres CPU':>12}")
    total, done = 0.0, {}
    for suite, query in found.items():
        done[suite], wall, own, theirs = measured(postmaster, over(suite, query, frames))
        total += wall
        print(f"  {suite.name:28} {done[suite].rows:>10,} {wall:7.2f} {own:8.2f} {theirs:12.2f}")
        for check in done[suite].failures:
            print(f"      {check.status}: {check.id}: {check.observed}")
    print(f"  {'together':28} {'':10} {total:7.2f}")
    return done


def over(suite: Suite, query: str | None, frames: list) -> Callable[[], SuiteResult]:
    """Return the validation of a suite over its query, or over the frames of bronze."""
    if query:
        return lambda: validate_query(suite, query)
    return lambda: merge_results([validate_frame(suite, frame) for frame in frames])


def publishing(home: Path, results: dict[Suite, SuiteResult]) -> None:
    """Print what a run's Data Docs cost, beside few other runs and beside as many as are kept."""
    for run in range(data_docs.KEEP_RUNS + 1):
        began = time.perf_counter()
        for suite, found in results.items():
            data_docs.publish(home, f"run-{run}", suite, found, datetime.now(UTC))
        if run in (1, data_docs.KEEP_RUNS):
            print(f"Data Docs, {len(results)} pages beside {run} runs: {time.perf_counter() - began:.2f} s")


def bench(symbols: int, years: float, *, refresh_alone: bool) -> None:
    """Fill, build, measure, print."""
    end = LAST_DAY + timedelta(days=1)
    snapshots = [datetime(2024, 12, 31, hour, tzinfo=UTC) for hour in (22, 23)]
    with session(s3=False) as settings:
        postmaster, first, frames = prepared(symbols, years)
        began = time.perf_counter()
        import great_expectations.expectations  # noqa: F401

        print(f"import of Great Expectations: {time.perf_counter() - began:.1f} s")
        validate_frame(suites.BRONZE_KLINES, frames["one refresh"][0])  # what GX loads on first use
        hourly = {suites.BRONZE_KLINES: None, **queries([(end - timedelta(days=2), end)], snapshots[1:])}
        publishing(settings.home, whole_suites(postmaster, "one refresh", frames["one refresh"], hourly))
        if refresh_alone:
            return
        whole = {suites.BRONZE_KLINES: None, **queries([(first, end)], snapshots)}
        whole_suites(postmaster, "all", frames["all"], whole)
        print()
        for suite in suites.SUITES:
            for rule in suite.rules:
                if suite in whole:
                    work = over(replace(suite, rules=(rule,)), whole.get(suite), frames["all"])
                    print(f"{suite.name}, {rule.id}: {measured(postmaster, work)[1]:.1f} s", flush=True)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--years", type=float, default=3)
    parser.add_argument("--refresh", action="store_true", help="only what one refresh costs")
    options = parser.parse_args()
    bench(options.symbols, options.years, refresh_alone=options.refresh)


if __name__ == "__main__":
    main()
