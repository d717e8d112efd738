"""What the dashboard is measured on, beside the bars: a month of snapshots, the index, and run metadata."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc


def until_now(bars: pa.Table) -> pa.Table:
    """Move the bars by whole hours so that the newest one has just closed: pages and their warnings are today's."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    shift = hour - timedelta(hours=1) - pc.max(bars["open_time"]).as_py()
    for name in ("open_time", "close_time"):
        number = bars.schema.get_field_index(name)
        bars = bars.set_column(number, name, pc.add(bars[name], pa.scalar(shift, pa.duration("us"))))
    return bars


_RUN_METADATA = """
    insert into ops.load_ledger
        (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
    select dataset, dataset, '', '', 1, 1, 0, 0, 'bench'
    from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset;
    insert into ops.check_results
        (run_id, asset, check_name, source, severity, status, observed, expected, failed_rows, checked_at)
    select 'run-' || run, 'raw/binance_klines', 'check_' || n, 'great_expectations', 'warn',
        case when run + n = 0 then 'failed' else 'passed' end, '3', '0', 3, now() - run * interval '1 hour'
    from generate_series(0, 167) as run cross join generate_series(0, 59) as n;
    insert into ops.runs (run_id, job, started_at, ended_at, status)
    select 'run-' || run, 'market_refresh', now() - run * interval '1 hour',
        now() - run * interval '1 hour' + (20 + run % 9) * interval '1 second',
        case when run = 2 then 'failed' else 'ok' end
    from generate_series(0, 743) as run;
    insert into ops.source_requests
        (source, endpoint, host, requested_at, http_status, latency_ms, bytes, attempt, weight)
    select source, '/', 'host', now() - n * interval '1 minute', 200, 40 + n % 50, 1000, 1, 2
    from generate_series(1, 10080) as n cross join unnest(array['binance', 'coingecko']) as source
"""


def fill_market(connection: Any) -> None:
    """Put a month of hourly snapshots, three years of the index, and run metadata beside the candles."""
    from ingestion.simulator.coins import UNIVERSE, all_coins, read_universe
    from ingestion.simulator.market import Market
    from ingestion.simulator.shapes import Shapes

    shapes, now = Shapes(Market(3, all_coins(read_universe(UNIVERSE)))), int(time.time() * 1000)
    snapshot = shapes.coingecko_markets(now - 60_000, None, ("1h", "24h", "7d"), False, "market_cap_desc")
    days = [
        (datetime.fromtimestamp(int(row["timestamp"]), UTC).date(), row["value"], row["value_classification"])
        for row in shapes.fear_greed_rows(now, 1095)
    ]
    with connection, connection.cursor() as cursor:
        fill_snapshots(cursor, orjson.loads(orjson.dumps(snapshot, option=orjson.OPT_SERIALIZE_NUMPY)))
        cursor.executemany(
            "insert into raw.fear_greed (date, value, classification, batch_id) values (%s, %s, %s, 'bench')", days
        )
        cursor.execute(_RUN_METADATA)
        cursor.execute("analyze")  # as autovacuum would within a minute


def fill_snapshots(cursor: Any, snapshot: list[dict[str, Any]]) -> None:
    cursor.execute(
        "select column_name from information_schema.columns where table_schema = 'raw' "
        "and table_name = 'coingecko_markets'"
    )
    columns = [name for (name,) in cursor.fetchall() if name in snapshot[0] and name != "symbol"]
    rows = [{**dict.fromkeys(columns), **row} for row in snapshot]
    marks, named = ", ".join(f"%({c})s" for c in columns), ", ".join(columns)
    insert = f"insert into raw.coingecko_markets (crypto_id, snapshot_at, symbol, payload, batch_id, {named})"
    cursor.executemany(
        f"{insert} values (%(id)s, now() - interval '1 minute', %(symbol)s, '{{}}', 'bench', {marks})",
        [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in rows],
    )
    # Making a snapshot takes the simulator half a second: the others are the first one, a little cheaper or dearer.
    priced = ("current_price", "market_cap", "total_volume")
    moved = [f"{c} * (1 + 0.05 * sin(hours / 24.0))::numeric" if c in priced else c for c in columns]
    cursor.execute(
        f"{insert} select crypto_id, snapshot_at - hours * interval '1 hour', symbol, payload, batch_id, "
        f"{', '.join(moved)} from raw.coingecko_markets cross join generate_series(1, 744) as hours"
    )
