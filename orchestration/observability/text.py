"""Problems and durations as text, for alerts, pages and the terminal."""

from __future__ import annotations

from typing import Any


def problems(summary: dict[str, Any]) -> list[str]:
    """Return a run summary's distinct lines on what failed and how to fix it."""
    lines: list[str] = []
    for stage in summary["stages"]:
        detail = stage["detail"]
        lines += [detail["error"]] if detail.get("error") else []
        lines += list((detail.get("failed") or {}).values())
        lines += detail.get("damaged") or []
        lines += detail.get("notes") or []
    error = summary.get("error")
    if error and not any(line in error for line in lines):
        lines.append(error)
    return list(dict.fromkeys(lines))


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units, or a dash for None."""
    if seconds is None:
        return "-"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
