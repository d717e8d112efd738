"""Take the README's screenshots of a running dashboard: python tests/dashboard/screenshots.py ADDRESS [PAGE ...].

One PNG per page (or per named page) in docs/images, light, 1400 pixels wide.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PAGES = {
    "overview": "",
    "price": "price?coin=bitcoin&range=1Y&panes=Volume&panes=RSI",
    "sentiment": "sentiment",
    "compare": "compare",
    "onchain": "onchain",
    "live": "live",
    "news": "news",
    "data_quality": "data_quality",
    "dictionary": "dictionary?search=volatility",
}
IMAGES = Path(__file__).parents[2] / "docs" / "images"
MAX_HEIGHT_PX = 1800


def take(page: Page, address: str, file: Path) -> None:
    """Open an address, wait until it is drawn, and save the first MAX_HEIGHT_PX pixels."""
    page.goto(address)
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')", timeout=60_000)
    # Charts, tables and metrics are code that a page loads when it first shows one.
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')", timeout=60_000)
    page.wait_for_timeout(1_500)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(height, MAX_HEIGHT_PX)})
    page.wait_for_timeout(1_000)
    page.screenshot(path=file)
    print(file)


def main(address: str, names: list[str]) -> None:
    """Take the screenshots of the named pages, or of all."""
    if unknown := set(names) - set(PAGES):
        sys.exit(f"{', '.join(sorted(unknown))}: unknown page. Known: {', '.join(PAGES)}")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("screenshots need chromium on the PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in names or PAGES:
            page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
            take(page, f"{address.rstrip('/')}/{PAGES[name]}", IMAGES / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
