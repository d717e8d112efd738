"""What the figures of all pages share: colours by meaning, the blank figure, and one that two pages draw.

Belongs here: what more than one page's module in this folder uses. A figure is a pure function from DataFrames to a
plotly figure: it draws what it is given, breaks its lines where data is missing, and its axes are UTC. A hover gives
its numbers by the axis' `hoverformat`, not by a format of the template, which writes a hyphen for a minus. Figures stay
SVG: WebGL is slower without a graphics card, and browsers allow only some eight WebGL charts on a page. SQL, widgets
and captions are none of a figure's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import text

HOVER_TIME = "%Y-%m-%d %H:%M UTC"
HOVER_DAY = "%Y-%m-%d"
CELL_FONT = 10  # px in the cells of heat maps: twelve columns of four characters fit a phone; Plotly's own choice is 5
CONFIG = {"displayModeBar": False}
CONFIG_ZOOM = {
    "scrollZoom": True,
    "doubleClick": "autosize",  # all of it, also where the drawing began with a zoom that the address told
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "resetScale2d", "zoom2d", "pan2d"],
}


@dataclass(frozen=True)
class Palette:
    """Colours by meaning, for one background; contrast at least 4.5:1 where they are text."""

    up: str
    down: str
    text: str
    muted: str
    grid: str
    surface: str
    cell: float  # strongest share of a colour under a number, so that the number keeps its contrast
    lines: tuple[str, ...]


LINES_LIGHT = ("#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#882255", "#7A6F00")
LINES_DARK = ("#F0B93A", "#E29AC4", "#2CC295", "#A5D8F7", "#D77AA5", "#D6C84A")
UP_DOWN = {
    "blue / orange": {"light": ("#0072B2", "#B84A00"), "dark": ("#56B4E9", "#FF9A57")},
    "green / red": {"light": ("#007A4D", "#C62828"), "dark": ("#3DD68C", "#FF7B72")},
    "red / green": {"light": ("#C62828", "#007A4D"), "dark": ("#FF7B72", "#3DD68C")},
}


def palette(mode: str = "light", pair: str = "blue / orange") -> Palette:
    """Return the colours for a light or dark page and one of the pairs for up and down."""
    up, down = UP_DOWN[pair]["dark" if mode == "dark" else "light"]
    if mode == "dark":
        return Palette(up, down, "#E8EAED", "#9AA0A8", "#2B2F36", "#14161A", 0.4, LINES_DARK)
    return Palette(up, down, "#1B1F24", "#636B75", "#E6E9ED", "#FFFFFF", 0.62, LINES_LIGHT)


def faded(colour: str, opacity: float) -> str:
    """Return a #RRGGBB colour with an opacity, as CSS."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def blank(colours: Palette, height: int, **layout: object) -> go.Figure:
    """Return a figure without traces in the page's colours: legend on top, thin grid, room for the labels."""
    figure = go.Figure()
    # a phone always shows the buttons in the corner of a figure that can be zoomed: its legend stands below them
    top = 8 if layout.get("dragmode") != "pan" else 30 if layout.get("showlegend") is False else 56
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": top, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"namelength": -1},
        font={"color": colours.text},
        colorway=list(colours.lines),
        **layout,
    )
    figure.update_xaxes(gridcolor=colours.grid, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=colours.grid, zeroline=False, automargin=True)
    return figure


def diverging(colours: Palette, strength: float = 1.0) -> list[list[object]]:
    """Return a colour scale from down through the page's grey to up; weaker ends leave text on them readable."""
    middle = "#E9EBEE" if colours.surface == "#FFFFFF" else "#343941"
    return [[0, mixed(colours.down, middle, strength)], [0.5, middle], [1, mixed(colours.up, middle, strength)]]


def mixed(colour: str, ground: str, share: float) -> str:
    """Return `share` of one #RRGGBB colour over another."""
    channels = ((int(colour[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(share * top + (1 - share) * below):02X}" for top, below in channels)


def coin_axis(labels: Mapping[str, str]) -> dict[str, object]:
    """Return an axis of categories that are crypto_ids, each under its label: equal tickers stay two coins."""
    return {
        "type": "category",
        "tickmode": "array",
        "tickvals": list(labels),
        "ticktext": [text.label(shown) for shown in labels.values()],
    }


def labelled(coins: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """Return the labels of some coins, row by row, for a tooltip or legend."""
    return [text.label(labels[crypto_id]) for crypto_id in coins["crypto_id"]]


def room_for_one_value(values: pd.Series) -> dict[str, object] | None:
    """Return what an axis must include where all its values are one: Plotly would add 1 on either side of a price."""
    known = values[np.isfinite(values.astype(float))]
    if known.empty or known.min() != known.max() or known.iloc[0] == 0:
        return None
    return {"include": [float(known.iloc[0]) * 0.9, float(known.iloc[0]) * 1.1]}


def correlation_lines(lines: dict[str, pd.Series], colours: Palette) -> go.Figure:
    """Rolling correlations through time on a fixed scale from −1 to 1; keys are names, indexes are days."""
    figure = blank(colours, 300, hovermode="x unified")
    styles = (("solid", 0), ("dash", 3), ("dot", 2), ("dashdot", 1))
    for (name, values), (dash, colour) in zip(lines.items(), styles, strict=False):
        values = values.loc[values.first_valid_index() :]  # a window is not full in its first days
        figure.add_scatter(
            x=values.index,
            y=values,
            name=text.label(name),
            connectgaps=False,
            hovertemplate="%{y}",
            line={"dash": dash, "color": colours.up if colour == 3 else colours.lines[colour], "width": 1.6},
        )
    figure.add_hline(y=0, line={"color": colours.muted, "width": 1})
    figure.update_yaxes(range=[-1.05, 1.05], side="right", hoverformat=".2f")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure
