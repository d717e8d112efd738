"""Shared by the figures of all pages: palettes, the blank figure, axes, rolling correlations.

A figure draws what it is given, breaks lines where data is missing, and has UTC axes. Hover numbers use the axis'
`hoverformat`: a format inside a template writes a hyphen for a minus. Figures are SVG: WebGL is slower without a
graphics card, and browsers allow only about eight WebGL charts per page. No SQL, widgets or captions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import text

HOVER_TIME = "%Y-%m-%d %H:%M UTC"
HOVER_DAY = "%Y-%m-%d"
CELL_FONT_PX = 10  # in heat maps: twelve columns of four characters fit a phone; Plotly would choose 5
CONFIG = {"displayModeBar": False}
CONFIG_RANGE = {
    "scrollZoom": False,  # the wheel scrolls the page
    "doubleClick": "autosize",  # resets to the full data, even if the chart was drawn with a range of the URL
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "resetScale2d"],
}


@dataclass(frozen=True)
class Palette:
    """Colors by meaning for a light or dark background; text colors have a contrast of at least 4.5:1."""

    up: str
    down: str
    text: str
    muted: str
    grid: str
    surface: str
    cell: float  # maximum color strength behind a number, so that the number stays readable
    lines: tuple[str, ...]


LINES_LIGHT = ("#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#882255", "#7A6F00")
LINES_DARK = ("#F0B93A", "#E29AC4", "#2CC295", "#A5D8F7", "#D77AA5", "#D6C84A")
UP_DOWN = {
    "blue / orange": {"light": ("#0072B2", "#B84A00"), "dark": ("#56B4E9", "#FF9A57")},
    "green / red": {"light": ("#007A4D", "#C62828"), "dark": ("#3DD68C", "#FF7B72")},
    "red / green": {"light": ("#C62828", "#007A4D"), "dark": ("#FF7B72", "#3DD68C")},
}


def palette(mode: str = "light", pair: str = "blue / orange") -> Palette:
    """Return the palette of a light or dark page with one of the UP_DOWN pairs."""
    up, down = UP_DOWN[pair]["dark" if mode == "dark" else "light"]
    if mode == "dark":
        return Palette(up, down, "#E8EAED", "#9AA0A8", "#2B2F36", "#14161A", 0.37, LINES_DARK)
    return Palette(up, down, "#1B1F24", "#636B75", "#E6E9ED", "#FFFFFF", 0.62, LINES_LIGHT)


def faded(color: str, opacity: float) -> str:
    """Return a #RRGGBB color with an opacity as a CSS color."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def axis_colors(colors: Palette) -> dict[str, Any]:
    """Return the colors of an axis; Streamlit's own tick labels have a contrast of 3.7:1 only."""
    return {"gridcolor": colors.grid, "tickfont": {"color": colors.muted}}


def blank(colors: Palette, height: int, **layout: object) -> go.Figure:
    """Return an empty figure in the palette's colors: legend on top, thin grid, space for the labels."""
    figure = go.Figure()
    # phones always show the mode bar of a zoomable figure; the legend goes below it
    top = 8 if layout.get("dragmode") != "zoom" else 30 if layout.get("showlegend") is False else 56
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": top, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"namelength": -1},
        font={"color": colors.text},
        colorway=list(colors.lines),
        **layout,
    )
    figure.update_xaxes(zeroline=False, automargin=True, **axis_colors(colors))
    figure.update_yaxes(zeroline=False, automargin=True, **axis_colors(colors))
    return figure


def diverging(colors: Palette, strength: float = 1.0) -> list[list[object]]:
    """Return a color scale from down through gray to up; a `strength` below 1 keeps text on the ends readable."""
    middle = "#E9EBEE" if colors.surface == "#FFFFFF" else "#343941"
    return [[0, mixed(colors.down, middle, strength)], [0.5, middle], [1, mixed(colors.up, middle, strength)]]


def mixed(color: str, ground: str, share: float) -> str:
    """Return `share` of one #RRGGBB color mixed with another."""
    channels = ((int(color[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(share * top + (1 - share) * below):02X}" for top, below in channels)


def diverging_color(colors: Palette, share: float) -> str:
    """Return the color of the diverging scale at a share from -1 (down) to 1 (up)."""
    (_, low), (_, middle), (_, high) = diverging(colors)
    return mixed(str(high if share > 0 else low), str(middle), abs(share))


def luminance(color: str) -> float:
    """Return the relative luminance of a #RRGGBB color (WCAG 2.2)."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def text_on(color: str) -> str:
    """Return black or white, whichever has the larger contrast on a color: always at least 4.58:1."""
    return "#000000" if luminance(color) > math.sqrt(1.05 * 0.05) - 0.05 else "#FFFFFF"


def coin_axis(labels: Mapping[str, str]) -> dict[str, object]:
    """Return a category axis of crypto_ids that shows their labels, so that coins with equal tickers stay separate."""
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": list(labels),
        "ticktext": [text.label(shown) for shown in labels.values()],
    }


def labeled(coins: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """Return the escaped label of each row's coin, for a tooltip or legend."""
    return [text.label(labels[crypto_id]) for crypto_id in coins["crypto_id"]]


FIT = "fit"  # the meta of traces that the price axis is fitted to; overlays do not change it


def fit_prices(figure: go.Figure, since: object = None, until: object = None) -> None:
    """Fit the first y axis to the values of the FIT traces between two times (default: all), from 0 at the lowest."""
    lows, highs = [], []
    for trace in figure.data:
        if trace.meta != FIT or trace.x is None or not len(trace.x):
            continue
        times = pd.to_datetime(pd.Series(list(trace.x)), utc=True)
        visible = pd.Series(True, index=times.index)
        if since is not None:
            visible = times.between(pd.Timestamp(since, tz="UTC"), pd.Timestamp(until, tz="UTC"))
        candles = trace.type == "candlestick"
        lows.append(pd.Series(np.asarray(trace.low if candles else trace.y, dtype=float))[visible.to_numpy()])
        highs.append(pd.Series(np.asarray(trace.high if candles else trace.y, dtype=float))[visible.to_numpy()])
    low, high = (pd.concat(lows).min(), pd.concat(highs).max()) if lows else (np.nan, np.nan)
    log = figure.layout.yaxis.type == "log"
    if pd.isna(low) or (log and low <= 0):
        return
    if low == high:
        low, high = low * 0.9, (high * 1.1 if high else 1.0)
    if log:
        low, high = np.log10(low), np.log10(high)
    space = 0.05 * (high - low)
    bottom = low - space if log else max(0.0, low - space)
    figure.layout.yaxis.range = [float(bottom), float(high + space)]


def correlation_lines(lines: dict[str, pd.Series], colors: Palette) -> go.Figure:
    """Return rolling correlations; keys are names, indexes are days. The scale is symmetric around 0, at least ±0.3."""
    figure = blank(colors, 300, hovermode="x unified")
    styles = (("solid", 0), ("dash", 3), ("dot", 2), ("dashdot", 1))
    for (name, values), (dash, color) in zip(lines.items(), styles, strict=False):
        values = values.loc[values.first_valid_index() :]  # the first days have no complete window
        figure.add_scatter(
            x=values.index,
            y=values,
            name=text.label(name),
            connectgaps=False,
            hovertemplate="%{y}",
            line={"dash": dash, "color": colors.up if color == 3 else colors.lines[color], "width": 1.6},
        )
    figure.add_hline(y=0, line={"color": colors.muted, "width": 1})
    largest = max((float(values.abs().max()) for values in lines.values() if values.notna().any()), default=1.0)
    limit = min(1.05, max(0.3, 1.2 * largest))
    figure.update_yaxes(range=[-limit, limit], side="right", hoverformat=".2f")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def lag_bars(lags: pd.DataFrame, colors: Palette, height: int) -> go.Figure:
    """Return bars of correlations by lag in days, those outside the band highlighted (lag, correlation, n, band)."""
    figure = blank(colors, height, showlegend=False)
    figure.add_scatter(
        x=[*lags["lag"], *lags["lag"][::-1]],
        y=[*lags["band"], *-lags["band"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colors.muted, 0.2),
        hoverinfo="skip",
    )
    beyond = lags["correlation"].abs() > lags["band"]
    figure.add_bar(
        x=lags["lag"],
        y=lags["correlation"],
        customdata=lags[["n", "band"]],
        marker={"color": np.where(beyond, colors.up, faded(colors.muted, 0.6)), "line_width": 0},
        hovertemplate="lag %{x} d: %{y}<br>n = %{customdata[0]}, band ± %{customdata[1]:.2f}<extra></extra>",
    )
    figure.update_yaxes(side="right", zeroline=True, zerolinecolor=colors.muted, hoverformat=".2f")
    return figure
