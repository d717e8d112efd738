"""A narrow screen: controls behind a switch, the menu of pages, and the key figures of each table in sight."""

import pytest

from tests.dashboard.browser import needs_browser, settle

pytestmark = needs_browser


def visible_ranges(page) -> list[bool]:
    return [button.is_visible() for button in page.get_by_text("3M", exact=True).all()]


@pytest.mark.parametrize("path", ["price", "compare"])
def test_controls_of_a_phone_show_after_a_click_on_their_switch(dashboard, open_tab, path):
    page = open_tab(f"{dashboard}/{path}?range=1Y", width=390)
    assert visible_ranges(page) == [False]
    page.locator(".st-key-switch_range label").click()
    page.get_by_text("3M", exact=True).click()
    page.wait_for_function("location.search.includes('range=3M')", timeout=30_000)
    settle(page)
    assert visible_ranges(page) == [True]
    assert page.faults == []


def test_a_wide_screen_shows_controls_without_a_switch(dashboard, open_tab):
    page = open_tab(f"{dashboard}/compare")
    assert visible_ranges(page) == [True]
    assert not page.locator(".st-key-switch_range").is_visible()
    assert not page.locator(".st-key-pages_menu").is_visible()


def test_the_menu_of_a_phone_opens_every_page(dashboard, open_tab):
    page = open_tab(f"{dashboard}/dictionary", width=390)
    page.locator(".st-key-pages_menu").get_by_role("button").click()
    page.get_by_test_id("stPopoverBody").get_by_role("link", name="Connect").click()
    page.wait_for_url("**/connect*", timeout=30_000)
    settle(page)
    assert page.faults == []
