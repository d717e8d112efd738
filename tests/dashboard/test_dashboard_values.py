"""The numbers on the pages equal the marts."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from dashboard import formats
from dashboard.analysis.returns import RISK_METRICS
from dashboard.lineage import split_definition
from dashboard.queries import catalog, operations, prices
from tests.dashboard.page_tools import figures, numbers, page_text


def one_row(server, statement: str) -> tuple:
    (row,) = server.query("tickmart", statement)
    return row


def metrics(app) -> dict:
    return {metric.label: metric for metric in app.metric}


def test_overview_cards_equal_the_marts(rendered, server):
    cap, volume, dominance, change = one_row(
        server,
        "select total_market_cap_usd::float8, total_volume_24h_usd::float8, btc_dominance_pct, "
        "market_cap_change_24h_pct from marts.v_total_market_cap",
    )
    value, name = one_row(
        server, "select value, classification from marts.fct_sentiment_daily order by date desc limit 1"
    )
    cards = metrics(rendered("marts"))
    assert cards["Total market cap"].value == formats.money(cap)
    assert cards["Total market cap"].delta == f"{abs(change):.2f}%"
    assert cards["24h volume"].value == formats.money(volume)
    assert cards["BTC dominance"].value == formats.percent(dominance)
    assert cards["Fear & Greed"].value == f"{value} · {name}"


def test_overview_volume_change_is_against_the_snapshot_24_hours_earlier(rendered, server):
    newest, before = one_row(
        server,
        """
        select
            (array_agg(total_volume_24h_usd::float8 order by snapshot_at desc))[1],
            (array_agg(total_volume_24h_usd::float8) filter (
                where snapshot_at between now() - interval '24.5 hours' and now() - interval '23.5 hours'
            ))[1]
        from marts.fct_market_global
        """,
    )
    assert metrics(rendered("marts"))["24h volume"].delta == f"{abs(newest / before - 1) * 100:.2f}%"


def test_overview_cards_without_history_have_no_change_and_no_sparkline(open_page, server):
    server.copy_database("first_snapshot", "tickmart")
    server.execute(
        "first_snapshot",
        "delete from marts.fct_market_global where snapshot_at < (select max(snapshot_at) from "
        "marts.fct_market_global); truncate marts.fct_sentiment_daily",
    )
    cards = metrics(open_page(server.reader("first_snapshot")))
    assert cards["24h volume"].delta.startswith(formats.MISSING)
    assert cards["BTC dominance"].delta.startswith(formats.MISSING)
    assert not cards["24h volume"].proto.chart_data
    assert (cards["Fear & Greed"].value, cards["Fear & Greed"].delta[0]) == (formats.MISSING, formats.MISSING)


def test_overview_table_equals_v_screener(rendered, server):
    expected = server.query(
        "tickmart",
        "select position, price_usd::float8, change_24h_pct, market_cap_usd::float8 from marts.v_screener order by 1",
    )
    table = rendered("marts").dataframe[0].value
    assert [tuple(row) for row in table[["#", "Price", "24h", "Market cap"]].itertuples(index=False)] == expected


def test_price_candles_and_sma_equal_fct_daily_summary(rendered, server):
    expected = server.query(
        "tickmart",
        "select open::float8, high::float8, low::float8, close::float8, sma_30 from marts.fct_daily_summary "
        "where crypto_id = 'ethereum' order by date",
    )
    spec = figures(rendered("marts", "price", coin="ethereum", range="1Y", over=["SMA 7", "SMA 30"]))["price"]
    candles = spec["data"][0]
    for position, name in enumerate(("open", "high", "low", "close")):
        assert numbers(candles[name]).tolist() == [row[position] for row in expected]
    average = next(trace for trace in spec["data"] if trace.get("name") == "SMA 30d")
    assert numbers(average["y"])[29:] == pytest.approx([row[4] for row in expected][29:], rel=1e-6)


def test_price_header_shows_the_range_of_the_newest_24_bars(rendered, server):
    low, high = one_row(
        server,
        """
        select min(low)::float8, max(high)::float8
        from (select low, high from marts.fct_prices where crypto_id = 'solana' order by opened_at desc limit 24) as day
        """,
    )
    text = page_text(rendered("marts", "price", coin="solana")).replace("\\", "")
    assert f"{formats.price(low)} to {formats.price(high)}" in text


def test_price_line_of_a_week_has_the_halted_hours_as_gap(rendered):
    spec = figures(rendered("marts", "price", coin="bitcoin", range="7D", draw="Line"))["price"]
    line = next(trace for trace in spec["data"] if trace.get("name") == "Close")
    closes = numbers(line["y"])
    assert len(closes) == 168
    assert np.isnan(closes).sum() == 3
    assert line["connectgaps"] is False


@pytest.mark.parametrize(
    ("range_name", "limit"), [("1D", 24), ("7D", 168), ("1M", 181), ("3M", 91), ("1Y", 365), ("All", 720)]
)
def test_price_chart_draws_at_most_the_bars_of_its_range(rendered, range_name, limit):
    spec = figures(rendered("marts", "price", coin="bitcoin", range=range_name))["price"]
    drawn = sum(len(numbers(trace["close"])) for trace in spec["data"] if trace["type"] == "candlestick")
    assert 0 < drawn <= limit


def test_price_chart_with_every_indicator_is_below_300_kb(rendered):
    app = rendered(
        "marts",
        "price",
        coin="bitcoin",
        range="1Y",
        over=["SMA 7", "SMA 30", "SMA 200", "EMA", "Bollinger", "VWAP"],
        panes=["Volume", "RSI", "MACD", "ATR", "Volatility"],
    )
    assert not app.exception
    assert max(len(chart.proto.spec) for chart in app.get("plotly_chart")) < 300_000


def test_price_risk_metrics_equal_fct_daily_summary(rendered, server):
    volatility, sharpe, beta = one_row(
        server,
        "select volatility_90d, sharpe_90d, beta_btc_90d from marts.fct_daily_summary where crypto_id = 'solana' "
        "order by date desc limit 1",
    )
    app = rendered("marts", "price", coin="solana")
    table = next(frame.value.set_index("Metric") for frame in app.dataframe if "90 days" in frame.value)
    assert table.loc[RISK_METRICS["volatility_pct"], "90 days"] == formats.percent(volatility * 100)
    assert table.loc[RISK_METRICS["sharpe"], "90 days"] == formats.ratio(sharpe)
    assert table.loc[RISK_METRICS["beta_btc"], "90 days"] == formats.ratio(beta)
    assert table.loc[RISK_METRICS["volatility_pct"], "365 days"] == formats.MISSING


def test_compare_rebases_every_coin_to_100(rendered):
    spec = figures(rendered("marts", "compare", coins=["bitcoin", "solana"], range="3M"))["indexed"]
    lines = [trace for trace in spec["data"] if trace.get("name") in ("Bitcoin", "Solana")]
    assert [numbers(line["y"])[0] for line in lines] == pytest.approx([100, 100])


def test_correlation_history_does_not_depend_on_the_order_of_the_pair(use, marts):
    use(marts)
    history = prices.correlation_history("bitcoin", "solana", 90)
    assert len(history) > 0
    assert history.equals(prices.correlation_history("solana", "bitcoin", 90))


def test_compare_matrix_equals_fct_correlations_daily(rendered, server):
    (correlation,) = one_row(
        server,
        "select correlation from marts.fct_correlations_daily where crypto_id_a = 'bitcoin' and crypto_id_b = "
        "'ethereum' and window_days = 90 order by date desc limit 1",
    )
    (trace,) = figures(rendered("marts", "compare", coins=["bitcoin", "ethereum"]))["matrix"]["data"]
    cells = numbers(trace["z"]).reshape(len(trace["y"]), len(trace["x"]))
    assert cells[trace["y"].index("ethereum"), trace["x"].index("bitcoin")] == pytest.approx(correlation)
    assert not np.isfinite(cells[np.triu_indices(len(cells), 1)]).any()  # each pair once


def test_sentiment_shows_the_newest_value_and_n_per_class(rendered, server):
    (value,) = one_row(server, "select value from marts.fct_sentiment_daily order by date desc limit 1")
    counts = server.query(
        "tickmart", "select classification, min(n) from marts.fct_sentiment_returns group by classification"
    )
    found = figures(rendered("marts", "sentiment"))
    assert found["gauge"]["data"][0]["value"] == value
    labels = found["forward"]["data"][0]["x"]
    assert {f"{name}<br>n = {n}" for name, n in counts} <= set(labels)


def test_sentiment_title_and_overview_card_show_a_change_of_one_point(open_page, server):
    server.copy_database("one_point", "tickmart")
    server.execute(
        "one_point",
        "update marts.fct_sentiment_daily set change_1d = -1 where date = (select max(date) from "
        "marts.fct_sentiment_daily)",
    )
    variables = server.reader("one_point")
    assert "−1 vs yesterday" in open_page(variables, "sentiment").title[0].value
    assert metrics(open_page(variables))["Fear & Greed"].delta == "1 point"


def test_data_quality_shows_the_failed_check(rendered):
    app = rendered("marts", "data_quality")
    (failed,) = [expander for expander in app.expander if "raw/binance" in expander.label]
    assert "hours_without_trades" in failed.label.replace("\\", "")
    assert metrics(app)["Checks passed"].value == "2 of 3"
    assert figures(app)["missing"]["data"][0]["type"] == "heatmap"


def test_data_quality_shows_runs_and_requests_of_the_marts(rendered, server):
    runs = dict(server.query("tickmart", "select status, count(*) from marts.fct_runs group by status"))
    requests, throttled = one_row(
        server,
        "select sum(requests)::int, sum(errors_429)::int from marts.fct_source_requests "
        "where hour_started_at > now() - interval '24 hours'",
    )
    app = rendered("marts", "data_quality")
    squares = {trace["name"]: trace for trace in figures(app)["runs"]["data"] if trace.get("yaxis") != "y2"}
    assert {name: len(trace["y"]) for name, trace in squares.items()} == {"ok": runs["ok"], "failed ✕": runs["failed"]}
    assert runs == {"ok": 5, "failed": 1}
    table = next(frame.value for frame in app.dataframe if "429" in frame.value)
    assert table[["Requests", "429"]].iloc[0].tolist() == [requests, throttled]


def test_data_quality_separates_open_and_resolved_incidents(rendered):
    app = rendered("marts", "data_quality")
    assert [expander for expander in app.expander if "Three hours of BTCUSDT stay missing" in expander.label]
    table = next(frame.value for frame in app.dataframe if "recovered_at" in frame.value)
    assert table["title"].tolist() == ["A run failed"]


@pytest.mark.parametrize("state", ["marts", "no_database"])
def test_data_quality_links_to_dagster_data_docs_and_dbt_docs(open_page, request, monkeypatch, tmp_path, state):
    links = {"Dagster": "http://127.0.0.1:3000", "Data Docs": "http://127.0.0.1:8502"}
    status = {"generated_at": datetime.now(UTC).isoformat(), "datasets": [], "links": links}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("dbt")
    monkeypatch.setenv("TICKMART_DAGSTER_URL", "http://127.0.0.1:3001")
    app = open_page(request.getfixturevalue(state), "data_quality")
    addresses = {button.proto.label: button.proto.url for button in app.get("link_button")}
    assert addresses.items() >= (links | {"Dagster": "http://127.0.0.1:3001"}).items()  # the environment has precedence
    assert {url for url in addresses.values() if url != links["Data Docs"] and "127.0.0.1:3001" not in url} == set()
    assert "dbt docs" in {button.proto.label for button in app.get("download_button")}


def test_data_quality_shows_dashes_for_a_failed_check_without_details(open_page, server, marts):
    server.execute(
        "tickmart",
        "insert into ops.check_results (run_id, asset, check_name, source, severity, status, checked_at) values "
        "('run-0', 'raw/binance_klines', 'no_details', 'pipeline', 'error', 'failed', now())",
    )
    operations.checks.clear()
    try:
        app = open_page(marts, "data_quality")
    finally:
        server.execute("tickmart", "delete from ops.check_results where check_name = 'no_details'")
        operations.checks.clear()
    assert not app.exception
    expander = next(expander for expander in app.expander if "details" in expander.label)
    assert expander.markdown[0].value.count(formats.MISSING) == 3
    assert "nan" not in expander.markdown[0].value


def test_dictionary_search_matches_words_of_the_definition(rendered):
    app = rendered("marts", "dictionary", search="relative strength wilder")
    assert "rsi_14" in set(app.dataframe[0].value["column_name"])


def test_dictionary_shows_formula_unit_tests_and_freshness_of_a_column(open_page, marts, manifest, tmp_path):
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "manifest.json").write_bytes(manifest.read_bytes())
    app = open_page(marts, "dictionary", search="volatility_30d fct_daily_summary")
    row = app.dataframe[0].value.set_index("column_name").loc["volatility_30d"]
    assert row["formula"].startswith("stddev_samp(log_return) * sqrt(365)")
    assert row["unit"] == "fraction a year"
    assert row["freshness"].startswith("Binance prices: ")
    app = open_page(marts, "dictionary", search="sharpe_90d fct_daily_summary")
    assert "sharpe" in app.dataframe[0].value.iloc[0]["tests"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"nodes": {"a": 3}}'])
def test_dictionary_renders_with_an_invalid_manifest(open_page, marts, tmp_path, content):
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "manifest.json").write_text(content)
    app = open_page(marts, "dictionary", search="rsi_14")
    assert not app.exception
    assert app.dataframe[0].value.iloc[0]["formula"]


def test_every_decimal_column_of_the_marts_has_a_formula_and_a_unit(use, marts):
    use(marts)
    known = catalog.definitions().dropna(subset=["column_name"])
    decimals = known[known["data_type"].isin(["numeric", "double precision"])]
    assert len(decimals) > 100
    incomplete = [
        f"{row.relation}.{row.column_name}"
        for row in decimals.itertuples()
        if not all(split_definition(row.definition, row.data_type)[1:])
    ]
    assert incomplete == []


def test_overview_shows_binance_volume_while_snapshots_have_no_history(rendered, server):
    (newest,) = one_row(
        server, "select sum(quote_volume)::float8 from marts.fct_daily_summary group by date order by date desc limit 1"
    )
    spec = figures(rendered("marts", "overview"))["market_history"]
    assert numbers(spec["data"][0]["y"])[-1] == pytest.approx(newest)
