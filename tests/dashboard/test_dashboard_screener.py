"""The screener and the heatmap: filters, order, URL parameters, grouped tiles, and what a click opens."""

import pandas as pd
import pytest

from dashboard.analysis.market import MIN_POINTS, gapless_tail
from dashboard.analysis.screener import MAX_TILES, OTHERS, Filters, heatmap_tiles, ordered, select
from tests.dashboard.page_tools import figures

COINS = pd.DataFrame(
    {
        "crypto_id": ["bitcoin", "tether", "pepe", "unknown"],
        "symbol": ["btc", "usdt", "pepe", None],
        "name": ["Bitcoin", "Tether", "Pepe", "Unknown"],
        "category": ["store of value", "stablecoin", "meme", None],
        "is_pegged": [False, True, False, False],
        "is_tracked": [True, False, True, False],
        "market_cap_usd": [1e12, 2e11, 4e9, None],
        "volume_24h_usd": [3e10, 7e10, 2e6, None],
        "change_24h_pct": [1.0, 0.0, -30.0, None],
    }
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), ["bitcoin", "tether", "pepe", "unknown"]),
        (Filters(min_volume_usd=1e7), ["bitcoin", "tether"]),
        (Filters(min_cap_usd=1e9, without_pegged=True), ["bitcoin", "pepe"]),
        (Filters(category="meme"), ["pepe"]),
        (Filters(tracked_only=True), ["bitcoin", "pepe"]),
        (Filters(search="  BTC "), ["bitcoin"]),
        (Filters(search="e t"), ["tether"]),
        (Filters(only=["pepe", "tether"]), ["tether", "pepe"]),
        (Filters(only=[]), []),
    ],
)
def test_a_coin_is_shown_if_it_passes_every_filter(filters, expected):
    assert select(COINS, filters)["crypto_id"].tolist() == expected


@pytest.mark.parametrize("ascending", [True, False])
def test_coins_without_a_value_come_last_in_either_order(ascending):
    found = ordered(COINS, "change_24h_pct", ascending=ascending)["crypto_id"].tolist()
    assert found == (["pepe", "tether", "bitcoin"] if ascending else ["bitcoin", "tether", "pepe"]) + ["unknown"]


def test_small_coins_are_one_tile_with_their_summed_cap_and_weighted_change():
    small = pd.DataFrame({"crypto_id": ["a", "b"], "market_cap_usd": [1e9, 3e9], "change_24h_pct": [4.0, 8.0]})
    tiles = heatmap_tiles(pd.concat([COINS.head(2), small]), "change_24h_pct")
    assert tiles["crypto_id"].tolist() == ["bitcoin", "tether", OTHERS]
    assert tiles.iloc[-1][["market_cap_usd", "change_24h_pct"]].tolist() == [4e9, 7.0]


def test_heatmap_has_no_more_tiles_than_can_be_read_and_none_is_lost():
    coins = pd.DataFrame({"crypto_id": map(str, range(100)), "market_cap_usd": 1e9, "change_24h_pct": 1.0})
    tiles = heatmap_tiles(coins, "change_24h_pct")
    assert len(tiles) == MAX_TILES + 1
    assert tiles["market_cap_usd"].sum() == 1e11


def test_sparkline_begins_after_the_newest_gap_and_needs_enough_points():
    hours = pd.Series(pd.date_range("2026-01-01", periods=3 * MIN_POINTS, freq="h", tz="UTC"))
    values = pd.Series(range(len(hours)), dtype=float)
    assert gapless_tail(hours, values, "1h") == values.tolist()
    kept = hours.index != MIN_POINTS
    assert gapless_tail(hours[kept], values[kept], "1h") == values[MIN_POINTS + 1 :].tolist()
    kept = hours.index != 3 * MIN_POINTS - 2
    assert gapless_tail(hours[kept], values[kept], "1h") == []
    assert gapless_tail(hours.head(0), values.head(0), "1h") == []


def shown(app) -> pd.DataFrame:
    return app.dataframe[0].value


def test_filters_and_order_of_a_link_apply(open_page, marts, server):
    app = open_page(marts, unpegged="true", tracked="true", volume="1M", sort="7d", order="ascending")
    expected = server.query(
        "tickmart",
        "select position from marts.v_screener where is_tracked and not is_pegged and volume_24h_usd >= 1e6 "
        "order by change_7d_pct nulls last, position",
    )
    assert not app.exception
    assert len(expected) > 3
    assert shown(app)["#"].tolist() == [position for (position,) in expected]


def test_watchlist_of_a_link_shows_its_coins(open_page, marts):
    app = open_page(marts, watchlist="true", watch=["bitcoin", "solana"])
    assert {name.partition(" ")[0] for name in shown(app)["Coin"]} == {"Bitcoin", "Solana"}


def test_a_search_without_a_match_shows_no_table(open_page, marts):
    app = open_page(marts, search="no such coin")
    assert not app.exception
    assert not app.dataframe


def test_charts_have_stablecoins_only_if_asked(rendered):
    assert "tether" not in figures(rendered("marts"))["map"]["data"][0]["ids"]
    assert "tether" in figures(rendered("marts", stablecoins="true"))["map"]["data"][0]["ids"]
