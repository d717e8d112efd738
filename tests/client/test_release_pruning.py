"""A read of a release reads the part of the files that it needs."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tickmart as tm

COINS, HOURS = 20, 20_000
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
COUNTERS = Path("/proc/self/io")


@pytest.fixture
def release(tmp_path: Path) -> tm.Source:
    """Four hundred thousand bars in row groups of 2,000."""
    numbers = random.Random(1)
    ids = [f"coin-{n:02}" for n in range(COINS)]
    hours = [FIRST + timedelta(hours=n) for n in range(HOURS)]
    instants = pa.array(hours, pa.timestamp("us", "UTC"))
    bars = pa.table(
        {
            "crypto_id": [name for name in ids for _ in hours],
            "opened_at": pa.concat_arrays([instants] * COINS),
            "close": [numbers.random() for _ in range(COINS * HOURS)],
        }
    )
    coins = pa.table({"crypto_id": ids, "symbol": ids, "name": ids, "first_bar_at": pa.array([FIRST] * COINS)})
    pq.write_table(bars, tmp_path / "fct_prices.parquet", row_group_size=2000)
    pq.write_table(coins, tmp_path / "dim_crypto.parquet")
    marts = {
        name: {
            "file": f"{name}.parquet",
            "sorted_by": key,
            "columns": {column: {"type": "text", "description": ""} for column in table.column_names},
        }
        for name, table, key in (
            ("fct_prices", bars, ["crypto_id", "opened_at"]), ("dim_crypto", coins, ["crypto_id"]),
        )
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "version": "test", "marts": marts}))
    return tm.open(tmp_path)


@pytest.mark.skipif(not COUNTERS.exists(), reason="only Linux counts the bytes that a process reads")
def test_one_coin_and_month_reads_at_most_five_percent(release: tm.Source, tmp_path: Path) -> None:
    month = {"start": "2023-03-01", "end": "2023-04-01", "columns": ["close"]}
    release.bars("coin-07", **month)  # what is read once
    before = int(COUNTERS.read_text().split()[1])
    bars = release.bars("coin-07", **month)
    read = int(COUNTERS.read_text().split()[1]) - before
    assert len(bars) == 31 * 24
    assert read < 0.05 * (tmp_path / "fct_prices.parquet").stat().st_size
