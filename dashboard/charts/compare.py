"""Figures of the Compare page: performance, risk and return, beta, correlations."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import (
    CELL_FONT_PX,
    FIT,
    Palette,
    blank,
    coin_axis,
    diverging,
    faded,
    fit_prices,
    labeled,
)
from dashboard.labels import labels
from dashboard.text import label


def performance_lines(table: pd.DataFrame, names: dict[str, str], colors: Palette, log: bool) -> go.Figure:
    """Return one line per column of closes rebased to 100, with breaks at missing days."""
    figure = blank(colors, 440, hovermode="x unified", dragmode="zoom")
    shades = (colors.up, *colors.lines)
    dashes = ("solid", "solid", "dash", "dot", "dashdot")
    for number, column in enumerate(table.columns):
        figure.add_scatter(
            x=table.index,
            y=table[column],
            name=label(names[column]),
            meta=FIT,
            connectgaps=False,
            line={"color": shades[number % len(shades)], "width": 1.8, "dash": dashes[number % len(dashes)]},
            hovertemplate="%{y:.1f}",
        )
    figure.add_hline(y=100, line={"color": colors.muted, "width": 1, "dash": "dot"})
    if len(table):
        figure.update_xaxes(maxallowed=table.index[-1], minallowed=table.index[0])
    figure.update_yaxes(side="right", type="log" if log else "linear", tickformat=",.4~r", fixedrange=True)
    fit_prices(figure)
    return figure


def coin_color(chosen: Sequence[str], crypto_id: str, colors: Palette) -> str:
    """Return the color of a chosen coin, the same in every figure of the page."""
    shades = (colors.up, *colors.lines)
    return shades[list(chosen).index(crypto_id) % len(shades)]


def _coin_colors(coins: pd.DataFrame, chosen: Sequence[str], colors: Palette) -> list[str]:
    """Return the color of each row: its own if chosen, else gray."""
    return [
        coin_color(chosen, crypto_id, colors) if crypto_id in chosen else faded(colors.muted, 0.45)
        for crypto_id in coins["crypto_id"]
    ]


def risk_return(coins: pd.DataFrame, chosen: Sequence[str], colors: Palette) -> go.Figure:
    """Return 90-day volatility (x, annualized) and 90-day return (y) per coin; chosen ones are labeled and colored.

    Expects crypto_id, symbol, name, volatility_90d, return_90d_pct, quote_volume.
    """
    known = coins.dropna(subset=["volatility_90d", "return_90d_pct"])
    figure = blank(colors, 400, showlegend=False)
    volume = known["quote_volume"].fillna(0).clip(lower=0)
    size = np.sqrt(volume / max(1, volume.max())) * 34 + 7
    picked = known["crypto_id"].isin(chosen)
    names = pd.Series(np.where(picked, labeled(known, labels(known)), ""), index=known.index)
    figure.add_scatter(
        x=known["volatility_90d"],
        y=known["return_90d_pct"],
        mode="markers+text",
        text=names,
        textposition=label_places(known["volatility_90d"], known["return_90d_pct"], size, names),
        cliponaxis=False,
        marker={
            "size": size,
            "color": _coin_colors(known, chosen, colors),
            "line": {"width": 1, "color": colors.surface},
        },
        customdata=np.column_stack(
            [labeled(known, labels(known, "name", "symbol")), known["return_90d_pct"].map(formats.change)]
        ),
        hovertemplate="%{customdata[0]}<br>Return %{customdata[1]}<br>Volatility %{x}<extra></extra>",
    )
    figure.add_hline(y=0, line={"color": colors.muted, "width": 1})
    figure.update_xaxes(title="Volatility (annualized)", tickformat=".0%", hoverformat=".2%", rangemode="nonnegative")
    figure.update_yaxes(title="Return (90 days)", ticksuffix="%", side="right")
    return figure


SIDES = {"top center": (0, 1), "bottom center": (0, -1), "middle right": (1, 0), "middle left": (-1, 0)}
PLOT_PX = (310, 340)  # plot area on a phone, the tightest layout


def label_places(x: pd.Series, y: pd.Series, sizes: pd.Series, names: pd.Series) -> list[str]:
    """Return the label position of each point that overlaps other labels and labeled points the least.

    Sizes are diameters in px. A point with the name "" has no label and is ignored.
    """

    def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
        wide = min(one[2], other[2]) - max(one[0], other[0])
        high = min(one[3], other[3]) - max(one[1], other[1])
        return max(wide, 0) * max(high, 0)

    spans = [max(float(values.max() - values.min()), 1e-9) if len(values) else 1 for values in (x, y)]
    middles = [
        ((across - x.min()) / spans[0] * PLOT_PX[0], (up - y.min()) / spans[1] * PLOT_PX[1])
        for across, up in zip(x, y, strict=True)
    ]
    radii = [size / 2 for size in sizes]
    taken = [
        (across - radius, up - radius, across + radius, up + radius)
        for (across, up), radius, name in zip(middles, radii, names, strict=True)
        if name
    ]
    places = []
    for (across, up), radius, name in zip(middles, radii, names, strict=True):
        wide, high = 8 * len(name) + 4, 14
        boxes = {}
        for side, (right, above) in SIDES.items():
            left = across + right * (radius + wide / 2) - wide / 2
            below = up + above * (radius + high / 2) - high / 2
            boxes[side] = (left, below, left + wide, below + high)
        best = (
            min(boxes, key=lambda side: sum(overlap(boxes[side], other) for other in taken)) if name else "top center"
        )
        places.append(best)
        if name:
            taken.append(boxes[best])
    return places


def correlation_heatmap(
    correlations: pd.DataFrame, counts: pd.DataFrame, names: dict[str, str], colors: Palette
) -> go.Figure:
    """Return the lower triangle of correlations from −1 to 1, with the value in each cell and n in the hover box.

    The upper triangle would repeat each pair; the diagonal keeps every coin in both axes.
    """
    figure = blank(colors, 90 + 34 * len(correlations))
    values = correlations.to_numpy(dtype=float)
    values = np.where(np.tri(len(values), dtype=bool), values, np.nan)
    figure.add_heatmap(
        z=values,
        x=list(correlations.columns),
        y=list(correlations.index),
        zmin=-1,
        zmax=1,
        zmid=0,
        colorscale=diverging(colors, colors.cell),
        showscale=False,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        # no leading zero, so that twelve columns fit a phone
        text=[[formats.ratio(cell).replace("0.", ".") if np.isfinite(cell) else "" for cell in row] for row in values],
        texttemplate="%{text}",
        textfont={"color": colors.text, "size": CELL_FONT_PX},
        customdata=[
            [
                [label(names[one]), label(names[other]), formats.count(counts.loc[one, other])]
                for other in correlations.columns
            ]
            for one in correlations.index
        ],
        zhoverformat=".2f",
        hovertemplate="%{customdata[0]} / %{customdata[1]}: %{z}<br>n = %{customdata[2]} days<extra></extra>",
    )
    axis = coin_axis({crypto_id: names[crypto_id] for crypto_id in correlations.index})
    figure.update_xaxes(showgrid=False, side="bottom", **axis)  # below the cells: the top right is empty
    figure.update_yaxes(showgrid=False, autorange="reversed", **axis)
    return figure


def beta_bars(coins: pd.DataFrame, chosen: Sequence[str], colors: Palette) -> go.Figure:
    """Return the beta to bitcoin of each coin, ascending, with the chosen ones colored and a line at 1."""
    known = coins.dropna(subset=["beta_btc_90d"]).sort_values("beta_btc_90d")
    figure = blank(colors, 330, showlegend=False)
    figure.add_bar(
        x=known["crypto_id"],
        y=known["beta_btc_90d"],
        customdata=labeled(known, labels(known, "name", "symbol")),
        marker={
            "color": _coin_colors(known, chosen, colors),
            "line_width": 0,
        },
        hovertemplate="%{customdata}: %{y}<extra></extra>",
    )
    for coin in known[known["crypto_id"].isin(chosen)].itertuples():  # the axis drops labels on narrow pages
        figure.add_annotation(
            x=coin.crypto_id,
            y=max(coin.beta_btc_90d, 0),
            text=label(f"{labels(known)[coin.crypto_id]} {formats.ratio(coin.beta_btc_90d)}"),
            textangle=-90,
            showarrow=False,
            yanchor="bottom",
            font={"size": 11, "color": colors.text},
        )
    figure.add_hline(y=1, line={"color": colors.text, "width": 1, "dash": "dot"})
    figure.update_xaxes(showgrid=False, tickangle=-60, tickfont={"size": 10}, **coin_axis(labels(known)))
    figure.update_yaxes(side="right", hoverformat=".2f")
    return figure
