"""One value of a coin explained: definition, completeness of its window, restatements, checks, and the command."""

import re
from datetime import UTC, datetime, time

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis.windows import daily_window, hourly_window
from dashboard.components.definitions import definition
from dashboard.components.explain_command import explain_command
from dashboard.components.rendering import fragment
from dashboard.queries import catalog, explanation, operations
from dashboard.text import escaped

MARTS = {"Hour": "fct_prices", "Day": "fct_daily_summary"}
DEFAULT_METRIC = "volatility_30d"
DATASET_ASSETS = ("bronze/binance_klines", "raw/binance_klines")
LISTED = 3


@fragment
def value_explanation(coin: pd.Series) -> None:
    """Show the expander in which the user chooses a metric and a time; it reads nothing while it is closed."""
    expander = st.expander("Explain a value", key="explain", on_change="rerun", bind="query-params")
    with expander:
        if not expander.open:
            return
        with st.container(horizontal=True, vertical_alignment="bottom"):
            bar = st.segmented_control("Bar", list(MARTS), default="Hour", required=True, key="explained_bar")
            mart = MARTS[bar]
            formulas = _formulas(mart)
            names = list(formulas)
            default = names.index(DEFAULT_METRIC) if DEFAULT_METRIC in names else 0
            metric = st.selectbox("Metric", names, default, key=f"explained_{mart}_metric", width=220)
            at = _time(coin, bar)
        if metric is not None and at is not None:
            _explain(coin, mart, metric, formulas[metric], at)


def _formulas(mart: str) -> dict[str, str]:
    """Return the formula of each metric of a mart, from its definition."""
    known = catalog.definitions()
    columns = known[(known["relation"] == mart) & known["column_name"].notna()]
    texts = zip(columns["column_name"], columns["definition"].fillna(""), strict=True)
    return {name: found[1] for name, text in texts if (found := re.search(r"^Formula: (.+)$", text, re.M))}


def _time(coin: pd.Series, bar: str) -> pd.Timestamp | None:
    """Show the choice of the date, and of the hour; return the time in UTC, of a day without zone."""
    newest = coin["last_bar_at"] if bar == "Hour" else coin["until"].floor("D") - pd.Timedelta(days=1)
    first = coin["first_bar_at"].date()
    if newest.date() < first:
        st.caption("There is no complete day yet.")
        return None
    date = st.date_input(
        "Date (UTC)", newest.date(), min_value=first, max_value=newest.date(), key=f"explained_{bar}_date", width=150
    )
    if bar == "Day":
        return pd.Timestamp(date)
    hour = st.selectbox(
        "Hour (UTC)", range(24), newest.hour, format_func=lambda n: f"{n:02d}:00", key="explained_hour", width=110
    )
    return pd.Timestamp(datetime.combine(date, time(hour), UTC))


def _explain(coin: pd.Series, mart: str, metric: str, formula: str, at: pd.Timestamp) -> None:
    crypto_id, is_daily = coin["crypto_id"], mart == "fct_daily_summary"
    row = explanation.day(crypto_id, at.date()) if is_daily else explanation.hour(crypto_id, at)
    when = formats.instant(at.date() if is_daily else at)
    if row.empty:
        st.info(escaped(f"{coin['label']} has no bar at {when}."), title="No value")
    else:
        value = row[metric].iloc[0]
        shown = formats.MISSING if formats.is_missing(value) else f"{value:,.10g}".replace("-", "−")
        st.markdown(escaped(f"{metric} at {when}: ") + f"**{escaped(shown)}**")
    st.markdown(definition(mart, metric))
    first = coin["first_bar_at"]
    lines = [
        _daily_completeness(crypto_id, formula, at, first)
        if is_daily
        else _completeness(crypto_id, formula, at, first),
        _history(crypto_id),
        _checks(mart),
    ]
    st.markdown("\n".join(f"- {escaped(line)}" for line in lines if line))
    explain_command(crypto_id, f"{mart}.{metric}", f"{at:%Y-%m-%d}" if is_daily else f"{at:%Y-%m-%dT%H:%M}")


def _completeness(crypto_id: str, formula: str, at: pd.Timestamp, first: pd.Timestamp) -> str:
    """Return how many hours of the window have a bar, and the first ones that have none."""
    window = hourly_window(formula, at)
    present = pd.DatetimeIndex(explanation.hours_between(crypto_id, window.since, window.until)["opened_at"])
    missing = window.bars.difference(present)
    before = missing[missing < first]
    lost = missing[missing >= first]
    text = f"Window: {len(window.bars) - len(missing):,} of {len(window.bars):,} hours have a bar"
    if len(before):
        text += f"; {len(before):,} hours are before the first bar ({formats.instant(first)})"
    if len(lost):
        listed = ", ".join(formats.instant(hour) for hour in lost[:LISTED])
        text += f"; without a bar: {listed}" + (f" and {len(lost) - LISTED:,} more" if len(lost) > LISTED else "")
    return f"{text}."


def _daily_completeness(crypto_id: str, formula: str, date: pd.Timestamp, first: pd.Timestamp) -> str:
    """Return how many hours of the days of the window have a bar, and the first days that lack some."""
    window = daily_window(formula, date, first.tz_localize(None).normalize())
    days = explanation.days_between(crypto_id, window.since.date(), window.until.date())
    hours = days.set_index("date")["bar_count"].reindex(window.bars, fill_value=0)
    short = hours[hours < 24]
    text = (
        f"Window: {formats.instant(window.since.date())} to {formats.instant(window.until.date())}, "
        f"{hours.sum():,} of {24 * len(window.bars):,} hours have a bar"
    )
    if len(short):
        listed = ", ".join(f"{day:%Y-%m-%d} ({count} of 24)" for day, count in short.iloc[:LISTED].items())
        text += f"; incomplete: {listed}" + (f" and {len(short) - LISTED:,} more" if len(short) > LISTED else "")
    return f"{text}."


def _history(crypto_id: str) -> str:
    """Return the gaps and restatements of the coin's whole history."""
    known = operations.coin_completeness()
    rows = known[known["crypto_id"] == crypto_id]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return (
        f"Whole history of {row['binance_symbol']}: hours halted by the exchange {formats.count(row['halted_hours'])}, "
        f"missing {formats.count(row['missing_hours'])}; restated records {formats.count(row['restated_records'])}."
    )


def _checks(mart: str) -> str:
    """Return the newest results of the checks of the mart and of its dataset."""
    known = operations.checks()
    covering = known[known["asset"].isin([f"marts/{mart}", *DATASET_ASSETS])]
    failed = covering[covering["status"] != "passed"]
    text = f"Checks of the last 7 days: {len(covering) - len(failed):,} passed, {len(failed):,} failed"
    names = "".join(f"; {asset} {name}" for asset, name in failed[["asset", "check_name"]].to_numpy())
    return f"{text}{names}."
