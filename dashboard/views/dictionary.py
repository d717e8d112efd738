"""Dictionary: what does this number mean? The database's own comments, which dbt wrote and the tooltips use."""

from datetime import timedelta

import pandas as pd
import streamlit as st

from dashboard import formats, health, manifest, queries, shell
from dashboard.database import MartsError
from dashboard.text import csv

SHOWN = {
    "column_name": "Column",
    "definition": "Definition",
    "formula": "Formula",
    "unit": "Unit",
    "tests": "Tests",
    "freshness": "Freshness",
    "data_type": "Type",
}


def freshness() -> dict[str, str]:
    """Say of each dataset how old it is, against what was promised; nothing when the database does not know."""
    try:
        return {row.dataset: _freshness(row) for row in queries.dataset_health().itertuples()}
    except MartsError:
        return {}


def _freshness(row: object) -> str:
    age = formats.span(shell.now() - row.last_data_at if not formats.is_missing(row.last_data_at) else None)
    return f"{health.title(row.dataset)}: {age} old, limit {formats.span(timedelta(seconds=row.sla_seconds))}"


def described(columns: pd.DataFrame) -> pd.DataFrame:
    """Add formula, unit, tests and freshness to the columns of the marts."""
    lineages, ages = manifest.read(), freshness()
    rows = []
    for row in columns.fillna({"definition": ""}).itertuples():
        prose, formula, unit = manifest.parts(row.definition, row.data_type)
        lineage = lineages.get(row.relation)
        tests = () if lineage is None else lineage.tests.get(row.column_name, ())
        rows.append(
            {
                "relation": row.relation,
                "column_name": row.column_name,
                "definition": prose or shell.UNDEFINED,
                "formula": formula.replace("`", ""),
                "unit": unit,
                "tests": ", ".join(test.replace("_", " ") for test in tests),
                "freshness": "; ".join(
                    ages.get(name, "") for name in (lineage.datasets if lineage else ()) if name in ages
                ),
                "data_type": row.data_type,
            }
        )
    return pd.DataFrame(rows)


known = queries.definitions()
if known.empty:
    shell.empty_warehouse()
    raise shell.Finished
columns = described(known.dropna(subset=["column_name"]))
tables = known[known["column_name"].isna()].set_index("relation")["definition"]
pages, lineages = queries.pages_by_table(), manifest.read()
st.title(f"{len(columns):,} columns of {len(tables)} tables, each defined once.", anchor=False)
st.markdown(
    "These texts stand in the dbt project beside the SQL that computes the columns; dbt wrote them into the "
    "database, and "
    "every question mark of this dashboard reads them from there. The tests are dbt's, of the column and of what it "
    "is computed from, each a rule or an example worked out by hand; each column is also held to its type."
)
wanted = st.text_input(
    "Search", key="search", bind="query-params", placeholder="volatility, fct_prices, drawdown …"
).strip()
found = columns
for part in wanted.lower().split():
    text = (
        columns["relation"] + " " + columns["column_name"] + " " + columns["definition"] + " " + columns["formula"]
    ).str.lower()
    found = found[text.loc[found.index].str.contains(part, regex=False)]
st.caption(f"{len(found):,} of {len(columns):,} columns" + (f" for {shell.quoted(wanted)}" if wanted else ""))
if found.empty:
    st.info("No column's name or definition has all of these words.", title="Nothing found")
for relation, part in found.groupby("relation"):
    shown_on = ", ".join(sorted(pages.get(relation, ()))) or "no page"
    with st.expander(f"**{relation}** · {len(part)} columns · shown on: {shown_on}", expanded=bool(wanted)):
        st.markdown(tables.get(relation) or shell.UNDEFINED)
        whole = lineages.get(str(relation))
        if whole and whole.tests.get(""):
            st.caption(
                "Tests of the whole table: " + ", ".join(name.replace("_", " ") for name in whole.tests[""]) + "."
            )
        shell.table(
            part[list(SHOWN)].replace("", None),
            height="content",
            row_height=64,
            alt=f"Columns of {relation}",
            missing="not computed, without a unit, held to its type alone, or of no dataset that ages",
            column_config={
                name: st.column_config.TextColumn(
                    title,
                    width={"definition": "large", "formula": "medium", "tests": "medium", "freshness": "medium"}.get(
                        name, "small"
                    ),
                )
                for name, title in SHOWN.items()
            },
        )
shell.csv_button("CSV of all definitions", lambda: csv(columns).encode(), "tickmart_dictionary.csv")
