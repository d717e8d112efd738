"""The dashboard in a real browser: every page, light and dark, wide and narrow; links, clicks, lost connections."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.dashboard.test_dashboard_server import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = ["", "price", "sentiment", "compare", "data_quality", "dictionary"]
DRAWN = ".js-plotly-plot .nsewdrag, .js-plotly-plot .gtitle, .js-plotly-plot path.surface, [data-testid=stExpander]"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def address(marts, tmp_path_factory):
    with served(marts, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def wrong(said) -> bool:
    """Tell whether a message of the console is an error of the page or Plotly's word that a figure makes no sense."""
    known = "ERR_NETWORK_CHANGED" in said.text  # Streamlit connects again
    return (said.type == "error" and not known) or said.text.startswith("WARN: ")


@pytest.fixture
def open_page(browser):
    """Open an address in its own window; `faults` gathers errors of the page and requests that leave the machine."""
    contexts = []

    def go(address: str, *, width: int = 1400, scheme: str = "light", ready: str = DRAWN):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        # Past Chromium's network, which gives up what it is loading whenever an interface comes or goes, as containers'
        context.route("**/static/**", lambda route: route.fulfill(response=route.fetch()))
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if wrong(said) else None)
        page.on(
            "request",
            lambda r: (
                None if "127.0.0.1" in r.url or r.url.startswith(("data:", "blob:")) else page.faults.append(r.url)
            ),
        )
        page.on(
            "response",
            lambda r: page.faults.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )
        page.goto(address)
        page.wait_for_selector(ready, timeout=60_000, state="attached")
        settle(page)
        return page

    yield go
    for context in contexts:
        context.close()


def settle(page) -> None:
    """Wait until the script has run to its end and every chart is drawn: the browser loads Plotly after the words."""
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')", timeout=60_000)
    page.get_by_text("Not financial advice").last.wait_for(timeout=60_000)  # the footer: what comes last
    page.wait_for_function(
        "!document.querySelector('[data-testid=stSkeleton]') &&"  # what stands where a chart or a table will
        " [...document.querySelectorAll('[data-testid=stPlotlyChart]')]"
        ".every(chart => chart.querySelector('.js-plotly-plot')?._fullLayout)",
        timeout=60_000,
    )
    page.wait_for_timeout(400)


def plots(page) -> list[list[int]]:
    """Number of points of each trace of each plot."""
    return page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map(p => (p._fullData || []).map(t => (t.x || t.labels || "
        "[]).length))"
    )


def test_first_visit_of_a_fresh_server_may_be_a_deep_link(marts, tmp_path, open_page):
    with served(marts, tmp_path) as fresh:
        page = open_page(f"{fresh}/price?coin=ethereum&range=7D")
        assert "Ethereum" in page.locator("h1").first.inner_text()
        assert page.get_by_text("Data as of").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("path", PAGES)
def test_page_draws_without_errors_or_sideways_scrolling(address, open_page, path, width, scheme):
    page = open_page(f"{address}/{path}", width=width, scheme=scheme)
    assert page.faults == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    text = page.locator("body").inner_text()
    assert "Traceback" not in text
    assert "Not financial advice" in text
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    # Counted in one look: a page that learns its width draws its charts once more.
    page.wait_for_function(
        "document.querySelectorAll('[data-testid=stPlotlyChart]').length"
        " === document.querySelectorAll('.js-plotly-plot').length",
        timeout=15_000,
    )


def test_deep_link_sets_every_control(address, open_page):
    page = open_page(f"{address}/price?coin=solana&range=3M&log=true&draw=Line&panes=RSI")
    layout = page.evaluate(
        "(p => [p.yaxis.type, Object.keys(p).filter(k => "
        "/^yaxis/.test(k)).length])(document.querySelector('.js-plotly-plot')._fullLayout)"
    )
    assert layout == ["log", 2]
    assert max(plots(page)[0]) <= 92
    assert "coin=solana" in page.url
    assert "range=3M" in page.url


def test_choosing_a_range_redraws_and_writes_the_address(address, open_page):
    page = open_page(f"{address}/price?coin=bitcoin")
    before = plots(page)[0]
    page.get_by_role("radio", name="7D").or_(page.get_by_role("button", name="7D")).first.click()
    page.wait_for_function("location.search.includes('range=7D')", timeout=10_000)
    settle(page)
    assert plots(page)[0] != before
    assert max(plots(page)[0]) == 168


def test_choosing_a_coin_writes_its_id_into_the_address(address, open_page):
    page = open_page(f"{address}/price?coin=bitcoin")
    page.get_by_role("combobox").first.click()
    page.get_by_role("option", name="Ethereum").first.click()
    page.wait_for_function("location.search.includes('coin=ethereum')", timeout=10_000)
    settle(page)
    assert page.locator("h1").first.inner_text().startswith("Ethereum")


def test_selecting_a_row_of_the_table_opens_its_coin(address, open_page):
    page = open_page(f"{address}/")
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    table.click(position={"x": 15, "y": 35 + 35 + 17})  # the mark before the second row; the table is a canvas
    page.wait_for_url("**/price?*coin=ethereum*", timeout=15_000)
    settle(page)
    assert page.locator("h1").first.inner_text().startswith("Ethereum")


def test_open_page_survives_a_restart_of_the_database(server, marts, address, open_page):
    page = open_page(f"{address}/compare")
    server.execute(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tickmart dashboard'",
    )
    page.get_by_role("radio", name="30 days").or_(page.get_by_role("button", name="30 days")).first.click()
    page.wait_for_function("location.search.includes('window=30')", timeout=10_000)
    settle(page)
    assert page.get_by_test_id("stAlert").count() == 0
    assert len(plots(page)) >= 4


def test_chosen_colours_stay_in_the_address_on_every_page(address, open_page):
    page = open_page(f"{address}/price?coin=solana&colours=green+%2F+red")
    page.get_by_role("link", name="Compare").first.click()
    page.wait_for_url("**/compare*", timeout=15_000)
    page.wait_for_function("location.search.includes('colours=green')", timeout=15_000)
    settle(page)
    assert page.get_by_test_id("stAlert").count() == 0


CHART = "document.querySelector('.st-key-price .js-plotly-plot')"
SHOWN = (
    "(p => [p.xaxis.range.map(at => Date.parse(at.replace(' ', 'T') + 'Z')), p.yaxis.range.map(at => "
    f"p.yaxis.type === 'log' ? 10 ** at : at), p.yaxis.type])({CHART}._fullLayout)"
)


def shown(page) -> list:
    """The large chart's span of time, its span of prices, and its kind of scale, as soon as it is drawn."""
    page.wait_for_function(f"{CHART}?._fullLayout?.yaxis", timeout=30_000)
    return page.evaluate(SHOWN)


def zoom_in(page, key: str = "price") -> None:
    """Turn the wheel over the large chart, and wait until the address tells of it and stays as it is."""
    page.locator(f".st-key-{key} .nsewdrag").first.hover()
    for _ in range(4):
        page.mouse.wheel(0, -200)
        page.wait_for_timeout(80)
    page.wait_for_function("location.search.includes('zoom=')", timeout=30_000)
    told = ""
    while told != page.url:  # a slow machine takes the wheel for two
        told = page.url
        page.wait_for_timeout(1_500)


def zoom_out(page) -> None:
    """Click the large chart twice until the address forgets the zoom: on a slow machine two clicks are no double."""
    for _ in range(5):
        page.locator(".st-key-price .nsewdrag").first.dblclick()
        page.wait_for_timeout(2_000)
        if "zoom=" not in page.url:
            return


def same(shown: list, before: list) -> bool:
    """Tell whether two views are one to the minute and to six digits, as the address keeps them."""
    (days, prices, _), (days_before, prices_before, _) = shown, before
    return days == pytest.approx(days_before, abs=61_000) and prices == pytest.approx(prices_before, rel=1e-4)


def test_zoom_survives_a_pane_the_log_scale_and_a_reload(address, open_page):
    page = open_page(f"{address}/price?coin=bitcoin")
    whole = shown(page)
    assert "zoom=" not in page.url
    zoom_in(page)
    zoomed = shown(page)
    assert zoomed[0][1] - zoomed[0][0] < 0.8 * (whole[0][1] - whole[0][0])
    page.get_by_role("button", name="RSI").first.click()
    page.wait_for_function("location.search.includes('RSI')", timeout=30_000)
    page.wait_for_function(f"'yaxis3' in ({CHART}?._fullLayout ?? {{}})", timeout=30_000)
    settle(page)
    assert same(shown(page), zoomed)
    page.get_by_text("Log scale").first.click()
    page.wait_for_function(f"{CHART}?._fullLayout?.yaxis?.type === 'log'", timeout=30_000)
    settle(page)
    assert same(shown(page), zoomed)
    page.reload()
    page.wait_for_selector(DRAWN, timeout=60_000, state="attached")
    settle(page)
    assert same(shown(page), zoomed)
    zoom_out(page)
    assert "zoom=" not in page.url
    assert shown(page)[0] == pytest.approx(whole[0], abs=86_400_000)
    assert page.faults == []


@pytest.mark.parametrize("other", ["range", "coin"])
def test_zoom_goes_when_another_range_or_coin_is_chosen(address, open_page, other):
    page = open_page(f"{address}/price?coin=bitcoin")
    whole = shown(page)
    zoom_in(page)
    if other == "range":
        page.get_by_role("radio", name="All").or_(page.get_by_role("button", name="All")).first.click()
        page.wait_for_function("location.search.includes('range=All')", timeout=30_000)
    else:
        page.get_by_role("combobox").first.click()
        page.get_by_role("option", name="Ethereum").first.click()
        page.wait_for_function("location.search.includes('coin=ethereum')", timeout=30_000)
    settle(page)
    page.wait_for_timeout(1_000)  # the listener must not tell the old zoom again
    assert "zoom=" not in page.url
    assert shown(page)[0] == pytest.approx(whole[0], abs=86_400_000)
    assert page.faults == []


def test_a_page_and_a_window_that_changes_its_size_ask_the_server_for_nothing_more(browser, address):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page, sent = context.new_page(), []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(f"{address}/price?coin=bitcoin&zoom=2026-01-01,2099-01-01")
    page.wait_for_selector(DRAWN, timeout=60_000, state="attached")
    settle(page)
    shown(page)
    page.wait_for_timeout(1_500)
    before = len(sent)
    page.set_viewport_size({"width": 1000, "height": 900})
    page.wait_for_timeout(1_500)
    after = len(sent)
    context.close()
    assert (before, after) == (1, 1)


def test_back_and_forward_go_through_the_zooms(address, open_page):
    page = open_page(f"{address}/price?coin=bitcoin")
    whole = shown(page)
    zoom_in(page)
    zoomed = shown(page)
    page.go_back()
    page.wait_for_function("!location.search.includes('zoom=')", timeout=30_000)
    page.wait_for_function(f"{CHART}?._fullLayout?.xaxis?.autorange", timeout=30_000)
    settle(page)
    assert same(shown(page), whole)
    page.go_forward()
    page.wait_for_function("location.search.includes('zoom=')", timeout=30_000)
    page.wait_for_function(f"{CHART}?._fullLayout?.xaxis?.autorange === false", timeout=30_000)
    settle(page)
    assert same(shown(page), zoomed)
    assert page.faults == []


@pytest.mark.parametrize(
    ("path", "key", "other"), [("sentiment", "history", "All"), ("compare?range=3M", "indexed", "1Y")]
)
def test_sentiment_and_compare_keep_their_zoom_until_another_span_is_chosen(address, open_page, path, key, other):
    page = open_page(f"{address}/{path}")
    chart = f"document.querySelector('.st-key-{key} .js-plotly-plot')"
    page.wait_for_function(f"{chart}?._fullLayout?.xaxis?.autorange", timeout=30_000)
    zoom_in(page, key)
    page.reload()
    page.wait_for_function(f"{chart}?._fullLayout?.xaxis?.autorange === false", timeout=60_000)
    settle(page)
    page.get_by_role("radio", name=other).or_(page.get_by_role("button", name=other)).first.click()
    page.wait_for_function("!location.search.includes('zoom=')", timeout=30_000)
    page.wait_for_function(f"{chart}?._fullLayout?.xaxis?.autorange", timeout=30_000)
    assert page.faults == []


PLOT = "document.querySelector('.js-plotly-plot')"
CHOSEN = (
    "[...document.querySelectorAll('[aria-checked=true], [aria-pressed=true], [data-testid$=Active]')]"
    ".map(button => button.innerText.trim())"
)


@pytest.mark.parametrize(
    ("path", "chosen"),
    [
        ("?change=7+d", {"7 d"}),
        ("price?coin=bitcoin&range=3M&draw=Line&over=EMA&over=Bollinger&panes=MACD", {"3M", "Line", "EMA", "MACD"}),
        ("sentiment?span=3Y", {"3Y"}),
        ("compare?coins=solana&coins=ripple&range=3M&window=30+days", {"3M", "30 days"}),
    ],
)
def test_a_deep_link_sets_the_controls_of_its_page_and_stays_in_the_address(address, open_page, path, chosen):
    page = open_page(f"{address}/{path}")
    assert chosen <= set(page.evaluate(CHOSEN))
    for part in path.partition("?")[2].split("&"):
        assert part in page.url.replace("%20", "+")
    assert page.faults == []


def test_deep_links_choose_coins_and_search(address, open_page):
    page = open_page(f"{address}/compare?coins=solana&coins=ripple&log=true")
    assert {"Solana", "XRP"} <= set(page.evaluate(f"{PLOT}._fullData.map(line => line.name)"))
    assert page.evaluate(f"{PLOT}._fullLayout.yaxis.type") == "log"
    page = open_page(f"{address}/dictionary?search=wilder")
    assert page.get_by_role("textbox").first.input_value() == "wilder"


def rows_of(download) -> list[dict[str, str]]:
    """The rows of a file that a page gave, without its notes."""
    lines = Path(download.value.path()).read_text().splitlines()
    assert any(line.startswith("# source: ") for line in lines)
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_the_file_of_a_coins_days_holds_what_the_mart_does_digit_by_digit(server, address, open_page):
    page = open_page(f"{address}/price?coin=solana&range=3M")
    page.get_by_text("Data and export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of this range").click()
    columns = ["date", "open", "close", "quote_volume", "sma_30", "rsi_14", "volatility_30d", "volatility_90d"]
    expected = server.query(
        "tickmart",
        f"select {', '.join(f'{column}::text' for column in columns)} from marts.fct_daily_summary "
        "where crypto_id = 'solana' and date > (select max(date) from marts.fct_daily_summary where crypto_id = "
        "'solana') - 91 order by date",
    )
    assert len(expected) == 91
    assert [tuple(row[column] or None for column in columns) for row in rows_of(download)] == expected


def test_the_file_of_the_hundred_largest_holds_what_the_mart_does(server, address, open_page):
    page = open_page(f"{address}/")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    expected = server.query("tickmart", "select crypto_id, price_usd::float8 from marts.v_top_100 order by position")
    assert [(row["crypto_id"], float(row["price_usd"])) for row in rows_of(download)] == expected


def test_the_file_of_the_index_holds_every_day_of_the_mart(server, address, open_page):
    page = open_page(f"{address}/sentiment")
    page.get_by_text("Data and export").click()
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
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


def test_the_file_of_the_dictionary_defines_every_column_of_the_marts(server, address, open_page):
    page = open_page(f"{address}/dictionary?search=wilder")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV of all definitions").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    expected = server.query(
        "tickmart", "select table_name, column_name from information_schema.columns where table_schema = 'marts'"
    )
    assert {(row["relation"], row["column_name"]) for row in rows} == set(expected)
    assert all(row["definition"] and row["data_type"] for row in rows)


def test_dbts_documentation_is_downloaded_as_it_was_built(marts, tmp_path, open_page):
    built = "<html><head><title>warehouse</title></head><body>lineage</body></html>"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.html").write_text(built)
    with served(marts, tmp_path) as running:
        page = open_page(f"{running}/data_quality")
        with page.expect_download() as download:
            page.get_by_role("button", name="dbt docs").click()
        assert Path(download.value.path()).read_text() == built
