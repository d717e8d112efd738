"""Figures of the Sentiment page: current index, history, volume, lead/lag, forward returns."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import FIT, HOVER_DAY, Palette, axis_colors, blank, faded, fit_prices, lag_bars
from dashboard.text import label

ZONES = ((0, 25, "Extreme Fear"), (25, 47, "Fear"), (47, 54, "Neutral"), (54, 76, "Greed"), (76, 100, "Extreme Greed"))


def zone_colors(colors: Palette) -> dict[str, str]:
    """Return the color of each sentiment class."""
    return {
        "Extreme Fear": colors.down,
        "Fear": faded(colors.down, 0.55),
        "Neutral": colors.muted,
        "Greed": faded(colors.up, 0.55),
        "Extreme Greed": colors.up,
    }


def fear_greed_gauge(value: float, colors: Palette) -> go.Figure:
    """Return a gauge of the current index over its five classes."""
    shades = zone_colors(colors)
    figure = blank(colors, 230)
    figure.add_indicator(
        mode="gauge+number",
        value=value,
        number={"font": {"size": 44, "color": colors.text}},
        gauge={
            "axis": {"range": [0, 100], "tickvals": [0, 25, 47, 54, 76, 100], "tickcolor": colors.muted},
            "bar": {"thickness": 0},
            "borderwidth": 0,
            "steps": [{"range": [low, high], "color": shades[name]} for low, high, name in ZONES],
            "threshold": {"line": {"color": colors.text, "width": 5}, "thickness": 1, "value": value},
        },
    )
    figure.update_layout(margin={"l": 24, "r": 24, "t": 24, "b": 8})
    return figure


def sentiment_history(sentiment: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return bitcoin's close (log scale) above and the index below, one bar per day in the color of its class."""
    shades = zone_colors(colors)
    figure = blank(
        colors,
        480,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="zoom",
        showlegend=False,
        bargap=0,
    )
    every_day = pd.date_range(sentiment["date"].min(), sentiment["date"].max(), name="date")
    known = sentiment.set_index("date").reindex(every_day).reset_index()
    figure.add_scatter(
        x=known["date"],
        y=known["btc_close"],
        name="BTC",
        meta=FIT,
        line={"color": colors.text, "width": 1.4},
        hovertemplate="$%{y:,.0f}",
        connectgaps=False,
    )
    figure.add_bar(
        x=known["date"],
        y=known["value"],
        yaxis="y2",
        name="Fear & Greed",
        customdata=known["classification"].fillna("").map(label),
        marker={"color": known["classification"].map(shades).fillna(colors.grid), "line_width": 0},
        hovertemplate="%{y} %{customdata}",
    )
    figure.update_yaxes(domain=[0.44, 1], side="right", type="log", tickformat=",.6~r", fixedrange=True)
    fit_prices(figure)
    figure.update_layout(
        yaxis2={
            "domain": [0, 0.38],
            "side": "right",
            "range": [0, 100],
            "tickvals": [0, 25, 50, 75, 100],
            **axis_colors(colors),
            "fixedrange": True,
        },
    )
    figure.update_xaxes(anchor="y2", hoverformat=HOVER_DAY, showspikes=True, spikemode="across", spikethickness=1)
    return figure


def volume_lines(trend: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return daily volume with its 7- and 30-day means; days with |z| > 2 are highlighted."""
    figure = blank(colors, 320, hovermode="x unified", bargap=0.1)
    unusual = trend["z"].abs() > 2
    figure.add_bar(
        x=trend["date"],
        y=trend["volume_usd"],
        name="Volume",
        marker={"color": np.where(unusual, colors.up, faded(colors.muted, 0.35)), "line_width": 0},
        customdata=np.column_stack([trend["volume_usd"].map(formats.money), trend["z"].map(formats.ratio)]),
        hovertemplate="%{customdata[0]}, z %{customdata[1]}",
        showlegend=False,
    )
    for column, name, color, dash in (("mean_7", "7-day mean", 0, "solid"), ("mean_30", "30-day mean", 1, "dash")):
        figure.add_scatter(
            x=trend["date"],
            y=trend[column],
            name=name,
            line={"color": colors.lines[color], "width": 1.8, "dash": dash},
            customdata=trend[column].map(formats.money),
            hovertemplate="%{customdata}",
        )
    figure.update_yaxes(side="right", exponentformat="B", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def lead_lag_bars(lags: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return the correlation at each lag in days with the 95% band of independent series."""
    figure = lag_bars(lags, colors, 300)
    limit = max(0.3, float(lags["correlation"].abs().max() or 0) * 1.15) if lags["correlation"].notna().any() else 0.3
    figure.update_yaxes(range=[-limit, limit])
    # space for the first and last tick label, which phones would drop
    ends = [lags["lag"].min() - 1.6, lags["lag"].max() + 1.6] if len(lags) else None
    figure.update_xaxes(title="Lag (days, >0: sentiment leads)", dtick=7, range=ends)
    return figure


def forward_returns(returns: pd.DataFrame, classes: Sequence[str], colors: Palette) -> go.Figure:
    """Return mean forward returns per class and horizon with 95% errors; the axis labels show n."""
    figure = blank(colors, 330)
    shades = (colors.up, colors.lines[0])
    for number, (horizon, group) in enumerate(returns.groupby("horizon", sort=True)):
        rows = group.set_index("classification").reindex(classes)
        figure.add_scatter(
            x=[f"{name}<br>n = {formats.count(n)}" for name, n in zip(classes, _min_n(returns, classes), strict=True)],
            y=rows["mean_return_pct"],
            name=str(horizon),
            mode="markers",
            marker={"size": 11, "symbol": ("circle", "diamond")[number % 2], "color": shades[number % 2]},
            error_y={"type": "data", "array": rows["mean_error_95_pct"], "thickness": 1.6},
            customdata=np.column_stack(
                [rows["n"], rows["median_return_pct"].map(formats.signed), rows["positive_pct"].map(formats.percent)]
            ),
            hovertemplate="mean %{y}, median %{customdata[1]}<br>positive on %{customdata[2]} of %{customdata[0]} days",
        )
    figure.update_layout(scattermode="group")
    figure.update_yaxes(ticksuffix="%", hoverformat="+.2f", side="right", zeroline=True, zerolinecolor=colors.muted)
    figure.update_xaxes(showgrid=False)
    return figure


def index_and_forward_return(forward: pd.DataFrame, bins: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return index (x) and forward BTC return (y) per day, with median and middle 80% per 10-point bin."""
    figure = blank(colors, 360)
    figure.add_scatter(
        x=[*bins["middle"], *bins["middle"][::-1]],
        y=[*bins["high"], *bins["low"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colors.muted, 0.22),
        name="Middle 80%",
        hoverinfo="skip",
    )
    shades = zone_colors(colors)
    figure.add_scatter(
        x=forward["value"],
        y=forward["forward_pct"].round(2),
        name="Day",
        mode="markers",
        marker={"size": 5, "opacity": 0.45, "color": forward["classification"].map(shades).fillna(colors.muted)},
        customdata=forward["date"].dt.strftime("%Y-%m-%d"),
        hovertemplate="%{customdata}: index %{x}, forward return %{y}<extra></extra>",
        showlegend=False,
    )
    figure.add_scatter(
        x=bins["middle"],
        y=bins["median"],
        name="Median",
        mode="lines+markers",
        line={"color": colors.text, "width": 2},
        customdata=bins["n"],
        hovertemplate="median %{y}, n = %{customdata} days<extra></extra>",
    )
    figure.update_yaxes(ticksuffix="%", hoverformat="+.2f", side="right", zeroline=True, zerolinecolor=colors.muted)
    figure.update_xaxes(title="Fear & Greed Index", range=[0, 100], dtick=10)
    return figure


def _min_n(returns: pd.DataFrame, classes: Sequence[str]) -> list[float]:
    return returns.groupby("classification")["n"].min().reindex(classes).tolist()
