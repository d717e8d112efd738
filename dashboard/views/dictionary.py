"""Dictionary: definition, formula, unit, tests and freshness of every column of the marts, and each mart's lineage."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats, health
from dashboard.components.csv_download import download
from dashboard.components.definitions import NO_DEFINITION
from dashboard.components.messages import empty_warehouse
from dashboard.components.rendering import PageFinished
from dashboard.components.status_file import tool_links
from dashboard.components.tables import table
from dashboard.database import MartsError
from dashboard.lineage import Lineage, read_lineage, split_definition
from dashboard.pages import PAGES, pages_by_mart
from dashboard.queries import catalog, operations
from dashboard.state.query_params import check_query_params
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
COLUMN_WIDTHS = {
    "column_name": "medium",
    "definition": "large",
    "formula": "medium",
    "tests": "medium",
    "freshness": "medium",
}


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
        lineage = lineages.get(row.relation, Lineage())
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
    """Return the columns of the mart with this name, else those with every word in name, definition or formula."""
    if wanted in set(columns["relation"]):
        return columns[columns["relation"] == wanted]
    text = columns[["relation", "column_name", "definition", "formula"]].agg(" ".join, axis=1).str.lower()
    for word in wanted.lower().split():
        text = text[text.str.contains(word, regex=False)]
    return columns.loc[text.index]


def page_links() -> dict[str, str]:
    """Return a link to each page by its title."""
    return {page.title: f"[{page.title}](./{'' if page is PAGES[0] else page.name})" for page in PAGES}


def lineage_links(mart: str, lineage: Lineage, marts: Collection[str], dbt_docs: str | None) -> str:
    """Return the sources of a mart, the models that it reads, the pages that show it, and its page of dbt docs."""
    models = [f"[{name}](./dictionary?search={name})" if name in marts else f"`{name}`" for name in lineage.models]
    pages = page_links()
    parts = {
        "Sources": [health.title(name) for name in lineage.datasets],
        "Built from": models,
        "Shown on": [pages[title] for title in pages_by_mart().get(mart, ())],
        "Lineage": [f"[dbt docs]({dbt_docs.rstrip('/')}/#!/model/model.tickmart.{mart})"] if dbt_docs else [],
    }
    return " · ".join(f"{name}: {', '.join(shown)}" for name, shown in parts.items() if shown)


def show_mart(mart: str, columns: pd.DataFrame, definition: str, captions: Sequence[str], *, expanded: bool) -> None:
    pages = ", ".join(pages_by_mart().get(mart, ()))
    used = f"used on: {pages}" if pages else "not used in the dashboard"
    count = f"{len(columns)} column{'' if len(columns) == 1 else 's'}"
    with st.expander(f"**{mart}** · {count} · {used}", expanded=expanded):
        st.markdown(definition)
        for caption in filter(None, captions):
            st.caption(caption)
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
    dbt_docs, marts = health.tool_links(health.read_status()).get("dbt docs"), set(definitions.index)
    for mart, group in found.groupby("relation"):
        lineage = lineages.get(str(mart), Lineage())
        tests = ", ".join(name.replace("_", " ") for name in lineage.tests.get("", ()))
        captions = lineage_links(str(mart), lineage, marts, dbt_docs), f"Table tests: {tests}." if tests else ""
        show_mart(str(mart), group, definitions.get(mart) or NO_DEFINITION, captions, expanded=bool(wanted))
    download(found, "tickmart_dictionary.csv", relation=None)
    tool_links()


page()
