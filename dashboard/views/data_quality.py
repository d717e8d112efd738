"""Data quality: freshness, incidents, runs, checks, row counts and API health.

Without a database it shows the status file of the last refresh.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.analysis.quality import api_health, expected_band
from dashboard.analysis.summaries import quality_summary
from dashboard.charts import data_quality as figures
from dashboard.components.charts import BINANCE, COINGECKO, chart, heading
from dashboard.components.definitions import definition
from dashboard.components.messages import empty_warehouse
from dashboard.components.rendering import PageFinished
from dashboard.components.status_file import show_status_file, tool_links
from dashboard.components.tables import table, time_column
from dashboard.components.theme import health_color, palette
from dashboard.database import MartsError
from dashboard.labels import labels
from dashboard.queries import operations
from dashboard.sections.check_results import STATUSES, all_checks, failed_checks, severity_icon
from dashboard.sections.coin_completeness import coin_completeness
from dashboard.state.cache import cached
from dashboard.state.query_params import check_query_params
from dashboard.text import escaped, inline_code

TOLERANCE_PCT = 5.0  # the check on v_price_divergence warns beyond it
RUN_LOG = "tickmart run log"


def kpi_cards(datasets: pd.DataFrame, checks: pd.DataFrame) -> None:
    passed = int((checks["status"] == "passed").sum())
    sla_used = (datetime.now(UTC) - datasets["last_data_at"]).dt.total_seconds() / datasets["sla_seconds"]
    worst = datasets.loc[sla_used.idxmax()] if sla_used.notna().any() else None
    with st.grid(4, min_column_width=150):
        st.metric(
            "Datasets healthy",
            f"{(datasets['health'] == 'Healthy').sum()} of {len(datasets)}",
            border=True,
            height="stretch",
            help=definition("fct_dataset_health", "health"),
        )
        st.metric(
            "Checks passed",
            f"{passed} of {len(checks)}" if len(checks) else formats.MISSING,
            border=True,
            height="stretch",
            help="Newest result of each check of the last 7 days. " + definition("fct_check_results", "status"),
        )
        st.metric(
            "Freshness SLA used",
            formats.MISSING if worst is None else formats.percent(sla_used.max() * 100, 0),
            border=True,
            height="stretch",
            help="Age of the newest data in percent of its SLA, of the dataset with the largest"
            + ("." if worst is None else f": {health.title(worst['dataset'])}."),
        )
        st.metric(
            "Records rejected",
            formats.count(datasets["rejected_records"].sum()),
            border=True,
            height="stretch",
            help=definition("fct_dataset_health", "rejected_records"),
        )


FRESHNESS_COLUMNS = {
    "Health": "health",
    "Load": "load_health",
    "Freshness": "freshness_health",
    "Checks": "checks_health",
    "Newest data": "last_data_at",
    "Age": "age_seconds",
    "SLA": "sla_seconds",
    "Last load": "last_loaded_at",
    "Rows (est.)": "estimated_rows",
    "Open gaps": "open_gaps",
    "Rejected": "rejected_records",
}


def freshness(datasets: pd.DataFrame) -> None:
    heading("Freshness (SLA)", ["fct_dataset_health.age_seconds", "fct_dataset_health.sla_seconds"])
    age = (datetime.now(UTC) - datasets["last_data_at"]).dt.total_seconds()
    shown = pd.DataFrame(
        {
            "Dataset": datasets["dataset"].map(health.title),
            "Health": datasets["health"].map(health.with_symbol),
            "Load": datasets["load_health"].map(health.with_symbol),
            "Freshness": datasets["freshness_health"].map(health.with_symbol),
            "Checks": datasets["checks_health"].map(health.with_symbol),
            "Newest data": datasets["last_data_at"].map(formats.instant),
            "Age": [formats.MISSING if pd.isna(s) else formats.duration(timedelta(seconds=s)) for s in age],
            "SLA": [formats.duration(timedelta(seconds=s)) for s in datasets["sla_seconds"]],
            "SLA used": (age / datasets["sla_seconds"] * 100).clip(upper=400),
            "Last load": datasets["last_loaded_at"].map(formats.instant),
            "Rows (est.)": datasets["estimated_rows"].map(formats.count),
            "Open gaps": datasets["open_gaps"],
            "Rejected": datasets["rejected_records"],
        }
    )
    config: dict[str, Any] = {
        name: st.column_config.Column(help=definition("fct_dataset_health", column))
        for name, column in FRESHNESS_COLUMNS.items()
    }
    config["SLA used"] = st.column_config.ProgressColumn(
        format="%.0f%%", min_value=0, max_value=100, help="Age of the newest data in percent of its SLA."
    )
    colored = shown.style.map(
        lambda cell: f"color: {health_color(cell)}", subset=["Health", "Load", "Freshness", "Checks"]
    )
    table(colored, column_config=config, alt="Health and age of each dataset", missing="Nothing loaded yet")
    st.caption("Health is the worst of load, freshness and checks: ● Healthy, ○ Unknown, ▲ Warning, ✕ Degraded.")


def incidents() -> None:
    heading("Open incidents & alerts", ["fct_incidents.kind", "fct_incidents.sent_alerts"])
    known = operations.incidents()
    if known.empty or not known["is_open"].any():
        st.success("No open incidents", icon=":material/check_circle:")
    for row in formats.rows(known[known["is_open"]]):
        open_for = formats.duration(datetime.now(UTC) - row.incident_opened_at)
        title = f"{severity_icon(row.severity)} **{escaped(row.title)}** · open for {open_for}"
        with st.expander(title, expanded=row.severity == "error"):
            st.markdown(escaped(row.detail or formats.MISSING))
            alerts = f"Alerts: {row.sent_alerts} sent, {row.waiting_alerts} waiting, {row.refused_alerts} failed"
            st.caption(
                f"{row.kind} · since {formats.instant(row.incident_opened_at)} · {alerts}"
                + (f" ({escaped(row.alert_error)})" if row.alert_error else "")
                + (f" · run {inline_code(row.run_id)}" if row.run_id else "")
            )
    resolved = known[~known["is_open"]]
    if not resolved.empty:
        with st.expander(f"{len(resolved)} resolved within the last 7 days"):
            table(
                resolved[["incident_opened_at", "kind", "title", "recovered_at", "reopened_count", "sent_alerts"]],
                alt="Incidents resolved within the last 7 days",
                missing="Unknown",
                column_config={
                    "incident_opened_at": time_column("Opened"),
                    "kind": st.column_config.TextColumn("Kind"),
                    "title": st.column_config.TextColumn("Incident", width="large"),
                    "recovered_at": time_column("Resolved"),
                    "reopened_count": st.column_config.NumberColumn("Reopened"),
                    "sent_alerts": st.column_config.NumberColumn("Alerts"),
                },
            )


def run_history() -> None:
    heading("Run history", ["fct_runs.status", "fct_runs.seconds", "fct_runs.job"])
    runs = operations.runs()
    if runs.empty:
        st.info("`tickmart run` starts a refresh.", title="No runs in the last 31 days")
        return
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            run_figure(runs.tail(figures.MAX_RUNS))
        with st.container():
            run_table(runs)


def run_figure(runs: pd.DataFrame) -> None:
    ended = runs.dropna(subset=["seconds"])
    failed = int((runs["status"] == "failed").sum())
    median = "" if ended.empty else f" Median duration {ended['seconds'].median():,.0f} s."
    newest = formats.MISSING if ended.empty else f"{ended['seconds'].iloc[-1]:,.0f} s"
    chart(
        cached(figures.run_history, runs, palette()),
        "runs",
        alt=f"The newest {len(runs)} runs, {failed} of them failed; duration of the newest: {newest}",
        caption=f"One square per run, newest right, duration below. {failed} of {len(runs)} failed.{median}",
        source=f"{RUN_LOG}, 31 days",
    )


def run_table(runs: pd.DataFrame) -> None:
    dagster = health.tool_links(health.read_status()).get("Dagster")
    shown = runs.iloc[::-1].assign(
        status=lambda rows: rows["status"].map(lambda status: figures.RUN_STATES.get(status, (status, ""))[0]),
        seconds=lambda rows: rows["seconds"].round(1),
    )
    if dagster:
        shown["run_id"] = dagster.rstrip("/") + "/runs/" + shown["run_id"]

    def number(label: str, column: str) -> Any:
        return st.column_config.NumberColumn(label, format="localized", help=definition("fct_runs", column))

    table(
        shown[["started_at", "job", "status", "seconds", "fetched_rows", "changed_rows", "error", "run_id"]],
        height=min(300, 38 + 35 * len(shown)),
        alt="The newest runs, newest first",
        missing="No error; or the run has not ended or loads nothing",
        column_config={
            "started_at": time_column("Started"),
            "job": st.column_config.TextColumn("Job", help=definition("fct_runs", "job")),
            "status": st.column_config.TextColumn("Status", help=definition("fct_runs", "status")),
            "seconds": number("Seconds", "seconds"),
            "fetched_rows": number("Fetched", "fetched_rows"),
            "changed_rows": number("Changed", "changed_rows"),
            "error": st.column_config.TextColumn("Error", help=definition("fct_runs", "error")),
            "run_id": st.column_config.LinkColumn("Run", display_text=r"/runs/(.{8})")
            if dagster
            else st.column_config.TextColumn("Run", help=definition("fct_runs", "run_id")),
        },
    )


def row_counts(counts: pd.DataFrame) -> None:
    heading("Row count per day", ["fct_daily_summary.bar_count"])
    if counts.empty:
        st.caption("No complete day yet.")
        return
    chart(
        cached(figures.row_counts, cached(expected_band, counts), palette()),
        "rows",
        alt=f"Hourly bars per day over {len(counts)} days; newest {formats.count(counts['bars'].iloc[-1])}",
        caption="Hourly bars of all coins. Dotted: usual band of the weekday (median ± 3 median absolute deviations).",
        source="fct_daily_summary",
    )


def price_divergence() -> None:
    heading("Price divergence Binance vs CoinGecko", ["v_price_divergence.divergence_pct"])
    coins = operations.price_divergence()
    if coins.empty:
        st.caption("No coin has a candle within two hours of the latest snapshot.")
        return
    tickers = labels(coins)
    chart(
        cached(figures.divergence_bars, coins, TOLERANCE_PCT, palette()),
        "divergence",
        alt="Difference between Binance and CoinGecko prices of the ten coins that differ most: "
        + ", ".join(f"{tickers[row.crypto_id]} {formats.percent(row.divergence_pct)}" for row in coins.itertuples()),
        caption=f"Newest Binance close vs CoinGecko price, ten largest differences. A check warns beyond the gray "
        f"±{TOLERANCE_PCT:g}%. The close can be up to an hour older.",
        source=f"{BINANCE}; {COINGECKO}",
    )


def missing_hours(counts: pd.DataFrame) -> None:
    heading("Missing hours by coin", ["fct_daily_summary.bar_count"])
    missing = operations.missing_bars()
    if counts.empty:
        st.caption("No complete day yet.")
    elif missing.empty:
        st.success("No missing hours in the last 60 complete days", icon=":material/check_circle:")
    else:
        chart(
            cached(figures.missing_heatmap, missing, counts["date"].max(), palette()),
            "missing",
            alt=f"Missing hours by coin and day: {len(missing)} coin-days, {int(missing['missing'].sum())} hours",
            caption="Hours without a candle over the last 60 complete days. A column across all coins is an exchange "
            "halt.",
            source="fct_daily_summary",
        )


API_COLUMNS = {
    "Requests": "requests",
    "4xx": "errors_4xx",
    "429": "errors_429",
    "5xx": "errors_5xx",
    "Timeouts": "unanswered",
    "Retries": "retries",
}


def api_requests() -> None:
    heading("API health", ["fct_source_requests.requests", "fct_source_requests.latency_p95_ms"])
    requests = operations.source_requests()
    if requests.empty:
        st.info("No requests were made in the last 7 days.", title="No requests")
        return
    found = api_health(requests, datetime.now(UTC))
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(
            format="localized", help="Last 24 h. " + definition("fct_source_requests", column)
        )
        for name, column in API_COLUMNS.items()
    }
    config["Errors"] = st.column_config.TextColumn(help="Share of attempts with a 4xx, 429, 5xx or timeout.")
    config["Median"] = st.column_config.TextColumn(
        help="Median of the hourly values. " + definition("fct_source_requests", "latency_p50_ms")
    )
    config["Max p95"] = st.column_config.TextColumn(
        help="Highest hourly value. " + definition("fct_source_requests", "latency_p95_ms")
    )
    config["Median by hour"] = st.column_config.LineChartColumn(
        y_min=0, help="Median latency in ms of each hour with requests, last 7 days."
    )
    table(
        pd.DataFrame(
            {
                "Source": found["source"],
                "Errors": [formats.percent(value) for value in found["errors_pct"]],
                "Median": [formats.milliseconds(value) for value in found["latency_p50_ms"]],
                "Max p95": [formats.milliseconds(value) for value in found["latency_p95_ms"]],
                "Median by hour": found["latency_by_hour"],
                **{name: found[column] for name, column in API_COLUMNS.items()},
                "Received": [f"{formats.amount(value)}B" for value in found["bytes"]],
                "Last request": found["last_request_at"].map(formats.instant),
            }
        ),
        column_config=config,
        missing="No response in the last 24 h",
        alt="Requests, errors and latency of each source over the last 24 hours: "
        + ", ".join(f"{row.source} {row.requests} requests" for row in found.itertuples()),
    )
    st.caption(f"Last 24 h, every attempt counts. Source: {RUN_LOG}.")


def status_line(datasets: pd.DataFrame, checks: pd.DataFrame) -> None:
    """Show the state of everything in one line, colored and in words."""
    level = health.worst(datasets["health"])
    show = {"Healthy": st.success, "Unknown": st.info, "Warning": st.warning, "Degraded": st.error}[level]
    show(f"**{level}**: {escaped(quality_summary(datasets, health.TITLES, checks))}", icon=health.ICONS[level])


def rerun_links(datasets: pd.DataFrame) -> None:
    """Show where Dagster runs the refresh, the checks, and a dataset's newest partition again."""
    dagster = health.tool_links(health.read_status()).get("Dagster")
    if dagster is None:
        return
    jobs = f"{dagster.rstrip('/')}/locations/tickmart/jobs"
    targets = {"Run the refresh": f"{jobs}/market_refresh", "Run the checks": f"{jobs}/quality_checks"}
    for row in datasets[datasets["health"] != "Healthy"].itertuples():
        day = row.last_data_at if not formats.is_missing(row.last_data_at) else datetime.now(UTC)
        targets[f"Load {health.title(row.dataset)} again"] = (
            f"{dagster.rstrip('/')}/assets/bronze/{row.dataset}?view=partitions&partition={day:%Y-%m-%d}"
        )
    with st.container(horizontal=True):
        for name, address in targets.items():
            st.link_button(name, address, icon=":material/replay:", type="tertiary")


def page() -> None:
    check_query_params("check", status=STATUSES)
    try:
        datasets, checks = operations.dataset_health(), operations.checks()
    except MartsError as error:
        show_status_file(error)
        raise PageFinished from None
    st.title("Data quality", anchor=False)
    status_line(datasets, checks)
    rerun_links(datasets)
    if datasets["last_data_at"].isna().all():
        empty_warehouse()
    kpi_cards(datasets, checks)
    failed_checks(checks)
    incidents()
    freshness(datasets)
    all_checks(checks)
    coin_completeness()
    counts = operations.bars_per_day()
    missing_hours(counts)
    run_history()
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            row_counts(counts)
        with st.container():
            price_divergence()
    api_requests()
    tool_links()


page()
