"""The visible range of the main chart in headless Chromium: kept in the URL, applied again, cleared."""

import pytest

from tests.dashboard.browser import DRAWN, needs_browser, settle

pytestmark = needs_browser
CHART = "document.querySelector('.st-key-price .js-plotly-plot')"
SHOWN = (
    "(p => [p.xaxis.range.map(at => Date.parse(at.replace(' ', 'T') + 'Z')), p.yaxis.range.map(at => "
    f"p.yaxis.type === 'log' ? 10 ** at : at), p.yaxis.type])({CHART}._fullLayout)"
)


def shown(page) -> list:
    """The time range, price range and scale of the price chart, once it is drawn."""
    page.wait_for_function(f"{CHART}?._fullLayout?.yaxis", timeout=30_000)
    return page.evaluate(SHOWN)


def zoom_in(page, key: str = "price") -> None:
    """Drag over the middle of the chart, and wait until the URL has the range."""
    area = page.locator(f".st-key-{key} .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.7, steps=5)
    page.mouse.up()
    page.wait_for_function("location.search.includes('zoom=')", timeout=30_000)
    settle(page)
    page.wait_for_timeout(1_000)  # the page fits the price axis


def zoom_out(page) -> None:
    """Double-click the chart until the URL has no range; on a slow machine two clicks are not a double-click."""
    for _ in range(5):
        page.locator(".st-key-price .nsewdrag").first.dblclick()
        page.wait_for_timeout(2_000)
        if "zoom=" not in page.url:
            return


def same(shown: list, before: list) -> bool:
    """Return whether two views are equal to the minute, the precision of the URL; prices too at the same scale."""
    (days, prices, scale), (days_before, prices_before, scale_before) = shown, before
    equal = scale != scale_before or prices == pytest.approx(prices_before, rel=1e-4)
    return equal and days == pytest.approx(days_before, abs=61_000)


def test_range_survives_a_new_pane_log_scale_and_reload(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    full = shown(page)
    assert "zoom=" not in page.url
    zoom_in(page)
    zoomed = shown(page)
    assert zoomed[0][1] - zoomed[0][0] < 0.8 * (full[0][1] - full[0][0])
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
    assert shown(page)[0] == pytest.approx(full[0], abs=86_400_000)
    assert page.faults == []


@pytest.mark.parametrize("other", ["range", "coin"])
def test_range_is_cleared_when_another_range_or_coin_is_chosen(dashboard, open_tab, other):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    full = shown(page)
    zoom_in(page)
    if other == "range":
        page.get_by_role("radio", name="All").or_(page.get_by_role("button", name="All")).first.click()
        page.wait_for_function("location.search.includes('range=All')", timeout=30_000)
    else:
        page.get_by_role("combobox").first.click()
        page.get_by_role("option", name="Ethereum").first.click()
        page.wait_for_function("location.search.includes('coin=ethereum')", timeout=30_000)
    settle(page)
    page.wait_for_timeout(1_000)  # the listener must not report the old range again
    assert "zoom=" not in page.url
    assert shown(page)[0] == pytest.approx(full[0], abs=86_400_000)
    assert page.faults == []


def test_loading_and_resizing_send_no_messages_beyond_the_first(browser, dashboard):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page, sent = context.new_page(), []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(f"{dashboard}/price?coin=bitcoin&zoom=2026-01-01,2099-01-01")
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


def test_back_and_forward_restore_ranges(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    full = shown(page)
    zoom_in(page)
    zoomed = shown(page)
    page.go_back()
    page.wait_for_function("!location.search.includes('zoom=')", timeout=30_000)
    page.wait_for_function(f"{CHART}?._fullLayout?.xaxis?.autorange", timeout=30_000)
    settle(page)
    assert same(shown(page), full)
    page.go_forward()
    page.wait_for_function("location.search.includes('zoom=')", timeout=30_000)
    page.wait_for_function(f"{CHART}?._fullLayout?.xaxis?.autorange === false", timeout=30_000)
    settle(page)
    assert same(shown(page), zoomed)
    assert page.faults == []


@pytest.mark.parametrize(
    ("path", "key", "other"), [("sentiment", "history", "All"), ("compare?range=3M", "indexed", "1Y")]
)
def test_sentiment_and_compare_keep_the_range_until_another_span_is_chosen(dashboard, open_tab, path, key, other):
    page = open_tab(f"{dashboard}/{path}")
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


def test_zoom_fits_the_price_axis_to_the_visible_bars(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin&over=Bollinger")
    before = shown(page)
    zoom_in(page)
    page.wait_for_function(
        f"(p => p.range[1] - p.range[0] < {before[1][1] - before[1][0]})({CHART}.layout.yaxis)", timeout=30_000
    )
    (since, until), (low, high), _ = shown(page)
    bars = page.evaluate(
        f"(trace => [...trace.x].map((at, i) => [Date.parse(at), trace.low[i], trace.high[i]]))({CHART}._fullData[0])"
    )
    visible = [bar for bar in bars if since <= bar[0] <= until]
    assert 0 <= low < min(bar[1] for bar in visible)
    assert high > max(bar[2] for bar in visible)
    assert page.faults == []


def test_pointer_shows_the_values_of_its_bar_above_the_chart_and_labels_on_both_axes(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    line = page.locator(".readout")
    newest = line.inner_text()
    assert "SMA 20d" in newest
    plot = page.locator(".st-key-price .nsewdrag").first
    box = plot.bounding_box()
    for step in (0, 4):
        plot.hover(position={"x": box["width"] * 0.4 + step, "y": box["height"] * 0.5})
        page.wait_for_timeout(500)
    assert line.inner_text() != newest
    assert [tag.is_visible() for tag in page.locator(".tag").all()] == [True, True]
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)
    assert line.inner_text() == newest
    assert page.faults == []


def test_wheel_over_the_chart_scrolls_the_page(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    before = shown(page)
    page.locator(".st-key-price .nsewdrag").first.hover()
    page.mouse.wheel(0, 300)
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop > 100", timeout=10_000)
    assert same(shown(page), before)
    assert "zoom=" not in page.url


def test_price_and_volume_are_within_the_first_screen(dashboard, open_tab):
    page = open_tab(f"{dashboard}/price?coin=bitcoin")
    box = page.locator(".st-key-price .js-plotly-plot").bounding_box()
    assert box["y"] + box["height"] <= 900
