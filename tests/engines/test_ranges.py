"""A build of a range of days gives what a full build has for these days, and leaves everything else as it was."""

import os
import random
import signal
import subprocess
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestration.engines import ranges
from orchestration.engines.errors import EngineError
from support.cli import ROOT, TICKMART, Home
from support.engines import build, needs, rows_of

TODAY = datetime.now(UTC).date()
COLUMNS = {
    "fct_market_prices": [
        "crypto_id", "timeframe", "started_at", "date", "month_start", "open", "high", "low", "close", "volume",
        "quote_volume", "trade_count", "vwap", "minute_count",
    ],
    "fct_onchain_transactions": [
        "crypto_id", "block_timestamp", "block_hash", "txid", "block_number", "date", "month_start", "is_coinbase",
        "input_count", "output_count", "input_sats", "output_sats", "fee_sats", "size_bytes", "virtual_size",
        "fee_rate",
    ],
}  # fmt: skip
# The order of the rows in a file, which begins each list of columns; the folder is the month.
ORDER = {"fct_market_prices": 3, "fct_onchain_transactions": 4}


def marts(tables: Path, *days: date) -> dict[str, pa.Table]:
    """The rows of both marts, of all or some days."""
    found = {}
    for mart, names in COLUMNS.items():
        rows = rows_of(tables, mart, names, names[: ORDER[mart]])
        found[mart] = rows.filter(pc.is_in(rows["date"], pa.array(days, pa.date32()))) if days else rows
    return found


def current(warehouse: Path) -> Path:
    return (warehouse / "sail" / "current").resolve() / "tables"


def full_build(home: Home) -> Path:
    """The tables of a full build on Sail, which an earlier test may have made."""
    warehouse = home.path / "warehouse"
    if not (warehouse / "sail" / "current" / "tables" / "marts" / "fct_prices").exists():
        assert build(home, "sail")[0] == 0
    return current(warehouse)


def build_days(home: Home, warehouse: Path, first: date, end: date, *options: str) -> Path:
    code, report = build(
        home, "sail", "--start", str(first), "--end", str(end), *options, TICKMART_WAREHOUSE=str(warehouse)
    )
    assert code == 0
    assert report["days"] == [str(first), str(end)]
    return current(warehouse)


@pytest.mark.slow
@pytest.mark.spark
def test_days_in_any_order_are_one_range_and_a_full_build(home: Home, tmp_path: Path) -> None:
    needs("sail")
    full = full_build(home)
    border = TODAY.replace(day=1)
    days = [border - timedelta(days=1), TODAY - timedelta(days=5), TODAY - timedelta(days=4)]
    for day in [*random.Random(7).sample(days, len(days)), days[-1]]:
        tables = build_days(home, tmp_path, day, day + timedelta(days=1))
    assert marts(tables) == marts(full, *days)
    assert marts(tables)["fct_market_prices"]["timeframe"].unique().to_pylist() == ["15m", "1d", "1h", "4h"]
    tables = build_days(home, tmp_path, date(2009, 1, 1), TODAY + timedelta(days=1))
    assert marts(tables) == marts(full)


@pytest.mark.spark
def test_a_table_is_partitioned_by_month_and_sorted_by_asset_and_time(home: Home) -> None:
    needs("sail")
    for mart, names in COLUMNS.items():
        order = names[: ORDER[mart]]
        for path, month in ranges.files_of(full_build(home) / "marts" / mart):
            rows = pq.read_table(path, columns=[*order, "date"], partitioning=None)
            assert {day.replace(day=1) for day in rows["date"].to_pylist()} == {month}
            keys = list(zip(*(rows[name].to_pylist() for name in order), strict=True))
            assert keys == sorted(keys)


@pytest.mark.spark
def test_a_range_replaces_its_days_and_links_everything_else(home: Home) -> None:
    needs("sail")
    before, warehouse = full_build(home), home.path / "warehouse"
    day = TODAY - timedelta(days=4)
    expected = marts(before)
    files = {path.relative_to(before): path.stat().st_ino for path in before.rglob("*.parquet")}
    folder = home.path / "lake" / "bronze" / "binance" / "klines" / "interval=1m"
    # Of a closed month, the object of the day is in a merged one.
    possible = [folder / f"date={day}" / "bars.parquet", folder / f"date={day.replace(day=1)}" / "month.parquet"]
    [bars] = [path for path in possible if path.exists()][:1]
    kept = bars.rename(home.path / "kept")
    try:
        tables = build_days(home, warehouse, day, day + timedelta(days=1), "--select", "fct_market_prices")
        found = marts(tables)
    finally:
        kept.rename(bars)
    rest = pc.invert(pc.equal(expected["fct_market_prices"]["timeframe"], "15m"))
    assert found["fct_market_prices"] == expected["fct_market_prices"].filter(rest)
    assert found["fct_onchain_transactions"] == expected["fct_onchain_transactions"]
    written = {path.relative_to(tables) for path in tables.rglob("*.parquet")}
    month = Path(f"marts/fct_market_prices/month_start={day.replace(day=1)}")
    assert {path for path in files if path.parent != month} == {path for path in written if path.parent != month}
    assert all((tables / path).stat().st_ino == inode for path, inode in files.items() if path.parent != month)
    # With the object back, the day is what it was.
    tables = build_days(home, warehouse, day, day + timedelta(days=1))
    assert marts(tables) == expected


def unfinished(link: Path) -> list[Path]:
    return [build for build in (link.parent / "builds").iterdir() if not (build / "complete").exists()]


@pytest.mark.spark
def test_a_killed_build_leaves_the_tables_before(home: Home) -> None:
    needs("sail")
    expected = marts(full_build(home))
    link = home.path / "warehouse" / "sail" / "current"
    before = link.readlink()
    with subprocess.Popen(
        [TICKMART, "build", "--engine", "sail", "--start", str(TODAY - timedelta(days=9))], env=home.env, cwd=ROOT,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while not [b for b in unfinished(link) if list(b.glob("tables/marts/fct_candles_intraday/*"))]:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert unfinished(link)
    assert link.readlink() == before
    assert marts(link.resolve() / "tables") == expected
    assert build(home, "sail", "--start", str(TODAY - timedelta(days=9)))[0] == 0
    assert marts(link.resolve() / "tables") == expected


@pytest.mark.spark
@pytest.mark.parametrize("engine", [pytest.param("spark", marks=pytest.mark.slow), "sail"])
def test_a_range_equals_postgres(home: Home, tmp_path: Path, engine: str) -> None:
    needs(engine)
    code, report = build(
        home, engine, "--start", str(TODAY - timedelta(days=5)), "--end", str(TODAY - timedelta(days=2)), "--compare",
        TICKMART_WAREHOUSE=str(tmp_path),
    )  # fmt: skip
    assert {m["mart"]: m for m in report["marts"] if not m["equal"]} == {}
    assert code == 0
    assert {m["mart"] for m in report["marts"]} == COLUMNS.keys()
    assert {m["mart"]: m["identical"] for m in report["marts"]} == report["rows"]
    assert all(report["rows"].values())


@pytest.mark.parametrize(
    ("start", "end", "models", "named"),
    [
        ("soon", None, (), "soon"),
        ("2026-02-30", None, (), "2026-02-30"),
        ("2026-02-02", "2026-02-02", (), "half-open"),
        ("2026-02-02", "2026-02-03", ("fct_prices",), "fct_market_prices"),
    ],
)
def test_what_is_no_range_is_named(start: str, end: str | None, models: tuple[str, ...], named: str) -> None:
    with pytest.raises(EngineError, match=named) as caught:
        ranges.parse(start, end, models)
    assert "\n" not in str(caught.value)


def test_a_range_reads_the_objects_that_can_have_its_records() -> None:
    days = ranges.parse("2026-01-31", "2026-02-02", ())
    assert days.months == [date(2026, 1, 1), date(2026, 2, 1)]
    bars = "binance/klines/interval=1h/date={}.parquet"
    expected = {
        "2026-01-30/bars": False, "2026-01-31/bars": True, "2026-02-01/bars": True, "2026-02-02/bars": False,
        "2025-12-01/month": False, "2026-01-01/month": True, "2026-02-01/month": True, "2026-03-01/month": False,
    }  # fmt: skip
    assert {key: days.reads(bars.format(key), "binance_klines") for key in expected} == expected
    # A block counts on the day of its header's time, which can be the day before or after that of its folder.
    blocks = "bitcoin/transactions/date={}/transactions.parquet"
    near = [date(2026, 1, 28) + timedelta(days=n) for n in range(8)]
    read = [day.isoformat() for day in near if days.reads(blocks.format(day), "bitcoin_transactions")]
    assert read == ["2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02"]
