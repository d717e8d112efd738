"""The Overview and the frame in a browser: clicks, Back, remembered choices, phone width, contrast."""

import pytest

from tests.dashboard.browser import needs_browser, settle

pytestmark = needs_browser


def click_cell(page, x: int, y: int) -> None:
    """Click into the screener's table, whose canvas lies under an element that scrolls it."""
    grid = page.locator(".st-key-screener canvas").first
    grid.evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(500)
    box = grid.bounding_box()
    page.mouse.click(box["x"] + x, box["y"] + y)


def settled_url(page, wanted: str) -> str:
    page.wait_for_function(f"location.href.includes({wanted!r})", timeout=30_000)
    settle(page)
    return page.url


def test_a_click_on_a_row_or_a_tile_opens_the_coin_and_back_restores_filters_and_order(dashboard, open_tab):
    page = open_tab(f"{dashboard}/?sort=7d&change=7d&search=i")
    click_cell(page, 300, 50)
    settled_url(page, "/price?coin=")
    page.go_back()
    url = settled_url(page, "sort=7d")
    assert "search=i" in url
    assert "change=7d" in url
    page.locator(".st-key-map_tiles .js-plotly-plot path.surface").nth(1).click()  # the first is the whole map
    settled_url(page, "/price?coin=")
    page.go_back()
    assert "search=i" in settled_url(page, "sort=7d")
    assert page.faults == []


def test_a_click_on_a_column_title_sorts_and_a_second_click_turns_the_order(dashboard, open_tab):
    page = open_tab(f"{dashboard}/")
    for wanted in ("sort=Price", "order=ascending"):
        click_cell(page, 200, 15)
        settled_url(page, wanted)


def test_a_phone_shows_price_and_24h_change_without_scrolling_sideways(dashboard, open_tab):
    page = open_tab(f"{dashboard}/?sort=24h", width=390)
    box = page.locator(".st-key-screener canvas").first.bounding_box()
    assert box["width"] >= 132 + 38 + 84 + 78
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_unknown_page_is_named(dashboard, open_tab):
    page = open_tab(f"{dashboard}/no-such-page")
    assert "no-such-page" in " ".join(page.get_by_test_id("stAlert").all_inner_texts())


def test_the_browser_remembers_colors_without_a_url_parameter(dashboard, open_tab):
    page = open_tab(f"{dashboard}/dictionary")
    page.get_by_role("button", name="Display").click()
    page.get_by_text("green / red").click()
    page.wait_for_function("document.cookie.includes('green')", timeout=60_000)
    page.goto(f"{dashboard}/dictionary")
    page.wait_for_function("location.search.includes('green')", timeout=60_000)
    settle(page)
    assert page.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_captions_and_their_links_have_enough_contrast(dashboard, open_tab, scheme):
    page = open_tab(f"{dashboard}/dictionary", scheme=scheme)
    ratios = page.evaluate(
        """() => {
            const parts = (color) => color.match(/[\\d.]+/g).map(Number);
            const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            const light = (rgb) => rgb.map((v) => linear(v / 255))
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const ground = parts(getComputedStyle(document.querySelector(".stApp")).backgroundColor).slice(0, 3);
            return [...document.querySelectorAll("[data-testid=stCaptionContainer] :is(p, a)")].map((element) => {
                let opacity = 1;
                for (let e = element; e; e = e.parentElement) opacity *= getComputedStyle(e).opacity;
                const color = parts(getComputedStyle(element).color).slice(0, 3);
                const mixed = color.map((v, i) => v * opacity + ground[i] * (1 - opacity));
                const [a, b] = [light(mixed), light(ground)].sort((x, y) => y - x);
                return (a + 0.05) / (b + 0.05);
            });
        }"""
    )
    assert len(ratios) > 3
    assert min(ratios) >= 4.5
