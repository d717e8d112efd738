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
# # Backtest-ready export
#
# A backtest can only be as honest as its data. This notebook exports hourly bars, checks the files, makes gaps
# explicit, and shows how a rule is tested without look-ahead: with nothing that was not known when a decision was
# made.
#
# It calls the command `tickmart`, so `.venv/bin` must be in `PATH` and `TICKMART_HOME` must be that of the database.

# %%
import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

import tickmart as tm

pio.templates.default = "plotly_white"
source = tm.connect()
target = Path("exports/backtest")

# %% [markdown]
# ## Export
#
# `keep` leaves missing hours out. `null` writes empty rows, `ffill` repeats the close before. `ffill` invents hours
# in which nothing could be traded: do not test with it.

# %%
coins = tm.coins().to_pandas()
coin = coins[coins["first_bar_at"].notna()].iloc[0]
crypto_id = coin["crypto_id"]
start = max(coin["first_bar_at"], coin["last_bar_at"] - pd.Timedelta(days=365)).date().isoformat()
options = ["--format", "parquet", "--coin", crypto_id, "--start", start, "--gaps", "keep"]
done = subprocess.run(["tickmart", "export", *options, target], check=True, capture_output=True, text=True)
print(done.stdout)

# %% [markdown]
# ## Check the files
#
# The manifest has the rows and the SHA-256 of each file. Keep it beside the results: it says on which bytes a test
# ran.

# %%
manifest = json.loads((target / "manifest.json").read_text())
for entry in manifest["files"]:
    entry["intact"] = hashlib.sha256((target / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
assert all(entry["intact"] for entry in manifest["files"])
print("newest bar:", manifest["watermark"])
pd.DataFrame(manifest["files"])

# %%
bars = pd.read_parquet(target / "bars-1h.parquet").set_index("opened_at")
bars[["open", "high", "low", "close", "volume", "vwap"]].tail(3)

# %% [markdown]
# ## Gaps
#
# `gaps.csv` lists each range of missing bars with its reason. `exchange_halt`: nothing was traded, so a backtest must
# not trade then. `missing_locally`: the exchange has bars that are not loaded; load them before you test.

# %%
gaps = pd.read_csv(target / "gaps.csv", parse_dates=["gap_start", "gap_end"])
gaps.groupby("reason")["bars"].agg(["count", "sum"])

# %% [markdown]
# Rows are put on every hour, so that a shift by one row is a shift by one hour.

# %%
bars = bars.asfreq("h")
tradable = bars["close"].notna()
print(f"{len(bars):,} hours, {int((~tradable).sum()):,} of them without a bar; gaps.csv lists {gaps['bars'].sum():,}")
assert int((~tradable).sum()) == gaps["bars"].sum()

# %% [markdown]
# ## The rule
#
# A simple one, to show the method and not to make money: own the coin while the mean close of the last day is above
# that of the last week. A mean needs most of its hours; with too many missing ones there is no signal.


# %%
def signal(close: pd.Series) -> pd.Series:
    """Return 1 where the rule wants to own the coin and 0 where not, from closes up to the same row."""
    fast, slow = close.rolling(24, min_periods=20).mean(), close.rolling(168, min_periods=140).mean()
    return (fast > slow).astype(float).where(fast.notna() & slow.notna(), 0.0)


wanted = signal(bars["close"])

# %% [markdown]
# **Does the signal look ahead?** Compute it again from the bars up to some hour only. The last value must be that of
# the complete series. This catches centered windows, means over all rows and fills from the right.

# %%
generator = np.random.default_rng(1)
for row in generator.integers(200, len(bars), 50) if len(bars) > 200 else []:
    known = bars["close"].iloc[: row + 1]
    assert signal(known).iloc[-1] == wanted.iloc[row]
print("no signal of the compared hours changed without the hours after it")

# %% [markdown]
# ## Execution
#
# A bar that opens at t closes at t + 1 h. Its close, and so its signal, is known then. The first price that can be
# traded is the open of the bar after it. If that hour has no bar, the order waits.
#
# Each change of the position costs 0.1%, the order of magnitude of an exchange's fee. Slippage comes on top.

# %%
FEE = 0.001


def apply_rule(wanted: pd.Series, delay: int) -> pd.DataFrame:
    """Return position and return of each hour, from open to next open, with signals that act `delay` rows later."""
    position = wanted.shift(delay).where(tradable).ffill().fillna(0)
    opens = bars["open"].bfill()  # the position stays over a gap, whose return counts in the hour before it
    market = (opens.shift(-1) / opens - 1).fillna(0)
    fees = position.diff().abs().fillna(position) * FEE
    return pd.DataFrame({"position": position, "market": market, "rule": position * market - fees})


honest = apply_rule(wanted, delay=1)

# %% [markdown]
# ## What look-ahead is worth
#
# The same rule with the signal acting in the hour from which it was computed, and a cheat that owns the coin in each
# hour that will close above its open. Neither could be traded. If a backtest of yours resembles the last one, look
# for the mistake first.

# %%
cheat = (bars["close"] > bars["open"]).astype(float)
variants = {
    "buy and hold": honest["market"],
    "rule, next open": honest["rule"],
    "rule, same hour (look-ahead)": apply_rule(wanted, delay=0)["rule"],
    "knows the hour's close (look-ahead)": apply_rule(cheat, delay=0)["rule"],
}
figure = go.Figure()
for name, returns in variants.items():
    figure.add_scatter(x=bars.index, y=(1 + returns).cumprod(), name=name)
figure.update_layout(title=f"{crypto_id}: value of 1 USDT", yaxis={"type": "log", "title": "USDT"})
figure


# %%
def summary(returns: pd.Series) -> dict[str, float]:
    """Return total return, volatility and drawdown of hourly returns."""
    value = (1 + returns).cumprod()
    return {
        "return, %": 100 * (value.iloc[-1] - 1),
        "volatility a year": returns.std() * np.sqrt(24 * 365),
        "worst drawdown, %": 100 * (value / value.cummax() - 1).min(),
    }


pd.DataFrame({name: summary(returns) for name, returns in variants.items()}).T.round(2)

# %% [markdown]
# ## Corrected data is look-ahead, too
#
# Exchanges correct bars, and bars arrive late. With `as_of=` the client returns the bars as this database knew them
# at a moment, and `known_at` says when each value was loaded. History that was backfilled is known since the
# backfill: before that, an as-of read is empty. It becomes useful with the age of your database.

# %%
as_known = tm.bars(crypto_id, as_of=pd.Timestamp.now("UTC"), start=start, columns=["close", "known_at"]).to_pandas()
delay = as_known["known_at"] - (as_known["opened_at"] + pd.Timedelta(hours=1))
print(f"{len(as_known):,} bars, first loaded {as_known['known_at'].min():%Y-%m-%d %H:%M}")
print(f"{(delay <= pd.Timedelta(hours=2)).mean():.1%} of them were loaded within two hours of their close")

# %% [markdown]
# ## Before you believe a backtest
#
# * One rule on one coin in one year is one observation. The more rules you try, the better the best one looks by
#   chance.
# * The coin was chosen because it is large today. Coins that vanished are not in the list.
# * Orders at the open assume that your size does not move the price. Compare it with `quote_volume` of the hour.
