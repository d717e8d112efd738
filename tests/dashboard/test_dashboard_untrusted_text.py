"""Coins with markup as ticker and name, coins with equal names, and symbols in any script, on every page."""

import json
import re

import pytest

from tests.dashboard.page_tools import PAGES, elements, figures, page_text

MARKUP = """<i>evil</i><a href="http://x.y">*evil*</a> `evil` $evil$ :red[evil] :smile: _evil_ -> &amp; =evil()"""
SHOWN_AS_TEXT = ("arrow_data_frame", "dataframe", "selectbox", "multiselect", "text")


@pytest.fixture(scope="module")
def hostile(server):
    """A copy in which the names of bitcoin and ethereum are the same markup, and solana has no trades."""
    server.copy_database("hostile", "tickmart")
    name = MARKUP.replace("'", "''") + "' || E'\\x1b[31m\\u202e"
    server.execute(
        "hostile",
        f"""
        update marts.fct_market_snapshots set symbol = '{name}', name = '{name}'
        where crypto_id in ('bitcoin', 'ethereum');
        update marts.dim_crypto set symbol = '{name}', name = '{name}', category = '{name}', binance_symbol = '{name}'
        where crypto_id in ('bitcoin', 'ethereum');
        update marts.fct_sentiment_daily set classification = '{name}' where date > current_date - 5;
        update ops.check_results set observed = '{name}', expected = '{name}', check_name = '{name}'
        where status = 'failed';
        update ops.incidents set title = '{name}', detail = '{name}';
        update ops.runs set job = '{name}', summary = jsonb_build_object('error', '{name}');
        update marts.fct_prices set open = 0.5, high = 0.5, low = 0.5, close = 0.5, volume = 0, quote_volume = 0
        where crypto_id = 'solana';
        update marts.fct_daily_summary set
            open = 0.5, high = 0.5, low = 0.5, close = 0.5, volume = 0, quote_volume = 0, volatility_30d = 0,
            return_pct = 0, log_return = 0, drawdown_pct = 0
        where crypto_id = 'solana'
        """,  # the constants above
    )
    return server.reader("hostile")


@pytest.mark.parametrize("page", PAGES)
def test_page_escapes_names_with_markup(open_page, hostile, page):
    query = {"price": {"coin": "bitcoin"}, "compare": {"coins": ["bitcoin", "ethereum"]}}.get(page, {})
    app = open_page(hostile, page, **query)
    assert not app.exception
    for element in elements(app):
        if element.type == "plotly_chart":
            spec = json.dumps(json.loads(element.proto.spec))
            assert not re.search(r"<(i|a)\b[^>]*>\*?evil", spec)
            assert "\\u001b" not in spec
        elif element.type not in SHOWN_AS_TEXT:
            sent = str(element.proto)
            assert ":red[evil" not in sent, element
            assert not re.search(r"(?<!\\)(<i>|\$|\*|`|_)evil", sent.replace("\\'", "'")), element
    if page in ("overview", "price", "compare"):
        assert "evil" in page_text(app)
    assert "\x1b" not in page_text(app)
    assert "\u202e" not in page_text(app)


def test_overview_shows_coins_with_equal_names_separately(open_page, hostile):
    app = open_page(hostile, "overview")
    (bars,) = figures(app)["top_10"]["data"]
    assert {"bitcoin", "ethereum"} <= set(bars["y"])
    names = app.dataframe[0].value["Coin"]
    assert names.is_unique
    assert "bitcoin" in names.iloc[0]


def test_gainers_and_losers_with_one_ticker_have_different_labels(open_page, server):
    server.copy_database("movers", "tickmart")
    server.execute(
        "movers",
        "update marts.fct_market_snapshots set symbol = 'twin', change_24h_pct = case crypto_id when 'bitcoin' then 50"
        " else -50 end where crypto_id in ('bitcoin', 'ethereum')",
    )
    app = open_page(server.reader("movers"), "overview")
    shown = [e.proto.label for e in elements(app) if e.type == "page_link" and "TWIN" in e.proto.label]
    assert {text.split(" :gray")[0] for text in shown} == {"TWIN · Bitcoin", "TWIN · Ethereum"}


def test_link_with_an_ambiguous_ticker_names_the_candidates(open_page, hostile, server):
    server.copy_database("twins", "hostile")
    server.execute("twins", "update marts.dim_crypto set symbol = 'Luna' where crypto_id in ('bitcoin', 'ethereum')")
    twins = server.reader("twins")
    text = page_text(open_page(twins, "price", coin="luna"))
    assert "`bitcoin`" in text
    assert "`ethereum`" in text
    assert "`luna`" in page_text(open_page(twins, "compare", coins="luna"))


def test_price_of_a_coin_without_trades_has_no_ranks_or_zones(open_page, hostile):
    app = open_page(hostile, "price", coin="solana")
    assert not app.exception
    text = page_text(app)
    assert "no trades since" in text
    assert "percentile" not in text
    assert "RSI(14)" not in text


@pytest.mark.parametrize(("symbol", "name"), [("币安人生USDT", "币安人生"), ("1000SATSUSDT", "1000*SATS* <b>_x_</b>")])
def test_page_shows_symbols_in_any_script(open_page, server, symbol, name):
    database = f"symbol_{symbol.encode().hex()[:8]}"
    server.copy_database(database, "tickmart")
    server.execute(
        database,
        f"update marts.dim_crypto set binance_symbol = '{symbol}', name = '{name}', "
        "symbol = regexp_replace(binance_symbol, 'USDT$', '') where crypto_id = 'solana'",
    )
    for page in ("overview", "price"):
        app = open_page(server.reader(database), page, coin="solana")
        assert not app.exception
        assert not app.error
    assert symbol in page_text(app)
