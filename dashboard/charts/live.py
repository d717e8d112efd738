"""Figures of the Live page: price through time, average prices, messages per minute, delays."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import HOVER_TIME, Palette, blank
from dashboard.text import label

Ends = tuple[pd.Timestamp, pd.Timestamp]


def price_lines(
    prices: pd.DataFrame, shown: pd.DataFrame, names: Mapping[str, str], colors: Palette, ends: Ends
) -> go.Figure:
    """Return a line per coin of `shown` (prices, or changes of several coins); tooltips have the price."""
    figure = blank(colors, 340, hovermode="x unified", showlegend=len(shown.columns) > 1)
    shades = (colors.up, *colors.lines)
    for number, crypto_id in enumerate(shown.columns):
        figure.add_scatter(
            x=shown.index,
            y=shown[crypto_id],
            name=label(names[crypto_id]),
            connectgaps=False,
            line={"color": shades[number % len(shades)], "width": 1.5},
            customdata=prices[crypto_id].map(formats.price),
            hovertemplate="%{customdata}",
        )
    several = len(shown.columns) > 1
    figure.update_yaxes(side="right", tickprefix="" if several else "$", ticksuffix="%" if several else "")
    _time_axis(figure, ends)
    return figure


def average_prices(averages: pd.DataFrame, names: Mapping[str, str], colors: Palette) -> go.Figure:
    """Return the average price of each coin with its range, on a log scale."""
    figure = blank(colors, 90 + 34 * len(averages), showlegend=False)
    coins = [label(names[crypto_id]) for crypto_id in averages["crypto_id"]]
    figure.add_scatter(
        x=averages["average"],
        y=coins,
        mode="markers+text",
        marker={"size": 9, "color": colors.up},
        text=averages["average"].map(formats.price),
        textposition="top center",
        textfont={"color": colors.text},
        cliponaxis=False,
        error_x={
            "array": averages["high"] - averages["average"],
            "arrayminus": averages["average"] - averages["low"],
            "color": colors.muted,
        },
        customdata=pd.DataFrame({name: averages[name].map(formats.price) for name in ("average", "low", "high")}),
        hovertemplate="%{y}: %{customdata[0]}, from %{customdata[1]} to %{customdata[2]}<extra></extra>",
    )
    figure.update_xaxes(type="log", tickprefix="$", dtick=1)
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def messages(minutes: pd.DataFrame, colors: Palette, ends: Ends) -> go.Figure:
    """Return messages per minute, trades on tickers."""
    figure = blank(colors, 260, barmode="stack", hovermode="x unified", bargap=0.1)
    for column, name, color in (("tickers", "Tickers", colors.up), ("trades", "Trades", colors.lines[0])):
        figure.add_bar(
            x=minutes["minute"], y=minutes[column], name=name, marker={"color": color, "line_width": 0},
            hovertemplate="%{y}",
        )  # fmt: skip
    figure.update_yaxes(side="right", rangemode="tozero", hoverformat=",.0f")
    _time_axis(figure, ends)
    return figure


def delays(minutes: pd.DataFrame, colors: Palette, ends: Ends) -> go.Figure:
    """Return the median and the 95th percentile of the delay."""
    figure = blank(colors, 260, hovermode="x unified")
    for column, name, dash, color in (
        ("delay_p50_s", "Median", "solid", colors.up),
        ("delay_p95_s", "95th percentile", "dash", colors.lines[0]),
    ):
        figure.add_scatter(
            x=minutes["minute"], y=minutes[column], name=name, connectgaps=False, hovertemplate="%{y}",
            line={"color": color, "dash": dash, "width": 1.5},
        )  # fmt: skip
    figure.update_yaxes(side="right", rangemode="tozero", ticksuffix=" s", hoverformat=".2f")
    _time_axis(figure, ends)
    return figure


def _time_axis(figure: go.Figure, ends: Ends) -> None:
    figure.update_xaxes(range=list(ends), hoverformat=HOVER_TIME)
