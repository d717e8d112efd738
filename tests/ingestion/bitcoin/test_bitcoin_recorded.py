"""Real blocks of 2009 to 2018 in the layout of the bucket, against the counts of Coin Metrics."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from support.bitcoin import Bitcoin

FOLDER = Path(__file__).parents[3].parent / "shared/replay/data/bitcoin/v1.0/btc"
# Later folders have one or two blocks each: they are tests of rows, not of days.
WHOLE = [date(2009, 1, 9) + timedelta(days=n) for n in range(5)]

pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not FOLDER.exists(), reason="no recorded blocks"),
]


def test_whole_days_have_the_counts_of_coin_metrics(bitcoin: Bitcoin) -> None:
    bitcoin.url = f"file://{FOLDER}"
    assert bitcoin.take(date(2009, 1, 3), *WHOLE).failed == {}
    bitcoin.consistent()
    by_header = bitcoin.chain.ask(
        "select (block_timestamp at time zone 'UTC')::date, count(*), count(*) filter (where not is_coinbase)"
        " from raw.bitcoin_transactions where block_number > 0 group by 1 order by 1"
    )
    assert by_header == list(zip(WHOLE, (14, 61, 93, 101, 123), (0, 0, 0, 7, 0), strict=True))
    by_median = bitcoin.chain.ask(
        "select (median_time at time zone 'UTC')::date, count(*) filter (where not is_coinbase)"
        " from raw.bitcoin_transactions inner join raw.bitcoin_blocks using (block_hash)"
        " where median_time >= '2009-01-09+00' and median_time < '2009-01-14+00' group by 1 order by 1"
    )
    assert by_median == list(zip(WHOLE, (0, 0, 1, 6, 0), strict=True))


def test_every_recorded_row_is_read_and_every_known_fee_adds_up(bitcoin: Bitcoin) -> None:
    bitcoin.url = f"file://{FOLDER}"
    days = sorted(date.fromisoformat(p.name.removeprefix("date=")) for p in (FOLDER / "blocks").iterdir())
    result = bitcoin.take(*days)
    assert result.error is None
    assert result.rejected == 0
    bitcoin.consistent()
    rows, unknown, zero = bitcoin.chain.ask(
        "select count(*), count(*) filter (where fee_sats is null and not is_coinbase),"
        " count(*) filter (where fee_sats = 0) from raw.bitcoin_transactions"
    )[0]
    assert rows == result.rows
    assert unknown > 0
    assert zero > 0
    assert [line for line in result.failed.values() if "coinbase exceeds" in line] == []
