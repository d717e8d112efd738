"""Figures of the News page: price, sentiment and number of headlines on one time axis; lead and lag."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import FIT, HOVER_DAY, Palette, axis_colors, blank, faded, fit_prices, lag_bars
from dashboard.text import label

UNUSUAL_Z = 2


def price_sentiment_count(days: pd.DataFrame, coin: str, colors: Palette) -> go.Figure:
    """Return close, mean sentiment with its 7-day mean, and number of headlines; unusual numbers are highlighted."""
    figure = blank(colors, 560, hovermode="x unified", hoversubplots="axis", dragmode="zoom", showlegend=False)
    figure.add_scatter(
        x=days["date"], y=days["close"], name=label(coin), meta=FIT, connectgaps=False,
        line={"color": colors.text, "width": 1.4}, hovertemplate="$%{y:,.6~g}",
    )  # fmt: skip
    mean = days["mean_compound"].astype(float)
    figure.add_bar(
        x=days["date"], y=mean, yaxis="y2", name="Sentiment",
        marker={"color": np.where(mean >= 0, faded(colors.up, 0.55), faded(colors.down, 0.55)), "line_width": 0},
        hovertemplate="%{y:+.2f}",
    )  # fmt: skip
    figure.add_scatter(
        x=days["date"], y=mean.rolling(7, min_periods=4).mean(), yaxis="y2", name="7-day mean", connectgaps=False,
        line={"color": colors.lines[0], "width": 1.8}, hovertemplate="%{y:+.2f}",
    )  # fmt: skip
    unusual = days["count_z_90d"].abs() > UNUSUAL_Z
    figure.add_bar(
        x=days["date"], y=days["headline_count"], yaxis="y3", name="Headlines",
        marker={"color": np.where(unusual, colors.up, faded(colors.muted, 0.45)), "line_width": 0},
        customdata=days["count_z_90d"].map(formats.ratio), hovertemplate="%{y}, z %{customdata}",
    )  # fmt: skip
    axis = {"side": "right", "fixedrange": True}
    figure.update_yaxes(domain=[0.58, 1], tickformat=",.6~r", **axis)
    fit_prices(figure)
    limit = max(0.2, float(mean.abs().max()) * 1.1) if mean.notna().any() else 0.2
    figure.update_layout(
        bargap=0.1,
        yaxis2={"domain": [0.28, 0.52], "range": [-limit, limit], "zeroline": True, "zerolinecolor": colors.muted,
                **axis, **axis_colors(colors)},
        yaxis3={"domain": [0, 0.22], "rangemode": "tozero", "zeroline": False, **axis, **axis_colors(colors)},
    )  # fmt: skip
    figure.update_xaxes(anchor="y3", hoverformat=HOVER_DAY, showspikes=True, spikemode="across", spikethickness=1)
    names = ((f"{coin}, close (USDT)", 1.0), ("Mean sentiment", 0.52), ("Headlines per day", 0.22))
    for name, y in names:
        figure.add_annotation(
            text=label(name), x=0, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            font={"color": colors.text, "size": 13}, bgcolor=faded(colors.surface, 0.75),
        )  # fmt: skip
    return figure


def lead_lag_bars(lags: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return the correlation at each lag in days with its 95% band; correlations outside are highlighted."""
    figure = lag_bars(lags, colors, 320)
    largest = lags[["correlation", "band"]].abs().max().max()
    limit = max(0.1, 1.15 * float(largest)) if pd.notna(largest) else 0.1
    figure.update_yaxes(range=[-limit, limit])
    figure.update_xaxes(title="Lag (days, >0: sentiment first)", dtick=1, range=[-7.6, 7.6])
    return figure
