"""Figures of one coin's daily returns: volatility, drawdown, monthly calendar, distribution."""

import itertools

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.charts.base import CELL_FONT_PX, HOVER_DAY, Palette, blank, diverging, faded


def volatility_lines(daily: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return realized volatility over 7, 30 and 90 days, annualized, in percent."""
    figure = blank(colors, 300, hovermode="x unified")
    for column, name, width in (
        ("volatility_7d", "7d", 1),
        ("volatility_30d", "30d", 2),
        ("volatility_90d", "90d", 2),
    ):
        color = {"7d": colors.muted, "30d": colors.up, "90d": colors.lines[0]}[name]
        figure.add_scatter(
            x=daily["date"],
            y=daily[column],
            name=name,
            line={"color": color, "width": width},
            hovertemplate="%{y}",
        )
    figure.update_yaxes(tickformat=".0%", hoverformat=".2%", side="right", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def drawdown_area(
    daily: pd.DataFrame, colors: Palette, from_ath: pd.Series | None = None, since: str = ""
) -> go.Figure:
    """Return drawdowns in percent: from the highest close loaded (its maximum labeled) and from the all-time high."""
    figure = blank(colors, 300, hovermode="x unified")
    figure.add_scatter(
        x=daily["date"],
        y=daily["drawdown_pct"],
        name=f"From highest close loaded (since {since})" if since else "From highest close loaded",
        fill="tozeroy",
        line={"color": colors.down, "width": 1.2},
        fillcolor=faded(colors.down, 0.18),
        hovertemplate="%{y}",
    )
    low = float(daily["drawdown_pct"].min()) if daily["drawdown_pct"].notna().any() else 0.0
    if low < 0:
        deepest = daily.loc[daily["drawdown_pct"].idxmin()]
        figure.add_annotation(
            x=deepest["date"],
            y=deepest["drawdown_pct"],
            text=formats.percent(deepest["drawdown_pct"]),
            showarrow=True,
            arrowhead=0,
            arrowcolor=colors.muted,
            ax=0,
            ay=22,
            font={"color": colors.text},
        )
    if from_ath is not None and from_ath.notna().any():
        figure.add_scatter(
            x=daily["date"],
            y=from_ath,
            name="From all-time high (CoinGecko)",
            line={"color": colors.text, "width": 1.4, "dash": "dot"},
            hovertemplate="%{y}",
        )
        low = min(low, float(from_ath.min()))
    figure.layout.margin.t = 48  # two lines of legend on a phone
    # space below the maximum for its label; a price that never fell gets a fixed range
    figure.update_yaxes(ticksuffix="%", hoverformat=".2f", side="right", range=[low * 1.15 if low < 0 else -1, 0])
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def return_calendar(returns: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return a heat map of monthly returns in percent (rows years, columns months 1 to 12) with values in the cells."""
    values = returns.to_numpy(dtype=float)
    limit = (float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0) or 1.0
    figure = blank(colors, 90 + 40 * len(returns))
    figure.add_heatmap(
        z=values,
        x=list(MONTHS),
        y=[str(year) for year in returns.index],
        zmid=0,
        zmin=-limit,
        zmax=limit,
        colorscale=diverging(colors, colors.cell),
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[
            ["" if not np.isfinite(cell) else formats.number(cell, int(abs(cell) < 9.95)) for cell in row]
            for row in values
        ],
        texttemplate="%{text}",
        textfont={"color": colors.text, "size": CELL_FONT_PX},
        customdata=[[formats.change(cell) for cell in row] for row in values],
        hovertemplate="%{x} %{y}: %{customdata}<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure


def return_histogram(daily: pd.DataFrame, colors: Palette) -> go.Figure:
    """Return the distribution of daily returns in percent with the newest day marked; the outer bins hold outliers."""
    returns = daily["return_pct"].dropna()
    figure = blank(colors, 300, showlegend=False, bargap=0.04, barmode="overlay")
    if returns.empty:
        return figure
    limit = max(1.0, float(np.ceil(returns.abs().quantile(0.995))))
    edges = np.linspace(-limit, limit, 41)
    counts, _ = np.histogram(returns.clip(-limit, limit), edges)
    centers = (edges[:-1] + edges[1:]) / 2
    figure.add_bar(
        x=centers,
        y=counts,
        marker={"color": np.where(centers >= 0, colors.up, colors.down), "line_width": 0},
        customdata=[[formats.signed(edge) for edge in pair] for pair in itertools.pairwise(edges)],
        hovertemplate="%{customdata[0]} to %{customdata[1]}: %{y} days<extra></extra>",
    )
    newest = float(np.clip(returns.iloc[-1], -limit, limit))
    figure.add_vline(
        x=newest,
        line={"color": colors.text, "width": 1, "dash": "dot"},
        annotation_text="latest day",
        annotation_font_color=colors.muted,
        annotation_position="top right" if newest < 0 else "top left",
    )
    figure.update_xaxes(ticksuffix="%")
    # space above the highest bar for the annotation
    figure.update_yaxes(title="days", side="right", range=[0, counts.max() * 1.15])
    return figure
