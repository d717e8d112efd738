"""Figures of the On-chain page: two panes, scatter with fit, lead and lag, fee rates, hours of the week, ranges."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis.onchain import Fit
from dashboard.charts.base import (
    CELL_FONT_PX,
    HOVER_DAY,
    HOVER_TIME,
    Palette,
    axis_colors,
    blank,
    diverging,
    faded,
    lag_bars,
)
from dashboard.text import label

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def two_panes(
    history: pd.DataFrame, columns: tuple[str, str], names: tuple[str, str], colors: Palette, log: bool
) -> go.Figure:
    """Return two series above each other on one time axis (date or started_at); each has a scale of its own."""
    time = "date" if "date" in history else "started_at"
    figure = blank(colors, 460, hovermode="x unified", hoversubplots="axis", dragmode="zoom", showlegend=False)
    shades = (colors.up, colors.lines[0])
    for number, (column, name) in enumerate(zip(columns, names, strict=True)):
        values = history[column].astype(float)
        figure.add_scatter(
            x=history[time],
            y=values.where(values > 0) if log else values,
            yaxis=("y", "y2")[number],
            name=label(name),
            connectgaps=False,
            line={"color": shades[number], "width": 1.3},
            customdata=values.map(formats.amount),
            hovertemplate="%{customdata}",
        )
    scale = {"type": "log", "dtick": 1} if log else {"rangemode": "tozero"}
    axis = {"side": "right", "exponentformat": "B", "fixedrange": True, **scale}
    figure.update_yaxes(domain=[0.52, 1], **axis)
    figure.update_layout(yaxis2={"domain": [0, 0.45], **axis, **axis_colors(colors), "zeroline": False})
    figure.update_xaxes(
        anchor="y2",
        hoverformat=HOVER_DAY if time == "date" else HOVER_TIME,
        showspikes=True,
        spikemode="across",
        spikethickness=1,
    )
    for name, y in zip(names, (1.0, 0.45), strict=True):
        figure.add_annotation(
            text=label(name), x=0, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            font={"color": colors.text, "size": 13}, bgcolor=faded(colors.surface, 0.75),
        )  # fmt: skip
    return figure


def scatter(
    changes: pd.DataFrame,
    line: Fit | None,
    names: tuple[str, str],
    colors: Palette,
    unit: str = "log change in a week",
    hover: str = HOVER_DAY,
) -> go.Figure:
    """Return both series (chain, market) as points, newer ones stronger, with the fitted line."""
    figure = blank(colors, 360, showlegend=False)
    age = np.linspace(0.25, 0.75, len(changes)) if len(changes) else []
    figure.add_scatter(
        x=changes["chain"].round(4),
        y=changes["market"].round(4),
        mode="markers",
        marker={"size": 5, "color": colors.up, "opacity": age, "line_width": 0},
        customdata=changes["date"].dt.strftime(hover),
        hovertemplate="%{customdata}: %{x}, %{y}<extra></extra>",
    )
    if line is not None:
        ends = np.array([changes["chain"].min(), changes["chain"].max()])
        figure.add_scatter(
            x=ends,
            y=line.intercept + line.slope * ends,
            mode="lines",
            line={"color": colors.text, "width": 2},
            hoverinfo="skip",
        )
    limits = [_middle(changes[column]) for column in ("chain", "market")]
    axis = {"zeroline": True, "zerolinecolor": colors.muted, "hoverformat": "+.2f"}
    figure.update_xaxes(title=f"{label(names[0])}, {unit}", range=limits[0], **axis)
    figure.update_yaxes(
        title=f"{label(names[1])}, {unit.removesuffix(' in a week')}", side="right", range=limits[1], **axis
    )
    return figure


def _middle(values: pd.Series) -> list[float] | None:
    """Return a range around 0 with 99.5% of the values, so that one outlier does not hide the others."""
    if values.empty:
        return None
    limit = max(float(values.abs().quantile(0.995)) * 1.1, 1e-6)
    return [-limit, limit]


def lead_lag_bars(lags: pd.DataFrame, names: tuple[str, str], colors: Palette) -> go.Figure:
    """Return the correlation at each lag in days with its 95% band; correlations outside are highlighted."""
    figure = lag_bars(lags.rename(columns={"lag_days": "lag", "band_95": "band"}), colors, 320)
    largest = lags[["correlation", "band_95"]].abs().max().max()
    limit = max(0.1, 1.15 * float(largest)) if pd.notna(largest) else 0.1
    figure.update_yaxes(range=[-limit, limit])
    figure.update_xaxes(title=f"Lag (days, >0: {label(names[0]).lower()} first)", dtick=7, range=[-15.6, 15.6])
    return figure


def outside(lags: pd.DataFrame) -> pd.Series:
    """Return for each lag whether its correlation is outside the band."""
    return lags["correlation"].abs() > lags["band_95"]


def fee_rate_lines(spans: pd.DataFrame, colors: Palette, log: bool) -> go.Figure:
    """Return median and 90th percentile of the fee rate per span, in sat/vB."""
    figure = blank(colors, 320, hovermode="x unified", dragmode="zoom")
    for column, name, color in (
        ("p90_fee_rate", "90th percentile", colors.lines[0]),
        ("median_fee_rate", "median", colors.up),
    ):
        values = spans[column].astype(float)
        figure.add_scatter(
            x=spans["started_at"],
            y=values.where(values > 0) if log else values,
            name=name,
            connectgaps=False,
            line={"color": color, "width": 1.3},
            hovertemplate="%{y}",
        )
    scale = {"type": "log", "dtick": 1} if log else {"rangemode": "tozero"}
    figure.update_yaxes(title="sat/vB", side="right", hoverformat=",.1f", fixedrange=True, **scale)
    figure.update_xaxes(hoverformat=HOVER_TIME)
    return figure


def hour_of_week_heatmap(grid: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return weekday by UTC hour, in percent above or below the mean of the week."""
    figure = blank(colors, 240)
    limit = float(np.nanmax(np.abs(grid.to_numpy()))) if grid.notna().to_numpy().any() else 1.0
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=[f"{hour:02}" for hour in grid.columns],
        y=list(WEEKDAYS),
        zmid=0,
        zmin=-(limit or 1.0),
        zmax=limit or 1.0,
        colorscale=diverging(colors),
        colorbar={"ticksuffix": "%", "thickness": 10, "tickfont": {"color": colors.muted, "size": CELL_FONT_PX}},
        xgap=1,
        ygap=1,
        hoverongaps=False,
        customdata=[[formats.change(cell, 1) for cell in row] for row in grid.to_numpy()],
        hovertemplate="%{y} %{x}:00 UTC: %{customdata}<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, type="category", tickvals=["00", "06", "12", "18"], title="hour (UTC)")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure


def range_bars(ranges: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return for each range its share of all transactions and of all gross output, in percent."""
    figure = blank(colors, 90 + 38 * max(len(ranges), 3), barmode="group", bargap=0.25)
    for column, name, color in (
        ("transactions_pct", "share of transactions", colors.up),
        ("output_pct", "share of gross output", colors.lines[0]),
    ):
        figure.add_bar(
            x=ranges[column],
            y=ranges["label"].map(label),
            orientation="h",
            name=name,
            marker={"color": color, "line_width": 0},
            customdata=ranges[["transaction_count", "output_btc"]].map(formats.amount),
            hovertemplate="%{y}: %{x}<br>%{customdata[0]} transactions, %{customdata[1]} BTC<extra>"
            + name
            + "</extra>",
        )
    figure.update_xaxes(ticksuffix="%", hoverformat=".1f", rangemode="tozero")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure
