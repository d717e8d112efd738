"""Figures of the Overview page: changes, sizes and the week of the core coins."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis import with_gaps
from dashboard.charts.base import HOVER_TIME, Palette, blank, coin_axis, diverging, faded, labelled
from dashboard.labels import labels
from dashboard.text import label


def change_bars(coins: pd.DataFrame, column: str, colours: Palette) -> go.Figure:
    """Horizontal bars of a change in percent (`column`), one per coin in the given order, largest coin on top.

    Expects crypto_id, symbol, name, price_usd, market_cap_usd; rows without a change are left out.
    """
    known = coins[np.isfinite(coins[column])]
    tickers = labels(known)
    figure = blank(colours, 38 * max(len(known), 3) + 24)
    figure.add_bar(
        x=known[column],
        y=known["crypto_id"],
        orientation="h",
        marker_color=[colours.up if value >= 0 else colours.down for value in known[column]],
        text=[formats.change(value) for value in known[column]],
        textposition="outside",
        cliponaxis=False,
        customdata=np.column_stack(
            [
                labelled(known, labels(known, "name", "symbol")),
                known["price_usd"].map(formats.price),
                known["market_cap_usd"].map(formats.money),
            ]
        ),
        hovertemplate="%{customdata[0]}<br>%{text}<br>price %{customdata[1]}<br>market cap "
        "%{customdata[2]}<extra></extra>",
    )
    reach = float(known[column].abs().max() or 1) if len(known) else 1.0
    low, high = (
        min(float(known[column].min()), 0.0) if len(known) else 0.0,
        float(known[column].max()) if len(known) else 1,
    )
    # room beside the longest bars for their labels
    figure.update_xaxes(range=[low - reach * 0.45 * (low < 0), max(high, 0) + reach * 0.45], showgrid=False)
    figure.update_xaxes(showticklabels=False, zeroline=True, zerolinecolor=colours.muted)
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure


def market_treemap(coins: pd.DataFrame, colours: Palette) -> go.Figure:
    """Treemap of coins: area is market capitalisation, colour the 24 h change in percent, clipped at ±10."""
    sized = coins[coins["market_cap_usd"] > 0]
    moves = sized["change_24h_pct"]
    figure = blank(colours, 470)
    figure.add_treemap(
        labels=labelled(sized, labels(sized)),
        ids=sized["crypto_id"],
        parents=[""] * len(sized),
        values=sized["market_cap_usd"],
        text=moves.map(formats.change),
        customdata=np.column_stack(
            [
                labelled(sized, labels(sized, "name", "symbol")),
                sized["price_usd"].map(formats.price),
                sized["market_cap_usd"].map(formats.money),
            ]
        ),
        texttemplate="<b>%{label}</b><br>%{text}",
        hovertemplate="%{customdata[0]}<br>%{text} in 24 h<br>price %{customdata[1]}<br>market cap "
        "%{customdata[2]}<extra></extra>",
        marker={
            "colors": moves.fillna(0).clip(-10, 10),
            "colorscale": diverging(colours),
            "cmid": 0,
            "cmin": -10,
            "cmax": 10,
            "line": {"color": colours.surface, "width": 1.5},
            "pad": {"t": 0, "l": 0, "r": 0, "b": 0},
        },
        tiling={"pad": 0},
        pathbar={"visible": False},
    )
    return figure


def core_lines(trends: pd.DataFrame, colours: Palette) -> go.Figure:
    """Closes of a week from 100, one line per coin, broken where an hour is missing.

    Expects crypto_id, symbol, name, opened_at, index_100.
    """
    figure = blank(colours, 320, hovermode="x unified")
    shades = (colours.up, *colours.lines)
    dashes = ("solid", "solid", "dash", "dot", "dashdot")
    tickers = labels(trends.drop_duplicates("crypto_id"))
    for number, (crypto_id, part) in enumerate(trends.groupby("crypto_id", sort=False)):
        hours = with_gaps(part[["opened_at", "index_100"]], "1h")
        figure.add_scatter(
            x=hours["opened_at"],
            y=hours["index_100"].round(3),
            name=label(tickers[crypto_id]),
            connectgaps=False,
            line={"color": shades[number % len(shades)], "width": 1.7, "dash": dashes[number % len(dashes)]},
            hovertemplate="%{y:.2f}",
        )
    figure.add_hline(y=100, line={"color": colours.muted, "width": 1, "dash": "dot"})
    figure.update_yaxes(side="right")
    figure.update_xaxes(hoverformat=HOVER_TIME)
    return figure


def share_bars(coins: pd.DataFrame, colours: Palette) -> go.Figure:
    """Horizontal bars of 24 h volume (volume_24h_usd) with the share in the whole market as label, largest on top."""
    tickers = labels(coins)
    figure = blank(colours, 320)
    figure.add_bar(
        x=coins["volume_24h_usd"],
        y=coins["crypto_id"],
        orientation="h",
        marker={"color": faded(colours.up, 0.6), "line_width": 0},
        customdata=labelled(coins, tickers),
        cliponaxis=False,
        textposition="outside",
        text=[
            f"{formats.money(row.volume_24h_usd)} · {formats.percent(row.volume_share_pct)}"
            for row in coins.itertuples()
        ],
        hovertemplate="%{customdata}: %{text} of all volume<extra></extra>",
    )
    # room beside the longest bar for its label
    largest = float(coins["volume_24h_usd"].max())
    figure.update_xaxes(visible=False, range=[0, largest * 1.5 if largest > 0 else 1])
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure
