"""A coin whose ticker, name and id are markup, two coins of one name, and one without trades, on every page."""

import json
import re

import pytest

from tests.dashboard.test_dashboard_pages import PAGES, everything, walk

EVIL = """<i>evil</i><a href="http://x.y">*evil*</a> `evil` $evil$ :red[evil] :smile: _evil_ -> &amp; =evil()"""
SHOWN_AS_TEXT = ("arrow_data_frame", "dataframe", "selectbox", "multiselect", "text")


@pytest.fixture(scope="module")
def hostile(server):
    """Copies of the marts in which bitcoin is called like markup, and ethereum exactly like it; solana stands still."""
    server.copy_database("hostile", "tickmart")
    name = EVIL.replace("'", "''") + "' || E'\\x1b[31m\\u202e"
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
def test_a_name_that_is_markup_is_text_on_every_page(visit, hostile, page):
    query = {"price": {"coin": "bitcoin"}, "compare": {"coins": ["bitcoin", "ethereum"]}}.get(page, {})
    app = visit(hostile, page, **query)
    assert not app.exception
    for element in walk(app):
        if element.type == "plotly_chart":
            spec = json.dumps(json.loads(element.proto.spec))
            assert not re.search(r"<(i|a)\b[^>]*>\*?evil", spec)
            assert "\\u001b" not in spec
        elif element.type not in SHOWN_AS_TEXT:
            sent = str(element.proto)
            assert ":red[evil" not in sent, element
            assert not re.search(r"(?<!\\)(<i>|\$|\*|`|_)evil", sent.replace("\\'", "'")), element
    if page in ("overview", "price", "compare"):
        assert "evil" in everything(app)
    assert "\x1b" not in everything(app)
    assert "\u202e" not in everything(app)


def test_two_coins_of_one_ticker_and_name_are_both_on_overview(visit, hostile):
    app = visit(hostile, "overview")
    (bars,) = next(
        json.loads(chart.proto.spec)["data"] for chart in app.get("plotly_chart") if "ten largest" in chart.proto.alt
    )
    assert {"bitcoin", "ethereum"} <= set(bars["y"])
    names = app.dataframe[0].value["Coin"]
    assert names.is_unique
    assert "bitcoin" in names.iloc[0]


def test_a_link_by_a_ticker_of_two_coins_says_which_there_are(visit, hostile, server):
    server.copy_database("twins", "hostile")
    server.execute("twins", "update marts.dim_crypto set symbol = 'Luna' where crypto_id in ('bitcoin', 'ethereum')")
    twins = server.reader("twins")
    said = everything(visit(twins, "price", coin="luna"))
    assert "`bitcoin`" in said
    assert "`ethereum`" in said
    assert "2 coins have the ticker" in said
    assert "`luna`" in everything(visit(twins, "compare", coins="luna"))


def test_a_link_by_the_ticker_of_one_coin_opens_it(visit, marts):
    app = visit(marts, "price", coin="BTC")
    assert app.query_params["coin"] == "bitcoin"
    assert visit(marts, "compare", coins=["eth", "btc"]).query_params["coins"] == ["ethereum", "bitcoin"]


def test_a_coin_without_trades_is_said_to_stand_still_and_ranks_nowhere(visit, hostile):
    app = visit(hostile, "price", coin="solana")
    assert not app.exception
    said = everything(app)
    assert "nothing was traded since" in said
    assert "percentile" not in said
    assert "by the usual reading" not in said
