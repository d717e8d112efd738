"""Data quality: can this be trusted, and what broke? Renders from the last refresh's status file without a database."""

from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import analysis, formats, health, queries, shell
from dashboard.charts import data_quality as charts
from dashboard.database import MartsError
from dashboard.labels import labels
from dashboard.text import visible

UTC_MINUTE = "YYYY-MM-DD HH:mm z"
TOLERANCE_PCT = 5.0  # beyond it the mart's own check warns


def word(text: str) -> str:
    """Return a word of health with its mark, so that it can be told without colour."""
    return f"{health.MARKS.get(text, '○')} {text}"


def from_status_file(error: MartsError) -> None:
    """Show what the last refresh knew, because the database does not answer."""
    status = health.read_status()
    missing = "The marts are not built yet." if health.is_loaded(status) else "Nothing has been loaded yet."
    st.title("The database does not answer." if error.reason != "empty" else missing, anchor=False)
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
    shell.table(
        pd.DataFrame([_status_row(row) for row in status["datasets"]]),
        alt="Health of the datasets at the last refresh",
        missing="was not known at that refresh",
    )
    for symbol, detail in (status.get("failed_symbols") or {}).items():
        st.warning(shell.text(f"{symbol}: {detail}"))
    if status.get("last_run"):
        run = status["last_run"]
        st.caption(shell.text(f"Last run: {run['job']}, {run['status']}, started {run['started_at']}."))
    links()


def links() -> None:
    """Ways to the tools behind this page: Dagster and Data Docs where served, dbt's docs once built."""
    found = health.links(health.read_status())
    page = health.dbt_docs()
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, address in found.items():
            st.link_button(name, address, icon=":material/open_in_new:", type="tertiary")
        if page:
            st.download_button(
                "dbt docs",
                page.read_bytes,
                "tickmart_dbt_docs.html",
                "text/html",
                icon=":material/account_tree:",
                type="tertiary",
                on_click="ignore",
                help="The warehouse's documentation and lineage as one page, as `tickmart docs` built it last.",
            )
    untold = [
        text
        for missing, text in (
            (
                "Dagster" not in found,
                "Dagster (runs and lineage) and Data Docs (checks row by row) are served by `tickmart up`",
            ),
            (page is None and "dbt docs" not in found, "dbt's documentation by `tickmart docs`"),
        )
        if missing
    ]
    if untold:
        st.caption("; ".join(untold) + ".")


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
            "Limit": [formats.span(timedelta(seconds=s)) for s in datasets["sla_seconds"]],
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
        "Limit": "sla_seconds",
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
    shell.table(table, column_config=config, alt="Health and age of each dataset", missing="nothing was loaded yet")


def check_list(checks: pd.DataFrame) -> None:
    """The newest verdict of each check: failures open, with evidence, the rest as a table."""
    bad = checks[checks["status"] != "passed"]
    for row in formats.rows(bad):
        mark = ":red[✕]" if row.severity == "error" else ":orange[▲]"
        title = f"{mark} **{shell.text(row.check_name)}** on {shell.text(row.asset)}"
        with st.expander(title, expanded=row.severity == "error"):
            st.markdown(
                f"Expected: {shell.text(row.expected or formats.MISSING)}  \n"
                f"Observed: {shell.text(row.observed or formats.MISSING)}  \n"
                f"Failing rows: {formats.count(row.failed_rows)} · "
                f"{'blocking' if row.is_blocking else 'not blocking'} · "
                f"{shell.text(row.source)} · {formats.instant(row.checked_at)} · run {shell.quoted(row.run_id)}"
            )
            if row.status == "error":
                st.caption("The check itself could not run.")
            if row.sample:
                sample(row)
    held = checks[checks["status"] == "passed"]
    with st.expander(f"{len(held)} checks hold", expanded=bad.empty and len(held) <= 30):
        shell.table(
            held[["asset", "check_name", "expected", "observed", "source", "severity", "checked_at"]],
            height=min(400, 70 + 35 * len(held)),
            alt="Checks that hold",
            missing="the check says no more than that it holds",
            column_config={"checked_at": st.column_config.DatetimeColumn(format=UTC_MINUTE, timezone="UTC")},
        )


def sample(check: Any) -> None:
    """Some of the rows that break a check. Not st.code, whose 1.6 MB of colours the first chart had to wait for."""
    rows = analysis.sample_rows(check.sample)
    if rows is None:
        st.text(visible(check.sample, keep="\n"))
    else:
        shell.table(
            rows,
            width="content",
            alt=f"Some of the rows that break {check.check_name} on {check.asset}",
            missing="the row has no value there",
        )


def incident_list(incidents: pd.DataFrame) -> None:
    """What is wrong now, open and in words; then what was within 7 days."""
    for row in formats.rows(incidents[incidents["is_open"]]):
        mark = ":red[✕]" if row.severity == "error" else ":orange[▲]"
        age = formats.span(shell.now() - row.incident_opened_at)
        with st.expander(f"{mark} **{shell.text(row.title)}** · open for {age}", expanded=row.severity == "error"):
            st.markdown(shell.text(row.detail or formats.MISSING))
            told = f"{row.sent_alerts} messages sent, {row.waiting_alerts} waiting, {row.refused_alerts} refused"
            st.caption(
                f"{row.kind} · since {formats.instant(row.incident_opened_at)} · {told}"
                + (f" ({shell.text(row.alert_error)})" if row.alert_error else "")
                + (f" · run {shell.quoted(row.run_id)}" if row.run_id else "")
            )
    over = incidents[~incidents["is_open"]]
    if not over.empty:
        with st.expander(f"{len(over)} over within the last 7 days"):
            shell.table(
                over[["kind", "title", "incident_opened_at", "recovered_at", "reopened_count", "sent_alerts"]],
                alt="Incidents of the last 7 days that are over",
                missing="is not known",
                column_config={
                    "kind": st.column_config.TextColumn("Kind"),
                    "title": st.column_config.TextColumn("What was wrong", width="large"),
                    "incident_opened_at": st.column_config.DatetimeColumn("Seen", format=UTC_MINUTE, timezone="UTC"),
                    "recovered_at": st.column_config.DatetimeColumn("Over", format=UTC_MINUTE, timezone="UTC"),
                    "reopened_count": st.column_config.NumberColumn("Came back"),
                    "sent_alerts": st.column_config.NumberColumn("Messages"),
                },
            )


def run_list(runs: pd.DataFrame) -> None:
    """The runs as squares with their durations, and as a table whose run leads to Dagster where that is up."""
    with st.grid(2, min_column_width=340, gap="medium"):
        with st.container():
            run_squares(runs.tail(charts.MOST_RUNS))
        with st.container():
            run_table(runs)


def run_squares(runs: pd.DataFrame) -> None:
    """The newest runs as squares with their durations."""
    ended = runs.dropna(subset=["seconds"])
    broken = int((runs["status"] == "failed").sum())
    usual = "" if ended.empty else f" They took {ended['seconds'].median():,.0f} s at the median."
    shell.chart(
        shell.once(charts.run_squares, runs, shell.colours()),
        "runs",
        alt=f"The newest {len(runs)} runs, {broken} of them failed; seconds that each took, newest: "
        + (formats.MISSING if ended.empty else f"{ended['seconds'].iloc[-1]:,.0f}"),
        how=f"One square per run, newest right; below it, how long it took; {broken} of {len(runs)} failed.{usual}",
        source="tickmart's own books, 31 days",
    )


def run_table(runs: pd.DataFrame) -> None:
    """The runs as a table, newest first."""
    dagster = health.links(health.read_status()).get("Dagster")
    table = runs.iloc[::-1].assign(
        status=lambda rows: rows["status"].map(lambda status: charts.RUN_STATES.get(status, (status, ""))[0]),
        seconds=lambda rows: rows["seconds"].round(1),
    )
    if dagster:
        table["run_id"] = dagster.rstrip("/") + "/runs/" + table["run_id"]
    shell.table(
        table[["started_at", "job", "status", "seconds", "fetched_rows", "changed_rows", "error", "run_id"]],
        height=min(300, 38 + 35 * len(table)),
        alt="The newest runs, newest first",
        missing="under Why: nothing went wrong; elsewhere: the run has not ended or loads nothing",
        column_config={
            "started_at": st.column_config.DatetimeColumn("Began", format=UTC_MINUTE, timezone="UTC"),
            "job": st.column_config.TextColumn("Job", help=shell.definition("fct_runs", "job")),
            "status": st.column_config.TextColumn("End", help=shell.definition("fct_runs", "status")),
            "seconds": st.column_config.NumberColumn("Seconds", help=shell.definition("fct_runs", "seconds")),
            "fetched_rows": st.column_config.NumberColumn(
                "Fetched", format="localized", help=shell.definition("fct_runs", "fetched_rows")
            ),
            "changed_rows": st.column_config.NumberColumn(
                "Changed", format="localized", help=shell.definition("fct_runs", "changed_rows")
            ),
            "error": st.column_config.TextColumn("Why", help=shell.definition("fct_runs", "error")),
            "run_id": st.column_config.LinkColumn("Run", display_text=r"/runs/(.{8})")
            if dagster
            else st.column_config.TextColumn("Run", help=shell.definition("fct_runs", "run_id")),
        },
    )


def api_table(requests: pd.DataFrame) -> None:
    """How each API answered: errors and latency of the last 24 h, the hours of the week as a line."""
    found = analysis.source_health(requests, shell.now())
    described = {
        "Requests": "requests",
        "Refused": "errors_4xx",
        "Throttled": "errors_429",
        "Server errors": "errors_5xx",
        "Unanswered": "unanswered",
        "Retries": "retries",
    }
    config: dict[str, Any] = {
        name: st.column_config.NumberColumn(
            format="localized", help=shell.definition("fct_source_requests", column) + " Last 24 h."
        )
        for name, column in described.items()
    }
    config["Errors"] = st.column_config.TextColumn(
        help="Attempts that were refused, throttled, answered with a server error or not at all, in percent of all."
    )
    config["Median"] = st.column_config.TextColumn(
        help="Median over the hours of: " + shell.definition("fct_source_requests", "latency_p50_ms")
    )
    config["Worst p95"] = st.column_config.TextColumn(
        help="Worst hour's: " + shell.definition("fct_source_requests", "latency_p95_ms")
    )
    config["Median by hour"] = st.column_config.LineChartColumn(
        y_min=0, help="Median latency of each hour of the last 7 days in which the source was asked, in ms."
    )
    shell.table(
        pd.DataFrame(
            {
                "Source": found["source"],
                "Errors": [formats.percent(value) for value in found["errors_pct"]],
                "Median": [_milliseconds(value) for value in found["latency_p50_ms"]],
                "Worst p95": [_milliseconds(value) for value in found["latency_p95_ms"]],
                "Median by hour": found["latency_by_hour"],
                **{name: found[column] for name, column in described.items()},
                "Received": [f"{formats.amount(value)}B" for value in found["bytes"]],
                "Last asked": found["last_asked_at"].map(formats.instant),
            }
        ),
        column_config=config,
        missing="no answer came in these hours",
        alt="Requests, errors and latency of each source over the last 24 hours: "
        + ", ".join(f"{row.source} {row.requests} requests" for row in found.itertuples()),
    )


def _milliseconds(value: float) -> str:
    return formats.MISSING if formats.is_missing(value) else f"{value:,.0f} ms"


try:
    datasets = queries.dataset_health()
    checks = queries.checks()
except MartsError as error:
    from_status_file(error)
    raise shell.Finished from None

st.title(analysis.quality_sentence(datasets, health.TITLES, checks), anchor=False)
if datasets["last_data_at"].isna().all():
    shell.empty_warehouse()
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

incidents = queries.incidents()
shell.heading("What is wrong, and was anybody told?", ["fct_incidents.kind", "fct_incidents.sent_alerts"])
if incidents.empty or not incidents["is_open"].any():
    st.success("No incident is open.", icon=":material/check_circle:")
incident_list(incidents)

runs = queries.runs()
shell.heading("How did the runs go?", ["fct_runs.status", "fct_runs.seconds", "fct_runs.job"])
if runs.empty:
    st.info("No run within the last 31 days; `tickmart run` refreshes once.", title="Nothing ran")
else:
    run_list(runs)

shell.heading("What do the checks say?", ["fct_check_results.status", "fct_check_results.severity"])
if checks.empty:
    st.info(
        "No check has run in the last 7 days; `tickmart check` runs them alone.", title="Nothing has been checked yet"
    )
else:
    check_list(checks)

counts, missing = queries.bars_per_day(), queries.missing_bars()
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading("Did every day bring its rows?", ["fct_daily_summary.bar_count"])
        if counts.empty:
            st.caption("No finished day yet.")
        else:
            shell.chart(
                shell.once(charts.bars_with_band, shell.once(analysis.expected_band, counts), shell.colours()),
                "rows",
                alt=f"Hourly bars per day over {len(counts)} days; newest {formats.count(counts['bars'].iloc[-1])}",
                how="Hourly bars of all coins by day; dotted is what that weekday usually brings (median ± 3 median "
                "deviations).",
                source="fct_daily_summary",
            )
    with st.container():
        shell.heading("Do the sources agree?", ["v_price_divergence.divergence_pct"])
        apart = queries.divergence()
        tickers = labels(apart)
        if apart.empty:
            st.caption("No coin has a candle within two hours of the latest sweep, so nothing can be compared.")
        else:
            shell.chart(
                shell.once(charts.divergence_bars, apart, TOLERANCE_PCT, shell.colours()),
                "divergence",
                alt="Difference between Binance and CoinGecko prices of the ten coins that differ most: "
                + ", ".join(
                    f"{tickers[row.crypto_id]} {formats.percent(row.divergence_pct)}" for row in apart.itertuples()
                ),
                how="Binance's newest close against CoinGecko's price, the ten that differ most; beyond the grey "
                f"±{TOLERANCE_PCT:g}% "
                "a check warns. The close can be an hour older, so a moving market shows here too.",
                source=f"{shell.BINANCE}; {shell.COINGECKO}",
            )
requests = queries.source_requests()
shell.heading("Do the sources answer?", ["fct_source_requests.requests", "fct_source_requests.latency_p95_ms"])
if requests.empty:
    st.info("No source was asked within the last 7 days.", title="No requests")
else:
    api_table(requests)
    st.caption("Last 24 h; every attempt counts, also one that repeats another. Source: tickmart's own books.")

shell.heading("Where are hours missing?", ["fct_daily_summary.bar_count"])
if counts.empty:
    st.caption("No finished day yet.")
elif missing.empty:
    st.success("No hour is missing in the newest 60 finished days.", icon=":material/check_circle:")
else:
    shell.chart(
        shell.once(charts.missing_heatmap, missing, counts["date"].max(), shell.colours()),
        "missing",
        alt=f"Missing hours by coin and day: {len(missing)} coin-days, {int(missing['missing'].sum())} hours in all",
        how="Hours without a candle by coin and day, newest 60 finished days; a column across all coins is a halt of "
        "the exchange.",
        source="fct_daily_summary",
    )
links()
