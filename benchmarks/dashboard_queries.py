"""The queries of the dashboard, without its cache, beside their limits."""

import inspect
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Line = dict[str, Any]  # a Measure of the table
QUERY_S = 0.05
COINS = ("bitcoin", "ethereum", "binancecoin", "ripple", "solana")
DAYS_ASKED = {  # the longest range that a page asks for with automatic intervals; other queries read everything
    "hourly": 7, "hourly_closes": 7, "export_hours": 92, "export_four_hours": 92, "four_hourly": 92,
}  # fmt: skip
EVERYTHING_DAYS = 20 * 365


def query_times(times: int) -> dict[str, Any]:
    """Every query as the dashboard asks it, its rows made into a table, without the cache, `times` times each."""
    role = "TICKMART_PG_DASHBOARD_RO"
    os.environ.update(PGUSER=os.environ[f"{role}_USER"], PGPASSWORD=os.environ[f"{role}_PASSWORD"])
    if os.environ.get(f"{role}_ROLE"):
        os.environ["PGOPTIONS"] = f"-c role={os.environ[f'{role}_ROLE']}"
    from dashboard.database import MartsError
    from dashboard.queries import catalog, market, onchain, operations, prices, sentiment

    now = datetime.now(UTC)
    usual = {"crypto_id": "bitcoin", "crypto_ids": COINS, "window_days": 365, "timeframe": "week", "until": now}
    usual |= {"crypto_id_a": "bitcoin", "crypto_id_b": "ethereum", "pair": "transactions_trades"}
    taken: dict[str, list[float]] = {}
    missing = []
    modules = (catalog, market, onchain, operations, prices, sentiment)
    for name, function in (item for module in modules for item in vars(module).items()):
        cached = hasattr(function, "__wrapped__") and hasattr(function, "clear")
        if not (cached or name.startswith("export_")):
            continue
        query = function.__wrapped__ if cached else function
        choices = usual | {"since": now - timedelta(days=DAYS_ASKED.get(name, EVERYTHING_DAYS))}
        asked = {p: choices[p] for p in inspect.signature(query).parameters}
        with suppress(MartsError):
            query(**asked)
            for _ in range(times):
                began = time.perf_counter()
                query(**asked)
                taken.setdefault(name, []).append(time.perf_counter() - began)
        if name not in taken:
            missing.append(name)
    return {"times": taken, "missing": missing}


def query_lines(times: dict[str, list[float]], missing: list[str]) -> Iterator[Line]:
    """Two lines: every query has to keep each limit, so the slowest one decides."""
    unanswered = f"; not answered: {', '.join(missing)}" if missing else ""
    for share, limit in ((95, QUERY_S), (99, 0.15)):
        found = {name: float(np.percentile(taken, share)) for name, taken in times.items()}
        slowest = sorted(found.items(), key=lambda item: -item[1])
        worst = slowest[0][1] if slowest else None
        over = [name for name, seconds in slowest if seconds > limit]
        detail = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in slowest[: max(4, len(over))])
        yield {
            "work": f"dashboard query, p{share} of the slowest of {len(times)}", "seconds": worst,
            "reach": f"<= {limit * 1000:.0f} ms", "ratio": worst and worst / limit,
            "met": None if missing or worst is None else worst <= limit,
            "note": f"{len(times) - len(over)} of {len(times)} keep it; slowest: {detail}{unanswered}",
        }  # fmt: skip
