"""Figures of the Overview page: price changes, market heatmap, 7-day performance, volume."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis.bars import with_gaps
from dashboard.charts.base import (
    HOVER_TIME,
    Palette,
    blank,
    coin_axis,
    diverging,
    diverging_color,
    faded,
    labeled,
    text_on,
)
from dashboard.labels import labels
from dashboard.text import label

HEATMAP_LIMITS_PCT = {"1h": 2, "24h": 6, "7d": 20}  # the change with the strongest color, per window


def change_bars(coins: pd.DataFrame, column: str, colors: Palette) -> go.Figure:
    """Return horizontal bars of a change in percent (`column`), one per coin in the given order.

    Expects crypto_id, symbol, name, price_usd, market_cap_usd; rows without a value are dropped.
    """
    known = coins[np.isfinite(coins[column])]
    tickers = labels(known)
    figure = blank(colors, 38 * max(len(known), 3) + 24)
    figure.add_bar(
        x=known[column],
        y=known["crypto_id"],
        orientation="h",
        marker_color=[colors.up if value >= 0 else colors.down for value in known[column]],
        text=[formats.change(value) for value in known[column]],
        textposition="outside",
        cliponaxis=False,
        customdata=np.column_stack(
            [
                labeled(known, labels(known, "name", "symbol")),
                known["price_usd"].map(formats.price),
                known["market_cap_usd"].map(formats.money),
            ]
        ),
        hovertemplate="%{customdata[0]}<br>%{text}<br>Price %{customdata[1]}<br>Market cap "
        "%{customdata[2]}<extra></extra>",
    )
    reach = float(known[column].abs().max() or 1) if len(known) else 1.0
    low, high = (
        min(float(known[column].min()), 0.0) if len(known) else 0.0,
        float(known[column].max()) if len(known) else 1,
    )
    # space beside the longest bars for their labels
    figure.update_xaxes(range=[low - reach * 0.45 * (low < 0), max(high, 0) + reach * 0.45], showgrid=False)
    figure.update_xaxes(showticklabels=False, zeroline=True, zerolinecolor=colors.muted)
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure


def market_treemap(coins: pd.DataFrame, colors: Palette, window: str = "24h") -> go.Figure:
    """Return a treemap of coins: size by market cap, color by the change over the window, with its scale as legend.

    Expects crypto_id, symbol, name, price_usd, market_cap_usd and the window's change. The color is clipped.
    """
    sized = coins[coins["market_cap_usd"] > 0]
    moves = sized[f"change_{window}_pct"].astype(float)
    limit = HEATMAP_LIMITS_PCT[window]
    clipped = moves.fillna(0).clip(-limit, limit)
    figure = blank(colors, 470)
    figure.add_treemap(
        labels=labeled(sized, labels(sized)),
        ids=sized["crypto_id"],
        parents=[""] * len(sized),
        values=sized["market_cap_usd"],
        text=moves.map(formats.change),
        customdata=np.column_stack(
            [
                labeled(sized, labels(sized, "name", "symbol")),
                sized["price_usd"].map(formats.price),
                sized["market_cap_usd"].map(formats.money),
            ]
        ),
        texttemplate="<b>%{label}</b><br>%{text}",
        textposition="middle center",
        textfont_color=[text_on(diverging_color(colors, move / limit)) for move in clipped],
        hovertemplate=f"%{{customdata[0]}}<br>%{{text}} ({window})<br>Price %{{customdata[1]}}<br>Market cap "
        "%{customdata[2]}<extra></extra>",
        marker={
            "colors": clipped,
            "colorscale": diverging(colors),
            "cmid": 0,
            "cmin": -limit,
            "cmax": limit,
            "showscale": True,
            "colorbar": {
                "orientation": "h",
                "thickness": 8,
                "len": 0.5,
                "x": 0.5,
                "y": -0.02,
                "yanchor": "top",
                "tickvals": [-limit, -limit / 2, 0, limit / 2, limit],
                "ticktext": [formats.signed(value) for value in (-limit, -limit / 2, 0, limit / 2, limit)],
            },
            "line": {"color": colors.surface, "width": 1.5},
            "pad": {"t": 0, "l": 0, "r": 0, "b": 0},
        },
        tiling={"pad": 0},
        pathbar={"visible": False},
    )
    return figure


def weekly_performance(trends: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return closes of 7 days rebased to 100, one line per coin, with breaks at missing hours.

    Expects crypto_id, symbol, name, opened_at, index_100.
    """
    figure = blank(colors, 320, hovermode="x unified")
    shades = (colors.up, *colors.lines)
    dashes = ("solid", "solid", "dash", "dot", "dashdot")
    tickers = labels(trends.drop_duplicates("crypto_id"))
    for number, (crypto_id, bars) in enumerate(trends.groupby("crypto_id", sort=False)):
        hours = with_gaps(bars[["opened_at", "index_100"]], "1h")
        figure.add_scatter(
            x=hours["opened_at"],
            y=hours["index_100"].round(3),
            name=label(tickers[crypto_id]),
            connectgaps=False,
            line={"color": shades[number % len(shades)], "width": 1.7, "dash": dashes[number % len(dashes)]},
            hovertemplate="%{y:.2f}",
        )
    figure.add_hline(y=100, line={"color": colors.muted, "width": 1, "dash": "dot"})
    figure.update_yaxes(side="right")
    figure.update_xaxes(hoverformat=HOVER_TIME)
    return figure


def volume_bars(coins: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return horizontal bars of 24h volume, labeled with amount and share of the total, largest on top."""
    tickers = labels(coins)
    figure = blank(colors, 320)
    figure.add_bar(
        x=coins["volume_24h_usd"],
        y=coins["crypto_id"],
        orientation="h",
        marker={"color": faded(colors.up, 0.6), "line_width": 0},
        customdata=labeled(coins, tickers),
        cliponaxis=False,
        textposition="outside",
        text=[
            f"{formats.money(row.volume_24h_usd)} · {formats.percent(row.volume_share_pct)}"
            for row in coins.itertuples()
        ],
        hovertemplate="%{customdata}: %{text} of total volume<extra></extra>",
    )
    # space beside the longest bar for its label
    largest = float(coins["volume_24h_usd"].max())
    figure.update_xaxes(visible=False, range=[0, largest * 1.5 if largest > 0 else 1])
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure
