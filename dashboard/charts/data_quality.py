"""Figures of the Data quality page: run history, row counts, missing hours, price divergence."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import Palette, axis_colors, blank, coin_axis, faded, labeled
from dashboard.labels import labels
from dashboard.text import label

MAX_RUNS = 30
HEATMAP_DAYS = 60
RUN_STATES = {
    "ok": ("ok", ""),
    "partial": ("partial ▲", "▲"),
    "failed": ("failed ✕", "✕"),
    "running": ("running …", "…"),
}
JOB_ROW_PX, DURATION_PX, LEGEND_PX = 36, 114, 36


def run_history(runs: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return one square per run, oldest left, one row per job, with the duration of each run below.

    Expects at most MAX_RUNS rows of job, started_at, seconds, status, fetched_rows, changed_rows, run_id. Color and
    symbol show the status. The squares fit a phone side by side; hence the job name above its row.
    """
    jobs = sorted(runs["job"].unique())
    jobs_px = JOB_ROW_PX * max(len(jobs), 1)
    drawn_px = jobs_px + DURATION_PX
    figure = blank(colors, drawn_px + LEGEND_PX, barmode="overlay", bargap=0.25)
    position = pd.Series(range(len(runs)), index=runs.index)
    for status in RUN_STATES:
        if (runs["status"] == status).any():
            _draw_status(figure, runs, position, jobs, status, colors)
    figure.update_layout(margin={"t": LEGEND_PX})
    figure.update_xaxes(visible=False, range=[-0.6, MAX_RUNS - 0.4], fixedrange=True)
    figure.update_yaxes(
        domain=[1 - jobs_px / drawn_px, 1],
        range=[max(len(jobs), 1), 0],
        visible=False,
        showgrid=False,
        fixedrange=True,
    )
    for row, job in enumerate(jobs):
        figure.add_annotation(
            text=label(job.replace("_", " ")),
            x=0,
            xref="paper",
            xanchor="left",
            y=row + 0.22,
            showarrow=False,
            font={"size": 11, "color": colors.muted},
        )
    figure.update_layout(
        yaxis2={
            "domain": [0, 1 - jobs_px / drawn_px - 0.08],
            "rangemode": "tozero",
            "ticksuffix": " s",
            "side": "right",
            "nticks": 4,
            **axis_colors(colors),
            "fixedrange": True,
            "automargin": True,
        }
    )
    return figure


def _draw_status(
    figure: go.Figure, runs: pd.DataFrame, position: pd.Series, jobs: list[str], status: str, colors: Palette
) -> None:
    """Draw the squares and duration bars of the runs with one status."""
    name, symbol = RUN_STATES[status]
    chosen = runs[runs["status"] == status]
    color = {
        "ok": faded(colors.up, 0.75),
        "partial": colors.lines[0],
        "failed": colors.down,
        "running": faded(colors.muted, 0.5),
    }[status]
    hover = {
        "customdata": np.column_stack(
            [
                chosen["started_at"].map(formats.instant),
                [formats.MISSING if formats.is_missing(s) else f"{s:,.0f} s" for s in chosen["seconds"]],
                chosen["fetched_rows"].map(formats.count),
                chosen["changed_rows"].map(formats.count),
                chosen["run_id"].map(label),
            ]
        ),
        "hovertemplate": "%{customdata[0]}, duration %{customdata[1]}<br>%{customdata[2]} rows fetched, "
        "%{customdata[3]} changed<br>Run %{customdata[4]}<extra></extra>",
    }
    figure.add_scatter(
        x=position[chosen.index],
        y=[jobs.index(job) + 0.72 for job in chosen["job"]],
        name=name,
        mode="markers+text",
        marker={"symbol": "square", "size": 9, "color": color, "line_width": 0},
        text=symbol,
        textposition="middle center",
        textfont={"color": colors.surface, "size": 8},
        cliponaxis=False,
        **hover,
    )
    figure.add_bar(
        x=position[chosen.index],
        y=chosen["seconds"],
        yaxis="y2",
        showlegend=False,
        marker={"color": color, "line_width": 0},
        **hover,
    )


def row_counts(counts: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return bars per day (date, bars, low, high, assets); days outside the usual band are highlighted."""
    figure = blank(colors, 280, bargap=0.15, showlegend=False)
    off = (counts["bars"] < counts["low"]) | (counts["bars"] > counts["high"])
    figure.add_bar(
        x=counts["date"],
        y=counts["bars"],
        customdata=counts[["low", "high", "assets"]],
        marker={"color": np.where(off, colors.down, faded(colors.up, 0.45)), "line_width": 0},
        hovertemplate="%{x|%Y-%m-%d}: %{y:,} rows of %{customdata[2]} coins<br>"
        "Usual %{customdata[0]:,.0f} to %{customdata[1]:,.0f}<extra></extra>",
    )
    for edge in ("low", "high"):
        figure.add_scatter(
            x=counts["date"],
            y=counts[edge],
            mode="lines",
            hoverinfo="skip",
            line={"color": colors.muted, "width": 1, "dash": "dot", "shape": "hvh"},
        )
    figure.update_yaxes(side="right", rangemode="tozero", tickformat=",d")
    return figure


def missing_heatmap(missing: pd.DataFrame, newest: pd.Timestamp, colors: Palette) -> go.Figure:
    """Return missing hours by coin and day over the HEATMAP_DAYS up to `newest`, for coins that miss any.

    Expects crypto_id, symbol, name, date, missing.
    """
    tickers = labels(missing.drop_duplicates("crypto_id"))
    days = pd.date_range(end=newest, periods=HEATMAP_DAYS)
    table = missing.pivot(index="crypto_id", columns="date", values="missing")
    table = table.reindex(index=missing["crypto_id"].unique(), columns=days)
    figure = blank(colors, 70 + 17 * len(table))
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
        colorscale=[[0, faded(colors.down, 0.25)], [1, colors.down]],
        colorbar={"title": "hours", "thickness": 10},
        hovertemplate="%{text}, %{x|%Y-%m-%d}: %{z:.0f} hours missing<extra></extra>",
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed", tickfont={"size": 10}, **coin_axis(tickers))
    return figure


def divergence_bars(coins: pd.DataFrame, tolerance_pct: float, colors: Palette) -> go.Figure:
    """Return the difference between Binance close and CoinGecko price per coin in percent, with the tolerated band."""
    tickers = labels(coins)
    figure = blank(colors, 34 * max(len(coins), 3) + 50, showlegend=False)
    figure.add_vrect(
        x0=-tolerance_pct, x1=tolerance_pct, fillcolor=faded(colors.muted, 0.15), line_width=0, layer="below"
    )
    off = coins["divergence_pct"].abs() > tolerance_pct
    figure.add_bar(
        x=coins["divergence_pct"],
        y=coins["crypto_id"],
        orientation="h",
        marker={"color": np.where(off, colors.down, faded(colors.up, 0.6)), "line_width": 0},
        customdata=np.column_stack(
            [
                coins["price_usd"].map(formats.price),
                coins["close"].map(formats.price),
                coins["opened_at"].map(formats.instant),
                labeled(coins, tickers),
            ]
        ),
        hovertemplate="%{customdata[3]} %{x}<br>CoinGecko %{customdata[0]}<br>Binance %{customdata[1]} (hour of "
        "%{customdata[2]})<extra></extra>",
    )
    limit = max(tolerance_pct * 1.4, float(coins["divergence_pct"].abs().max() or 0) * 1.1)
    figure.update_xaxes(ticksuffix="%", hoverformat=".2f", range=[-limit, limit])
    figure.update_yaxes(autorange="reversed", showgrid=False, **coin_axis(tickers))
    return figure
