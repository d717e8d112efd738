"""Formats of numbers, changes and times: pure functions from a value to text.

A missing value is a dash, never 0 or NaN. Times are UTC and labeled so. The minus sign is U+2212, not a hyphen.
Percentages of markets have two decimals.
"""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from dashboard.text import NO_BREAK, nbsp_units

MISSING = "—"
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def has_missing_cells(table: pd.DataFrame) -> bool:
    """Return whether a table shows a dash anywhere; columns of sparklines (lists) show nothing instead."""
    return any(_has_missing(table[column]) for column in table)


def _has_missing(column: pd.Series) -> bool:
    known = ~column.isna().to_numpy()
    if column.dtype.kind != "O":
        return not known.all()
    words = column[known]
    if len(words) and pd.api.types.is_list_like(words.iloc[0]):
        return False
    return not known.all() or bool((words == MISSING).any())


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table as named tuples with None for missing cells (NaN is truthy and prints as "nan")."""
    return iter(table.astype(object).where(table.notna(), None).itertuples())


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, NaT or infinite."""
    return value is None or value is pd.NaT or (isinstance(value, float) and not math.isfinite(value))


def number(value: float | None, digits: int = 0) -> str:
    """Format a number with separators and a minus sign; zero has no sign: 1,315,150, −0.31, 0.00."""
    if is_missing(value):
        return MISSING
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", "−")


def price(value: float | None) -> str:
    """Format a price in USD with the significant digits for its size: $67,412, $3,412.07, $0.4213, $0.0₈1092."""
    if is_missing(value):
        return MISSING
    sign, size = ("−" if value < 0 else ""), abs(float(value))
    if size == 0:
        return "$0"
    if size >= 9_999.995:
        return f"{sign}${size:,.0f}"
    if size >= 0.99995:
        return f"{sign}${size:,.2f}"
    if size >= 0.01:
        return f"{sign}${size:.4f}"
    exponent = int(f"{size:.3e}".partition("e")[2])  # after rounding, so that 0.00009999999 counts as 0.0001
    zeros = -exponent - 1
    if zeros <= 3:
        return f"{sign}${size:.{zeros + 4}f}"
    digits = f"{size:.3e}".partition("e")[0].replace(".", "")
    return f"{sign}$0.0{str(zeros).translate(SUBSCRIPTS)}{digits}"


def money(value: float | None) -> str:
    """Format an amount of USD with two decimals and K, M, B or T: $2.35T."""
    return MISSING if is_missing(value) else f"{'−' if value < 0 else ''}${amount(abs(float(value)))}"


def amount(value: float | None) -> str:
    """Format a large number with two decimals and K, M, B or T: 19.87M."""
    if is_missing(value):
        return MISSING
    size = abs(float(value))
    for unit, letter in SIZES:
        if size >= unit * 0.999995:
            return f"{number(value / unit, 2)}{letter}"
    return number(value, 2)


def count(value: float | None) -> str:
    """Format an integer with separators: 1,315,150."""
    return number(value)


def ordinal(value: float) -> str:
    """Format a non-negative number as an ordinal: 1st, 12th, 23rd."""
    whole = round(value)
    suffix = "th" if whole % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(whole % 10, "th")
    return f"{whole}{suffix}"


def count_range(low: float, high: float) -> str:
    """Format a range of counts: 88 to 90, or 90 if both are equal."""
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def percent(value: float | None, digits: int = 2) -> str:
    """Format a share or level given in percent, without a plus sign: 56.10%, −37.00%."""
    return MISSING if is_missing(value) else f"{number(value, digits)}%"


def change(value: float | None, digits: int = 2) -> str:
    """Format a change given in percent with its direction: ▲ 1.93%, ▼ 0.40%, 0.00% without an arrow."""
    if is_missing(value):
        return MISSING
    size = f"{abs(value):,.{digits}f}"
    if float(size.replace(",", "")) == 0:
        return f"{size}%"
    return f"{'▲' if value > 0 else '▼'} {size}%"


def signed(value: float | None) -> str:
    """Format a change given in percent with its sign, for sentences: +39.46%, −2.04%."""
    text = percent(value)
    return text if is_missing(value) or round(value, 2) <= 0 else f"+{text}"


def ratio(value: float | None) -> str:
    """Format a plain number such as a beta or a correlation: −0.31."""
    return number(value, 2)


def instant(value: datetime | date | None) -> str:
    """Format a timestamp to the minute with its zone (2026-11-20 14:05 UTC), a date as the date."""
    if is_missing(value):
        return MISSING
    if not isinstance(value, datetime):
        return value.isoformat()
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(length: timedelta | None) -> str:
    """Format a duration in its largest useful unit: 40 s, 7 min, 2 h 5 min, 31 h, 12 d."""
    if is_missing(length):
        return MISSING
    seconds = max(0, round(length.total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    if 1.5 * 3600 <= seconds < 10 * 3600 and minutes:
        return f"{hours} h {minutes} min".replace(" ", NO_BREAK)
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return nbsp_units(f"{seconds // size} {unit}")
    return nbsp_units(f"{seconds // 86_400:,} d")
