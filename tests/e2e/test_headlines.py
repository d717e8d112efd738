"""Headlines through the command line: a run, a backfill, posts of X with a token, and their deletion by prune."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.simulator.news import X_TOKEN
from ingestion.simulator.server import Simulator, simulator
from support.cli import ONE_COIN, Home, stages_of

pytestmark = pytest.mark.slow
DATASETS = ("headlines_gdelt", "headlines_hackernews", "headlines_rss", "headlines_x", "news_tone_gdelt")


@pytest.fixture
def market_now() -> Iterator[Simulator]:
    with simulator(seed=3) as server:
        yield server


def count(home: Home, table: str) -> int:
    return int(home.sql(f"select count(*) as n from {table}")[0]["n"])


def test_headlines_are_loaded_backfilled_and_deleted_where_x_has_deleted_them(
    market_now: Simulator, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home", market_now.urls(), ONE_COIN)
    home.env |= {"X_BEARER_TOKEN": X_TOKEN}
    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok")
    stages = stages_of(summary)
    assert [stages["bronze", name]["status"] for name in DATASETS] == ["ok"] * len(DATASETS)
    assert all(stages["raw", name]["detail"]["inserted"] > 0 for name in DATASETS)
    assert count(home, "raw.headlines") == count(home, "raw.headline_scores")
    assert count(home, "marts.fct_headline_sentiment_daily where crypto_id = 'market'") > 80

    gdelt = count(home, "raw.headlines_gdelt")
    code, summary = home.run(
        "backfill", "--dataset", "headlines", "--start", f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%d}"
    )
    assert (code, summary["status"]) == (0, "ok")
    # The run had three days.
    assert count(home, "raw.headlines_gdelt") > 5 * gdelt
    assert stages_of(summary)["bronze", "headlines_x"]["rows"] == 0

    posts = count(home, "raw.headlines_x")
    done = home.tickmart("prune")
    assert done.returncode == 0, done.stderr
    assert 0 < count(home, "raw.headlines_x") < posts
    left = count(home, "raw.headlines_x")
    code, _ = home.run("rebuild")
    assert (code, count(home, "raw.headlines_x")) == (0, left)
