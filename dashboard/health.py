"""The words of health, how they look, and what the last refresh left on disk for when the database is away.

Belongs here: the order of badness, the status file. Does not: the rule by which a dataset gets its word; that stands in
the mart fct_dataset_health.
"""

import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

ORDER = ("Healthy", "Unknown", "Warning", "Degraded")
COLOURS = {"Healthy": "green", "Unknown": "gray", "Warning": "orange", "Degraded": "red"}
ICONS = {
    "Healthy": ":material/check_circle:",
    "Unknown": ":material/help:",
    "Warning": ":material/warning:",
    "Degraded": ":material/error:",
}
MARKS = {"Healthy": "●", "Unknown": "○", "Warning": "▲", "Degraded": "✕"}  # told apart without colour
TITLES = {
    "binance_klines": "Binance prices",
    "coingecko_markets": "CoinGecko market sweep",
    "fear_greed": "Fear & Greed index",
}


def title(dataset: str) -> str:
    """Return a dataset's name for readers."""
    return TITLES.get(dataset, dataset.replace("_", " "))


def worst(words: Iterable[str]) -> str:
    """Return the worst word; Unknown when there is none, or one that nobody knows."""
    found = [word if word in ORDER else "Unknown" for word in words]
    return max(found, key=ORDER.index, default="Unknown")


def links(status: dict[str, Any] | None) -> dict[str, str]:
    """Return the addresses of the tools behind the pages: those that run beside them, else as the status file says."""
    served = {
        "Dagster": "TICKMART_DAGSTER_URL", "Data Docs": "TICKMART_DATA_DOCS_URL", "dbt docs": "TICKMART_DBT_DOCS_URL",
    }  # fmt: skip
    told = (status or {}).get("links")
    here = {name: os.environ[variable] for name, variable in served.items() if os.environ.get(variable)}
    return (told if isinstance(told, dict) else {}) | here


def dbt_docs() -> Path | None:
    """Return the page of dbt's documentation that `tickmart docs` built; None when it has not."""
    page = Path(os.environ.get("TICKMART_HOME", ".tickmart")) / "docs" / "index.html"
    return page if page.is_file() else None


def is_loaded(status: dict[str, Any] | None) -> bool:
    """Tell whether the last refresh or restore left rows in the database, by its status file."""
    return any(row.get("rows") for row in (status or {}).get("datasets", ()))


def read_status() -> dict[str, Any] | None:
    """Return the status that the last refresh left in TICKMART_HOME, instants as datetimes; None when there is none.

    An unreadable or foreign file is none: the page that shows it is the last resort and must not fail itself.
    """
    path = Path(os.environ.get("TICKMART_HOME", ".tickmart")) / "status.json"
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        status["generated_at"] = datetime.fromisoformat(status["generated_at"])
        for row in status["datasets"]:
            row["health"] = str(row["health"]).capitalize()
            for key in ("newest", "last_load"):
                row[key] = datetime.fromisoformat(row[key]) if row.get(key) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(status)
