"""Dictionary: the definition, formula, unit, tests and freshness of every column of the marts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.components.csv_download import download
from dashboard.components.definitions import NO_DEFINITION
from dashboard.components.messages import empty_warehouse
from dashboard.components.query_params import check_query_params
from dashboard.components.rendering import PageFinished
from dashboard.components.tables import table
from dashboard.database import MartsError
from dashboard.lineage import Lineage, read_lineage, split_definition
from dashboard.pages import pages_by_mart
from dashboard.queries import catalog, operations
from dashboard.text import inline_code

COLUMN_TITLES = {
    "column_name": "Column",
    "definition": "Definition",
    "formula": "Formula",
    "unit": "Unit",
    "tests": "Tests",
    "freshness": "Freshness",
    "data_type": "Type",
}
COLUMN_WIDTHS = {"definition": "large", "formula": "medium", "tests": "medium", "freshness": "medium"}


def freshness_by_dataset() -> dict[str, str]:
    """Return age and SLA of each dataset; empty if the database does not answer."""
    try:
        return {row.dataset: _freshness(row) for row in operations.dataset_health().itertuples()}
    except MartsError:
        return {}


def _freshness(row: Any) -> str:
    age = formats.MISSING
    if not formats.is_missing(row.last_data_at):
        age = formats.duration(datetime.now(UTC) - row.last_data_at)
    return f"{health.title(row.dataset)}: {age} old (SLA {formats.duration(timedelta(seconds=row.sla_seconds))})"


def describe(columns: pd.DataFrame, lineages: dict[str, Lineage]) -> pd.DataFrame:
    """Add formula, unit, tests and freshness to the columns of the marts."""
    freshness = freshness_by_dataset()
    rows = []
    for row in columns.fillna({"definition": ""}).itertuples():
        prose, formula, unit = split_definition(row.definition, row.data_type)
        lineage = lineages.get(row.relation, Lineage({}, ()))
        rows.append(
            {
                "relation": row.relation,
                "column_name": row.column_name,
                "definition": prose or NO_DEFINITION,
                "formula": formula.replace("`", ""),
                "unit": unit,
                "tests": ", ".join(test.replace("_", " ") for test in lineage.tests.get(row.column_name, ())),
                "freshness": "; ".join(freshness[name] for name in lineage.datasets if name in freshness),
                "data_type": row.data_type,
            }
        )
    return pd.DataFrame(rows)


def search(columns: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """Return the columns that contain every word in their name, definition or formula."""
    text = columns[["relation", "column_name", "definition", "formula"]].agg(" ".join, axis=1).str.lower()
    for word in wanted.lower().split():
        text = text[text.str.contains(word, regex=False)]
    return columns.loc[text.index]


def show_mart(mart: str, columns: pd.DataFrame, definition: str, lineage: Lineage | None, expanded: bool) -> None:
    pages = ", ".join(pages_by_mart().get(mart, ()))
    used = f"used on: {pages}" if pages else "not used in the dashboard"
    count = f"{len(columns)} column{'' if len(columns) == 1 else 's'}"
    with st.expander(f"**{mart}** · {count} · {used}", expanded=expanded):
        st.markdown(definition)
        if lineage and lineage.tests.get(""):
            st.caption("Table tests: " + ", ".join(name.replace("_", " ") for name in lineage.tests[""]) + ".")
        table(
            columns[list(COLUMN_TITLES)].replace("", None),
            height="content",
            row_height=64,
            alt=f"Columns of {mart}",
            missing="Not applicable: no formula, no unit, no test besides its type, or no source dataset",
            column_config={
                name: st.column_config.TextColumn(title, width=COLUMN_WIDTHS.get(name, "small"))
                for name, title in COLUMN_TITLES.items()
            },
        )


def page() -> None:
    known = catalog.definitions()
    if known.empty:
        empty_warehouse()
        raise PageFinished
    check_query_params("search")
    lineages = read_lineage()
    columns = describe(known.dropna(subset=["column_name"]), lineages)
    definitions = known[known["column_name"].isna()].set_index("relation")["definition"]
    st.title(f"Data dictionary: {len(definitions)} tables, {len(columns):,} columns", anchor=False)
    st.markdown(
        "Definitions come from the dbt project and are persisted to Postgres comments; the tooltips of this dashboard "
        "show the same texts. Tests are dbt tests of the column or of the columns that it is computed from."
    )
    wanted = st.text_input(
        "Search", key="search", bind="query-params", placeholder="volatility, fct_prices, drawdown …"
    ).strip()
    found = search(columns, wanted)
    st.caption(f"{len(found):,} of {len(columns):,} columns" + (f" match {inline_code(wanted)}" if wanted else ""))
    if found.empty:
        st.info("No name or definition contains all of these words.", title="No results")
    for mart, group in found.groupby("relation"):
        show_mart(str(mart), group, definitions.get(mart) or NO_DEFINITION, lineages.get(str(mart)), bool(wanted))
    download(found, "tickmart_dictionary.csv")


page()
