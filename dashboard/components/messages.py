"""Messages for pages that cannot show data: database errors and an empty warehouse."""

import streamlit as st

from dashboard import health
from dashboard.database import MartsError
from dashboard.queries import operations

QUALITY_PAGE = "views/data_quality.py"
ASK_EVERY_S = 3


def database_error(error: MartsError) -> None:
    """Show why the data cannot be read and where to look."""
    if error.reason == "empty":
        empty_warehouse()
        return
    st.error(
        f"{error} The Data quality page shows the status at the last refresh.",
        title="Database unavailable" if error.reason == "down" else "Database is slow",
        icon=":material/database_off:",
    )
    st.page_link(QUALITY_PAGE, label="Data quality", icon=":material/fact_check:")


def empty_warehouse() -> None:
    """Show that nothing is loaded yet, or that the marts are not built, and which command to run.

    The page loads again by itself when the first build is finished.
    """
    if not _is_built():
        _reload_when_built()
    if health.has_data(health.read_status()):
        st.info(
            "Raw data is loaded, but the marts do not exist yet, for example after a restore. The next refresh builds "
            "them: the hourly schedule of `tickmart up` or Docker Compose, or `tickmart run`.",
            title="Marts not built yet",
            icon=":material/hourglass_empty:",
        )
        return
    st.info(
        "Run `tickmart run` to load the last 30 days of real market data, or `tickmart demo` for simulated data "
        "without network access. `tickmart up` starts the first refresh automatically. This page fills when the "
        "refresh is finished.",
        title="No data loaded yet",
        icon=":material/hourglass_empty:",
    )


@st.fragment(run_every=ASK_EVERY_S)
def _reload_when_built() -> None:
    if _is_built():
        st.rerun()


def _is_built() -> bool:
    """Return whether the mart exists that a build writes last."""
    try:
        operations.dataset_health()
    except MartsError:
        return False
    return True
