"""Every page in every state of the database: full, empty, before the first refresh, stale, unreachable."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import streamlit as st

from dashboard import formats
from dashboard.charts import base
from dashboard.components.definitions import NO_DEFINITION
from tests.dashboard.page_tools import DATA_PAGES, PAGES, alt_texts, elements, figures, page_text

STATES = ["marts", "empty_marts", "bare_database", "no_database"]


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_on_a_full_warehouse(rendered, page):
    app = rendered("marts", page)
    assert not app.exception
    assert not app.error
    assert app.title
    assert all(table.proto.placeholder == formats.MISSING for table in app.dataframe)


@pytest.mark.parametrize("page", PAGES)
def test_every_chart_has_a_heading_with_definitions_and_an_alternative_text(rendered, page):
    app = rendered("marts", page)
    tooltip = ""
    for element in elements(app):
        if element.type in ("heading", "subheader", "title", "header"):
            tooltip = element.proto.help
        if element.type == "plotly_chart":
            assert len(element.proto.alt) > 20
            assert tooltip, f"{element.proto.alt}: no definition above it"
    assert NO_DEFINITION not in page_text(app)


@pytest.mark.parametrize(
    ("state", "page", "query"),
    [
        *((state, page, {}) for state in STATES for page in PAGES),
        ("marts", "price", {"coin": "no-such-coin"}),
        ("marts", "compare", {"coins": "no-such-coin"}),
    ],
)
def test_every_page_has_freshness_banner_attribution_and_disclaimer(rendered, state, page, query):
    text = page_text(rendered(state, page, **query))
    banner = {"marts": "Updated 20", "no_database": "Database unavailable"}.get(state, "No data loaded yet")
    for part in (banner, "coingecko.com", "alternative.me", "binance.com", "Not financial advice"):
        assert part in text


@pytest.mark.parametrize("page", DATA_PAGES)
@pytest.mark.parametrize("state", ["empty_marts", "bare_database"])
def test_data_page_names_the_command_to_run_before_the_first_load(rendered, state, page):
    app = rendered(state, page)
    assert not app.exception
    assert "tickmart run" in page_text(app)
    assert not figures(app)


@pytest.mark.parametrize("page", ["data_quality", "dictionary"])
@pytest.mark.parametrize("state", ["empty_marts", "bare_database"])
def test_data_quality_and_dictionary_render_before_the_first_load(rendered, state, page):
    app = rendered(state, page)
    assert not app.exception
    assert app.title or app.info


def test_data_quality_of_an_empty_warehouse_reports_no_complete_history(rendered):
    assert not [notice for notice in rendered("empty_marts", "data_quality").success if "hours" in notice.value]


@pytest.mark.parametrize("page", PAGES)
def test_page_after_a_restore_reports_that_the_marts_are_not_built(open_page, bare_database, tmp_path, page):
    status = {
        "generated_at": str(datetime.now(UTC)),
        "datasets": [{"dataset": "x", "health": "healthy", "rows": 193_500}],
    }
    (tmp_path / "status.json").write_text(json.dumps(status))
    text = page_text(open_page(bare_database, page))
    assert "Marts not built yet" in text
    assert "No data loaded yet" not in text


def test_page_whose_mart_is_missing_in_a_built_warehouse_renders_once(open_page, server):
    server.copy_database("incomplete", "tickmart")
    server.execute("incomplete", "drop table marts.fct_prices cascade")
    app = open_page(server.reader("incomplete"), "price")
    assert not app.exception
    assert any("No data loaded yet" in str(notice.proto) for notice in app.info)


@pytest.mark.parametrize("page", PAGES)
def test_page_shows_stale_data_with_a_warning(rendered, page):
    app = rendered("stale_marts", page)
    assert not app.exception
    assert any(warning.icon == ":material/schedule:" for warning in app.warning)
    if page in DATA_PAGES:
        assert figures(app)


@pytest.mark.parametrize("page", PAGES)
def test_page_without_a_database_shows_an_error_without_traceback_sql_or_secrets(rendered, page):
    app = rendered("no_database", page)
    assert not app.exception
    assert app.error or page == "connect"  # which reads no mart
    text = page_text(app)
    for forbidden in ("Traceback", "psycopg2", "select ", "canary-secret", "dashboard_ro"):
        assert forbidden not in text


def test_data_quality_without_a_database_shows_the_status_file(open_page, no_database, tmp_path):
    written = datetime.now(UTC) - timedelta(hours=5)
    row = {
        "dataset": "binance_klines",
        "health": "warning",
        "rows": 1315150,
        "newest": (written - timedelta(hours=1)).isoformat(),
        "age_seconds": 3600,
        "sla_seconds": 7200,
        "last_load": written.isoformat(),
        "open_gaps": 2,
        "rejected": 0,
    }
    status = {"generated_at": written.isoformat(), "status": "warning", "datasets": [row]}
    (tmp_path / "status.json").write_text(json.dumps(status))
    shown = open_page(no_database, "data_quality").dataframe[0].value.loc[0]
    assert shown[["Dataset", "Health", "Age", "Rows"]].tolist() == [
        "Binance prices",
        "▲ Warning",
        "6\u00a0h",
        "1,315,150",
    ]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"generated_at": "yesterday"}', '{"generated_at": null, "datasets": 3}']
)
def test_data_quality_renders_with_an_invalid_status_file(open_page, no_database, tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    app = open_page(no_database, "data_quality")
    assert not app.exception
    assert not app.dataframe


def test_page_recovers_when_the_database_returns(open_page, marts, no_database, use):
    app = open_page(no_database, "overview")
    assert app.error
    use(marts)
    app.run()
    assert not app.error
    assert app.metric


@pytest.mark.parametrize("page", [*DATA_PAGES, "data_quality"])
def test_tick_labels_of_every_axis_have_the_color_of_readable_text(rendered, page):
    readable = base.palette("light").muted
    for key, figure in figures(rendered("marts", page)).items():
        axes = {name: axis for name, axis in figure["layout"].items() if re.fullmatch(r"[xy]axis\d*", name)}
        assert {name: axis["tickfont"]["color"] for name, axis in axes.items()} == dict.fromkeys(axes, readable), key


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("state", ["marts", "empty_marts"])
def test_table_with_dashes_explains_them(rendered, state, page):
    app = rendered(state, page)
    tables = [table.value for table in app.dataframe if formats.has_missing_cells(table.value)]
    explanations = [caption.value for caption in app.caption if caption.value.startswith(formats.MISSING)]
    assert len(explanations) == len(tables)
    assert (page, state) != ("price", "marts") or tables


@pytest.mark.parametrize(
    ("page", "column"),
    [("price", "quote_volume"), ("sentiment", "classification"), ("onchain", "fee_btc"), ("news", "mean_compound")],
)
def test_data_table_is_rendered_only_when_open(rendered, page, column):
    def tables(**query: str) -> list:
        return [table.value for table in rendered("marts", page, **query).dataframe if column in table.value]

    assert tables() == []
    (table,) = tables(data="true")
    assert len(table) > 100
    assert table.columns[0] in ("opened_at", "date")


@pytest.mark.parametrize(
    ("page", "chart", "statement"),
    [
        ("price", "drawdown", "update marts.fct_daily_summary set drawdown_pct = drawdown_pct - 1"),
        ("sentiment", "history", "update marts.fct_sentiment_daily set btc_close = btc_close * 1.5"),
        ("compare", "indexed", "update marts.fct_daily_summary set close = high"),
        ("onchain", "lags", "update marts.fct_onchain_lead_lag set correlation = -correlation"),
    ],
)
def test_chart_changes_with_the_rows_of_its_mart(open_page, server, page, chart, statement):
    name = f"restated_{page}"
    server.copy_database(name, "tickmart")
    app = open_page(server.reader(name), page)
    before = figures(app)[chart]
    server.execute(name, statement)
    st.cache_data.clear()  # query results expire; figures stay cached by their inputs
    app.run()
    assert not app.exception
    assert figures(app)[chart] != before


def test_alternative_texts_are_distinct(rendered):
    for page in DATA_PAGES:
        texts = alt_texts(rendered("marts", page))
        assert len(set(texts)) == len(texts)
