"""MkDocs hook: puts the tables that `generate.py` wrote in place of `<!-- generated: NAME -->`."""

import re
from pathlib import Path

GENERATED = Path(__file__).parent / "generated"


def on_page_markdown(markdown, **_):
    """Return a page's Markdown with its markers replaced; a missing table fails the build."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: (GENERATED / f"{found[1]}.md").read_text(), markdown)
