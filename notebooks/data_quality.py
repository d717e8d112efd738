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
# # Data-quality audit
#
# tickmart checks its data and publishes the results. This notebook reads them, and repeats the most important ones
# from the bars themselves, so that you need not believe the checks. It ends with a table of claims and evidence.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

import tickmart as tm

pio.templates.default = "plotly_white"
source = tm.connect()
audit: list[dict[str, object]] = []


def record(claim: str, checked: int, exceptions: int) -> None:
    """Add a claim to the audit: how many cases were checked and how many of them contradict it."""
    audit.append({"claim": claim, "checked": int(checked), "exceptions": int(exceptions)})


# %% [markdown]
# ## Status of each dataset
#
# A dataset is late when its newest data is older than its limit (SLA).

# %%
health = tm.health().to_pandas()
record("The newest data is within its SLA", len(health), (health["age_seconds"] > health["sla_seconds"]).sum())
columns = ["health", "last_data_at", "age_seconds", "sla_seconds", "failed_checks", "open_gaps", "rejected_records"]
health.set_index("dataset")[columns]

# %% [markdown]
# ## Checks
#
# The newest result of each check. `error` means that the rule must not fail; `warn` asks for a look.

# %%
checks = tm.sql("select * from marts.fct_check_results where is_latest order by asset, check_name").to_pandas()
passed = checks["status"] == "passed"
blocking = checks["severity"] == "error"
record("Checks of severity error pass", blocking.sum(), (blocking & ~passed).sum())
checks.groupby(["source", "severity", "status"]).size().rename("checks").to_frame()

# %%
checks[~passed][["asset", "check_name", "severity", "status", "observed", "expected", "checked_at"]]

# %% [markdown]
# ## Completeness
#
# Of each hour between a coin's first and last bar: is there a bar, was the exchange halted, or is the bar missing? A
# halted hour is not an error: nothing was traded.

# %%
coverage = tm.sql(
    "select crypto_id, first_bar_at, last_bar_at, expected_hours, present_hours, halted_hours, missing_hours, "
    "complete_pct from marts.v_coin_completeness where first_bar_at is not null order by missing_hours desc, crypto_id"
).to_pandas()
record("Each hour has a bar or a known halt", coverage["expected_hours"].sum(), coverage["missing_hours"].sum())
coverage.head(10)

# %% [markdown]
# **Counted again** from the bars of the largest coins: the rows of nulls that `gaps="null"` adds are the absent
# hours.

# %%
largest = tm.coins().to_pandas().dropna(subset=["first_bar_at"]).head(5)["crypto_id"]
absent = {}
for crypto_id in largest:
    hours = tm.bars(crypto_id, columns=["close"], gaps="null").to_pandas()
    absent[crypto_id] = int(hours["close"].isna().sum())
published = coverage.set_index("crypto_id").loc[list(largest)]
counted = pd.DataFrame({"counted": absent, "published": published["expected_hours"] - published["present_hours"]})
different = counted["counted"] != counted["published"]
record("Published and counted absent hours are equal", len(counted), different.sum())
counted

# %% [markdown]
# When were the absent hours? An hour that all coins lack is a halt of the exchange; one that a single coin lacks is
# not.

# %%
hours = tm.bars(list(largest), columns=["close"], gaps="null").to_pandas()
lacking = hours[hours["close"].isna()].groupby("opened_at").size()
figure = go.Figure(go.Scatter(x=lacking.index, y=lacking, mode="markers"))
figure.update_layout(
    title="Coins without a bar, by hour",
    xaxis_range=[hours["opened_at"].min(), hours["opened_at"].max()],
    yaxis={"title": f"of {len(largest)} coins", "range": [0, len(largest) + 0.5], "dtick": 1},
)
figure

# %% [markdown]
# ## Bars are possible
#
# No bar twice, low ≤ open, close ≤ high, no negative volume, and a volume-weighted price between low and high.

# %%
bars = tm.bars(
    list(largest), columns=["open", "high", "low", "close", "volume", "vwap_1h", "log_return_1h"]
).to_pandas()
within = bars[["open", "close"]].ge(bars["low"], axis=0) & bars[["open", "close"]].le(bars["high"], axis=0)
record("A coin and an hour have one bar", len(bars), bars.duplicated(["crypto_id", "opened_at"]).sum())
record("Open and close are within low and high", len(bars), (~within.all(axis=1)).sum())
record("Volume is not negative", len(bars), (bars["volume"] < 0).sum())
traded = bars.dropna(subset=["vwap_1h"])
rounding = 1e-6 * traded["close"]  # the exchange rounds the volumes from which the price is computed
outside = (traded["vwap_1h"] < traded["low"] - rounding) | (traded["vwap_1h"] > traded["high"] + rounding)
record("VWAP is within low and high", len(traded), outside.sum())

# %% [markdown]
# ## Days are made of their hours
#
# The daily bar against the hourly bars of the same UTC day, for days with all 24 hours.

# %%
bars["date"] = bars["opened_at"].dt.tz_localize(None).dt.floor("D").astype("datetime64[ms]")
made = bars.groupby(["crypto_id", "date"]).agg(
    open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last"),
    volume=("volume", "sum"), bars=("close", "size"),
)  # fmt: skip
days = tm.daily(list(largest), columns=["open", "high", "low", "close", "volume"]).to_pandas()
days["date"] = days["date"].astype("datetime64[ms]")
joined = days.set_index(["crypto_id", "date"]).join(made.add_suffix(" of hours")).query("`bars of hours` == 24")
columns = ["open", "high", "low", "close", "volume"]
equal = np.isclose(joined[columns], joined[[f"{name} of hours" for name in columns]], rtol=1e-9)
record("A daily bar equals its 24 hourly bars", len(joined), (~equal.all(axis=1)).sum())
joined.tail(3)

# %% [markdown]
# ## Unusual moves
#
# An unusual return is not an error, but it deserves a look before a study: the largest hourly returns, measured in
# robust standard deviations of the coin (1.4826 × median absolute deviation).

# %%
by_coin = bars.groupby("crypto_id")
spread = by_coin["log_return_1h"].transform(lambda values: 1.4826 * (values - values.median()).abs().median())
bars["deviations"] = bars["log_return_1h"] / spread
largest_moves = bars.loc[bars["deviations"].abs().sort_values(ascending=False).index[:10]]
largest_moves[["crypto_id", "opened_at", "open", "close", "volume", "deviations"]].round({"deviations": 1})

# %%
unchanged = by_coin["close"].apply(lambda close: (close.diff() == 0).mean() * 100)
unchanged.rename("hours with the close of the hour before, %").to_frame().round(2)

# %% [markdown]
# ## Two sources, one price
#
# Binance's close against CoinGecko's price of the same time. They are different markets and moments, so a small
# difference is normal; a large one points to a wrong mapping of symbols.

# %%
divergence = tm.sql("select * from marts.v_price_divergence").to_pandas()
divergence

# %% [markdown]
# ## Claims and evidence

# %%
table = pd.DataFrame(audit)
table["result"] = np.where(table["exceptions"] > 0, "exceptions", "confirmed")
table.loc[table["checked"] == 0, "result"] = "not checked"
table

# %% [markdown]
# **What the audit does not cover.** It compares the data with itself and with one second source. A wrong price that
# Binance published and that every layer repeats is not found. Snapshots begin with the first load of this database,
# and the history of the index is what alternative.me sends today.
