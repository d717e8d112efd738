"""What `tickmart publish` writes is what the client reads: a release has the rows of the database."""

import pytest

import tickmart as tm

CALLS = {
    "bars": lambda source: source.bars(None, start="2024-01-01", columns="*"),
    "days": lambda source: source.daily(["BTC", "ETH"]),
    "months": lambda source: source.bars("bitcoin", interval="1M"),
    "snapshots": lambda source: source.snapshots(),
    "sentiment": lambda source: source.sentiment(),
    "correlations": lambda source: source.correlations("bitcoin"),
    "coins": lambda source: source.coins(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_release_has_the_rows_of_the_database(release: tm.Source, database: tm.Source, call: str) -> None:
    found, expected = CALLS[call](release).table, CALLS[call](database).table
    assert len(expected)
    assert found.equals(expected)


def test_exact_decimals_are_equal(release: tm.Source, database: tm.Source) -> None:
    read = {name: each.bars("BTC", decimals=True).to_pylist() for name, each in (("a", release), ("b", database))}
    assert read["a"] == read["b"]


def test_health_and_metrics_are_those_of_the_publication(release: tm.Source) -> None:
    assert "binance_klines" in release.health().table["dataset"].to_pylist()
    defined = {(row["mart"], row["column"]): row["definition"] for row in release.metrics().to_pylist()}
    assert defined["fct_prices", "close"]
