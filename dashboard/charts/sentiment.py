"""Figures of the Sentiment page: the index now and through time, volume, leads and lags, what came after."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import HOVER_DAY, Palette, blank, faded
from dashboard.text import label

ZONES = ((0, 25, "Extreme Fear"), (25, 47, "Fear"), (47, 54, "Neutral"), (54, 76, "Greed"), (76, 100, "Extreme Greed"))


def zone_colours(colours: Palette) -> dict[str, str]:
    """Return a colour for each class of the Fear & Greed index, from down to up."""
    return {
        "Extreme Fear": colours.down,
        "Fear": faded(colours.down, 0.55),
        "Neutral": colours.muted,
        "Greed": faded(colours.up, 0.55),
        "Extreme Greed": colours.up,
    }


def fear_greed_gauge(value: float, yesterday: float | None, colours: Palette) -> go.Figure:
    """The index today on its scale of five zones, with yesterday's as the mark."""
    shades = zone_colours(colours)
    figure = blank(colours, 230)
    figure.add_indicator(
        mode="gauge+number",
        value=value,
        number={"font": {"size": 44, "color": colours.text}},
        gauge={
            "axis": {"range": [0, 100], "tickvals": [0, 25, 47, 54, 76, 100], "tickcolor": colours.muted},
            "bar": {"color": colours.text, "thickness": 0.18},
            "borderwidth": 0,
            "steps": [{"range": [low, high], "color": shades[name]} for low, high, name in ZONES],
            "threshold": None
            if formats.is_missing(yesterday)
            else {"line": {"color": colours.lines[0], "width": 4}, "thickness": 0.8, "value": yesterday},
        },
    )
    figure.update_layout(margin={"l": 24, "r": 24, "t": 24, "b": 8})
    return figure


def sentiment_history(sentiment: pd.DataFrame, colours: Palette) -> go.Figure:
    """Bitcoin's close above, on a log scale, and the index below, a bar per day in the colour of its class."""
    shades = zone_colours(colours)
    figure = blank(
        colours,
        480,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="pan",
        showlegend=False,
        bargap=0,
    )
    every_day = pd.date_range(sentiment["date"].min(), sentiment["date"].max(), name="date")
    known = sentiment.set_index("date").reindex(every_day).reset_index()
    figure.add_scatter(
        x=known["date"],
        y=known["btc_close"],
        name="Bitcoin",
        line={"color": colours.text, "width": 1.4},
        hovertemplate="$%{y:,.0f}",
        connectgaps=False,
    )
    figure.add_bar(
        x=known["date"],
        y=known["value"],
        yaxis="y2",
        name="Fear & Greed",
        customdata=known["classification"].fillna("").map(label),
        marker={"color": known["classification"].map(shades).fillna(colours.grid), "line_width": 0},
        hovertemplate="%{y} %{customdata}",
    )
    figure.update_yaxes(domain=[0.44, 1], side="right", type="log", tickformat=",.6~r")
    figure.update_layout(
        yaxis2={
            "domain": [0, 0.38],
            "side": "right",
            "range": [0, 100],
            "tickvals": [0, 25, 50, 75, 100],
            "gridcolor": colours.grid,
            "fixedrange": True,
        },
    )
    figure.update_xaxes(anchor="y2", hoverformat=HOVER_DAY, showspikes=True, spikemode="across", spikethickness=1)
    return figure


def volume_lines(trend: pd.DataFrame, colours: Palette) -> go.Figure:
    """Daily volume as bars, unusual days in full colour, with its 7- and 30-day means."""
    figure = blank(colours, 320, hovermode="x unified", bargap=0.1)
    unusual = trend["z"].abs() > 2
    figure.add_bar(
        x=trend["date"],
        y=trend["volume_usd"],
        name="volume",
        marker={"color": np.where(unusual, colours.up, faded(colours.muted, 0.35)), "line_width": 0},
        customdata=np.column_stack([trend["volume_usd"].map(formats.money), trend["z"].map(formats.ratio)]),
        hovertemplate="%{customdata[0]}, z %{customdata[1]}",
        showlegend=False,
    )
    for column, name, colour, dash in (("mean_7", "7-day mean", 0, "solid"), ("mean_30", "30-day mean", 1, "dash")):
        figure.add_scatter(
            x=trend["date"],
            y=trend[column],
            name=name,
            line={"color": colours.lines[colour], "width": 1.8, "dash": dash},
            customdata=trend[column].map(formats.money),
            hovertemplate="%{customdata}",
        )
    figure.update_yaxes(side="right", exponentformat="B", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def lead_lag_bars(lags: pd.DataFrame, colours: Palette) -> go.Figure:
    """Correlation at each lag in days, with the band that independent series would keep to."""
    figure = blank(colours, 300, showlegend=False)
    beyond = lags["correlation"].abs() > lags["band"]
    figure.add_scatter(
        x=[*lags["lag"], *lags["lag"][::-1]],
        y=[*lags["band"], *-lags["band"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colours.muted, 0.2),
        hoverinfo="skip",
    )
    figure.add_bar(
        x=lags["lag"],
        y=lags["correlation"],
        customdata=lags[["n", "band"]],
        marker={"color": np.where(beyond, colours.up, faded(colours.muted, 0.6)), "line_width": 0},
        hovertemplate="lag %{x} d: %{y}<br>n = %{customdata[0]}, band ± %{customdata[1]:.2f}<extra></extra>",
    )
    limit = max(0.3, float(lags["correlation"].abs().max() or 0) * 1.15) if lags["correlation"].notna().any() else 0.3
    figure.update_yaxes(
        range=[-limit, limit], side="right", zeroline=True, zerolinecolor=colours.muted, hoverformat=".2f"
    )
    # room for the labels at both ends, which a phone would leave out
    ends = [lags["lag"].min() - 1.6, lags["lag"].max() + 1.6] if len(lags) else None
    figure.update_xaxes(title="days by which the mood is ahead", dtick=7, range=ends)
    return figure


def forward_returns(returns: pd.DataFrame, classes: Sequence[str], colours: Palette) -> go.Figure:
    """Mean return after days of each class, with its 95% error, one mark per horizon; n stands in the axis labels."""
    figure = blank(colours, 330)
    shades = (colours.up, colours.lines[0])
    for number, (horizon, part) in enumerate(returns.groupby("horizon", sort=True)):
        rows = part.set_index("classification").reindex(classes)
        figure.add_scatter(
            x=[
                f"{name}<br>n = {formats.count(n)}" for name, n in zip(classes, _least_n(returns, classes), strict=True)
            ],
            y=rows["mean_return_pct"],
            name=str(horizon),
            mode="markers",
            marker={"size": 11, "symbol": ("circle", "diamond")[number % 2], "color": shades[number % 2]},
            error_y={"type": "data", "array": rows["mean_error_95_pct"], "thickness": 1.6},
            customdata=np.column_stack(
                [rows["n"], rows["median_return_pct"].map(formats.signed), rows["positive_pct"].map(formats.percent)]
            ),
            hovertemplate="mean %{y}, median %{customdata[1]}<br>%{customdata[2]} of %{customdata[0]} days rose",
        )
    figure.update_layout(scattermode="group")
    figure.update_yaxes(ticksuffix="%", hoverformat="+.2f", side="right", zeroline=True, zerolinecolor=colours.muted)
    figure.update_xaxes(showgrid=False)
    return figure


def index_against_forward(forward: pd.DataFrame, tens: pd.DataFrame, colours: Palette) -> go.Figure:
    """Each day by the index (x) and bitcoin's return after (y); by tens the median and the middle 80%."""
    figure = blank(colours, 360)
    figure.add_scatter(
        x=[*tens["middle"], *tens["middle"][::-1]],
        y=[*tens["high"], *tens["low"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colours.muted, 0.22),
        name="middle 80%",
        hoverinfo="skip",
    )
    shades = zone_colours(colours)
    figure.add_scatter(
        x=forward["value"],
        y=forward["forward_pct"].round(2),
        name="a day",
        mode="markers",
        marker={"size": 5, "opacity": 0.45, "color": forward["classification"].map(shades).fillna(colours.muted)},
        customdata=forward["date"].dt.strftime("%Y-%m-%d"),
        hovertemplate="%{customdata}: index %{x}, then %{y}<extra></extra>",
        showlegend=False,
    )
    figure.add_scatter(
        x=tens["middle"],
        y=tens["median"],
        name="median",
        mode="lines+markers",
        line={"color": colours.text, "width": 2},
        customdata=tens["n"],
        hovertemplate="median %{y}, n = %{customdata} days<extra></extra>",
    )
    figure.update_yaxes(ticksuffix="%", hoverformat="+.2f", side="right", zeroline=True, zerolinecolor=colours.muted)
    figure.update_xaxes(title="index", range=[0, 100], dtick=10)
    return figure


def _least_n(returns: pd.DataFrame, classes: Sequence[str]) -> list[float]:
    return returns.groupby("classification")["n"].min().reindex(classes).tolist()
