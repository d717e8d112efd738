"""The dashboard in headless Chromium: every page in both schemes and widths, deep links, controls, downloads."""

import csv
from pathlib import Path

import pytest

from dashboard.pages import PAGES
from tests.dashboard.browser import needs_browser, settle
from tests.dashboard.page_tools import served

PATHS = ["", *(page.name for page in PAGES[1:])]  # the first page has the root address
pytestmark = needs_browser


def plots(page) -> list[list[int]]:
    """The number of points of each trace of each figure."""
    return page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map(p => (p._fullData || []).map(t => (t.x || t.labels || "
        "[]).length))"
    )


def test_deep_link_works_as_first_request_of_a_new_server(marts, tmp_path, open_tab):
    with served(marts, tmp_path) as fresh:
        page = open_tab(f"{fresh}/price?coin=ethereum&range=7D")
        assert "Ethereum" in page.locator("h1").first.inner_text()
        assert page.get_by_text("Updated 20").first.is_visible()


def test_an_open_page_shows_the_data_when_the_first_build_ends(server, marts, tmp_path, open_tab):
    server.copy_database("first_build", "tickmart")
    server.execute("first_build", "alter schema marts rename to later")
    with served(server.reader("first_build"), tmp_path) as fresh:
        page = open_tab(f"{fresh}/", ready="text=No data loaded yet")
        server.execute("first_build", "alter schema later rename to marts")
        page.get_by_text("Updated 20").first.wait_for(timeout=60_000)
        page.wait_for_selector(".js-plotly-plot", timeout=60_000)
        settle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("path", PATHS)
def test_page_renders_without_errors_or_horizontal_scrolling(dashboard, open_tab, path, width, scheme):
    page = open_tab(f"{dashboard}/{path}", width=width, scheme=scheme)
    assert page.faults == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    text = page.locator("body").inner_text()
    assert "Traceback" not in text
    assert "Not financial advice" in text
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    # Counted in one evaluation, because a page redraws its charts when it learns its width.
    page.wait_for_function(
        "document.querySelectorAll('[data-testid=stPlotlyChart]').length"
        " === document.querySelectorAll('.js-plotly-plot').length",
        timeout=15_000,
    )


def test_deep_link_sets_every_control(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=solana&range=3M&log=true&draw=Line&panes=RSI")
    layout = page.evaluate(
        "(p => [p.yaxis.type, Object.keys(p).filter(k => "
        "/^yaxis/.test(k)).length])(document.querySelector('.js-plotly-plot')._fullLayout)"
    )
    assert layout == ["log", 2]
    assert max(plots(page)[0]) <= 92
    assert "coin=solana" in page.url
    assert "range=3M" in page.url


def test_range_control_redraws_the_chart_and_updates_the_url(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    before = plots(page)[0]
    page.get_by_role("radio", name="7D").or_(page.get_by_role("button", name="7D")).first.click()
    page.wait_for_function("location.search.includes('range=7D')", timeout=10_000)
    settle(page)
    assert plots(page)[0] != before
    assert max(plots(page)[0]) == 168


def test_coin_selector_writes_the_id_into_the_url(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="Ethereum").first.click()
    page.wait_for_function("location.search.includes('coin=ethereum')", timeout=10_000)
    settle(page)
    assert page.locator("h1").first.inner_text().startswith("Ethereum")


def test_selecting_a_table_row_opens_the_coin(dashboard, open_tab):
    page = open_tab(f"{dashboard}/")
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    table.click(position={"x": 15, "y": 35 + 35 + 17})  # the checkbox of the second row; the table is a canvas
    page.wait_for_url("**/price?*coin=ethereum*", timeout=15_000)
    settle(page)
    assert page.locator("h1").first.inner_text().startswith("Ethereum")


def test_open_page_continues_after_its_database_connections_are_terminated(server, marts, dashboard, open_tab):
    page = open_tab(f"{dashboard}/compare")
    server.execute(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tickmart dashboard'",
    )
    page.get_by_role("radio", name="30 days").or_(page.get_by_role("button", name="30 days")).first.click()
    page.wait_for_function("location.search.includes('window=30')", timeout=10_000)
    settle(page)
    assert page.get_by_test_id("stAlert").count() == 0
    assert len(plots(page)) >= 4


def test_color_choice_applies_to_every_page(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=solana&colors=green+%2F+red")
    page.get_by_role("link", name="Compare").first.click()
    page.wait_for_url("**/compare*", timeout=15_000)
    page.wait_for_function("location.search.includes('colors=green')", timeout=15_000)
    page.get_by_role("link", name="Overview").first.click()
    page.wait_for_url(lambda url: "compare" not in url, timeout=15_000)
    page.wait_for_function("location.search.includes('colors=green')", timeout=15_000)
    settle(page)
    assert page.get_by_test_id("stAlert").count() == 0


PLOT = "document.querySelector('.js-plotly-plot')"
CHOSEN = (
    "[...document.querySelectorAll('[aria-checked=true], [aria-pressed=true], [data-testid$=Active]')]"
    ".map(button => button.innerText.trim())"
)


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("?change=7d", {"7d"}),
        ("price?coin=bitcoin&range=3M&draw=Line&over=EMA&over=Bollinger&panes=MACD", {"3M", "Line", "MACD"}),
        ("sentiment?span=3Y", {"3Y"}),
        ("compare?coins=solana&coins=ripple&range=3M&window=30+days", {"3M", "30 days"}),
    ],
)
def test_deep_link_sets_the_controls_and_stays_in_the_url(dashboard, open_tab, path, chosen):
    page = open_tab(f"{dashboard}/{path}")
    assert chosen <= set(page.evaluate(CHOSEN))
    for part in path.partition("?")[2].split("&"):
        assert part in page.url.replace("%20", "+")
    assert page.faults == []


def test_deep_link_sets_coins_and_search(dashboard, open_tab):
    page = open_tab(f"{dashboard}/compare?coins=solana&coins=ripple&log=true")
    assert {"Solana", "XRP"} <= set(page.evaluate(f"{PLOT}._fullData.map(line => line.name)"))
    assert page.evaluate(f"{PLOT}._fullLayout.yaxis.type") == "log"
    page = open_tab(f"{dashboard}/dictionary?search=wilder")
    assert page.get_by_role("textbox").first.input_value() == "wilder"


def rows_of(download) -> list[dict[str, str]]:
    """The rows of a downloaded CSV, whose header is its first line."""
    return list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))


def test_price_csv_equals_fct_daily_summary_in_all_digits(server, dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=solana&range=3M")
    page.get_by_text("Data table & export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    columns = ["date", "open", "close", "quote_volume", "sma_30", "rsi_14", "volatility_30d", "volatility_90d"]
    expected = server.query(
        "tickmart",
        f"select {', '.join(f'{column}::text' for column in columns)} from marts.fct_daily_summary "
        "where crypto_id = 'solana' and date > (select max(date) from marts.fct_daily_summary where crypto_id = "
        "'solana') - 91 order by date",
    )
    assert len(expected) == 91
    assert [tuple(row[column] or None for column in columns) for row in rows_of(download)] == expected


def test_overview_csv_equals_v_screener(server, dashboard, open_tab):
    page = open_tab(f"{dashboard}/")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    expected = server.query("tickmart", "select crypto_id, price_usd::float8 from marts.v_screener order by position")
    assert [(row["crypto_id"], float(row["price_usd"])) for row in rows_of(download)] == expected


def test_sentiment_csv_equals_fct_sentiment_daily(server, dashboard, open_tab):
    page = open_tab(f"{dashboard}/sentiment?span=All")
    page.get_by_text("Data table & export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    expected = server.query(
        "tickmart",
        "select date::text, value::float8, classification, btc_close::float8 from marts.fct_sentiment_daily order by 1",
    )
    assert len(expected) > 100
    given = [
        (row["date"], float(row["value"]), row["classification"], float(row["btc_close"]) if row["btc_close"] else None)
        for row in rows_of(download)
    ]
    assert given == expected


def test_dictionary_csv_defines_every_column_of_the_marts(server, dashboard, open_tab):
    page = open_tab(f"{dashboard}/dictionary?search=wilder")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = rows_of(download)
    expected = server.query(
        "tickmart", "select table_name, column_name from information_schema.columns where table_schema = 'marts'"
    )
    assert {(row["relation"], row["column_name"]) for row in rows} == set(expected)
    assert all(row["definition"] and row["data_type"] for row in rows)


def test_dbt_docs_download_is_the_built_file(marts, tmp_path, open_tab):
    built = "<html><head><title>warehouse</title></head><body>lineage</body></html>"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.html").write_text(built)
    with served(marts, tmp_path) as running:
        page = open_tab(f"{running}/data_quality")
        with page.expect_download() as download:
            page.get_by_role("button", name="dbt docs").click()
        assert Path(download.value.path()).read_text() == built
