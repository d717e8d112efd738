"""Health of the datasets: order, colors and icons of the levels, and the status file of the last refresh.

The mart fct_dataset_health decides the level of a dataset. The status file is read when the database is down.
"""

import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

LEVELS = ("Healthy", "Unknown", "Warning", "Degraded")  # best to worst
COLORS = {"Healthy": "green", "Unknown": "gray", "Warning": "orange", "Degraded": "red"}
ICONS = {
    "Healthy": ":material/check_circle:",
    "Unknown": ":material/help:",
    "Warning": ":material/warning:",
    "Degraded": ":material/error:",
}
SYMBOLS = {"Healthy": "●", "Unknown": "○", "Warning": "▲", "Degraded": "✕"}  # distinguishable without color
TITLES = {
    "binance_klines": "Binance prices",
    "coingecko_markets": "CoinGecko market snapshots",
    "fear_greed": "Fear & Greed index",
    "bitcoin_transactions": "Bitcoin transactions",
    "onchain_daily_coinmetrics": "On-chain series (Coin Metrics)",
    "onchain_daily_blockchain": "On-chain series (blockchain.com)",
    "okx_trades": "OKX live trades",
    "okx_tickers": "OKX live tickers",
    "headlines_gdelt": "Headlines (GDELT)",
    "headlines_hackernews": "Headlines (Hacker News)",
    "headlines_rss": "Headlines (news feeds)",
    "headlines_x": "Posts (X)",
    "news_tone_gdelt": "News tone (GDELT)",
}
TOOL_VARIABLES = {
    "Dagster": "TICKMART_DAGSTER_URL",
    "Data Docs": "TICKMART_DATA_DOCS_URL",
    "dbt docs": "TICKMART_DBT_DOCS_URL",
}


def title(dataset: str) -> str:
    """Return the display name of a dataset."""
    return TITLES.get(dataset, dataset.replace("_", " "))


def with_symbol(level: str) -> str:
    """Return a level with its symbol."""
    return f"{SYMBOLS.get(level, '○')} {level}"


def worst(levels: Iterable[str]) -> str:
    """Return the worst level; unknown names and no levels at all count as Unknown."""
    found = [level if level in LEVELS else "Unknown" for level in levels]
    return max(found, key=LEVELS.index, default="Unknown")


def tool_links(status: dict[str, Any] | None) -> dict[str, str]:
    """Return the addresses of Dagster, Data Docs and dbt docs, from the environment or else from the status file."""
    from_file = (status or {}).get("links")
    configured = {name: os.environ[key] for name, key in TOOL_VARIABLES.items() if os.environ.get(key)}
    return (from_file if isinstance(from_file, dict) else {}) | configured


def dbt_docs_file() -> Path | None:
    """Return the dbt documentation built by `tickmart docs`, or None."""
    page = _home() / "docs" / "index.html"
    return page if page.is_file() else None


def has_data(status: dict[str, Any] | None) -> bool:
    """Return whether the last refresh or restore left rows in the database, by its status file."""
    return any(row.get("rows") for row in (status or {}).get("datasets", ()))


def read_status() -> dict[str, Any] | None:
    """Return the status file of the last refresh with timestamps as datetimes.

    None if there is none or it is invalid: the page that shows it is the fallback and must not fail itself.
    """
    try:
        status = json.loads((_home() / "status.json").read_text(encoding="utf-8"))
        status["generated_at"] = datetime.fromisoformat(status["generated_at"])
        for row in status["datasets"]:
            row["health"] = str(row["health"]).capitalize()
            for key in ("newest", "last_load"):
                row[key] = datetime.fromisoformat(row[key]) if row.get(key) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(status)


def _home() -> Path:
    return Path(os.environ.get("TICKMART_HOME", ".tickmart"))
