"""Headlines through the command line: a run, a backfill, posts of X with a token, and their deletion by prune."""

from collections.abc import Callable, Iterator
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


def counts(home: Home) -> dict[str, int]:
    """The rows of each table of headlines, by its name without schema."""
    tables = ("raw.headlines", "raw.headline_scores", "raw.headlines_gdelt", "raw.headlines_x")
    columns = [f"(select count(*) from {table}) as {table.partition('.')[2]}" for table in tables]
    days = "(select count(*) from marts.fct_headline_sentiment_daily where crypto_id = 'market') as days"
    [found] = home.sql(f"select {', '.join(columns)}, {days}")
    return {name: int(number) for name, number in found.items()}


def test_headlines_are_loaded_backfilled_and_deleted_where_x_has_deleted_them(
    market_now: Simulator, tmp_path: Path, serve: Callable[[Home], Home]
) -> None:
    home = serve(Home(tmp_path / "home", market_now.urls(), ONE_COIN))
    home.env |= {"X_BEARER_TOKEN": X_TOKEN}
    code, summary = home.run("run")
    assert (code, summary["status"]) == (0, "ok")
    stages = stages_of(summary)
    assert [stages["bronze", name]["status"] for name in DATASETS] == ["ok"] * len(DATASETS)
    assert all(stages["raw", name]["detail"]["inserted"] > 0 for name in DATASETS)
    first = counts(home)
    assert first["headlines"] == first["headline_scores"]
    assert first["days"] > 80

    code, summary = home.run(
        "backfill", "--dataset", "headlines", "--start", f"{datetime.now(UTC) - timedelta(days=30):%Y-%m-%d}"
    )
    assert (code, summary["status"]) == (0, "ok")
    assert stages_of(summary)["bronze", "headlines_x"]["rows"] == 0
    second = counts(home)
    # The run had three days.
    assert second["headlines_gdelt"] > 5 * first["headlines_gdelt"]

    done = home.tickmart("prune")
    assert done.returncode == 0, done.stderr
    left = counts(home)["headlines_x"]
    assert 0 < left < second["headlines_x"]
    code, _ = home.run("rebuild")
    assert (code, counts(home)["headlines_x"]) == (0, left)
