"""Writes millions of 1m candles straight to a bronze folder, as `tickmart compact` would have left them.

    .venv/bin/python benchmarks/candles.py --millions 8 /tmp/scale/bronze
    TICKMART_HOME=/tmp/home .venv/bin/python benchmarks/candles.py --millions 8 --lake

Symbols are those of the universe file; the same arguments write the same rows. With ``--lake`` the folder is the bucket
of the home's S3 server, so that `tickmart rebuild` and engines that read S3 find them.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ingestion.arrow import DECIMAL, UTC_US  # noqa: E402
from ingestion.bronze.parquet import shape, write_options  # noqa: E402
from ingestion.datasets import MONTH_FILE, midnight, next_month  # noqa: E402
from ingestion.settings import load_settings  # noqa: E402
from ingestion.sources.binance.dataset import KLINES, PREFIX  # noqa: E402
from ingestion.universe import read_universe  # noqa: E402

FIRST_DAY = date(2023, 1, 1)
SYMBOLS = 50
MINUTE_US = 60_000_000
UNIT = 10**8
URL = "https://data.binance.vision/data/spot/monthly/klines"


def months(minutes: int) -> Iterator[tuple[date, int, int]]:
    """Yield each month with the first and the last minute since the first day, half-open."""
    month, at = FIRST_DAY, 0
    while at < minutes:
        end = min(minutes, at + (next_month(month) - month).days * 1440)
        yield month, at, end
        month, at = next_month(month), end


def decimals(units: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> pa.Array:
    """Exact numbers from integers of the eighth place."""
    words = np.empty((len(units), 2), dtype="int64")
    words[:, 0], words[:, 1] = units, units >> 63
    return pa.Array.from_buffers(DECIMAL, len(units), [None, pa.py_buffer(words)])


def candles(symbol: str, number: int, month: date, first: int, last: int) -> pa.Table:
    """The candles of one symbol and month: a random walk that begins at the price of the symbol's number."""
    count = last - first
    chance = np.random.default_rng([number, month.year, month.month])
    walk = np.cumsum(chance.normal(0, 5e-4, count))
    close = np.maximum((UNIT * 10_000 / (1 + number) * np.exp(walk)).astype("int64") // 10_000 * 10_000, 10_000)
    opened = np.concatenate([close[:1], close[:-1]])
    spread = (chance.random((2, count)) * 3e-4 * close).astype("int64") // 10_000 * 10_000
    volume = chance.integers(1, 10**7, count) * 1000
    quote = (volume * (close / UNIT)).astype("int64")
    share = chance.random(count)
    opens = (int(midnight(FIRST_DAY).timestamp()) * 1_000_000 + MINUTE_US * np.arange(first, last)).astype("int64")
    columns = {
        "symbol": pa.repeat(symbol, count),
        "interval": pa.repeat("1m", count),
        "open_time": pa.array(opens).cast(UTC_US),
        "open": decimals(opened),
        "high": decimals(np.maximum(opened, close) + spread[0]),
        "low": decimals(np.maximum(np.minimum(opened, close) - spread[1], 1)),
        "close": decimals(close),
        "volume": decimals(volume),
        "close_time": pa.array(opens + MINUTE_US - 1000).cast(UTC_US),
        "quote_volume": decimals(quote),
        "trade_count": pa.array(chance.integers(1, 5000, count)),
        "taker_buy_base_volume": decimals((volume * share).astype("int64")),
        "taker_buy_quote_volume": decimals((quote * share).astype("int64")),
        "extra": pa.repeat('["0"]', count),
        "source_url": pa.repeat(f"{URL}/{symbol}/1m/{symbol}-1m-{month:%Y-%m}.zip", count),
        "fetched_at": pa.repeat(
            pa.scalar(datetime.combine(next_month(month), datetime.min.time(), UTC), UTC_US), count
        ),
        "batch_id": pa.repeat("0" * 36, count),
    }
    return pa.table({field.name: columns[field.name] for field in KLINES.schema}, schema=KLINES.schema)


def write_month(folder: Path, symbols: list[str], month: date, first: int, last: int) -> int:
    """Write the object of a month, one row group for each symbol; return its bytes."""
    path = folder / PREFIX / "interval=1m" / f"date={month.isoformat()}" / MONTH_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{MONTH_FILE}.{os.getpid()}")
    with pq.ParquetWriter(draft, KLINES.schema, **write_options(KLINES.schema)) as writer:
        for number, symbol in enumerate(symbols):
            writer.write_table(candles(symbol, number, month, first, last))
        writer.add_key_value_metadata(shape((last - first) * len(symbols), writer.schema))
    draft.replace(path)
    return path.stat().st_size


def main() -> None:
    """Write the candles, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=1, help="millions of rows (1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--lake", action="store_true", help="write to the bucket of TICKMART_HOME's own S3 server")
    parser.add_argument("folder", type=Path, nargs="?", help="the folder that becomes the bucket")
    arguments = parser.parse_args()
    settings = load_settings()
    if arguments.lake == (arguments.folder is not None):
        parser.error("give either a folder or --lake")
    folder = arguments.folder or settings.home / "lake" / "bronze"
    universe = read_universe(settings.universe_path)
    symbols = sorted({asset.binance_symbol for asset in universe if asset.binance_symbol})[:SYMBOLS]
    minutes = round(arguments.millions * 1_000_000 / len(symbols))
    began = time.perf_counter()
    work = list(months(minutes))
    with ProcessPoolExecutor(arguments.workers) as pool:
        sizes = pool.map(write_month, *zip(*((folder, symbols, *month) for month in work), strict=True))
        size = sum(sizes)
    seconds, rows = time.perf_counter() - began, minutes * len(symbols)
    until = FIRST_DAY + timedelta(minutes=minutes)
    print(
        f"{rows:,} candles of {len(symbols)} symbols, {FIRST_DAY} to {until}, {len(work)} objects, "
        f"{size / 1e6:,.0f} MB in {seconds:.1f} s below {folder}"
    )


if __name__ == "__main__":
    main()
