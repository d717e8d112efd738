"""Every page on real marts: full, empty, before the first refresh, stale, without a database, strangely addressed."""

import base64
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dashboard import formats, queries, shell
from dashboard.manifest import parts as manifest_of

PAGES = ["overview", "price", "sentiment", "compare", "data_quality", "dictionary"]
DATA_PAGES = ["overview", "price", "sentiment", "compare"]


def everything(app) -> str:
    """All that the page sends to the browser, as text; its no-break spaces as plain ones."""
    return "\n".join(str(element.proto) for element in walk(app)).replace("\u00a0", " ")


def walk(app):
    def down(block):
        for child in block.children.values():
            if hasattr(child, "children"):
                if getattr(child, "proto", None) is not None:
                    yield child
                yield from down(child)
            elif getattr(child, "proto", None) is not None:
                yield child

    yield from down(app._tree)


def figures(app) -> dict[str, dict]:
    """The plotly figures of a page in order of appearance, by their alternative text."""
    return {chart.proto.alt: json.loads(chart.proto.spec) for chart in app.get("plotly_chart")}


def figure(app, begins: str) -> dict:
    return next(spec for alt, spec in figures(app).items() if alt.startswith(begins))


def numbers(array) -> np.ndarray:
    if isinstance(array, dict):
        return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])
    return np.array(array, dtype=float)


def words(app) -> str:
    """Titles, text and notices that a visitor reads."""
    elements = [*app.title, *app.subheader, *app.markdown, *app.caption, *app.info, *app.warning, *app.error]
    return "\n".join(str(element.value) for element in elements) + everything(app)


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_on_a_full_warehouse(visit, marts, page):
    app = visit(marts, page)
    assert not app.exception
    assert not app.error
    assert app.title


@pytest.mark.parametrize("page", PAGES)
def test_every_chart_has_a_definition_behind_its_title_and_an_alternative_text(visit, marts, page):
    app = visit(marts, page)
    help_above = ""
    for element in walk(app):
        kind = element.type
        if kind in ("heading", "subheader", "title", "header"):
            help_above = element.proto.help
        if kind == "plotly_chart":
            assert len(element.proto.alt) > 20
            assert help_above, f"{element.proto.alt}: no definition above it"
    assert shell.UNDEFINED not in everything(app)


@pytest.mark.parametrize(
    ("state", "page", "query"),
    [
        *((state, page, {}) for state in ("marts", "empty_marts", "bare_database", "no_database") for page in PAGES),
        ("marts", "price", {"coin": "no-such-coin"}),
        ("marts", "compare", {"coins": "no-such-coin"}),
    ],
)
def test_every_page_has_a_stamp_credits_its_sources_and_disclaims_advice(visit, request, state, page, query):
    said = words(visit(request.getfixturevalue(state), page, **query))
    stamp = {"marts": "Data as of", "no_database": "Database unreachable"}.get(state, "Nothing loaded yet")
    for part in (stamp, "coingecko.com", "alternative.me", "Binance", "Not financial advice"):
        assert part in said


@pytest.mark.parametrize("page", DATA_PAGES)
@pytest.mark.parametrize("state", ["empty_marts", "bare_database"])
def test_page_says_what_to_do_before_the_first_load(visit, request, state, page):
    app = visit(request.getfixturevalue(state), page)
    assert not app.exception
    assert "tickmart run" in words(app)
    assert not figures(app)


@pytest.mark.parametrize("page", ["data_quality", "dictionary"])
@pytest.mark.parametrize("state", ["empty_marts", "bare_database"])
def test_data_quality_and_dictionary_render_before_the_first_load(visit, request, state, page):
    app = visit(request.getfixturevalue(state), page)
    assert not app.exception
    assert app.title or app.info
    if page == "data_quality":
        assert app.title[0].value.startswith("Nothing has been loaded yet")


@pytest.mark.parametrize("page", PAGES)
def test_page_of_a_restored_database_says_that_the_marts_are_not_built(visit, bare_database, tmp_path, page):
    left = {
        "generated_at": str(datetime.now(UTC)),
        "datasets": [{"dataset": "x", "health": "healthy", "rows": 193_500}],
    }
    (tmp_path / "status.json").write_text(json.dumps(left))
    said = words(visit(bare_database, page))
    assert "Marts not built yet" in said
    assert "has been loaded yet" not in said
    if page != "dictionary":
        assert "tickmart run" in said


@pytest.mark.parametrize("page", PAGES)
def test_page_keeps_old_data_and_warns_that_it_is_old(visit, stale_marts, page):
    app = visit(stale_marts, page)
    assert not app.exception
    assert any("Older than it should be" in str(warning.proto) for warning in app.warning)
    if page in DATA_PAGES:
        assert figures(app)


@pytest.mark.parametrize("page", PAGES)
def test_page_without_a_database_names_it_and_shows_no_traceback_sql_or_secret(visit, no_database, page):
    app = visit(no_database, page)
    assert not app.exception
    assert app.error
    sent = everything(app)
    assert "atabase" in sent
    for forbidden in ("Traceback", "psycopg2", "select ", "canary-secret", "dashboard_ro"):
        assert forbidden not in sent


def test_data_quality_shows_the_status_file_when_the_database_is_away(visit, no_database, tmp_path):
    then = datetime.now(UTC) - timedelta(hours=5)
    row = {
        "dataset": "binance_klines",
        "health": "warning",
        "rows": 1315150,
        "newest": (then - timedelta(hours=1)).isoformat(),
        "age_seconds": 3600,
        "sla_seconds": 7200,
        "last_load": then.isoformat(),
        "open_gaps": 2,
        "rejected": 0,
    }
    status = {"generated_at": then.isoformat(), "status": "warning", "datasets": [row]}
    (tmp_path / "status.json").write_text(json.dumps(status))
    app = visit(no_database, "data_quality")
    shown = app.dataframe[0].value
    assert shown.loc[0, "Dataset"] == "Binance prices"
    assert shown.loc[0, "Health then"] == "▲ Warning"
    assert shown.loc[0, "Age now"] == "6\u00a0h"
    assert shown.loc[0, "Rows"] == "1,315,150"


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"generated_at": "yesterday"}', '{"generated_at": null, "datasets": 3}']
)
def test_data_quality_survives_a_broken_status_file(visit, no_database, tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    app = visit(no_database, "data_quality")
    assert not app.exception
    assert "no status file" in words(app)


def test_pages_come_back_when_the_database_does(visit, marts, no_database, use):
    app = visit(no_database, "overview")
    assert app.error
    use(marts)
    app.run()
    assert not app.error
    assert app.metric


def test_overview_cards_equal_the_marts(visit, marts, server):
    (cap, volume, dominance, change), *_ = server.query(
        "tickmart",
        "select total_market_cap_usd::float8, total_volume_24h_usd::float8, btc_dominance_pct, "
        "market_cap_change_24h_pct "
        "from marts.v_total_market_cap",
    )
    (value, name), *_ = server.query(
        "tickmart", "select value, classification from marts.fct_sentiment_daily order by date desc limit 1"
    )
    cards = {metric.label: metric for metric in visit(marts).metric}
    assert cards["Total market cap"].value == formats.money(cap)
    assert cards["Total market cap"].delta == f"{abs(change):.2f}%"
    assert cards["Volume, 24 h"].value == formats.money(volume)
    assert cards["Bitcoin dominance"].value == formats.percent(dominance)
    assert cards["Fear & Greed"].value == f"{value} · {name}"


def test_overview_change_of_volume_is_against_the_sweep_a_day_before(visit, marts, server):
    now, before = (
        row[0]
        for row in server.query(
            "tickmart",
            """
            (select total_volume_24h_usd::float8 from marts.fct_market_global order by snapshot_at desc limit 1)
            union all
            (
                select total_volume_24h_usd::float8 from marts.fct_market_global
                where snapshot_at between now() - interval '24.5 hours' and now() - interval '23.5 hours'
            )
            """,
        )
    )
    card = next(metric for metric in visit(marts).metric if metric.label == "Volume, 24 h")
    assert card.delta == f"{abs(now / before - 1) * 100:.2f}%"


def test_overview_cards_say_why_a_figure_or_its_change_is_missing(visit, server):
    server.copy_database("first_sweep", "tickmart")
    server.execute(
        "first_sweep",
        "delete from marts.fct_market_global where snapshot_at < (select max(snapshot_at) from "
        "marts.fct_market_global); truncate marts.fct_sentiment_daily",
    )
    cards = {metric.label: metric for metric in visit(server.reader("first_sweep")).metric}
    assert cards["Volume, 24 h"].delta == cards["Bitcoin dominance"].delta == "— no sweep 24\u00a0h earlier"
    assert (cards["Fear & Greed"].value, cards["Fear & Greed"].delta) == ("—", "not loaded yet")


@pytest.mark.parametrize("page", PAGES)
def test_a_missing_cell_of_a_table_is_a_dash(visit, marts, page):
    for table in visit(marts, page).dataframe:
        assert table.proto.placeholder == formats.MISSING


def test_overview_table_equals_the_hundred_largest_of_the_marts(visit, marts, server):
    expected = server.query(
        "tickmart",
        "select position, price_usd::float8, change_24h_pct, market_cap_usd::float8 from marts.v_top_100 order by 1",
    )
    table = visit(marts).dataframe[0].value
    assert [tuple(row) for row in table[["#", "Price", "24 h", "Market cap"]].itertuples(index=False)] == expected


def test_price_candles_equal_the_daily_mart(visit, marts, server):
    expected = server.query(
        "tickmart",
        "select open::float8, high::float8, low::float8, close::float8, sma_30 from marts.fct_daily_summary "
        "where crypto_id = 'ethereum' order by date",
    )
    spec = figure(visit(marts, "price", coin="ethereum", range="1Y"), "Candles of Ethereum")
    candles = spec["data"][0]
    for at, name in enumerate(("open", "high", "low", "close")):
        assert numbers(candles[name]).tolist() == [row[at] for row in expected]
    average = next(trace for trace in spec["data"] if trace.get("name") == "SMA 30 d")
    assert numbers(average["y"])[29:] == pytest.approx([row[4] for row in expected][29:], rel=1e-6)


def test_price_range_of_the_day_is_that_of_the_newest_24_bars(visit, marts, server):
    (low, high), *_ = server.query(
        "tickmart",
        """
        select min(low)::float8, max(high)::float8
        from (select low, high from marts.fct_prices where crypto_id = 'solana' order by opened_at desc limit 24) as day
        """,
    )
    said = words(visit(marts, "price", coin="solana")).replace("\\", "").replace("\u00a0", " ")
    assert f"24 h range {formats.price(low)} to {formats.price(high)}" in said


def test_sentiment_counts_one_point_as_one(visit, server):
    server.copy_database("one_point", "tickmart")
    server.execute(
        "one_point",
        "update marts.fct_sentiment_daily set change_1d = -1 where date = (select max(date) from "
        "marts.fct_sentiment_daily)",
    )
    there = server.reader("one_point")
    assert "1 point below the day before" in visit(there, "sentiment").title[0].value
    card = next(metric for metric in visit(there).metric if metric.label == "Fear & Greed")
    assert card.delta == "1 point"


def test_price_of_a_week_shows_the_halt_as_missing_hours(visit, marts, server):
    spec = figure(visit(marts, "price", coin="bitcoin", range="7D", draw="Line"), "Line of Bitcoin")
    line = next(trace for trace in spec["data"] if trace.get("name") == "Close")
    closes = numbers(line["y"])
    assert len(closes) == 168
    assert np.isnan(closes).sum() == 3
    assert line["connectgaps"] is False


@pytest.mark.parametrize(
    ("span", "most"), [("1D", 24), ("7D", 168), ("1M", 181), ("3M", 91), ("1Y", 365), ("All", 720)]
)
def test_price_never_draws_more_bars_than_its_range_allows(visit, marts, span, most):
    spec = figure(visit(marts, "price", coin="bitcoin", range=span), "Candles of Bitcoin")
    drawn = sum(len(numbers(trace["close"])) for trace in spec["data"] if trace["type"] == "candlestick")
    assert 0 < drawn <= most


def test_price_with_every_indicator_sends_less_than_300_kb(visit, marts):
    app = visit(
        marts,
        "price",
        coin="bitcoin",
        range="1Y",
        over=["SMA 7", "SMA 30", "SMA 200", "EMA", "Bollinger", "VWAP"],
        panes=["Volume", "RSI", "MACD", "ATR", "Volatility"],
    )
    assert not app.exception
    assert max(len(chart.proto.spec) for chart in app.get("plotly_chart")) < 300_000


def test_price_risk_of_90_days_equals_the_marts(visit, marts, server):
    (volatility, sharpe, beta), *_ = server.query(
        "tickmart",
        "select volatility_90d, sharpe_90d, beta_btc_90d from marts.fct_daily_summary where crypto_id = 'solana' "
        "order by date desc limit 1",
    )
    app = visit(marts, "price", coin="solana")
    table = next(frame.value for frame in app.dataframe if "90 days" in frame.value)
    assert table.loc["Volatility, a year", "90 days"] == formats.percent(volatility * 100)
    assert table.loc["Sharpe ratio", "90 days"] == formats.ratio(sharpe)
    assert table.loc["Beta to bitcoin", "90 days"] == formats.ratio(beta)
    assert table.loc["Volatility, a year", "365 days"] == formats.MISSING


def test_unknown_coin_is_answered_with_the_nearest_names(visit, marts):
    app = visit(marts, "price", coin="etherium")
    assert not app.exception
    assert "There is no coin" in words(app)
    assert "Ethereum" in everything(app)


def test_untracked_coin_of_the_sweep_shows_its_snapshot(visit, marts):
    said = words(visit(marts, "price", coin="tether"))
    assert "Tether is not among the tracked coins" in said


STRANGE = [
    "'; drop table marts.fct_prices; --",
    "<script>alert(1)</script>",
    "[a](http://b.c)",
    "%00",
    "-1",
    "💥" * 300,
]
CONTROLS = {
    "overview": ["change", "colours"],
    "price": ["coin", "range", "draw", "log", "over", "panes", "data", "zoom", "colours"],
    "sentiment": ["span", "data", "zoom", "colours"],
    "compare": ["coins", "range", "log", "window", "zoom", "colours"],
    "data_quality": ["colours"],
    "dictionary": ["colours"],
}


def notices(app) -> str:
    """What the page says of its address."""
    said = [notice for notice in (*app.warning, *app.info) if "link_off" in notice.icon or "no coin" in notice.title]
    return "\n".join(f"{notice.title} {notice.value}" for notice in said)


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in CONTROLS.items() for name in names])
def test_a_strange_value_in_the_address_is_named_in_a_note_and_breaks_nothing(visit, marts, page, name):
    value = "<script>alert(1)</script> [a](http://b.c) `d`" + "💥" * 300
    app = visit(marts, page, **{name: value})
    assert not app.exception
    assert not app.error
    assert shell.quoted(value) in notices(app)
    if name not in ("coin", "coins"):
        assert app.query_params.get(name) in (None, [])


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("value", STRANGE)
def test_everything_strange_at_once_breaks_nothing(visit, marts, page, value):
    names = {name for controls in CONTROLS.values() for name in controls} | {"search"}
    app = visit(marts, page, **dict.fromkeys(names, value))
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_an_address_that_says_nothing_strange_is_not_commented(visit, marts, page):
    usual = {
        "overview": {"change": "7 d"},
        "price": {"coin": "solana", "range": "3M", "draw": "Line", "log": "true", "over": ["EMA"], "panes": ["RSI"]},
        "sentiment": {"span": "1Y"},
        "compare": {"coins": ["bitcoin", "solana"], "range": "All", "log": "True", "window": "30 days"},
    }
    app = visit(marts, page, **usual.get(page, {}), zoom="2026-01-01,2099-01-01T00:00,1,2", colours="green / red")
    assert not app.exception
    assert notices(app) == ""


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01",
        "2026-02-01,2026-01-01",
        "2026-01-01,2026-01-01",
        "2026-01-01,NaT",
        "nan,nan",
        "9" * 40 + "," + "9" * 50,
        "2026-01-01,2026-02-01,5",
        "2026-01-01,2026-02-01,9,1",
        "2026-01-01,2026-02-01,nan,inf",
        "2026-01-01T00:00Z,2026-02-01T00:00Z",
        ",,,",
    ],
)
def test_a_zoom_that_is_none_is_named_and_the_whole_chart_is_drawn(visit, marts, value):
    app = visit(marts, "price", coin="bitcoin", zoom=value)
    assert not app.exception
    assert "zoom cannot be" in notices(app)
    assert "range" not in figure(app, "Candles of Bitcoin")["layout"]["xaxis"]


@pytest.mark.parametrize(
    ("log", "zoom", "days", "prices"),
    [
        ("false", "{since},{until}", True, None),
        ("false", "{since},{until},10,1000", True, [10, 1000]),
        ("true", "{since},{until},10,1000", True, [1, 3]),
        ("true", "{since},{until},-10,1000", True, None),
        ("false", "1999-01-01,1999-02-01", False, None),
        ("false", "0001-01-01,0002-01-01", False, None),
    ],
)
def test_a_chart_begins_with_the_zoom_of_the_address_unless_that_shows_nothing(visit, marts, log, zoom, days, prices):
    since, until = (f"{datetime.now(UTC) - timedelta(days=n):%Y-%m-%d}" for n in (30, 10))
    app = visit(marts, "price", coin="bitcoin", log=log, zoom=zoom.format(since=since, until=until))
    assert not app.exception
    layout = figure(app, "Candles of Bitcoin")["layout"]
    assert layout["xaxis"].get("range") == ([f"{since} 00:00", f"{until} 00:00"] if days else None)
    assert layout["yaxis"].get("range") == prices


def test_compare_starts_every_coin_at_100(visit, marts):
    app = visit(marts, "compare", coins=["bitcoin", "solana"], range="3M")
    lines = [t for t in figure(app, "Closes indexed")["data"] if t.get("name") in ("Bitcoin", "Solana")]
    assert len(lines) == 2
    for line in lines:
        assert numbers(line["y"])[0] == pytest.approx(100)


def test_a_pair_has_one_history_whichever_coin_is_named_first(use, marts):
    use(marts)
    one = queries.correlation_history("bitcoin", "solana", 90)
    assert len(one) > 0
    assert one.equals(queries.correlation_history("solana", "bitcoin", 90))


def test_compare_matrix_equals_the_marts(visit, marts, server):
    (correlation,), *_ = server.query(
        "tickmart",
        "select correlation from marts.fct_correlations_daily where crypto_id_a = 'bitcoin' and crypto_id_b = "
        "'ethereum' "
        "and window_days = 90 order by date desc limit 1",
    )
    spec = figure(visit(marts, "compare", coins=["bitcoin", "ethereum"]), "Correlation matrix")
    trace = spec["data"][0]
    cells = numbers(trace["z"]).reshape(len(trace["y"]), len(trace["x"]))
    assert cells[trace["y"].index("bitcoin"), trace["x"].index("ethereum")] == pytest.approx(correlation)


def test_sentiment_shows_the_newest_value_and_how_many_days_stand_behind_each_mark(visit, marts, server):
    (value,), *_ = server.query("tickmart", "select value from marts.fct_sentiment_daily order by date desc limit 1")
    counts = dict(
        server.query(
            "tickmart", "select classification, min(n) from marts.fct_sentiment_returns group by classification"
        )
    )
    app = visit(marts, "sentiment")
    assert figure(app, "Fear & Greed index")["data"][0]["value"] == value
    labels = figure(app, "Mean return")["data"][0]["x"]
    for name, n in counts.items():
        assert f"{name}<br>n = {n}" in labels
    assert "partly arithmetic" in words(app)


def test_data_quality_of_an_empty_warehouse_does_not_say_that_no_hour_is_missing(visit, empty_marts):
    assert "No hour is missing" not in words(visit(empty_marts, "data_quality"))


def test_data_quality_opens_with_the_failed_check_and_its_evidence(visit, marts):
    app = visit(marts, "data_quality")
    said = words(app)
    assert "hours_without_trades" in said
    assert "2 of 3 checks hold" in said
    assert figure(app, "Missing hours")["data"][0]["type"] == "heatmap"


def test_data_quality_shows_runs_requests_and_incidents_as_the_marts_have_them(visit, marts, server):
    runs = dict(server.query("tickmart", "select status, count(*) from marts.fct_runs group by status"))
    (requests, throttled), *_ = server.query(
        "tickmart",
        "select sum(requests)::int, sum(errors_429)::int from marts.fct_source_requests "
        "where hour_started_at > now() - interval '24 hours'",
    )
    app = visit(marts, "data_quality")
    squares = {t["name"]: t for t in figure(app, "The newest")["data"] if t.get("yaxis") != "y2"}
    assert {name: len(trace["y"]) for name, trace in squares.items()} == {"ok": runs["ok"], "failed ✕": runs["failed"]}
    assert runs == {"ok": 5, "failed": 1}
    table = next(frame.value for frame in app.dataframe if "Throttled" in frame.value)
    assert table[["Requests", "Throttled"]].iloc[0].tolist() == [requests, throttled]
    said = everything(app)
    assert "Three hours of BTCUSDT stay missing** · open for 5 h" in said
    assert "1 over within the last 7 days" in said


@pytest.mark.parametrize("state", ["marts", "no_database"])
def test_data_quality_leads_to_dagster_data_docs_and_dbt_docs(visit, request, monkeypatch, tmp_path, state):
    links = {"Dagster": "http://127.0.0.1:3000", "Data Docs": "http://127.0.0.1:8502"}
    status = {"generated_at": datetime.now(UTC).isoformat(), "datasets": [], "links": links}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("dbt")
    monkeypatch.setenv("TICKMART_DAGSTER_URL", "http://127.0.0.1:3001")
    app = visit(request.getfixturevalue(state), "data_quality")
    leads = {button.proto.label: button.proto.url for button in app.get("link_button")}
    assert leads == links | {"Dagster": "http://127.0.0.1:3001"}  # what runs now before what ran then
    assert "dbt docs" in {button.proto.label for button in app.get("download_button")}


def test_dictionary_finds_a_metric_by_words_of_its_definition(visit, marts):
    app = visit(marts, "dictionary", search="relative strength wilder")
    found = app.dataframe[0].value
    assert "rsi_14" in set(found["column_name"])


def test_dictionary_shows_formula_unit_tests_and_freshness_from_dbt(visit, marts, manifest, tmp_path):
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "manifest.json").write_bytes(manifest.read_bytes())
    app = visit(marts, "dictionary", search="volatility_30d fct_daily_summary")
    row = app.dataframe[0].value.set_index("column_name").loc["volatility_30d"]
    assert row["formula"].startswith("stddev_samp(log_return) * sqrt(365)")
    assert row["unit"] == "fraction a year"
    assert row["freshness"].startswith("Binance prices: ")
    app = visit(marts, "dictionary", search="sharpe_90d fct_daily_summary")
    assert "sharpe and beta over ninety returns" in app.dataframe[0].value.iloc[0]["tests"]
    assert not app.exception


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"nodes": {"a": 3}}'])
def test_dictionary_survives_a_broken_manifest(visit, marts, tmp_path, content):
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "manifest.json").write_text(content)
    app = visit(marts, "dictionary", search="rsi_14")
    assert not app.exception
    assert app.dataframe[0].value.iloc[0]["formula"]


def test_whatever_has_decimals_has_a_formula_and_a_unit(use, marts):
    use(marts)
    known = queries.definitions().dropna(subset=["column_name"])
    decimals = known[known["data_type"].isin(["numeric", "double precision"])]
    assert len(decimals) > 100
    found = [(row, manifest_of(row.definition, row.data_type)) for row in decimals.itertuples()]
    assert [f"{row.relation}.{row.column_name}" for row, (_, formula, unit) in found if not (formula and unit)] == []


@pytest.mark.parametrize(("symbol", "name"), [("币安人生USDT", "币安人生"), ("1000SATSUSDT", "1000*SATS* <b>_x_</b>")])
def test_a_symbol_in_any_script_is_shown_as_it_is(visit, server, symbol, name):
    odd = f"odd_{abs(hash(symbol))}"
    server.copy_database(odd, "tickmart")
    server.execute(
        odd,
        f"update marts.dim_crypto set binance_symbol = '{symbol}', name = '{name}', "
        "symbol = regexp_replace(binance_symbol, 'USDT$', '') where crypto_id = 'solana'",
    )
    for page in ("overview", "price"):
        app = visit(server.reader(odd), page, coin="solana")
        assert not app.exception
        assert not app.error
    assert symbol in words(app)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("state", ["marts", "empty_marts"])
def test_a_table_with_dashes_says_below_it_what_they_mean(visit, request, state, page):
    app = visit(request.getfixturevalue(state), page)
    dashed = [table.value for table in app.dataframe if formats.has_dashes(table.value)]
    said = [caption.value for caption in app.caption if caption.value.startswith(formats.MISSING)]
    assert len(said) == len(dashed)
    assert (page, state) != ("price", "marts") or dashed


def test_a_missing_line_is_no_dash_and_a_missing_number_is_one():
    lines = pd.DataFrame({"coin": ["BTC", "XYZ"], "week": [[1.0, 2.0], None]})
    assert not formats.has_dashes(lines)
    assert formats.has_dashes(lines.assign(price=[1.0, None]))
    assert formats.has_dashes(lines.assign(price=["$1", formats.MISSING]))


@pytest.mark.parametrize(("page", "column"), [("price", "quote_volume"), ("sentiment", "classification")])
def test_rows_of_a_page_are_sent_to_those_who_open_them_which_an_address_can(visit, marts, page, column):
    def rows(**query: str) -> list:
        return [table.value for table in visit(marts, page, **query).dataframe if column in table.value]

    assert rows() == []
    (table,) = rows(data="true")
    assert len(table) > 100


def test_a_failed_check_that_says_nothing_of_itself_is_shown_with_dashes(visit, server, marts):
    server.execute(
        "tickmart",
        "insert into ops.check_results (run_id, asset, check_name, source, severity, status, checked_at) values "
        "('run-0', 'raw/binance_klines', 'says_nothing_of_itself', 'pipeline', 'error', 'failed', now())",
    )
    queries.checks.clear()
    try:
        app = visit(marts, "data_quality")
    finally:
        server.execute("tickmart", "delete from ops.check_results where check_name = 'says_nothing_of_itself'")
        queries.checks.clear()
    assert not app.exception
    assert "says_nothing_of_itself" in words(app).replace("\\", "")
    assert "nan" not in [word.strip("`()") for word in words(app).split()]
    assert "Expected: —" in words(app)
