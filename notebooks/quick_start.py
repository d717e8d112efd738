# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quick start
#
# This notebook reads bars, daily indicators, definitions and correlations with the Python client. It needs a running
# database: start `tickmart up`, then set the address before you start Jupyter:
#
# ```
# export TICKMART_URL="$(tickmart connect --format url)"
# ```
#
# All times are UTC. All ranges are half-open: the start belongs to them, the end does not.

# %%
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

import tickmart as tm

pio.templates.default = "plotly_white"
pd.set_option("display.max_colwidth", None)
source = tm.connect()

# %% [markdown]
# ## Which coins are there?
#
# `crypto_id` identifies a coin. A ticker does not: two coins can share one.

# %%
coins = tm.coins().to_pandas()
coins = coins[coins["first_bar_at"].notna()]
coins[["crypto_id", "symbol", "name", "market_cap_rank", "first_bar_at", "last_bar_at"]]

# %% [markdown]
# ## Hourly bars
#
# `bars()` takes ids, tickers or names in any case. The result is an Arrow table, with `.to_pandas()` and
# `.to_polars()`.

# %%
coin = coins.iloc[0]
newest = coin["last_bar_at"] + pd.Timedelta(hours=1)
week = tm.bars(coin["crypto_id"], start=newest - pd.Timedelta(days=7), end=newest)
week

# %%
hours = week.to_pandas()
figure = go.Figure(
    go.Candlestick(x=hours["opened_at"], open=hours["open"], high=hours["high"], low=hours["low"], close=hours["close"])
)
figure.update_layout(
    title=f"{coin['name']}: hourly bars of the last 7 days",
    yaxis_title="price (USDT)",
    xaxis_rangeslider_visible=False,
)
figure

# %% [markdown]
# ## Missing hours stay missing
#
# An hour without a bar has no row, and no function fills it. With `gaps="null"` it has a row of nulls, so that rows
# are equally spaced. Count the hours before you compute with windows of rows.

# %%
every_hour = tm.bars(coin["crypto_id"], gaps="null", columns=["close"]).to_pandas()
missing = every_hour[every_hour["close"].isna()]
print(f"{len(every_hour):,} hours from the first bar to the last one, {len(missing):,} of them without a bar")
missing[["opened_at"]].tail()

# %% [markdown]
# ## Exact prices
#
# Numbers are the nearest float64. With `decimals=True` they have every digit that the exchange sent.

# %%
last_hour = {"start": newest - pd.Timedelta(hours=1), "columns": ["close"]}
pd.DataFrame(
    {
        "float64": [tm.bars(coin["crypto_id"], **last_hour).to_pylist()[0]["close"]],
        "decimal": [tm.bars(coin["crypto_id"], **last_hour, decimals=True).to_pylist()[0]["close"]],
    }
)

# %% [markdown]
# ## Daily indicators and their definitions
#
# `daily()` has one row for each complete day. `metrics()` has the definition, formula and unit of every column, so
# that you do not have to guess whether a volatility is annualized.

# %%
definitions = tm.metrics().to_pandas()
chosen = ["close", "sma_30", "rsi_14", "volatility_30d", "drawdown_pct"]
of_days = definitions[(definitions["mart"] == "fct_daily_summary") & definitions["column"].isin(chosen)]
of_days.set_index("column")[["unit", "definition"]]

# %%
days = tm.daily(coin["crypto_id"], columns=chosen).to_pandas()
figure = go.Figure()
for name in ("close", "sma_30"):
    figure.add_scatter(x=days["date"], y=days[name], name=name)
figure.update_layout(title=f"{coin['name']}: daily close and its 30-day mean", yaxis_title="price (USDT)")
figure

# %% [markdown]
# ## Correlations
#
# `correlations()` has the correlation of daily log returns of each pair of coins over 30, 90 and 365 days.

# %%
largest = list(coins["crypto_id"].head(5))
pairs = tm.correlations(largest, window_days=90).to_pandas()
pairs = pairs[pairs["date"] == pairs["date"].max()]
both = pd.concat([pairs, pairs.rename(columns={"crypto_id_a": "crypto_id_b", "crypto_id_b": "crypto_id_a"})])
matrix = both.pivot_table(index="crypto_id_a", columns="crypto_id_b", values="correlation").reindex(
    index=largest, columns=largest
)
figure = go.Figure(
    go.Heatmap(z=matrix, x=largest, y=largest, zmin=-1, zmax=1, colorscale="RdBu", texttemplate="%{z:.2f}")
)
figure.update_layout(title="Correlation of daily log returns over 90 days", yaxis_autorange="reversed")
figure

# %% [markdown]
# ## Your own query
#
# `sql()` runs one query in a read-only transaction. Parameters fill `%s`; never build the text of a query from input.

# %%
tm.sql(
    "select crypto_id, count(*) as days, max(volume) as highest_volume from marts.fct_daily_summary "
    "where date >= %s group by crypto_id order by days desc, crypto_id limit 5",
    [(newest - pd.Timedelta(days=30)).date()],
).to_pandas()

# %% [markdown]
# ## How far to trust it
#
# `health()` has the status of each dataset: the age of its newest data against its limit, failed checks, gaps and
# rejected records. Read it before you use the numbers. The notebook `data_quality` goes further.

# %%
tm.health().to_pandas()[["dataset", "source", "health", "last_data_at", "failed_checks", "open_gaps"]]
