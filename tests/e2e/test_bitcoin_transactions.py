"""Bitcoin's transactions through the command: off by default, on by setting, loaded by backfill."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingestion.simulator.bitcoin import SimulatedDay, make_day, write_daily, write_per_block
from ingestion.simulator.server import Simulator, simulator
from support.cli import ONE_COIN, Home, stages_of

pytestmark = pytest.mark.slow
NAME = "bitcoin_transactions"


@pytest.fixture
def market_now() -> Iterator[Simulator]:
    with simulator(seed=3) as server:
        yield server


def so_far(made: SimulatedDay) -> SimulatedDay:
    """The blocks of a day until now."""
    now = pa.scalar(datetime.now(UTC).replace(tzinfo=None), pa.timestamp("us"))
    blocks = made.blocks.filter(pc.less(made.blocks["timestamp"], now))
    return SimulatedDay(made.day, blocks, made.transactions.filter(pc.less(made.transactions["block_timestamp"], now)))


def test_transactions_are_off_then_backfilled_then_refreshed(
    market_now: Simulator, tmp_path: Path, serve: Callable[[Home], Home]
) -> None:
    bucket = tmp_path / "bucket"
    home = serve(Home(tmp_path / "home", market_now.urls(), ONE_COIN))
    home.env["BITCOIN_TRANSACTIONS_URL"] = f"file://{bucket}"

    # Off: no stage, no check, no dataset in the status, and nothing is read.
    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok")
    assert [stage for stage in stages_of(summary) if stage[1] == NAME] == []
    assert [c for c in summary["checks"]["failures"] if NAME in c["asset"]] == []
    assert NAME not in {d["dataset"] for d in json.loads(home.tickmart("status", "--json").stdout)["datasets"]}

    # A backfill, also of days before Binance; a missing day is named, the others are loaded.
    first = date(2016, 5, 1)
    for n in (0, 2):
        day = first + timedelta(days=n)
        write_daily(bucket, make_day(day, first=409_600 + 6 * n, blocks=6))
    arguments = ("backfill", "--dataset", NAME, "--start", str(first), "--end", str(first + timedelta(days=3)))
    code, summary = home.run(*arguments)
    assert (code, summary["status"]) == (3, "partial")
    assert list(stages_of(summary)["bronze", NAME]["detail"]["failed"]) == ["2016-05-02"]
    assert stages_of(summary)["raw", NAME]["rows"] == 48
    write_daily(bucket, make_day(first + timedelta(days=1), first=409_606, blocks=6))
    code, summary = home.run(*arguments)
    assert (code, stages_of(summary)["raw", NAME]["rows"]) == (0, 24)
    totals = "select timeframe, sum(transaction_count) as n, sum(block_count) as b from marts.fct_onchain_activity"
    assert [row["n"] for row in home.sql(f"{totals} group by 1")] == ["54"] * 4

    # On: yesterday and what there is of today, beside candles.
    today = datetime.now(UTC).date()
    write_daily(bucket, make_day(today - timedelta(days=1), blocks=24))
    write_per_block(bucket, so_far(make_day(today, first=850_024, blocks=24)))
    code, summary = home.run("run", TICKMART_BITCOIN_TRANSACTIONS="true")
    assert summary["status"] == "ok", summary["checks"]["failures"]
    days = home.sql(f"select day, status from ops.bitcoin_days where day >= '{today - timedelta(days=1)}' order by 1")
    assert days[1]["status"] == "provisional"
    candles = home.sql(
        "select count(*) as n, count(close) as c from marts.fct_onchain_activity"
        f" where timeframe = '1d' and date = '{today - timedelta(days=1)}'"
    )
    assert candles == [{"n": "1", "c": "1"}]

    # Without its bucket: its check warns, and its dataset alone becomes late by its SLA.
    code, summary = home.run(
        "run", TICKMART_BITCOIN_TRANSACTIONS="true", BITCOIN_TRANSACTIONS_URL="file:///no/such/place"
    )
    stages = stages_of(summary)
    assert (code, summary["status"], stages["bronze", NAME]["status"]) == (0, "ok", "failed")
    warned = {(c["asset"], c["check_name"]): c["severity"] for c in summary["checks"]["failures"]}
    assert warned == {(f"bronze/{NAME}", "source_answered"): "warn"}
    # A backfill asks for the bucket alone.
    code, summary = home.run(*arguments, BITCOIN_TRANSACTIONS_URL="file:///no/such/place")
    assert (code, summary["status"]) == (1, "failed")
