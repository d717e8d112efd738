"""Fixtures and helpers of the tests that drive the dashboard in headless Chromium."""

import shutil

import pytest

from tests.dashboard.page_tools import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRAWN = ".js-plotly-plot .nsewdrag, .js-plotly-plot .gtitle, .js-plotly-plot path.surface, [data-testid=stExpander]"

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="session")
def dashboard(marts, tmp_path_factory):
    with served(marts, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def is_fault(message) -> bool:
    """Return whether a console message is an error of the page or a Plotly warning about a figure."""
    # Streamlit reconnects after a network change
    reconnects = "ERR_NETWORK_CHANGED" in message.text
    return (message.type == "error" and not reconnects) or message.text.startswith("WARN: ")


@pytest.fixture
def open_tab(browser):
    """Open an address in its own window; `faults` collects page errors and requests to other hosts."""
    contexts = []

    def go(address: str, *, width: int = 1400, scheme: str = "light", ready: str = DRAWN):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        # Bypass Chromium's network stack, which aborts downloads whenever a network interface of a container changes.
        context.route("**/static/**", lambda route: route.fulfill(response=route.fetch(max_retries=5)))
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: page.faults.append(message.text) if is_fault(message) else None)
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
    """Wait until the script has finished and every chart is drawn."""
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')", timeout=60_000)
    page.get_by_text("Not financial advice").last.wait_for(timeout=60_000)  # the footer comes last
    page.wait_for_function(
        "!document.querySelector('[data-testid=stSkeleton]') &&"  # placeholder of a chart or table
        " [...document.querySelectorAll('[data-testid=stPlotlyChart]')]"
        ".every(chart => chart.querySelector('.js-plotly-plot')?._fullLayout)",
        timeout=60_000,
    )
    page.wait_for_timeout(400)
