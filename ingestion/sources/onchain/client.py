"""Requests one daily series of a provider, all pages of it. Parsing is in ``parse``, which days is in ``plan``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import date
from typing import Any

from ingestion.sources.conventions import Answer, Conventions, SourceError, parsed_body, retry_after
from ingestion.sources.http import HttpClient
from ingestion.sources.onchain.dataset import ASSET, FIRST_DAY
from ingestion.sources.onchain.parse import Page, blockchain_page, coinmetrics_page

# The most that Coin Metrics sends: the history until 2036.
PAGE_SIZE = 10_000
# A number of X-RateLimit-Reset above this is a moment (Unix time), not a wait.
_MOMENT_FROM = 10**6


def coinmetrics_series(client: HttpClient, metric: str, first: date, today: date) -> Page:
    """Request a metric from a day on. By default pages begin at the end of the series, hence ``paging_from``."""
    params: dict[str, str | int] = {
        "assets": ASSET, "metrics": metric, "frequency": "1d", "start_time": first.isoformat(),
        "page_size": PAGE_SIZE, "paging_from": "start",
    }  # fmt: skip
    found = Page([], [])
    seen: set[str] = set()
    while True:
        page = _get(client, "/v4/timeseries/asset-metrics", params, lambda a: coinmetrics_page(a.body, a.url, metric))
        found = Page(found.rows + page.rows, found.rejected + page.rejected)
        token = page.next_token
        if token is None:
            return found
        if token in seen:
            raise SourceError(client.source, f"{metric}: a page names itself as the next one", kind="failing")
        seen.add(token)
        params = {**params, "next_page_token": token}


def blockchain_series(client: HttpClient, metric: str, first: date, today: date) -> Page:
    """Request a chart from a day on. Without ``sampled=false`` every second to fourth day is left out."""
    params: dict[str, str | int] = {"timespan": "all", "format": "json", "sampled": "false"}
    if first > FIRST_DAY:
        params |= {"timespan": f"{(today - first).days + 1}days", "start": first.isoformat()}
    return _get(client, f"/charts/{metric}", params, lambda answer: blockchain_page(answer.body, answer.url, metric))


def _get(client: HttpClient, path: str, params: Mapping[str, str | int], parse: Any) -> Page:
    """Request one page, with the address that it came from in its rows."""

    def with_address(answer: Answer) -> Page:
        page: Page = parse(answer)
        return Page([{**row, "source_url": answer.url} for row in page.rows], page.rejected, page.next_token)

    page = client.get(path, params, parse=with_address)
    assert page is not None
    return page


def _error(body: Any) -> tuple[str, str] | None:
    """Return type and text of {"error": {"type": …, "message": …}} or {"error": type, "message": …}."""
    found = body.get("error") if isinstance(body, dict) else None
    if isinstance(found, dict):
        return str(found.get("type", "")), str(found.get("message", ""))
    return (found, str(body.get("message", ""))) if isinstance(found, str) else None


def _error_message(body: Any) -> str:
    found = _error(body)
    return found[1] or found[0] if found else ""


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait after a 429: Retry-After, else Coin Metrics' X-RateLimit-Reset."""
    wait, reset = retry_after(headers), headers.get("X-RateLimit-Reset", "").strip()
    if wait is None and reset.isdigit():
        number = float(reset)
        wait = number if number < _MOMENT_FROM else max(0.0, number - time.time())
    return wait


CONVENTIONS = Conventions(
    # Both state an unknown or refused series in JSON; a 404 or 403 without it is about the address.
    error_code=lambda body: 0 if _error(body) else None,
    error_message=_error_message,
    is_about_request=lambda answer: _error(parsed_body(answer)) is not None,
    wait_s=_wait_s,
)
