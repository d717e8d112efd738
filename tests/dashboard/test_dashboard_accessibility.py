"""axe-core on every page, in both schemes and widths: no finding."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from dashboard.pages import PAGES
from tests.dashboard.browser import needs_browser

pytestmark = needs_browser


def findings(page) -> list[str]:
    """The findings of axe-core on a page, one line per element."""
    page.evaluate(AXE_SCRIPT)
    violations = page.evaluate("axe.run({resultTypes: ['violations']}).then(results => results.violations)")
    return [
        f"{violation['id']}: {' '.join(map(str, node['target']))} {node['html'][:200]}"
        for violation in violations
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("path", [page.name for page in PAGES])
def test_page_has_no_accessibility_finding(dashboard, open_tab, path, width, scheme):
    page = open_tab(f"{dashboard}/{path}", width=width, scheme=scheme, ready="h1")
    assert findings(page) == []
