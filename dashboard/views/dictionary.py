"""Dictionary: what does this number mean? The database's own comments, which dbt wrote and the tooltips use."""

import streamlit as st

from dashboard import queries, shell

known = queries.definitions()
if known.empty:
    shell.empty_warehouse()
    st.stop()
columns = known.dropna(subset=["column_name"])
tables = known[known["column_name"].isna()].set_index("relation")["definition"]
pages = queries.pages_by_table()
st.title(f"{len(columns):,} columns of {len(tables)} tables, each defined once.", anchor=False)
st.markdown(
    "These texts stand in the dbt project beside the SQL that computes the columns; dbt wrote them into the "
    "database, and "
    "every question mark of this dashboard reads them from there."
)
wanted = st.text_input(
    "Search", key="search", bind="query-params", placeholder="volatility, fct_prices, drawdown …"
).strip()
found = columns
for part in wanted.lower().split():
    text = (columns["relation"] + " " + columns["column_name"] + " " + columns["definition"].fillna("")).str.lower()
    found = found[text.loc[found.index].str.contains(part, regex=False)]
st.caption(f"{len(found):,} of {len(columns):,} columns" + (f" for “{wanted}”" if wanted else ""))
if found.empty:
    st.info("No column's name or definition has all of these words.", title="Nothing found")
for relation, part in found.groupby("relation"):
    shown_on = ", ".join(sorted(pages.get(relation, ()))) or "no page"
    with st.expander(f"**{relation}** · {len(part)} columns · shown on: {shown_on}", expanded=bool(wanted)):
        st.markdown(tables.get(relation) or shell.UNDEFINED)
        st.dataframe(
            part.assign(definition=part["definition"].fillna(shell.UNDEFINED))[
                ["column_name", "definition", "data_type"]
            ],
            hide_index=True,
            height="content",
            row_height=64,
            alt=f"Columns of {relation}",
            column_config={
                "column_name": st.column_config.TextColumn("Column", width="small"),
                "definition": st.column_config.TextColumn("Definition", width="large"),
                "data_type": st.column_config.TextColumn("Type", width="small"),
            },
        )
st.download_button(
    "CSV of all definitions",
    lambda: known.to_csv(index=False).encode(),
    "tickmart_dictionary.csv",
    "text/csv",
    icon=":material/download:",
    on_click="ignore",
)
