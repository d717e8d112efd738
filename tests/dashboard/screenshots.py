"""Takes the README's pictures from a running dashboard: python tests/dashboard/screenshots.py ADDRESS FOLDER.

Every page, light and dark, 1400 pixels wide, and the Overview as a phone shows it; one PNG each, replacing older ones.
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
    "data_quality": "data_quality",
    "dictionary": "dictionary?search=volatility",
}
TALLEST = 1800


def take(page: Page, address: str, file: Path) -> None:
    """Open an address, wait until it is drawn, and save what the first TALLEST pixels show."""
    page.goto(address)
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')", timeout=60_000)
    page.wait_for_timeout(1_500)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(height, TALLEST)})
    page.wait_for_timeout(1_000)
    page.screenshot(path=file)
    print(file)


def main(address: str, folder: Path) -> None:
    """Take all pictures into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("screenshots need chromium on the PATH (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for name, path in PAGES.items():
                page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme=scheme)
                take(page, f"{address.rstrip('/')}/{path}", folder / f"{name}-{scheme}.png")
                page.close()
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="light")
        take(phone, address, folder / "overview-phone.png")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
