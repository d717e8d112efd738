"""Data quality: can this be trusted, and what broke? Renders from the last refresh's status file without a database."""

from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import analysis, charts, formats, health, queries, shell
from dashboard.database import MartsError

TOLERANCE_PCT = 5.0  # beyond it the mart's own check warns


def word(text: str) -> str:
    """Return a word of health with its mark, so that it can be told without colour."""
    return f"{health.MARKS.get(text, '○')} {text}"


def from_status_file(error: MartsError) -> None:
    """Show what the last refresh knew, because the database does not answer."""
    status = health.read_status()
    st.title(
        "The database does not answer." if error.reason != "empty" else "Nothing has been loaded yet.", anchor=False
    )
    if error.reason == "empty":
        shell.empty_warehouse()
    else:
        st.error(str(error), icon=":material/database_off:")
    if status is None:
        st.caption("There is no status file of an earlier refresh in TICKMART_HOME either.")
        return
    written = status["generated_at"]
    st.subheader(
        f"As the last refresh left it: {formats.instant(written)}, {formats.span(shell.now() - written)} ago",
        anchor=False,
    )
    st.dataframe(
        pd.DataFrame([_status_row(row) for row in status["datasets"]]),
        hide_index=True,
        alt="Health of the datasets at the last refresh",
    )
    for symbol, detail in (status.get("failed_symbols") or {}).items():
        st.warning(f"{symbol}: {detail}")
    if status.get("last_run"):
        run = status["last_run"]
        st.caption(f"Last run: {run['job']}, {run['status']}, started {run['started_at']}.")
    links()


def links() -> None:
    """Ways to the tools behind this page, as the last refresh wrote them down: Dagster, Data Docs, dbt docs."""
    status = health.read_status() or {}
    with st.container(horizontal=True):
        for name, address in (status.get("links") or {}).items():
            st.link_button(name, address, icon=":material/open_in_new:", type="tertiary")


def _status_row(row: dict[str, Any]) -> dict[str, str]:
    newest = row["newest"]
    return {
        "Dataset": health.title(row["dataset"]),
        "Health then": word(row["health"]),
        "Newest data": formats.instant(newest),
        "Age now": formats.span(shell.now() - newest if newest else None),
        "Promised within": formats.span(timedelta(seconds=row["sla_seconds"])),
        "Rows": formats.count(row["rows"]),
        "Last load": formats.instant(row["last_load"]),
        "Open gaps": formats.count(row.get("open_gaps")),
        "Rejected": formats.count(row.get("rejected")),
    }


def freshness_table(datasets: pd.DataFrame) -> None:
    """One row per dataset: health and its parts, age against what was promised."""
    now = shell.now()
    age = (now - datasets["last_data_at"]).dt.total_seconds()
    table = pd.DataFrame(
        {
            "Dataset": datasets["dataset"].map(health.title),
            "Health": datasets["health"].map(word),
            "Load": datasets["load_health"].map(word),
            "Freshness": datasets["freshness_health"].map(word),
            "Checks": datasets["checks_health"].map(word),
            "Newest data": datasets["last_data_at"].map(formats.instant),
            "Age": [formats.span(timedelta(seconds=s)) if s == s else formats.MISSING for s in age],
            "Promised within": [formats.span(timedelta(seconds=s)) for s in datasets["sla_seconds"]],
            "Of the limit": (age / datasets["sla_seconds"] * 100).clip(upper=400),
            "Last load": datasets["last_loaded_at"].map(formats.instant),
            "Rows, about": datasets["estimated_rows"].map(formats.count),
            "Open gaps": datasets["open_gaps"],
            "Rejected": datasets["rejected_records"],
        }
    )
    described = {
        "Health": "health",
        "Load": "load_health",
        "Freshness": "freshness_health",
        "Checks": "checks_health",
        "Newest data": "last_data_at",
        "Age": "age_seconds",
        "Promised within": "sla_seconds",
        "Last load": "last_loaded_at",
        "Rows, about": "estimated_rows",
        "Open gaps": "open_gaps",
        "Rejected": "rejected_records",
    }
    config: dict[str, Any] = {
        name: st.column_config.Column(help=shell.definition("fct_dataset_health", column))
        for name, column in described.items()
    }
    config["Of the limit"] = st.column_config.ProgressColumn(
        format="%.0f%%", min_value=0, max_value=100, help="Age of the newest data in percent of what was promised."
    )
    st.dataframe(table, hide_index=True, column_config=config, alt="Health and age of each dataset")


def check_list(checks: pd.DataFrame) -> None:
    """The newest verdict of each check: failures open, with evidence, the rest as a table."""
    bad = checks[checks["status"] != "passed"]
    for row in bad.itertuples():
        mark = ":red[✕]" if row.severity == "error" else ":orange[▲]"
        with st.expander(f"{mark} **{row.check_name}** on {row.asset}", expanded=row.severity == "error"):
            st.markdown(
                f"Expected: {row.expected or formats.MISSING}  \nObserved: {row.observed or formats.MISSING}  \n"
                f"Failing rows: {formats.count(row.failed_rows)} · "
                f"{'blocking' if row.is_blocking else 'not blocking'} · "
                f"{row.source} · {formats.instant(row.checked_at)} · run `{row.run_id}`"
            )
            if row.status == "error":
                st.caption("The check itself could not run.")
            if row.sample:
                st.code(row.sample, language="json", wrap_lines=True)
    held = checks[checks["status"] == "passed"]
    with st.expander(f"{len(held)} checks hold", expanded=bad.empty and len(held) <= 30):
        st.dataframe(
            held[["asset", "check_name", "expected", "observed", "source", "severity", "checked_at"]],
            hide_index=True,
            height=min(400, 70 + 35 * len(held)),
            alt="Checks that hold",
            column_config={"checked_at": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm z", timezone="UTC")},
        )


try:
    datasets = queries.dataset_health()
    checks = queries.checks()
except MartsError as error:
    from_status_file(error)
    st.stop()

st.title(analysis.quality_sentence(datasets, health.TITLES, checks), anchor=False)
ages = (shell.now() - datasets["last_data_at"]).dt.total_seconds() / datasets["sla_seconds"]
failed = checks[checks["status"] != "passed"]
with st.grid(4, min_column_width=150):
    st.metric(
        "Datasets healthy",
        f"{(datasets['health'] == 'Healthy').sum()} of {len(datasets)}",
        border=True,
        height="stretch",
        help=shell.definition("fct_dataset_health", "health"),
    )
    st.metric(
        "Checks that hold",
        f"{len(checks) - len(failed)} of {len(checks)}" if len(checks) else formats.MISSING,
        border=True,
        height="stretch",
        help="Newest verdict of each check of the last 7 days. " + shell.definition("fct_check_results", "status"),
    )
    oldest = datasets.loc[ages.idxmax()] if ages.notna().any() else None
    st.metric(
        "Closest to its limit",
        formats.MISSING if oldest is None else formats.percent(ages.max() * 100, 0),
        border=True,
        height="stretch",
        help="Age of the newest data in percent of what was promised"
        + ("." if oldest is None else f": {health.title(oldest['dataset'])}."),
    )
    st.metric(
        "Records rejected",
        formats.count(datasets["rejected_records"].sum()),
        border=True,
        height="stretch",
        help=shell.definition("fct_dataset_health", "rejected_records"),
    )

shell.heading(
    "Is everything as fresh as promised?", ["fct_dataset_health.age_seconds", "fct_dataset_health.sla_seconds"]
)
freshness_table(datasets)
st.caption("Health is the worst of load, freshness and checks: ● Healthy, ○ Unknown, ▲ Warning, ✕ Degraded.")

shell.heading("What do the checks say?", ["fct_check_results.status", "fct_check_results.severity"])
if checks.empty:
    st.info(
        "No check has run in the last 7 days; `tickmart check` runs them alone.", title="Nothing has been checked yet"
    )
else:
    runs = queries.checked_runs()
    shell.chart(
        charts.run_squares(runs, shell.colours()),
        "runs",
        alt=f"The newest {len(runs)} runs with checks; failed: {int((runs['failed'] > 0).sum())}",
        how="One square per run that checked anything, newest right; hover for time and counts.",
        source="tickmart's own books",
    )
    check_list(checks)

counts, missing = queries.bars_per_day(), queries.missing_bars()
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading("Did every day bring its rows?", ["fct_daily_summary.bar_count"])
        if counts.empty:
            st.caption("No finished day yet.")
        else:
            shell.chart(
                charts.bars_with_band(analysis.expected_band(counts), shell.colours()),
                "rows",
                alt=f"Hourly bars per day over {len(counts)} days; newest {formats.count(counts['bars'].iloc[-1])}",
                how="Hourly bars of all coins by day; dotted is what that weekday usually brings (median ± 3 median "
                "deviations).",
                source="fct_daily_summary",
            )
    with st.container():
        shell.heading("Do the sources agree?", ["v_price_divergence.divergence_pct"])
        apart = queries.divergence()
        if apart.empty:
            st.caption("No coin has a candle within two hours of the latest sweep, so nothing can be compared.")
        else:
            shell.chart(
                charts.divergence_bars(apart, TOLERANCE_PCT, shell.colours()),
                "divergence",
                alt="Difference between Binance and CoinGecko prices of the ten coins that differ most: "
                + ", ".join(f"{row.symbol.upper()} {row.divergence_pct:.2f}%" for row in apart.itertuples()),
                how="Binance's newest close against CoinGecko's price, the ten that differ most; beyond the grey "
                f"±{TOLERANCE_PCT:g} % "
                "a check warns. The close can be an hour older, so a moving market shows here too.",
                source=f"{shell.BINANCE}; {shell.COINGECKO}",
            )
shell.heading("Where are hours missing?", ["fct_daily_summary.bar_count"])
if missing.empty:
    st.success("No hour is missing in the newest 60 finished days.", icon=":material/check_circle:")
else:
    shell.chart(
        charts.missing_heatmap(missing, shell.colours()),
        "missing",
        alt=f"Missing hours by coin and day: {len(missing)} coin-days, {int(missing['missing'].sum())} hours in all",
        how="Hours without a candle by coin and day, newest 60 finished days; a column across all coins is a halt of "
        "the exchange.",
        source="fct_daily_summary",
    )
links()
