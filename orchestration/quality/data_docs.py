"""Data Docs: one page per run and suite under ``TICKMART_HOME/data_docs``, and an index of the newest runs.

Belongs here: rendering results with Great Expectations' own page renderers, and throwing old runs away. Not its site
builder: it renders from a store that it reads whole each time, and its pages fetch scripts and styles from six other
hosts. These stand alone, so that they can be read offline and tell nobody that they are.
"""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import orjson

from ingestion.text import plain, visible
from orchestration.quality.runner import SuiteResult, without_secrets
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
# Great Expectations shows a status as an icon of a font that it fetches, and links to pages that only its site builder
# makes: words and plain text instead.
_ICON = re.compile(r'<i class="fas (fa-[\w-]+) [^"]*"[^>]*></i>')
_STATUS = {
    "fa-check-circle": '<span class="passed">passed</span>',
    "fa-times": '<span class="failed">failed</span>',
    "fa-exclamation-triangle": '<span class="failed">error</span>',
}
_EXPECTATIONS_LINK = re.compile(r'<a\s+href="[^"]*/expectations/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
# What broke, row by row, and below it the renderer's blocks: without scripts, other hosts, or buttons.
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{ page_title }}</title><style>{{ style | safe }}</style></head>
<body><p><a href="../index.html">All runs</a></p><h1>{{ expectation_suite_name }}</h1>
<p>{{ describes }} {{ rows }} rows, run {{ run_id }}, {{ at }}.</p>
{% for verdict in broken %}
<h2 class="{{ 'failed' if verdict.severity == 'error' else 'warned' }}">{{ verdict.name }}</h2>
<p>{{ verdict.severity }}, {{ verdict.status }}. Guards against: {{ guards[verdict.name] }}.<br>
Observed: {{ verdict.observed | data }}.<br>Expected: {{ verdict.expected }}</p>
{% if verdict.sample %}<table>
{% if verdict.sample[0] is mapping %}
<tr>{% for name in verdict.sample[0] %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in verdict.sample %}
<tr>{% for value in row.values() %}<td>{{ value | data }}</td>{% endfor %}</tr>{% endfor %}
{% else %}{% for row in verdict.sample %}<tr><td>{{ row | data }}</td></tr>{% endfor %}{% endif %}
</table>{% endif %}
{% endfor %}
{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}
</body></html>"""


def publish(home: Path, run_id: str, suite: Suite, judged: SuiteResult, at: datetime) -> Path | None:
    """Write a suite's page and the index, forget old runs, and return the page; None when nothing was judged."""
    if judged.result is None:
        return None
    folder = home / FOLDER / run_id
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{suite.name}.html"
    _write(page, without_secrets(_rendered(suite, judged, run_id, at)))
    known = folder / "results.json"
    results = orjson.loads(known.read_bytes()) if known.exists() else {}
    broken = [v for v in judged.verdicts if v.status != "passed"]
    word = "failed" if any(v.severity == "error" for v in broken) else "warned" if broken else "passed"
    results[suite.name] = {
        "asset": f"{suite.asset_path}:{suite.check}", "status": word, "expectations": len(judged.verdicts),
        "broken": [v.name for v in broken], "rows": judged.rows, "at": at.isoformat(timespec="seconds"),
    }  # fmt: skip
    _write(known, orjson.dumps(results).decode())
    index(home)
    return page


def index(home: Path) -> Path:
    """Throw away all but the newest runs, and write the page that lists them."""
    folder = home / FOLDER
    runs = sorted(folder.glob("*/results.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in runs[KEEP_RUNS:]:
        shutil.rmtree(old.parent, ignore_errors=True)
    page = folder / "index.html"
    sections = "".join(_run_section(path) for path in runs[:KEEP_RUNS]) or "<p>No suite has run yet.</p>"
    _write(
        page,
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Data Docs</title><style>{STYLE}</style>'
        f"</head><body><h1>Data Docs</h1><p>The newest {KEEP_RUNS} runs, newest first, in each what broke first; "
        f"docs/quality.md tells how to read them.</p>{sections}</body></html>",
    )
    return page


def _run_section(path: Path) -> str:
    """One run's suites as a table, what broke first, from the results beside its pages."""
    found = orjson.loads(path.read_bytes())
    order = {"failed": 0, "warned": 1, "passed": 2}
    lines = []
    for name, suite in sorted(found.items(), key=lambda item: (order[item[1]["status"]], item[0])):
        broken = escape("; ".join(suite["broken"]) or "all hold")
        cells = (
            f'<a href="{path.parent.name}/{name}.html">{escape(name)}</a>', escape(suite["asset"]),
            f'<span class="{suite["status"]}">{suite["status"]}</span>', broken,
            f"{suite['expectations']}", f"{suite['rows']:,}",
        )  # fmt: skip
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = ("suite", "asset check", "verdict", "broken", "expectations", "rows judged")
    head = "".join(f"<th>{name}</th>" for name in heads)
    ended = datetime.fromisoformat(max(suite["at"] for suite in found.values()))
    return (
        f"<h2>{ended:%Y-%m-%d %H:%M} UTC</h2><p>Run {escape(path.parent.name)}</p>"
        f"<table><tr>{head}</tr>{''.join(lines)}</table>"
    )


def address(home: Path, page: Path | None = None) -> str:
    """Return where a browser finds a page (or the index): served, when TICKMART_DATA_DOCS_URL tells where."""
    found = page or home / FOLDER / "index.html"
    served = os.environ.get("TICKMART_DATA_DOCS_URL", "").rstrip("/")
    return f"{served}/{found.relative_to(home / FOLDER).as_posix()}" if served else found.as_uri()


def _rendered(suite: Suite, judged: SuiteResult, run_id: str, at: datetime) -> str:
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    result: Any = judged.result
    # What GX adds of its own (the connection's name, the query, ids) says nothing to a reader.
    result.meta = {"run_id": RunIdentifier(run_name=run_id, run_time=at)}
    for found in result.results:
        found.result = {
            name: _as_html(value) if isinstance(value, (list, str)) else value for name, value in found.result.items()
        }
        found.exception_info = _as_html(found.exception_info)
    document = ValidationResultsPageRenderer(run_info_at_end=False).render(result).to_json_dict()
    environment = DefaultJinjaPageView().env
    environment.filters["data"] = lambda value: visible(plain(value))
    template = environment.from_string(PAGE)
    page = template.render(
        document, style=STYLE, describes=suite.describes, rows=f"{judged.rows:,}", run_id=run_id,
        at=f"{at:%Y-%m-%d %H:%M} UTC", guards={rule.check: rule.guards for rule in suite.rules},
        broken=[v for v in judged.verdicts if v.status != "passed"],
    )  # fmt: skip
    return _EXPECTATIONS_LINK.sub(r"\1", _ICON.sub(lambda icon: _STATUS.get(icon[1], ""), page))


def _as_html(value: Any) -> Any:
    """Return data as HTML text for Great Expectations' blocks, which escape nothing and take $ for a variable."""
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
