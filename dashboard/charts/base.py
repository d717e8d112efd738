"""Shared by the figures of all pages: palettes, the blank figure, axes, rolling correlations.

A figure draws what it is given, breaks lines where data is missing, and has UTC axes. Hover numbers use the axis'
`hoverformat`: a format inside a template writes a hyphen for a minus. Figures are SVG: WebGL is slower without a
graphics card, and browsers allow only about eight WebGL charts per page. No SQL, widgets or captions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
        return Palette(up, down, "#E8EAED", "#9AA0A8", "#2B2F36", "#14161A", 0.4, LINES_DARK)
    return Palette(up, down, "#1B1F24", "#636B75", "#E6E9ED", "#FFFFFF", 0.62, LINES_LIGHT)


def faded(color: str, opacity: float) -> str:
    """Return a #RRGGBB color with an opacity as a CSS color."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


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
    figure.update_xaxes(gridcolor=colors.grid, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=colors.grid, zeroline=False, automargin=True)
    return figure


def diverging(colors: Palette, strength: float = 1.0) -> list[list[object]]:
    """Return a color scale from down through gray to up; a `strength` below 1 keeps text on the ends readable."""
    middle = "#E9EBEE" if colors.surface == "#FFFFFF" else "#343941"
    return [[0, mixed(colors.down, middle, strength)], [0.5, middle], [1, mixed(colors.up, middle, strength)]]


def mixed(color: str, ground: str, share: float) -> str:
    """Return `share` of one #RRGGBB color mixed with another."""
    channels = ((int(color[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(share * top + (1 - share) * below):02X}" for top, below in channels)


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


def single_value_range(values: pd.Series) -> dict[str, object] | None:
    """Return the autorange options of an axis whose values are all equal: Plotly would add 1 on both sides."""
    known = values[np.isfinite(values.astype(float))]
    if known.empty or known.min() != known.max() or known.iloc[0] == 0:
        return None
    return {"include": [float(known.iloc[0]) * 0.9, float(known.iloc[0]) * 1.1]}


def correlation_lines(lines: dict[str, pd.Series], colors: Palette) -> go.Figure:
    """Return rolling correlations on a fixed scale from −1 to 1; keys are names, indexes are days."""
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
    figure.update_yaxes(range=[-1.05, 1.05], side="right", hoverformat=".2f")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure
