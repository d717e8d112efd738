"""A machine whose clock is an hour off, in either direction, ends a whole run with the same rows."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.simulator.server import simulator
from support.cli import MARKET_NOW, ROOT, Home

pytestmark = pytest.mark.slow

# Python imports this module by itself at start: so each process of a run has the clock that the test gives it. Go and C
# know nothing of it. S3 is signed by the store's own clock, because any store refuses one a quarter of an hour off; the
# embedded one has its host's.
SITECUSTOMIZE = """
import os
from datetime import UTC, datetime, timedelta
import time_machine
time_machine.travel(datetime.now(UTC) + timedelta(seconds=float(os.environ["TEST_CLOCK_OFF_S"])), tick=True).start()
import minio.time
minio.time.utcnow = lambda: time_machine.escape_hatch.datetime.datetime.now(UTC)
"""
TABLES = (
    "raw.binance_klines", "raw.fear_greed", "marts.fct_prices", "marts.fct_daily_summary", "marts.fct_sentiment_daily",
)  # fmt: skip


def digest(table: str) -> str:
    """A query for name, number and digest of a table's rows, but for when they were loaded."""
    return (
        f"select '{table}' as name, count(*) as rows, md5(string_agg(row, '' order by row)) as digest "
        "from (select (to_jsonb(t) - array['known_at', 'loaded_at', 'batch_id'])::text as row "
        f"from {table} as t) as rows"
    )


def rows_after_a_run(folder: Path, off: timedelta) -> dict[str, Any]:
    """Run once on a machine whose clock is that far from the exchange's; return what stands in each table."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    with simulator(seed=3, now=MARKET_NOW) as market:
        home = Home(folder / "home", market.urls())
        shift = datetime.fromisoformat(MARKET_NOW) + off - datetime.now(UTC)
        home.env |= {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "TEST_CLOCK_OFF_S": str(shift.total_seconds())}
        code, summary = home.run("run")
        assert (code, summary["status"]) == (0, "ok"), summary
        shown = home.sql(" union all ".join(map(digest, TABLES)))
    return {row["name"]: (int(row["rows"]), row["digest"]) for row in shown}


def test_a_clock_that_is_an_hour_off_changes_no_row(tmp_path: Path) -> None:
    fast = rows_after_a_run(tmp_path / "fast", timedelta(hours=1))
    assert fast["raw.binance_klines"][0] == fast["marts.fct_prices"][0] == 3 * (30 * 24 + 12)
    assert fast["marts.fct_daily_summary"][0] == 3 * 30
    assert all(rows for rows, _ in fast.values())
    assert rows_after_a_run(tmp_path / "slow", timedelta(hours=-1)) == fast
