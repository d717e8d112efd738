"""The table of the Data quality page that shows how complete the bars of each coin are."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.components.charts import heading
from dashboard.components.csv_download import download
from dashboard.components.definitions import definition
from dashboard.components.tables import table, time_column
from dashboard.labels import labels
from dashboard.queries import operations

COMPLETENESS_COLUMNS = {
    "Complete": "complete_pct",
    "First bar": "first_bar_at",
    "Last bar": "last_bar_at",
    "Expected hours": "expected_hours",
    "Present": "present_hours",
    "Halted": "halted_hours",
    "Missing": "missing_hours",
    "Restated": "restated_records",
    "Rejected": "rejected_records",
}


def coin_completeness() -> None:
    """Show expected, present, halted and missing hours of each coin, the least complete first."""
    heading("Completeness by coin", ["v_coin_completeness.complete_pct", "v_coin_completeness.missing_hours"])
    coins = operations.coin_completeness()
    if coins.empty:
        st.caption("No coin is tracked yet.")
        return
    missing, halted = coins["missing_hours"].sum(), coins["halted_hours"].sum()
    st.markdown(
        f"{'▲ ' if missing else '● '}{formats.count(missing)} hours missing, {formats.count(halted)} hours halted, "
        f"of {formats.count(coins['expected_hours'].sum())} expected hours of {len(coins)} coins."
    )
    config: dict[str, Any] = {
        name: st.column_config.Column(help=definition("v_coin_completeness", column))
        for name, column in COMPLETENESS_COLUMNS.items()
    }
    for name in ("First bar", "Last bar"):
        config[name] = time_column(name, help=definition("v_coin_completeness", COMPLETENESS_COLUMNS[name]))
    table(
        pd.DataFrame(
            {
                "Coin": coins["crypto_id"].map(labels(coins, "name", "symbol", min_parts=2)),
                **{name: coins[column] for name, column in COMPLETENESS_COLUMNS.items()},
                "Complete": [formats.percent(value, 3) for value in coins["complete_pct"]],
            }
        ),
        column_config=config,
        height=min(420, 40 + 35 * len(coins)),
        alt=f"Hours of {len(coins)} coins: expected, present, halted, missing",
        missing="No bar loaded yet",
    )
    download(coins, "tickmart_coin_completeness.csv", relation="v_coin_completeness")
