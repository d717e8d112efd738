"""Figures of the On-chain page: activity in two panes, scatter with fit, lead and lag, fees."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis.onchain import Fit
from dashboard.charts.base import HOVER_DAY, Palette, axis_colors, blank, faded, lag_bars
from dashboard.text import label


def two_panes(
    history: pd.DataFrame, columns: tuple[str, str], names: tuple[str, str], colors: Palette, log: bool
) -> go.Figure:
    """Return two daily series above each other on one time axis; each has a scale of its own."""
    figure = blank(colors, 460, hovermode="x unified", hoversubplots="axis", dragmode="zoom", showlegend=False)
    shades = (colors.up, colors.lines[0])
    for number, (column, name) in enumerate(zip(columns, names, strict=True)):
        values = history[column].astype(float)
        figure.add_scatter(
            x=history["date"],
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
    figure.update_xaxes(anchor="y2", hoverformat=HOVER_DAY, showspikes=True, spikemode="across", spikethickness=1)
    for name, y in zip(names, (1.0, 0.45), strict=True):
        figure.add_annotation(
            text=label(name), x=0, y=y, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            font={"color": colors.text, "size": 13}, bgcolor=faded(colors.surface, 0.75),
        )  # fmt: skip
    return figure


def scatter(changes: pd.DataFrame, line: Fit | None, names: tuple[str, str], colors: Palette) -> go.Figure:
    """Return the weekly log changes of both series, one point per day, newer days stronger, with the fitted line."""
    figure = blank(colors, 360, showlegend=False)
    age = np.linspace(0.25, 0.75, len(changes)) if len(changes) else []
    figure.add_scatter(
        x=changes["chain"].round(4),
        y=changes["market"].round(4),
        mode="markers",
        marker={"size": 5, "color": colors.up, "opacity": age, "line_width": 0},
        customdata=changes["date"].dt.strftime(HOVER_DAY),
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
    figure.update_xaxes(title=f"{label(names[0])}, log change in a week", range=limits[0], **axis)
    figure.update_yaxes(title=f"{label(names[1])}, log change", side="right", range=limits[1], **axis)
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
