"""Figures of the Data quality page: runs, rows by day, missing hours, how far the sources stand apart."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import Palette, blank, coin_axis, faded, labelled
from dashboard.labels import labels
from dashboard.text import label

MOST_RUNS = 30
HEAT_DAYS = 60
RUN_STATES = {
    "ok": ("ok", ""),
    "partial": ("partial ▲", "▲"),
    "failed": ("failed ✕", "✕"),
    "running": ("running …", "…"),
}


def run_squares(runs: pd.DataFrame, colours: Palette) -> go.Figure:
    """One square per run, oldest left, a row per job, its end told by colour and by mark; below, how long each took.

    Expects the newest MOST_RUNS runs at most: job, started_at, seconds, status, fetched_rows, changed_rows, run_id. The
    squares are of a size that lets so many stand side by side on a phone; hence also the job's name above its row.
    """
    jobs = sorted(runs["job"].unique())
    strip = 36 * max(len(jobs), 1)
    height = strip + 150
    figure = blank(colours, height, barmode="overlay", bargap=0.25)
    shades = {
        "ok": faded(colours.up, 0.75),
        "partial": colours.lines[0],
        "failed": colours.down,
        "running": faded(colours.muted, 0.5),
    }
    told = pd.DataFrame(
        {
            "at": runs["started_at"].map(formats.instant),
            "took": [formats.MISSING if formats.is_missing(s) else f"{s:,.0f} s" for s in runs["seconds"]],
            "fetched": runs["fetched_rows"].map(formats.count),
            "changed": runs["changed_rows"].map(formats.count),
            "run_id": runs["run_id"].map(label),
        }
    )
    places = pd.Series(range(len(runs)), index=runs.index)
    hover = "%{customdata[0]}, took %{customdata[1]}<br>%{customdata[2]} rows fetched, %{customdata[3]} changed"
    hover += "<br>run %{customdata[4]}<extra></extra>"
    for status, (name, mark) in RUN_STATES.items():
        mask = runs["status"] == status
        if not mask.any():
            continue
        figure.add_scatter(
            x=places[mask],
            y=[jobs.index(job) + 0.72 for job in runs.loc[mask, "job"]],
            name=name,
            mode="markers+text",
            marker={"symbol": "square", "size": 9, "color": shades[status], "line_width": 0},
            text=mark,
            textposition="middle center",
            textfont={"color": colours.surface, "size": 8},
            cliponaxis=False,
            customdata=told[mask],
            hovertemplate=hover,
        )
        figure.add_bar(
            x=places[mask],
            y=runs.loc[mask, "seconds"],
            yaxis="y2",
            showlegend=False,
            marker={"color": shades[status], "line_width": 0},
            customdata=told[mask],
            hovertemplate=hover,
        )
    drawn = height - 36  # below the legend
    figure.update_layout(margin={"t": 36})
    figure.update_xaxes(visible=False, range=[-0.6, MOST_RUNS - 0.4], fixedrange=True)
    figure.update_yaxes(
        domain=[1 - strip / drawn, 1], range=[max(len(jobs), 1), 0], visible=False, showgrid=False, fixedrange=True
    )
    for row, job in enumerate(jobs):
        figure.add_annotation(
            text=label(job.replace("_", " ")),
            x=0,
            xref="paper",
            xanchor="left",
            y=row + 0.22,
            showarrow=False,
            font={"size": 11, "color": colours.muted},
        )
    figure.update_layout(
        yaxis2={
            "domain": [0, 1 - strip / drawn - 0.08],
            "rangemode": "tozero",
            "ticksuffix": " s",
            "side": "right",
            "nticks": 4,
            "gridcolor": colours.grid,
            "fixedrange": True,
            "automargin": True,
        }
    )
    return figure


def bars_with_band(counts: pd.DataFrame, colours: Palette) -> go.Figure:
    """Bars per day (date, bars, low, high): days inside the band in grey, outside in the colour of down."""
    figure = blank(colours, 280, bargap=0.15, showlegend=False)
    off = (counts["bars"] < counts["low"]) | (counts["bars"] > counts["high"])
    figure.add_bar(
        x=counts["date"],
        y=counts["bars"],
        customdata=counts[["low", "high", "assets"]],
        marker={"color": np.where(off, colours.down, faded(colours.up, 0.45)), "line_width": 0},
        hovertemplate="%{x|%Y-%m-%d}: %{y:,} bars of %{customdata[2]} coins<br>"
        "usual %{customdata[0]:,.0f} to %{customdata[1]:,.0f}<extra></extra>",
    )
    for edge in ("low", "high"):
        figure.add_scatter(
            x=counts["date"],
            y=counts[edge],
            mode="lines",
            hoverinfo="skip",
            line={"color": colours.muted, "width": 1, "dash": "dot", "shape": "hvh"},
        )
    figure.update_yaxes(side="right", rangemode="tozero", tickformat=",d")
    return figure


def missing_heatmap(missing: pd.DataFrame, newest: pd.Timestamp, colours: Palette) -> go.Figure:
    """Missing hours by coin and day over the HEAT_DAYS to `newest`; coins with any alone.

    Expects crypto_id, symbol, name, date, missing.
    """
    tickers = labels(missing.drop_duplicates("crypto_id"))
    days = pd.date_range(end=newest, periods=HEAT_DAYS)
    table = missing.pivot(index="crypto_id", columns="date", values="missing")
    table = table.reindex(index=missing["crypto_id"].unique(), columns=days)
    figure = blank(colours, 70 + 17 * len(table))
    figure.add_heatmap(
        z=table.to_numpy(dtype=float),
        x=days,
        y=list(table.index),
        text=[[label(tickers[crypto_id])] * len(days) for crypto_id in table.index],
        zmin=0,
        zmax=24,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        colorscale=[[0, faded(colours.down, 0.25)], [1, colours.down]],
        colorbar={"title": "hours", "thickness": 10},
        hovertemplate="%{text}, %{x|%Y-%m-%d}: %{z:.0f} hours missing<extra></extra>",
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed", tickfont={"size": 10}, **coin_axis(tickers))
    return figure


def divergence_bars(coins: pd.DataFrame, tolerance_pct: float, colours: Palette) -> go.Figure:
    """How far Binance's close stands from CoinGecko's price, in percent, with the tolerated band."""
    tickers = labels(coins)
    figure = blank(colours, 34 * max(len(coins), 3) + 50, showlegend=False)
    figure.add_vrect(
        x0=-tolerance_pct, x1=tolerance_pct, fillcolor=faded(colours.muted, 0.15), line_width=0, layer="below"
    )
    off = coins["divergence_pct"].abs() > tolerance_pct
    figure.add_bar(
        x=coins["divergence_pct"],
        y=coins["crypto_id"],
        orientation="h",
        marker={"color": np.where(off, colours.down, faded(colours.up, 0.6)), "line_width": 0},
        customdata=np.column_stack(
            [
                coins["price_usd"].map(formats.price),
                coins["close"].map(formats.price),
                coins["opened_at"].map(formats.instant),
                labelled(coins, tickers),
            ]
        ),
        hovertemplate="%{customdata[3]} %{x}<br>CoinGecko %{customdata[0]}<br>Binance %{customdata[1]} (hour of "
        "%{customdata[2]})<extra></extra>",
    )
    reach = max(tolerance_pct * 1.4, float(coins["divergence_pct"].abs().max() or 0) * 1.1)
    figure.update_xaxes(ticksuffix="%", hoverformat=".2f", range=[-reach, reach])
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure
