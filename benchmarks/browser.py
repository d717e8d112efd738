"""The dashboard in headless Chromium: seconds until the first chart stands, and until a choice shows in it.

Belongs here: the clock that runs inside the page. Does not: what is measured with it (`dashboard_browser`). Times are
the page's own: from the start of the navigation, or from the click, to the first frame in which the chart is drawn.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# A drawn chart; the dictionary has none and shows its tables' headings.
DRAWN = """() => {
    if (location.pathname.endsWith('/dictionary')) return !!document.querySelector('[data-testid=stExpander]');
    const plot = document.querySelector('.js-plotly-plot');
    return !!(plot && plot._fullLayout && plot.querySelector('.nsewdrag, path.surface, .indicatorlayer path'));
}"""
LATE = "new Promise((_, late) => setTimeout(() => late('no chart after 60 s'), 60_000))"
CLOCK = """
window.firstChart = new Promise(done => {
    const drawn = DRAWN;
    const look = () => drawn() ? done(performance.now()) : requestAnimationFrame(look);
    requestAnimationFrame(look);
});
window.shown = number => {
    const plot = document.querySelectorAll('.js-plotly-plot')[number];
    if (!plot || !plot._fullLayout) return '';
    const axes = Object.keys(plot._fullLayout).filter(name => /^yaxis/.test(name));
    const values = trace => [].concat(...["x", "y", "z", "open"].map(n => Array.from(trace[n] || []).slice(0, 3)));
    return JSON.stringify([axes.map(name => plot._fullLayout[name].type),
        plot._fullData.map(trace => [trace.type, trace.name, (trace.x || []).length, values(trace)])]);
};
window.change = number => {
    const before = window.shown(number);
    const clicked = new Promise(done => addEventListener('click', () => done(performance.now()),
        {capture: true, once: true}));
    window.changed = clicked.then(start => new Promise(done => {
        const look = () => window.shown(number) !== before && window.shown(number)
            ? done(performance.now() - start) : requestAnimationFrame(look);
        look();
    }));
};
""".replace("DRAWN", DRAWN)


class Tab:
    """A window of its own, with nothing kept from another: what was opened, and when its first chart stood."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.page = context.new_page()
        self.page.add_init_script(CLOCK)

    def first_chart(self, address: str) -> float:
        """Open an address and return the seconds until its first chart is drawn."""
        self.page.goto(address, wait_until="commit")
        seconds = self.page.evaluate(f"Promise.race([window.firstChart, {LATE}])") / 1000
        self.settle()
        return seconds

    def change(self, click: Callable[[Any], None], chart: int = 0) -> float:
        """Make a choice and return the seconds from its last click until the chart shows another picture."""
        self.page.evaluate(f"window.change({chart})")
        click(self.page)
        seconds = self.page.evaluate(f"Promise.race([window.changed, {LATE}])") / 1000
        self.settle()
        return seconds

    def settle(self) -> None:
        self.page.wait_for_function("!document.querySelector('[data-test-script-state=running]')", timeout=60_000)
        self.page.wait_for_timeout(700)


@contextmanager
def chromium() -> Iterator[Callable[[], Tab]]:
    """Give a function that opens a tab without anything cached; CHROMIUM must be there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def tab() -> Tab:
            return Tab(running.new_context(viewport={"width": 1400, "height": 900}))

        yield tab
        running.close()
