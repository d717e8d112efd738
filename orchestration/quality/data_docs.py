"""Data Docs: one page per run and suite under ``TICKMART_HOME/data_docs``, and an index of the newest runs.

Belongs here: rendering results with Great Expectations' own page renderers, and removing old runs. Its site builder is
not used: it reads its complete store for each page, and its pages load scripts and styles from six other hosts. These
pages are self-contained, so they work offline and contact no other host.

Lazy import: rendering a page imports ``gx``; the address of a page must not.
"""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import Any

import orjson

from ingestion.settings import without_secrets
from ingestion.text import plain, visible
from orchestration.quality.runner import SuiteResult
from orchestration.quality.suites import Suite

# A run's pages are some 200 KB; every five minutes fifty runs are four hours, every hour two days.
KEEP_RUNS = 50
FOLDER = "data_docs"
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0; width: 100% }
td, th { border: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top }
.failed, .text-danger { color: #c62828 } .warned { color: #b26a00 } .passed { color: #2e7d32 }
.badge { background: #8883; border-radius: .3rem; padding: 0 .3rem } .ge-section { margin-bottom: 2rem }
.cooltip .top { display: none } .show-scrollbars { overflow: auto; max-height: 30rem }
"""
# Great Expectations shows a status as an icon of a font from another host, and links to pages of its site builder.
# Both become plain text.
_ICON = re.compile(r'<i class="fas (fa-[\w-]+) [^"]*"[^>]*></i>')
_STATUS = {
    "fa-check-circle": '<span class="passed">passed</span>',
    "fa-times": '<span class="failed">failed</span>',
    "fa-exclamation-triangle": '<span class="failed">error</span>',
}
_EXPECTATIONS_LINK = re.compile(r'<a\s+href="[^"]*/expectations/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
# The failures with their rows, then the renderer's blocks without scripts, other hosts or buttons.
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ page_title }}</title><style>{{ style | safe }}</style></head>
<body><p><a href="../index.html">All runs</a></p><h1>{{ expectation_suite_name }}</h1>
<p>{{ description }} {{ rows }} rows, run {{ run_id }}, {{ at }}.</p>
{% for check in failures %}
<h2 class="{{ 'failed' if check.severity == 'error' else 'warned' }}"><code>{{ check.id }}</code></h2>
<p>{{ check.description }}. {{ check.severity }}, {{ check.status }}. Guards against: {{ guards[check.id] }}.<br>
Observed: {{ check.observed | data }}.<br>Expected: {{ check.expected }}</p>
{% if check.sample %}<table>
{% if check.sample[0] is mapping %}
<tr>{% for name in check.sample[0] %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in check.sample %}
<tr>{% for value in row.values() %}<td>{{ value | data }}</td>{% endfor %}</tr>{% endfor %}
{% else %}{% for row in check.sample %}<tr><td>{{ row | data }}</td></tr>{% endfor %}{% endif %}
</table>{% endif %}
{% endfor %}
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</body></html>"""


def publish(home: Path, run_id: str, suite: Suite, result: SuiteResult, at: datetime) -> Path | None:
    """Write a suite's page and the index, remove old runs, and return the page; None when nothing was validated."""
    if result.result is None:
        return None
    folder = home / FOLDER / run_id
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{suite.name}.html"
    _write(page, without_secrets(_rendered(suite, result, run_id, at)))
    known = folder / "results.json"
    results = orjson.loads(known.read_bytes()) if known.exists() else {}
    failures = result.failures
    status = "failed" if any(check.severity == "error" for check in failures) else "warned" if failures else "passed"
    results[suite.name] = {
        "asset": f"{suite.asset_path}:{suite.check}", "status": status, "expectations": len(result.checks),
        "broken": [check.id for check in failures], "rows": result.rows, "at": at.isoformat(timespec="seconds"),
    }  # fmt: skip
    _write(known, orjson.dumps(results).decode())
    index(home)
    return page


def index(home: Path) -> Path:
    """Remove all but the newest runs, and write the page that lists the others."""
    folder = home / FOLDER
    runs = sorted(folder.glob("*/results.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in runs[KEEP_RUNS:]:
        shutil.rmtree(old.parent, ignore_errors=True)
    page = folder / "index.html"
    sections = "".join(_run_section(path, path.stat().st_mtime_ns) for path in runs[:KEEP_RUNS])
    _write(
        page,
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title><style>{STYLE}</style>'
        f"</head><body><h1>Data Docs</h1><p>The newest {KEEP_RUNS} runs, newest first, each with failures first. "
        f"docs/quality.md describes how to read them.</p>{sections or '<p>No suite has run yet.</p>'}</body></html>",
    )
    return page


@lru_cache(maxsize=KEEP_RUNS)
def _run_section(path: Path, changed_ns: int) -> str:
    """Return one run's suites as a table, failures first, from the results beside its pages, written at that time."""
    found = orjson.loads(path.read_bytes())
    order = {"failed": 0, "warned": 1, "passed": 2}
    lines = []
    for name, suite in sorted(found.items(), key=lambda item: (order[item[1]["status"]], item[0])):
        failures = escape("; ".join(suite["broken"]) or "none")
        cells = (
            f'<a href="{path.parent.name}/{name}.html">{escape(name)}</a>', escape(suite["asset"]),
            f'<span class="{suite["status"]}">{suite["status"]}</span>', failures,
            f"{suite['expectations']}", f"{suite['rows']:,}",
        )  # fmt: skip
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("suite", "asset check", "status", "failures", "checks", "rows")
    head = "".join(f"<th>{name}</th>" for name in heads)
    ended = datetime.fromisoformat(max(suite["at"] for suite in found.values()))
    return (
        f"<h2>{ended:%Y-%m-%d %H:%M} UTC</h2><p>Run {escape(path.parent.name)}</p>"
        f"<table><tr>{head}</tr>{''.join(lines)}</table>"
    )


def address(home: Path, page: Path | None = None) -> str:
    """Return the URL of a page (or of the index): under TICKMART_DATA_DOCS_URL if that is set, else a file URL."""
    found = page or home / FOLDER / "index.html"
    served = os.environ.get("TICKMART_DATA_DOCS_URL", "").rstrip("/")
    return f"{served}/{found.relative_to(home / FOLDER).as_posix()}" if served else found.as_uri()


def _rendered(suite: Suite, suite_result: SuiteResult, run_id: str, at: datetime) -> str:
    from orchestration.quality import gx

    result: Any = suite_result.result
    # GX's own metadata (the connection's name, the query, ids) is of no use to a reader.
    result.meta = {"run_id": gx.RunIdentifier(run_name=run_id, run_time=at)}
    for found in result.results:
        found.result = {
            name: _as_html(value) if isinstance(value, (list, str)) else value for name, value in found.result.items()
        }
        found.exception_info = _as_html(found.exception_info)
    document = gx.ValidationResultsPageRenderer(run_info_at_end=False).render(result).to_json_dict()
    page = template().render(
        document, style=STYLE, description=suite.description, rows=f"{suite_result.rows:,}", run_id=run_id,
        at=f"{at:%Y-%m-%d %H:%M} UTC", guards={rule.id: rule.guards for rule in suite.rules},
        failures=suite_result.failures,
    )  # fmt: skip
    return _EXPECTATIONS_LINK.sub(r"\1", _ICON.sub(lambda icon: _STATUS.get(icon[1], ""), page))


@cache
def template() -> Any:
    """Return the compiled template of a page: compiling its parts takes four times as long as rendering."""
    from orchestration.quality import gx

    environment = gx.DefaultJinjaPageView().env
    environment.filters["data"] = lambda value: visible(plain(value))
    return environment.from_string(PAGE)


def _as_html(value: Any) -> Any:
    """Return data as HTML text for Great Expectations' blocks, which escape nothing and read $ as a variable."""
    if isinstance(value, dict):
        return {name: _as_html(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_html(item) for item in value]
    if value is None or isinstance(value, int):
        return value
    return escape(visible(plain(value))).replace("$", "&#36;")


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
