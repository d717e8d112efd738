"""What the client reads, from the database and from a release of the same marts."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
import pyarrow as pa
import pytest

import tickmart as tm
from ingestion.database import connections
from ingestion.settings import Postgres

pytestmark = pytest.mark.servers

JANUARY_1 = datetime(2024, 1, 1, tzinfo=UTC)
INTERVALS = ("1h", "4h", "1d", "1w", "1M")
CLOSE = Decimal("42002.123456789012345678901")  # bitcoin, 2024-01-01 00:00


def read_all(source: tm.Source) -> dict[str, pa.Table]:
    """Return the result of each method."""
    results = {f"bars {interval}": source.bars(None, interval, columns="*") for interval in INTERVALS}
    results |= {
        "filled": source.bars("BTC", gaps="null"),
        "exact": source.bars(["BTC", "ETH"], start="2024-01-01", end="2024-01-03", decimals=True),
        "daily": source.daily(["bitcoin", "ethereum"], start=date(2024, 1, 2)),
        "snapshots": source.snapshots(),
        "snapshots at": source.snapshots(at="2024-01-09"),
        "sentiment": source.sentiment("2024-01-01", "2024-01-05"),
        "correlations": source.correlations(),
        "correlations of one": source.correlations("BTC", 30),
        "correlations of two": source.correlations(["BTC", "ethereum"]),
        "coins": source.coins(),
    }
    return {name: result.table for name, result in results.items()}


def test_a_release_reads_as_the_database(database: tm.Source, release: tm.Source) -> None:
    from_database, from_release = read_all(database), read_all(release)
    for name, table in from_database.items():
        assert table.num_rows > 0, name
        # The scale of exact decimals is that of the rows read, or that of the file.
        other = from_release[name].cast(table.schema) if name == "exact" else from_release[name]
        assert other.equals(table), name
    assert release.health().columns == database.health().columns


def test_a_range_is_half_open_and_in_order(source: tm.Source) -> None:
    bars = source.bars(["ETH", "bitcoin"], start=JANUARY_1, end="2024-01-01T02:00").to_pylist()
    hours = [JANUARY_1, JANUARY_1 + timedelta(hours=1)]
    assert [(bar["crypto_id"], bar["opened_at"]) for bar in bars] == [
        *(("bitcoin", hour) for hour in hours),
        *(("ethereum", hour) for hour in hours),
    ]


def test_a_time_in_another_zone_is_converted(source: tm.Source) -> None:
    (bar,) = source.bars("ETH", start="2024-01-01T02:00+02:00", end="2024-01-01T03:00+02:00").to_pylist()
    assert bar["opened_at"] == JANUARY_1


def test_a_day_belongs_to_a_range_if_its_midnight_does(source: tm.Source) -> None:
    days = source.daily("ETH", start="2024-01-01T00:01", end="2024-01-03T12:00", columns="close").to_pylist()
    assert [day["date"] for day in days] == [date(2024, 1, 2), date(2024, 1, 3)]


def test_float64_is_the_nearest_double_and_decimals_are_exact(source: tm.Source) -> None:
    hour = {"start": "2024-01-01T00:00", "end": "2024-01-01T01:00", "columns": ["close", "trade_count"]}
    approximate, exact = source.bars("BTC", **hour), source.bars("BTC", **hour, decimals=True)
    assert approximate.to_pylist()[0]["close"] == float(CLOSE)
    assert exact.to_pylist()[0]["close"] == CLOSE
    assert approximate.table.schema.field("close").type == pa.float64()
    assert pa.types.is_decimal(exact.table.schema.field("close").type)
    assert exact.table.schema.field("trade_count").type == pa.int64()


def test_missing_hours_stay_missing_unless_null_rows_are_asked_for(source: tm.Source) -> None:
    day = {"start": "2024-01-01", "end": "2024-01-02", "columns": ["close"]}
    assert len(source.bars("BTC", **day)) == 21
    filled = source.bars(["BTC", "ETH"], **day, gaps="null").to_pylist()
    bitcoin = [bar for bar in filled if bar["crypto_id"] == "bitcoin"]
    assert len(filled) == 48
    assert [bar["opened_at"] for bar in bitcoin] == [JANUARY_1 + timedelta(hours=n) for n in range(24)]
    assert [bar["opened_at"].hour for bar in bitcoin if bar["close"] is None] == [5, 6, 7]


def test_null_rows_are_only_between_bars(source: tm.Source) -> None:
    bars = source.bars("BTC", start="2024-01-01T06:00", end="2024-01-01T09:00", gaps="null").to_pylist()
    assert [bar["opened_at"].hour for bar in bars] == [8]


@pytest.mark.parametrize("given", ["bitcoin", "BITCOIN", "btc", "BTC", "Bitcoin"])
def test_a_coin_is_named_by_id_ticker_or_name_in_any_case(source: tm.Source, given: str) -> None:
    assert set(source.bars(given, end="2023-12-02").table["crypto_id"].to_pylist()) == {"bitcoin"}


def test_an_id_precedes_the_name_of_another_coin(source: tm.Source) -> None:
    assert set(source.bars("Ethereum", end="2023-12-02").table["crypto_id"].to_pylist()) == {"ethereum"}


def test_snapshots_are_the_newest_or_the_newest_at_a_time(source: tm.Source) -> None:
    newest, earlier = source.snapshots().table, source.snapshots(at="2024-01-09T11:59").table
    assert set(newest["snapshot_at"].to_pylist()) == {datetime(2024, 1, 9, 12, tzinfo=UTC)}
    assert set(earlier["snapshot_at"].to_pylist()) == {datetime(2024, 1, 8, 12, tzinfo=UTC)}
    assert len(newest) == len(earlier) == 4


def test_correlations_of_one_coin_are_those_with_each_other_coin(source: tm.Source) -> None:
    pairs = source.correlations("ETH", 30).table.select(["crypto_id_a", "crypto_id_b"]).to_pylist()
    assert {(pair["crypto_id_a"], pair["crypto_id_b"]) for pair in pairs} == {
        ("bitcoin", "ethereum"), ("copycat", "ethereum"), ("ethereum", "flow-chain"),
    }  # fmt: skip


def test_metrics_have_definition_and_unit(source: tm.Source) -> None:
    (close,) = (m for m in source.metrics().to_pylist() if (m["mart"], m["column"]) == ("fct_prices", "close"))
    assert close["unit"] == "USDT"
    assert close["definition"]
    assert close["type"] == "numeric"


def test_health_has_each_dataset(source: tm.Source) -> None:
    found = set(source.health().table["dataset"].to_pylist())
    assert {"binance_klines", "coingecko_markets", "fear_greed"} <= found


def test_sql_keeps_values_as_they_are(database: tm.Source) -> None:
    query = """
        select null::text as a, '' as b, E'line\n"quoted", 100%' as c, 'NaN'::float8 as d, '-Infinity'::numeric as e,
            true as f, 9223372036854775807 as g, date '2024-02-29' as h,
            timestamptz '2024-01-01 00:00:00.000001+02' as i, '[1]'::jsonb as j, null::numeric as b;
    """
    result = database.sql(query)
    values = [column[0].as_py() for column in result.table.columns]
    assert str(values.pop(3)) == "nan"
    moment = datetime(2023, 12, 31, 22, 0, 0, 1, tzinfo=UTC)
    infinity = float("-inf")
    expected = [None, "", 'line\n"quoted", 100%', infinity, True, 2**63 - 1, date(2024, 2, 29), moment, "[1]", None]
    assert values == expected
    assert result.columns == ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "b"]


def test_sql_reads_numerics_of_any_precision(database: tm.Source) -> None:
    digits = random.Random(1)
    texts = ["0", "-0.000000000000000000000000000001", "0.00010000", "10000", "100000000.0001"]
    for _ in range(2000):
        whole, fraction = (str(digits.randrange(10 ** digits.randrange(1, 30))) for _ in range(2))
        texts.append(f"{digits.choice(['', '-'])}{whole}.{fraction}")
    query = "select t as text, t::numeric as number from unnest(%(texts)s) with ordinality as x (t, n) order by n"
    exact = database.sql(query, {"texts": texts}, decimals=True).table["number"].to_pylist()
    nearest = database.sql(query, {"texts": texts}).table["number"].to_pylist()
    assert exact == [Decimal(text) for text in texts]
    assert nearest == [float(text) for text in texts]
    (long,) = database.sql("select repeat('9', 100)::numeric as n", decimals=True).to_pylist()
    assert long == {"n": "9" * 100}


def test_sql_without_rows_has_its_columns_and_types(database: tm.Source) -> None:
    table = database.sql("select crypto_id, close from marts.fct_prices where false").table
    assert table.schema == pa.schema([("crypto_id", pa.string()), ("close", pa.float64())])
    assert len(table) == 0


def test_a_connection_that_was_closed_by_the_server_is_opened_again(url: str, owner: Postgres) -> None:
    with tm.connect(url) as source, closing(connections.connect(owner)) as connection, connection.cursor() as cursor:
        (session,) = source.sql("select pg_backend_pid() as id").to_pylist()
        cursor.execute("select pg_terminate_backend(%s, 10000)", (session["id"],))
        assert cursor.fetchone() == (True,)
        (other,) = source.sql("select pg_backend_pid() as id").to_pylist()
    assert other["id"] != session["id"]


def test_threads_share_a_source(source: tm.Source) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda n: source.bars(["BTC", "ETH"][n % 2]), range(12))
    assert [len(bars) for bars in results] == [957, 960] * 6


def test_an_interrupted_read_stops_the_query(url: str, owner: Postgres) -> None:
    program = "import sys, tickmart as tm; tm.sql('select count(pg_sleep(600)) from generate_series(1, 2)')"
    with closing(connections.connect(owner)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        waiting = "select count(*) from pg_stat_activity where query like 'copy (select count(pg_sleep%'"
        reader = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "TICKMART_URL": url},
            cwd=Path(__file__).parents[2],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            stderr=subprocess.PIPE,
        )
        wait_for(cursor, waiting, 1)
        reader.send_signal(signal.SIGINT)
        _, errors = reader.communicate(timeout=120)
        wait_for(cursor, waiting, 0)
    assert reader.returncode != 0
    assert b"KeyboardInterrupt" in errors


def wait_for(cursor: psycopg2.extensions.cursor, statement: str, expected: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        cursor.execute(statement)
        if cursor.fetchone() == (expected,):
            return
        time.sleep(0.05)
    pytest.fail(f"not {expected} within two minutes: {statement}")


def test_pandas_reads_a_result(database: tm.Source) -> None:
    frame = database.bars("BTC", start="2024-01-01", gaps="null").to_pandas()
    assert str(frame["opened_at"].dtype).startswith("datetime64")
    assert frame["close"].dtype == "float64"
    assert frame["close"].isna().sum() == 3


def test_bars_of_four_hours_equal_the_aggregated_hours(database: tm.Source) -> None:
    expected = database.sql(
        """
        select
            crypto_id, date_bin('4 hours', opened_at, '2000-01-01 00:00+00') as opened_at,
            (array_agg(open order by opened_at))[1] as open, max(high) as high, min(low) as low,
            (array_agg(close order by opened_at desc))[1] as close, sum(volume) as volume,
            sum(quote_volume) as quote_volume, sum(trade_count)::bigint as trade_count,
            (sum(quote_volume) / nullif(sum(volume), 0))::float8 as vwap
        from marts.fct_prices where opened_at >= '2024-01-01 04:00+00' and opened_at < '2024-01-05'
        group by 1, 2 order by 1, 2
        """,
        decimals=True,
    ).to_pylist()
    bars = database.bars(None, "4h", start="2024-01-01T01:00", end="2024-01-05", columns="*", decimals=True).to_pylist()
    vwaps = [[row.pop("vwap") for row in rows] for rows in (bars, expected)]
    assert bars == expected
    assert vwaps[0] == pytest.approx([float(value) for value in vwaps[1]], rel=1e-12)
    hours = database.bars("BTC", "4h", start="2024-01-01", end="2024-01-01T08:00", as_of=datetime.now(UTC))
    assert hours.to_pylist() == database.bars("BTC", "4h", start="2024-01-01", end="2024-01-01T08:00").to_pylist()


def test_as_of_returns_what_the_database_knew(database: tm.Source, owner: Postgres) -> None:
    assert len(database.bars("BTC", as_of="2024-01-10")) == 0  # the bars were loaded later
    now = database.bars("BTC", as_of=datetime.now(UTC), columns=["close", "known_at"])
    assert now.table.select(["opened_at", "close"]).equals(database.bars("BTC").table.select(["opened_at", "close"]))
    assert min(now.table["known_at"].to_pylist()).year > 2024
