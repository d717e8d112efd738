"""Coins are identified by crypto_id: equal tickers and names get distinct labels, marks and links."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.analysis.comparison import similar_coins
from dashboard.charts import base, compare, data_quality, overview
from dashboard.labels import labels, resolve_coin
from dashboard.text import comparison_key
from tests.dashboard.frames import SNAPSHOT

LIGHT = base.palette()
WORDS = st.none() | st.sampled_from(["luna", "LUNA", "Luna ", "", "terra", "lu\u200bna", "a · b"]) | st.text(max_size=8)


def coins(*rows: tuple[str, str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["crypto_id", "symbol", "name"])


TWINS = coins(("terra-luna-2", "luna", "Terra"), ("terra-luna", "LUNA", "Terra Classic"), ("bitcoin", "btc", "Bitcoin"))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text("abc-", min_size=1, max_size=4), WORDS, WORDS), max_size=8, unique_by=lambda c: c[0]))
def test_labels_are_distinct_for_any_names(rows):
    for columns in ((), ("name", "symbol")):
        found = labels(coins(*rows), *columns)
        assert list(found) == [row[0] for row in rows]
        assert all(found.values())
        assert len(set(map(comparison_key, found.values()))) == len(rows)


def test_labels_add_the_name_to_shared_tickers_only():
    assert labels(TWINS) == {
        "terra-luna-2": "LUNA · Terra",
        "terra-luna": "LUNA · Terra Classic",
        "bitcoin": "BTC",
    }
    assert labels(coins(("a", "x", "Same"), ("b", "x", "Same"))) == {"a": "X · Same · a", "b": "X · Same · b"}
    assert labels(coins(("a", None, None), ("b", "", "B"))) == {"a": "a", "b": "B"}


def test_resolve_coin_matches_id_ticker_and_name_in_any_case():
    assert resolve_coin("bitcoin", TWINS) == ["bitcoin"]
    assert resolve_coin("BTC", TWINS) == ["bitcoin"]
    assert resolve_coin("Bitcoin", TWINS) == ["bitcoin"]
    assert resolve_coin("terra classic", TWINS) == ["terra-luna"]
    assert resolve_coin("luna", TWINS) == ["terra-luna-2", "terra-luna"]
    assert resolve_coin("", coins(("a", "", "A"))) == []
    assert similar_coins("luna", TWINS)[:2] == ["terra-luna-2", "terra-luna"]


TABLE = SNAPSHOT.head(2).assign(
    crypto_id=["terra-luna-2", "terra-luna"], symbol="luna", name=["Terra", "Terra Classic"], position=[1, 2]
)
RISK = TABLE.assign(volatility_90d=[0.5, 0.6], return_90d_pct=[1.0, 2.0], quote_volume=1.0, beta_btc_90d=[1.0, 2.0])
APART = TABLE.assign(divergence_pct=[1.0, 2.0], close=1.0, opened_at=pd.Timestamp("2026-01-01", tz="UTC"))
WEEK = pd.concat(
    [TABLE.assign(opened_at=pd.Timestamp(f"2026-01-01 0{hour}:00", tz="UTC"), index_100=100.0) for hour in range(3)]
).sort_values("crypto_id")
MISSING = TABLE.assign(date=pd.Timestamp("2026-01-01"), missing=3)
IDS = ["terra-luna-2", "terra-luna"]
SQUARE = pd.DataFrame([[1.0, 0.5], [0.5, 1.0]], index=IDS, columns=IDS)


@pytest.mark.parametrize(
    ("figure", "at"),
    [
        (overview.change_bars(TABLE, "change_24h_pct", LIGHT), "y"),
        (overview.market_treemap(TABLE, LIGHT), "ids"),
        (overview.volume_bars(TABLE, LIGHT), "y"),
        (compare.beta_bars(RISK, IDS, LIGHT), "x"),
        (compare.correlation_heatmap(SQUARE, SQUARE, labels(TABLE), LIGHT), "y"),
        (data_quality.divergence_bars(APART, 5.0, LIGHT), "y"),
        (data_quality.missing_heatmap(MISSING, pd.Timestamp("2026-01-02"), LIGHT), "y"),
    ],
    ids=["changes", "treemap", "volumes", "beta", "correlations", "divergence", "missing hours"],
)
def test_coins_with_equal_tickers_are_separate_marks(figure, at):
    spec = json.loads(figure.to_json())
    assert sorted(spec["data"][0][at]) == sorted(IDS)
    shown = spec["data"][0].get("labels") or spec["layout"][f"{'x' if at == 'x' else 'y'}axis"]["ticktext"]
    assert sorted(shown) == ["LUNA · Terra", "LUNA · Terra Classic"]


def test_coins_with_equal_tickers_are_separate_lines_and_points():
    assert [line.name for line in overview.weekly_performance(WEEK, LIGHT).data] == [
        "LUNA · Terra Classic",
        "LUNA · Terra",
    ]
    assert [len(line.x) for line in overview.weekly_performance(WEEK, LIGHT).data] == [3, 3]
    (points,) = compare.risk_return(RISK, IDS, LIGHT).data
    assert sorted(points.text) == ["LUNA · Terra", "LUNA · Terra Classic"]
