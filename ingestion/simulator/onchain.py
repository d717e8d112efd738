"""The simulated on-chain providers: Coin Metrics' community API and blockchain.com's charts.

Paths, parameters, pages and errors are here, the series in `chain`. The day that is not over has no value at Coin
Metrics and a part of one at blockchain.com.
"""

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from .chain import GENESIS_DAY
from .faults import Rule, corrupt_rows
from .market import DAY_MS, Ints
from .services import ErrorResponse, Request, Services

COINMETRICS = ("TxCnt", "AdrActCnt", "FeeTotNtv", "HashRate", "TxTfrCnt")
CHARTS = {
    "n-transactions": ("Confirmed Transactions Per Day", "Transactions"),
    "estimated-transaction-volume-usd": ("Estimated Transaction Value (USD)", "USD"),
    "output-volume": ("Output Value Per Day", "BTC"),
}
# blockchain.com draws so many points unless the request has sampled=false.
POINTS = 1500
FORBIDDEN = "Requested metric '{}' with frequency '1d' for asset 'btc' is not available with supplied credentials."
SPAN_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def coinmetrics_error(status: int, kind: str, message: str) -> ErrorResponse:
    """An error in Coin Metrics' shape."""
    return ErrorResponse(status, {"error": {"type": kind, "message": message}})


class OnchainServices(Services):
    """Answers requests to the on-chain providers."""

    def _usual_body(self, status: int) -> Any:
        if self._route.startswith("/coinmetrics"):
            metric = re.search(r"metrics=(\w*)", self.path)
            kinds = {403: "forbidden", 429: "too_many_requests", 400: "bad_parameter"}
            message = FORBIDDEN.format(metric[1] if metric else "") if status == 403 else f"HTTP {status}"
            return {"error": {"type": kinds.get(status, "error"), "message": message}}
        if self._route.startswith("/blockchain"):
            return {"error": "not-found-error" if status == 404 else "error", "message": f"HTTP {status}"}
        return super()._usual_body(status)

    def _coinmetrics(self, request: Request) -> Any:
        if request.path != "/v4/timeseries/asset-metrics":
            raise coinmetrics_error(404, "not_found", "Requested resource was not found.")
        query = request.query
        metrics = query.get("metrics", "").split(",")
        if query.get("assets") != "btc" or query.get("frequency", "1d") != "1d" or not metrics[0]:
            raise coinmetrics_error(
                400, "bad_parameter", "Bad parameter: assets=btc, metrics and frequency=1d are served."
            )
        for metric in metrics:
            if metric not in COINMETRICS:
                raise coinmetrics_error(403, "forbidden", FORBIDDEN.format(metric))
        today = request.now_ms // DAY_MS
        first = max(_day(query.get("start_time", "")) or GENESIS_DAY, GENESIS_DAY)
        days = np.arange(first, min(_day(query.get("end_time", "")) or today, today - 1) + 1)
        rows: list[dict[str, Any]] = [
            {"asset": "btc", "time": f"{_date(day)}T00:00:00.000000000Z", **dict(zip(metrics, values, strict=True))}
            for day, values in _columns(self.server.chain, metrics, _without_silence(days, request.rules))
        ]
        if first <= today:
            rows.append({"asset": "btc", "time": f"{_date(today)}T00:00:00.000000000Z", **dict.fromkeys(metrics)})
        rows = corrupt_rows(rows, request.rules)
        size, at = min(int(query.get("page_size", "100")), 10_000), int(query.get("next_page_token", "0"))
        start = at if query.get("paging_from", "end") == "start" else max(0, len(rows) - at - size)
        end = start + size if query.get("paging_from", "end") == "start" else len(rows) - at
        body: dict[str, Any] = {"data": rows[start:end]}
        if at + size < len(rows):
            body["next_page_token"] = str(at + size)
            body["next_page_url"] = f"{self.server.coinmetrics_url}{request.path}?next_page_token={at + size}"
        return body

    def _blockchain(self, request: Request) -> Any:
        name = request.path.removeprefix("/charts/")
        if name not in CHARTS:
            raise ErrorResponse(404, {"error": "not-found-error", "message": f"There is no resource at {request.path}"})
        query, today = request.query, request.now_ms // DAY_MS
        first, last = _span(query.get("timespan", "1year"), query.get("start", ""), today)
        days = _without_silence(np.arange(first, last + 1), request.rules)
        values: list[dict[str, Any]] = [
            {"x": int(day) * 86_400, "y": _Number(text)} for day, (text,) in _columns(self.server.chain, [name], days)
        ]
        if values and values[-1]["x"] == today * 86_400:
            part = request.now_ms % DAY_MS / DAY_MS
            values[-1]["y"] = _Number(str(round(float(values[-1]["y"]) * part)))
        kinds = {rule["kind"] for rule in request.rules}
        if "sampled" in kinds or (query.get("sampled", "true") != "false" and len(values) > POINTS):
            values = values[:: max(2, -(-len(values) // POINTS))]
        title, unit = CHARTS[name]
        values = corrupt_rows([{**v, "y": float(v["y"])} for v in values], request.rules) if _edits(kinds) else values
        points = ",".join(f'{{"x":{json.dumps(v["x"])},"y":{_text(v["y"])}}}' for v in values)
        head = {"status": "ok", "name": title, "unit": unit, "period": "day", "description": title}
        return f'{json.dumps(head)[:-1]},"values":[{points}]}}'


class _Number(str):
    """A number as the text that JSON has for it."""


def _text(value: Any) -> str:
    return str(value) if isinstance(value, _Number) else json.dumps(value)


def _edits(kinds: set[str]) -> bool:
    return bool(kinds & {"duplicate", "reorder", "impossible", "drift"})


def _columns(chain: Any, names: list[str], days: Ints) -> list[tuple[int, tuple[str, ...]]]:
    """Return each day with the values of the series."""
    if not len(days):
        return []
    return list(zip(days.tolist(), zip(*(chain.values(name, days) for name in names), strict=True), strict=True))


def _without_silence(days: Ints, rules: list[Rule]) -> Ints:
    """Return the days before a silence; `silent` without a day leaves none."""
    for rule in rules:
        if rule["kind"] == "silent":
            days = days[days <= (_day(rule.get("last_day", "")) or 0)]
    return days


def _span(timespan: str, start: str, today: int) -> tuple[int, int]:
    """Return the first and the last day of a chart: a span that begins at ``start``, or ends today."""
    found = re.fullmatch(r"(\d+)(day|week|month|year)s?", timespan)
    length = int(found[1]) * SPAN_DAYS[found[2]] if found else today
    first = _day(start)
    if first is None:
        return max(GENESIS_DAY, today - length + 1), today
    return max(GENESIS_DAY, first), min(today, first + length - 1)


def _day(text: str) -> int | None:
    """Return the day since 1970 at the start of an ISO text; None without one."""
    try:
        return (date.fromisoformat(text[:10]) - date(1970, 1, 1)).days
    except ValueError:
        return None


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
