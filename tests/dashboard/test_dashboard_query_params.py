"""URL parameters: invalid values are named and ignored, spellings are normalized, chart ranges are applied."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.text import inline_code
from tests.dashboard.page_tools import PAGES, figures, ignored_params_text

INVALID = [
    "'; drop table marts.fct_prices; --",
    "<script>alert(1)</script>",
    "[a](http://b.c)",
    "%00",
    "-1",
    "💥" * 300,
]
PARAMETERS = {
    "overview": [
        *("change", "stablecoins", "volume", "cap", "category", "tracked", "unpegged", "watchlist", "sort", "order"),
        "colors",
    ],
    "price": [
        *("coin", "range", "from", "to", "interval", "draw", "log", "over", "panes", "compare", "data", "zoom"),
        *("explain", "colors"),
    ],
    "sentiment": ["span", "from", "to", "data", "zoom", "colors"],
    "compare": ["coins", "range", "from", "to", "interval", "log", "window", "data", "zoom", "colors"],
    "data_quality": ["status", "colors", "unknown"],
    "connect": ["colors"],
    "dictionary": ["colors"],
}


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in PARAMETERS.items() for name in names])
def test_invalid_value_is_named_in_a_warning(open_page, marts, page, name):
    value = "<script>alert(1)</script> [a](http://b.c) `d`" + "💥" * 300
    app = open_page(marts, page, **{name: value})
    assert not app.exception
    assert not app.error
    assert inline_code(name if name == "unknown" else value) in ignored_params_text(app)
    if name not in ("coin", "coins", "unknown"):
        assert app.query_params.get(name) in (None, [])


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_with_every_parameter_invalid(open_page, marts, page):
    names = {name for known in PARAMETERS.values() for name in known} | {"search"}
    app = open_page(marts, page, **dict(zip(sorted(names), itertools.cycle(INVALID), strict=False)))
    assert not app.exception
    assert not app.error


VALID = {
    "overview": {
        "change": "7d",
        "volume": "10M",
        "sort": "7d",
        "order": "ascending",
        "search": "coin",
        "watch": ["bitcoin"],
    },
    "price": {"coin": "solana", "range": "3M", "draw": "Line", "log": "true", "over": ["EMA"], "panes": ["RSI"]},
    "sentiment": {"span": "1Y"},
    "compare": {"coins": ["bitcoin", "solana"], "range": "All", "log": "True", "window": "30 days"},
    "live": {"live": ["bitcoin", "ethereum"], "range": "7 d"},
    "news": {"range": "All", "asset": "bitcoin", "source": "gdelt", "language": "EN", "data": "true"},
    "onchain": {"range": "All", "series": "value and volume", "method": "spearman", "log": "1", "fee_log": "true"},
}


@pytest.mark.parametrize("page", PAGES)
def test_valid_parameters_cause_no_warning(open_page, marts, page):
    query = VALID.get(page, {})
    app = open_page(marts, page, **query, zoom="2026-01-01,2099-01-01T00:00,1,2", colors="green / red")
    assert not app.exception
    assert ignored_params_text(app) == ""


@pytest.mark.parametrize(
    ("page", "name", "value", "key", "expected"),
    [
        ("overview", "change", "7 D", "change", "7d"),
        ("price", "range", "all", "range", "All"),
        ("price", "draw", "line", "draw", "Line"),
        ("price", "chart", "line", "draw", "Line"),
        ("price", "interval", "1d", "interval", "1D"),
        ("price", "log", "1", "log", True),
        ("compare", "window", "30days", "window", "30 days"),
    ],
)
def test_value_is_accepted_in_any_case_and_spacing(open_page, marts, page, name, value, key, expected):
    app = open_page(marts, page, **{name: value})
    assert ignored_params_text(app) == ""
    assert app.session_state[key] == expected


@pytest.mark.parametrize("coin", ["BTC", "btc", "Bitcoin", "BITCOIN"])
def test_coin_is_found_by_ticker_and_name_in_any_case(open_page, marts, coin):
    assert open_page(marts, "price", coin=coin).query_params["coin"] == "bitcoin"


def test_coins_of_compare_are_found_by_ticker(open_page, marts):
    app = open_page(marts, "compare", coins=["eth", "btc"])
    assert app.query_params["coins"] == ["ethereum", "bitcoin"]


def test_unknown_coin_page_suggests_similar_coins(rendered):
    app = rendered("marts", "price", coin="etherium")
    assert not app.exception
    assert app.title[0].value == "Coin not found"
    assert "ethereum" in str([link.proto for link in app.get("page_link")])


def test_untracked_coin_page_shows_its_snapshot(rendered):
    app = rendered("marts", "price", coin="tether")
    assert app.title[0].value.startswith("Tether ")
    assert "TICKMART_UNIVERSE" in app.info[0].value


def test_chart_range_of_the_url_is_applied_unless_invalid(open_page, marts):
    since, until = (f"{datetime.now(UTC) - timedelta(days=n):%Y-%m-%d}" for n in (30, 10))
    app = open_page(marts, "price", coin="bitcoin", zoom=f"{since},{until}")
    assert figures(app)["price"]["layout"]["xaxis"]["range"] == [f"{since} 00:00", f"{until} 00:00"]
    app = open_page(marts, "price", coin="bitcoin", zoom=f"{until},{since}")
    assert not app.exception
    assert "zoom" in ignored_params_text(app)
    assert "range" not in figures(app)["price"]["layout"]["xaxis"]
