"""Days of bars in bronze that a test compacts, and what a reader of the lake and of raw then finds."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from ingestion.arrow import align_decimals, last_wins
from ingestion.bronze.compaction import Compacted, compact
from ingestion.bronze.lake import Lake
from ingestion.bronze.merged import current
from ingestion.datasets import Dataset
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from ingestion.universe import Asset
from support.pipeline import Chain
from support.source_rows import bar, body_of

JANUARY, FEBRUARY = date(2026, 1, 1), date(2026, 2, 1)
FETCHED = datetime(2026, 2, 1, tzinfo=UTC)
LATER = datetime(2026, 2, 3, tzinfo=UTC)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
BITCOIN = Asset("bitcoin", "BTCUSDT", "Bitcoin", "")
MONTH = "binance/klines/interval=1h/date=2026-01-01/month.parquet"


def bars(
    day: date, symbols: tuple[str, ...] = SYMBOLS, *, close: str = "101.5", fetched_at: datetime = FETCHED
) -> pa.Table:
    """The hourly bars of a day, sorted by key."""
    pages = []
    for symbol in symbols:
        rows = [bar(day, hour, close=close) for hour in range(24)]
        pages.append(parse_klines(body_of(rows), symbol, "1h", "http://exchange", fetched_at).rows)
    table = pa.concat_tables(align_decimals(pages))
    return last_wins(table.append_column("batch_id", pa.repeat("batch", len(table))), KLINES.key)


def put_days(lake: Lake, first: date, days: int, **how: Any) -> None:
    for number in range(days):
        day = first + timedelta(days=number)
        lake.write(klines_key("1h", day), bars(day, **how))


def run(
    chain: Chain, *datasets: Dataset, now: datetime = LATER, wait: timedelta = timedelta(), lake: Lake | None = None
) -> Compacted:
    used = datasets or (KLINES,)
    return compact(lake or chain.lake, chain.connection, used, now, "compaction", remove_after=wait)


def keys(chain: Chain) -> list[str]:
    return [info.key for info in chain.lake.list("")]


def raw_rows(chain: Chain, dataset: Dataset = KLINES) -> list[tuple[Any, ...]]:
    """What raw has, but for the times of loads."""
    names = ", ".join([*(column.name for column in dataset.columns), *dataset.raw_provenance, "batch_id"])
    return chain.ask(f"select {names} from raw.{dataset.name} order by {', '.join(dataset.key)}")


def rows_in_bronze(lake: Lake) -> Counter[tuple[str, datetime]]:
    """How often each bar is among what a reader of the lake takes."""
    found: Counter[tuple[str, datetime]] = Counter()
    for info in current(lake.list("")):
        held = lake.read(info.key)
        assert held is not None, info.key
        found.update(zip(held[0]["symbol"].to_pylist(), held[0]["open_time"].to_pylist(), strict=True))
    return found
