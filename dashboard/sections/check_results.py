"""Check results of the Data quality page: failed checks with their sample rows, and the table of all checks."""

from typing import Any
from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.analysis.checks import history_symbols, matching, readable_expectation
from dashboard.analysis.quality import sample_rows
from dashboard.components.charts import heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definition
from dashboard.components.tables import table, time_column
from dashboard.queries import operations
from dashboard.text import escaped, inline_code, visible

STATUSES = ("all", "failed", "passed")


def severity_icon(severity: str) -> str:
    """Return the icon of a severity as colored Markdown."""
    return ":red[✕]" if severity == "error" else ":orange[▲]"


def check_links(asset: str, source: str, run_id: str) -> dict[str, str]:
    """Return the addresses of a check's result in Dagster and, for Great Expectations, in Data Docs."""
    known = health.tool_links(health.read_status())
    links = {}
    if dagster := known.get("Dagster"):
        links["Dagster"] = f"{dagster.rstrip('/')}/assets/{quote(asset)}?view=checks"
    if (docs := known.get("Data Docs")) and source == "great_expectations":
        # Data Docs has one page of all runs; the browser scrolls to the text.
        links["Data Docs"] = f"{docs.rstrip('/')}/#:~:text={quote(run_id)}"
    return links


def failed_checks(checks: pd.DataFrame) -> None:
    """Show each failed check with expectation, observation, sample rows and links; nothing if all passed."""
    failed = checks[checks["status"] != "passed"]
    if failed.empty:
        return
    heading(f"Failed checks ({len(failed)})", ["fct_check_results.status", "fct_check_results.severity"])
    for row in formats.rows(failed):
        _failed_check(row)


def _failed_check(check: Any) -> None:
    title = f"{severity_icon(check.severity)} **{escaped(check.title)}** on {escaped(check.asset)}"
    with st.expander(title, expanded=check.severity == "error"):
        st.markdown(
            f"Expected: {escaped(readable_expectation(check.expected) or formats.MISSING)}  \n"
            f"Observed: {escaped(check.observed or formats.MISSING)}  \n"
            f"Failed rows: {formats.count(check.failed_rows)} · "
            f"{'blocking' if check.is_blocking else 'not blocking'} · "
            f"{escaped(check.source)} · check {escaped(check.check_name)} · "
            f"{formats.instant(check.checked_at)} · run {inline_code(check.run_id)}"
        )
        with st.container(horizontal=True):
            for name, address in check_links(check.asset, check.source, check.run_id).items():
                st.link_button(name, address, icon=":material/open_in_new:", type="tertiary")
        if check.status == "error":
            st.caption("The check itself could not run.")
        if not check.sample:
            return
        rows = sample_rows(check.sample)
        if rows is None:
            # Not st.code: it loads 1.6 MB of syntax highlighting before the first chart.
            st.text(visible(check.sample, keep="\n"))
        else:
            table(
                rows,
                width="content",
                alt=f"Sample of failed rows of {check.check_name} on {check.asset}",
                missing="No value",
            )


def all_checks(checks: pd.DataFrame) -> None:
    """Show the newest result of every check, filtered by status and words, with the history of its last runs."""
    heading("Check results", ["fct_check_results.status", "fct_check_results.severity"])
    if checks.empty:
        st.info("`tickmart check` runs them.", title="No check has run in the last 7 days")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search", key="check", bind="query-params", placeholder="Asset, check or source", width=240
        )
        status = st.segmented_control(
            "Status", STATUSES, default=STATUSES[0], required=True, key="status", bind="query-params"
        )
    found = matching(checks, search, status)
    st.caption(f"{len(found)} of {len(checks)} checks. History: newest right, ● passed, ✕ failed, ! could not run.")
    if found.empty:
        st.info("No check matches.", title="No results")
        return
    _check_table(found)
    download(found.drop(columns=["sample"]), "tickmart_checks.csv", relation="fct_check_results")


def _check_table(found: pd.DataFrame) -> None:
    history = operations.check_history().set_index(["asset", "check_name"])["statuses"]
    keys = pd.MultiIndex.from_frame(found[["asset", "check_name"]])
    links = [check_links(row.asset, row.source, row.run_id) for row in found.itertuples()]
    tools = [name for name in ("Dagster", "Data Docs") if any(name in link for link in links)]
    shown = pd.DataFrame(
        {
            "Asset": found["asset"],
            "Status": found["status"].map(lambda status: f"{'●' if status == 'passed' else '✕'} {status}"),
            "Check": found["title"].where(found["title"] != found["check_name"], found["title"].str.replace("_", " ")),
            "History": [history_symbols(statuses) for statuses in history.reindex(keys)],
            **{name: [link.get(name) for link in links] for name in tools},
            "Expected": found["expected"].map(readable_expectation),
            "Observed": found["observed"],
            "Severity": found["severity"],
            "Source": found["source"].str.replace("_", " "),
            "Checked": found["checked_at"],
        }
    )
    table(
        shown,
        height=min(420, 40 + 35 * len(shown)),
        alt=f"The newest results of {len(shown)} checks",
        missing="Not recorded, or not a check of Great Expectations",
        column_config={
            "Check": st.column_config.TextColumn(width="large"),
            "Status": st.column_config.TextColumn(help=definition("fct_check_results", "status")),
            "Expected": st.column_config.TextColumn(width="medium"),
            "Severity": st.column_config.TextColumn(help=definition("fct_check_results", "severity")),
            "Checked": time_column("Checked"),
            "Dagster": st.column_config.LinkColumn(display_text="open"),
            "Data Docs": st.column_config.LinkColumn(display_text="open"),
        },
    )
