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
# # Sentiment and returns
#
# Does the Fear & Greed index say something about bitcoin's return afterwards? The question is asked often and
# answered badly: with overlapping weeks as if they were independent, with one test chosen out of many, and without an
# interval. This notebook names every test before it computes one, corrects for their number, and says what the data
# cannot show.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

import tickmart as tm

pio.templates.default = "plotly_white"
pd.set_option("display.max_colwidth", None)
source = tm.connect()

# %% [markdown]
# ## Data
#
# `sentiment()` has one row for each day of the index, with bitcoin's returns from that day's close. Days without a
# bar of bitcoin cannot be used. The index of a day is published at its start, so its close is later than the index:
# nobody needs to know the future to compute these pairs. Pairs with a missing value are left out.

# %%
definitions = tm.metrics().to_pandas()
definitions[definitions["mart"] == "fct_sentiment_daily"].set_index("column")["definition"].to_frame()

# %%
index = tm.sentiment().to_pandas().set_index("date").asfreq("D")
known = index[index["btc_return_next_day_pct"].notna() & index["value"].notna()]
if len(known) < 20:
    raise SystemExit(f"{len(known)} days have both an index value and a bar of bitcoin after them: load more history.")
index = index.loc[known.index[0] : known.index[-1]]
print(f"{len(known):,} of {len(index):,} days, {index.index[0]:%Y-%m-%d} to {index.index[-1]:%Y-%m-%d}, are complete")
if len(known) < 365:
    print("Less than a year: read the intervals below as an exercise. One season is no evidence.")

# %%
figure = go.Figure()
figure.add_scatter(x=index.index, y=index["btc_close"], name="bitcoin (USDT)", yaxis="y2", line_color="lightgray")
figure.add_scatter(x=index.index, y=index["value"], name="Fear & Greed index")
figure.update_layout(
    title="Fear & Greed index and bitcoin's close",
    yaxis={"title": "index", "overlaying": "y2", "range": [0, 100], "tickmode": "linear", "dtick": 25},
    yaxis2={"title": "USDT", "side": "right", "showgrid": False},
)
figure

# %% [markdown]
# ## The tests, named in advance
#
# Three predictors, each with the return of the next day and of the next week: six tests.

# %%
predictors = {"value": "level", "change_1d": "change over a day", "change_7d": "change over a week"}
outcomes = {"btc_return_next_day_pct": "next day", "btc_return_next_week_pct": "next week"}
tests = [(predictor, outcome) for predictor in predictors for outcome in outcomes]
tests

# %% [markdown]
# ## Why a plain t-test is wrong here
#
# The index of today is close to that of yesterday, and the week after today shares six days with the week after
# tomorrow. n overlapping weeks are far fewer than n independent cases. The autocorrelation of each series shows it:


# %%
def autocorrelation(values: pd.Series, lags: int) -> list[float]:
    """Return the correlation of a series with itself, 1 to `lags` days before."""
    return [values.corr(values.shift(lag)) for lag in range(1, lags + 1)]


figure = go.Figure()
for name in (*predictors, *outcomes):
    figure.add_scatter(x=list(range(1, 31)), y=autocorrelation(index[name], 30), name=name)
figure.update_layout(title="Autocorrelation", xaxis_title="lag (days)", yaxis_title="correlation")
figure

# %% [markdown]
# ## Estimates, intervals and p-values
#
# * **Estimate:** Spearman's rank correlation, which one extreme day cannot dominate.
# * **Interval:** circular block bootstrap. Blocks of days in a row are drawn, each at least two weeks long, and as
#   long as the autocorrelation of the predictor is 0.2 or more. With fewer than about 20 blocks the interval is too
#   narrow; then the p-value is the better guide.
# * **p-value:** the index is shifted against the returns by each possible number of days that is not small. A shift
#   destroys the relation and keeps the autocorrelation of both. The p-value is the share of shifts whose correlation
#   is at least as large in size. Its smallest possible value is 1/(shifts + 1).
# * **Six tests:** Holm's correction. Without it, six tests of nothing find something with a probability of 1 − 0.95⁶
#   = 26%.


# %%
def block_rows(n: int, length: int, times: int, seed: int = 1) -> np.ndarray:
    """Return the row numbers of `times` samples of n rows, drawn in blocks; the first row follows the last one."""
    starts = np.random.default_rng(seed).integers(0, n, (times, -(-n // length)))
    return ((starts[..., None] + np.arange(length)) % n).reshape(times, -1)[:, :n]


def block_length(values: pd.Series, least: int = 14, most: int = 90) -> int:
    """Return the first lag with an autocorrelation below 0.2, within limits and a fifth of the series."""
    lag = next((lag for lag, r in enumerate(autocorrelation(values, most), 1) if not r >= 0.2), most)
    return max(1, min(max(lag, least), len(values) // 5))


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the correlation of each row of x with the same row of y."""
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    return (x * y).sum(axis=-1) / np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))


# %%
def study(predictor: str, outcome: str) -> dict[str, object]:
    """Return the estimate, its interval and its p-value for one test."""
    pairs = index[[predictor, outcome]].dropna()
    x, y = (pairs[name].rank().to_numpy() for name in (predictor, outcome))
    n, length = len(pairs), block_length(pairs[predictor])
    rows = block_rows(n, length, 2_000)
    estimate = correlations(x, y)
    low, high = np.nanquantile(correlations(x[rows], y[rows]), [0.025, 0.975])
    shifts = np.arange(length, n - length)
    shifted = np.array([correlations(np.roll(x, shift), y) for shift in shifts])
    p = (1 + np.sum(np.abs(shifted) >= abs(estimate))) / (1 + len(shifts))
    return {
        "predictor": predictors[predictor],
        "return": outcomes[outcome],
        "n": n,
        "block, days": length,
        "blocks": n // length,
        "correlation": estimate,
        "2.5%": low,
        "97.5%": high,
        "p": p,
    }


results = pd.DataFrame([study(*test) for test in tests])
order = results["p"].argsort()
adjusted = np.maximum.accumulate(results["p"].to_numpy()[order] * (len(tests) - np.arange(len(tests))))
results.loc[order, "p, Holm"] = np.minimum(adjusted, 1)
results.round(3)

# %%
found = results[results["p, Holm"] < 0.05]
print(f"{len(found)} of {len(results)} tests are below 0.05 after the correction")
for row in found.to_dict("records"):
    explained = row["correlation"] ** 2
    print(f"{row['predictor']}, {row['return']}: explains about {explained:.1%} of the variation of ranks")

# %%
estimates = results["correlation"]
labels = results["predictor"] + ", " + results["return"]
figure = go.Figure(
    go.Scatter(
        x=estimates,
        y=labels,
        mode="markers",
        error_x={"array": results["97.5%"] - estimates, "arrayminus": estimates - results["2.5%"]},
    )
)
figure.add_vline(x=0, line_dash="dot")
figure.update_layout(
    title="Rank correlation with bitcoin's later return, 95% block bootstrap", xaxis_title="correlation"
)
figure

# %% [markdown]
# ## Returns after each class
#
# The popular form of the question: what came after days of "Extreme Fear"? Beside the number of days stands the
# number of episodes: runs of days in a row with the class. Ten days in a row are close to one case, not to ten. A
# class with few episodes has no usable interval, however many days it has.


# %%
def mean_interval(outcome: str, chosen: np.ndarray, length: int) -> tuple[float, float]:
    """Return the 95% block bootstrap interval of the mean outcome of the chosen days."""
    values = index[outcome].where(chosen).to_numpy()
    means = pd.DataFrame(values[block_rows(len(values), length, 2_000)]).mean(axis=1)
    return float(means.quantile(0.025)), float(means.quantile(0.975))


classes = index.dropna(subset=["classification"]).groupby("classification")["value"].mean().sort_values().index
rows = []
for outcome, label in outcomes.items():
    for name in classes:
        chosen = ((index["classification"] == name) & index[outcome].notna()).to_numpy()
        low, high = mean_interval(outcome, chosen, block_length(index["value"]))
        episodes = int((chosen & ~np.r_[False, chosen[:-1]]).sum())
        rows.append((label, name, chosen.sum(), episodes, index[outcome][chosen].mean(), low, high))
columns = ["return", "class", "days", "episodes", "mean, %", "2.5%", "97.5%"]
pd.DataFrame(rows, columns=columns).set_index(["return", "class"]).round(2)

# %% [markdown]
# ## What the data cannot show
#
# * **Cause.** The index is computed from volatility, momentum, volume, social media and dominance. A large part of it
#   is bitcoin's own past price. A relation with later returns may be a relation of the price with itself.
# * **A rule for trading.** A correlation has no costs, no size and no risk. The notebook `backtest_export` tests a
#   rule.
# * **No relation.** An interval that contains 0 is compatible with every correlation inside it, not only with 0.
# * **Other times.** The intervals assume that the time which is loaded is typical. One bull or bear market dominates
#   it.
# * **The index as it was.** alternative.me sends one history. Whether it was changed afterwards cannot be seen in it;
#   what tickmart has loaded from day to day, it knows.
# * **Anything in the demo.** There the index is simulated, and so is its relation to the price.
