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
# # Volatility and drawdown
#
# How much do prices vary, does the variation come in clusters, and how deep and long were the losses from a high? The
# study reads daily and hourly bars of the largest coins.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

import tickmart as tm

pio.templates.default = "plotly_white"
source = tm.connect()
DAYS_A_YEAR = 365  # crypto markets do not close

# %%
coins = tm.coins().to_pandas()
coins = coins[coins["first_bar_at"].notna()].head(4)
ids = list(coins["crypto_id"])
columns = ["close", "log_return", "return_pct", "volatility_30d", "drawdown_pct"]
daily = tm.daily(ids, columns=columns).to_pandas()
daily.groupby("crypto_id")["date"].agg(["min", "max", "count"]).loc[ids]

# %% [markdown]
# ## Volatility over time
#
# `volatility_30d` is the sample standard deviation of the last 30 daily log returns, times √365. It is a fraction:
# 0.6 is 60% a year. It is null until 30 returns in a row exist.

# %%
figure = go.Figure()
for crypto_id, coin in daily.groupby("crypto_id"):
    figure.add_scatter(x=coin["date"], y=coin["volatility_30d"], name=crypto_id)
figure.update_layout(title="Realized volatility over 30 days, annualized", yaxis_title="fraction a year")
figure

# %% [markdown]
# **Can the column be reproduced?** The same number from the returns alone, for each coin and day:

# %%
wide = daily.pivot(index="date", columns="crypto_id").asfreq("D")  # a missing day is a null row, not a shorter window
returns = wide["log_return"][ids]
recomputed = returns.rolling(30).std() * np.sqrt(DAYS_A_YEAR)
published = wide["volatility_30d"][ids]
difference = (recomputed - published).abs()
print(f"{int(published.notna().sum().sum()):,} values, largest difference {difference.max().max():.1e}")

# %% [markdown]
# ## Volatility comes in clusters
#
# Returns of liquid markets are nearly uncorrelated from day to day, while their sizes are not: a large move tends to
# be followed by a large move of either sign. The band is ±1.96/√n, the range of 95% of the autocorrelations of
# independent values. With 60 lags, three of them leave the band by chance.


# %%
def autocorrelation(values: pd.Series, lags: int) -> list[float]:
    """Return the correlation of a series with itself, 1 to `lags` rows before."""
    return [values.corr(values.shift(lag)) for lag in range(1, lags + 1)]


first = returns[ids[0]]
n = int(first.notna().sum())
lags = list(range(1, 61))
figure = go.Figure()
figure.add_bar(x=lags, y=autocorrelation(first, 60), name="returns")
figure.add_bar(x=lags, y=autocorrelation(first.abs(), 60), name="absolute returns")
figure.add_hrect(y0=-1.96 / np.sqrt(n), y1=1.96 / np.sqrt(n), opacity=0.15, fillcolor="gray", line_width=0)
figure.update_layout(
    title=f"{ids[0]}: autocorrelation of {n:,} daily returns", xaxis_title="lag (days)", yaxis_title="correlation"
)
figure

# %% [markdown]
# ## Does the hour of the day matter?
#
# The mean absolute hourly return of each UTC hour, against the mean of all hours. The error bars are 95% intervals
# from a bootstrap that draws whole days, since hours of the same day are not independent.

# %%
last = coins["last_bar_at"].max()
hourly = tm.bars(ids[0], start=last - pd.Timedelta(days=365), columns=["log_return_1h"]).to_pandas()
hourly["day"] = hourly["opened_at"].dt.floor("D")
sizes = hourly.assign(size=hourly["log_return_1h"].abs()).pivot_table(
    index="day", columns=hourly["opened_at"].dt.hour, values="size"
)
generator = np.random.default_rng(1)
drawn = generator.integers(0, len(sizes), (1_000, len(sizes)))
ratios = np.array([np.nanmean(sizes.values[days], axis=0) / np.nanmean(sizes.values[days]) for days in drawn])
low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
ratio = sizes.mean() / np.nanmean(sizes.values)

# %%
interval = {"array": high - ratio, "arrayminus": ratio - low, "color": "gray"}
figure = go.Figure(go.Bar(x=ratio.index, y=ratio, error_y=interval))
figure.add_hline(y=1, line_dash="dot")
figure.update_layout(
    title=f"{ids[0]}: size of hourly returns by hour of day, {len(sizes):,} days",
    xaxis_title="hour (UTC)",
    yaxis_title="ratio to the mean of all hours",
)
figure

# %% [markdown]
# ## Tails
#
# A normal distribution has an excess kurtosis of 0. Value at risk (VaR) is the loss that 5% of the days exceed;
# expected shortfall is the mean loss of those days. The last column is the VaR of a normal distribution with the same
# mean and standard deviation.

# %%
simple = returns.apply(np.expm1) * 100
tail = simple.quantile(0.05)
pd.DataFrame(
    {
        "days": simple.count(),
        "worst day, %": simple.min(),
        "excess kurtosis": returns.kurt(),
        "VaR 95%, %": -tail,
        "expected shortfall 95%, %": -simple[simple <= tail].mean(),
        "normal VaR 95%, %": 1.645 * simple.std() - simple.mean(),
    }
).round(2)

# %% [markdown]
# ## Drawdown
#
# `drawdown_pct` is the distance of a close below the highest close so far, in percent. The highest close is that of
# the loaded history: with a short history, a coin can be far below an all-time high that is not loaded.

# %%
figure = go.Figure()
for crypto_id, coin in daily.groupby("crypto_id"):
    figure.add_scatter(x=coin["date"], y=coin["drawdown_pct"], name=crypto_id, fill="tozeroy")
figure.update_layout(title="Drawdown from the highest daily close so far", yaxis_title="percent")
figure


# %%
def drawdowns(coin: pd.DataFrame) -> pd.DataFrame:
    """Return one row per drawdown: from the high before it to the day of a new high, null if there is none yet."""
    coin = coin.sort_values("date").reset_index(drop=True)
    below = coin["drawdown_pct"] < 0
    rows = []
    for _, days in coin[below].groupby((~below).cumsum()[below]):
        before, after = max(days.index[0] - 1, 0), days.index[-1] + 1
        lowest = days["drawdown_pct"].idxmin()
        rows.append(
            {
                "high": coin["date"][before],
                "low": coin["date"][lowest],
                "recovered": coin["date"][after] if after < len(coin) else pd.NaT,
                "depth, %": round(days["drawdown_pct"].min(), 1),
                "days from high to low": (coin["date"][lowest] - coin["date"][before]).days,
            }
        )
    return pd.DataFrame(rows, columns=["high", "low", "recovered", "depth, %", "days from high to low"])


deepest = pd.concat({crypto_id: drawdowns(coin) for crypto_id, coin in daily.groupby("crypto_id")})
deepest.droplevel(1).rename_axis("crypto_id").sort_values("depth, %").head(10)

# %% [markdown]
# ## How sure is a volatility?
#
# A volatility is an estimate. Its 95% interval comes from a block bootstrap: blocks of 20 days in a row are drawn, so
# that clusters stay together. Intervals of coins that overlap do not mean that the coins are equal, since the coins
# move together; the interval of the ratio to the first coin draws the same days for both.


# %%
def block_rows(n: int, length: int, times: int, seed: int = 1) -> np.ndarray:
    """Return the row numbers of `times` samples of n rows, drawn in blocks; the first row follows the last one."""
    starts = np.random.default_rng(seed).integers(0, n, (times, -(-n // length)))
    return ((starts[..., None] + np.arange(length)) % n).reshape(times, -1)[:, :n]


complete = returns.dropna()
samples = complete.values[block_rows(len(complete), 20, 2_000)]
volatilities = samples.std(axis=1, ddof=1) * np.sqrt(DAYS_A_YEAR)
ratios = volatilities / volatilities[:, :1]
estimate = complete.std() * np.sqrt(DAYS_A_YEAR)
table = pd.DataFrame({"volatility": estimate, f"ratio to {ids[0]}": estimate / estimate.iloc[0]})
for name, values in (("volatility", volatilities), (f"ratio to {ids[0]}", ratios)):
    for share in (2.5, 97.5):
        table[f"{name}, {share}%"] = np.percentile(values, share, axis=0)
print(f"{len(complete):,} days on which each coin has a return")
table[sorted(table.columns)].round(3)

# %% [markdown]
# ## What this study does not show
#
# * The coins were chosen by their market capitalization of today. Coins that failed are not among them, so past
#   losses of "a large coin" were larger than these.
# * Volatility is not constant. An interval describes the loaded time, not the next year.
# * In the demo the market is simulated: its clusters and tails are those of the simulator.
