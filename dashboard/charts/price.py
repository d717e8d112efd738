"""Figures of the Price page: the chart with its panes, volatility, drawdown, returns by month and by size.

A line that the candles' size does not know is taken from the days, and drawn as known only when its day is over.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis import BAR_LENGTH, Bar, with_gaps
from dashboard.charts.base import (
    CELL_FONT,
    HOVER_DAY,
    HOVER_TIME,
    Palette,
    blank,
    diverging,
    faded,
    room_for_one_value,
)


@dataclass(frozen=True)
class Line:
    """One line over the price or in a pane: its column, its name, how it is drawn."""

    column: str
    name: str
    colour: int
    dash: str = "solid"


OVERLAYS: dict[str, tuple[Line, ...]] = {
    "SMA 7": (Line("sma_7", "SMA 7 d", 0),),
    "SMA 30": (Line("sma_30", "SMA 30 d", 1, "dash"),),
    "SMA 200": (Line("sma_200", "SMA 200 d", 2),),
    "EMA": (Line("ema_12", "EMA 12 d", 3), Line("ema_26", "EMA 26 d", 4)),
    "Bollinger": (Line("bb_upper_20", "Bollinger 20, 2σ", 5, "dot"), Line("bb_lower_20", "lower band", 5, "dot")),
    "VWAP": (Line("vwap", "VWAP", 2, "dot"),),
}
PANES: dict[str, tuple[Line, ...]] = {
    "Volume": (),
    "RSI": (Line("rsi_14", "RSI 14", 1),),
    "MACD": (Line("macd", "MACD", 3), Line("macd_signal", "signal", 0, "dash")),
    "ATR": (Line("atr_14", "ATR 14", 2),),
    "Volatility": (Line("volatility_30d", "30 d", 4), Line("volatility_90d", "90 d", 3, "dash")),
}
PANE_TITLES = {
    "Volume": "Volume, USDT",
    "RSI": "RSI 14",
    "MACD": "MACD 12, 26, 9",
    "ATR": "ATR 14, USDT",
    "Volatility": "Volatility, a year",
}
VWAP_NAMES: dict[Bar, str] = {
    "1h": "VWAP since 00:00",
    "4h": "VWAP 24 h",
    "1d": "VWAP of the day",
    "1w": "VWAP of the week",
}


def price_chart(
    bars: pd.DataFrame,
    daily: pd.DataFrame,
    bar: Bar,
    colours: Palette,
    *,
    candles: bool = True,
    log: bool = False,
    overlays: Sequence[str] = (),
    panes: Sequence[str] = ("Volume",),
) -> go.Figure:
    """Price with its overlays above, one pane per choice below, all on one x axis and in one hover box.

    `bars` has opened_at (UTC), OHLC, quote_volume, hours and the averages known at that size; what it lacks is taken
    from `daily` (date and indicators) and drawn as steps that begin when the day is over.
    """
    bars = with_gaps(bars, bar)
    height = 430 + 95 * len(panes)
    share = 95 / height  # of one pane
    figure = blank(
        colours,
        height,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="pan",
        barmode="relative",
        bargap=0.15,
    )
    _draw_price(figure, bars, bar, colours, candles)
    for name in overlays:
        for line in OVERLAYS[name]:
            _draw_line(figure, _values(bars, daily, line.column, bar), line, colours, "y", bar)
    figure.update_yaxes(
        domain=[len(panes) * share, 1],
        side="right",
        tickformat=",.6~r",  # g would write a price of 0.00000941 as 9.41e-6
        hoverformat=",.6~r",
        type="log" if log else "linear",
        rangemode="nonnegative",
        minallowed=None if log else 0,
        autorangeoptions=room_for_one_value(pd.concat([bars["low"], bars["high"]])),
    )
    for number, name in enumerate(panes, start=2):
        bottom = share * (len(panes) + 1 - number)
        _draw_pane(figure, name, f"y{number}", bars, daily, bar, colours)
        axis = {
            "domain": [bottom, bottom + share * 0.84],
            "side": "right",
            "gridcolor": colours.grid,
            "zeroline": False,
            "nticks": 3,
            "tickformat": {"RSI": "d", "Volatility": ".0%", "Volume": ""}.get(name, ",.3~r"),
            "hoverformat": {"RSI": ".2f", "Volatility": ".2%"}.get(name, ",.6~r"),
            "exponentformat": "B",
            "fixedrange": True,
            "anchor": "x",
        }
        if name != "MACD":  # the one that can be below 0
            axis["rangemode"] = "tozero" if name == "Volume" else "nonnegative"
        if name == "RSI":
            axis |= {"range": [0, 100], "tickvals": [30, 70], "ticktext": ["30", "70"]}
        figure.update_layout({f"yaxis{number}": axis})
        figure.add_annotation(
            text=PANE_TITLES[name],
            x=0,
            y=bottom + share * 0.84,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"size": 11, "color": colours.muted},
            bgcolor=faded(colours.surface, 0.7),
        )
    figure.update_xaxes(
        rangeslider_visible=False,
        anchor=f"y{len(panes) + 1}" if panes else "y",
        showspikes=True,
        spikemode="across",
        spikethickness=1,
        spikedash="dot",
        spikecolor=colours.muted,
        hoverformat=HOVER_DAY if bar in ("1d", "1w") else HOVER_TIME,
    )
    return figure


def _stamps(instants: pd.Series, bar: Bar) -> list[str]:
    """Return UTC instants as the shortest text that Plotly reads: with every pane on, half of what is sent is times."""
    return pd.to_datetime(instants).dt.strftime("%Y-%m-%d" if bar in ("1d", "1w") else "%Y-%m-%d %H:%M").tolist()


def _draw_price(figure: go.Figure, bars: pd.DataFrame, bar: Bar, colours: Palette, candles: bool) -> None:
    if not candles:
        figure.add_scatter(
            x=_stamps(bars["opened_at"], bar),
            y=bars["close"],
            name="Close",
            line={"color": colours.up, "width": 1.8},
            connectgaps=False,
        )
        return
    whole = BAR_LENGTH[bar].total_seconds() / 3600
    # only the newest candle can still be forming: an older one with fewer hours has a gap and is what it is
    forming = len(bars) > 0 and bars["hours"].iloc[-1] < whole
    parts = (
        [(bars.iloc[:-1], "Price", 1.0), (bars.iloc[-1:], "still forming", 0.45)] if forming else [(bars, "Price", 1.0)]
    )
    for part, name, opacity in parts:
        figure.add_candlestick(
            x=_stamps(part["opened_at"], bar),
            open=part["open"],
            high=part["high"],
            low=part["low"],
            close=part["close"],
            name=name,
            opacity=opacity,
            increasing={"line": {"color": colours.up, "width": 1}, "fillcolor": faded(colours.up, 0.12)},
            decreasing={"line": {"color": colours.down, "width": 1}, "fillcolor": colours.down},
        )


def _values(bars: pd.DataFrame, daily: pd.DataFrame, column: str, bar: Bar) -> tuple[pd.DataFrame, bool]:
    """Return x and y of a line, and whether it had to be taken from the days."""
    if column in bars and bars[column].notna().any():
        return pd.DataFrame({"x": bars["opened_at"], "y": bars[column]}), False
    if bars.empty or column not in daily:
        return pd.DataFrame({"x": [], "y": []}), True
    days = pd.DataFrame({"x": pd.to_datetime(daily["date"], utc=True), "y": daily[column]})
    if bar == "1w":
        days = days.groupby(days["x"].dt.tz_localize(None).dt.to_period("W").dt.start_time).last()
        return pd.DataFrame({"x": days.index.tz_localize("UTC"), "y": days["y"].to_numpy()}), True
    days["x"] += pd.Timedelta(days=1)  # a day's value is known when the day is over
    first, last = bars["opened_at"].iloc[0], bars["opened_at"].iloc[-1]
    known = days[days["x"] <= first].tail(1)
    shown = pd.concat([known.assign(x=first), days[(days["x"] > first) & (days["x"] <= last)]])
    if not shown.empty:
        shown = pd.concat([shown, shown.tail(1).assign(x=last)])
    return shown, True


def _draw_line(
    figure: go.Figure, values: tuple[pd.DataFrame, bool], line: Line, colours: Palette, axis: str, bar: Bar
) -> None:
    points, from_days = values
    if points.empty or points["y"].isna().all():
        return
    name = VWAP_NAMES[bar] if line.column == "vwap" else line.name
    figure.add_scatter(
        x=_stamps(points["x"], bar),
        y=points["y"].astype("float32"),
        yaxis=axis,
        name=f"{name} (daily)" if from_days and axis != "y" else name,
        mode="lines",
        line={
            "color": colours.lines[line.colour],
            "width": 1.5,
            "dash": line.dash,
            "shape": "hv" if from_days and bar != "1w" else "linear",
        },
        showlegend=axis == "y" and line.name != "lower band",
        connectgaps=False,
        hovertemplate="%{y}",
    )


def _draw_pane(
    figure: go.Figure, name: str, axis: str, bars: pd.DataFrame, daily: pd.DataFrame, bar: Bar, colours: Palette
) -> None:
    rose = (bars["close"] >= bars["open"]).to_numpy()
    if name == "Volume":
        figure.add_bar(
            x=_stamps(bars["opened_at"], bar),
            y=bars["quote_volume"].astype("float32"),
            yaxis=axis,
            name="Volume",
            showlegend=False,
            marker=_two_coloured(rose, colours),
            customdata=bars["quote_volume"].map(formats.money),
            hovertemplate="%{customdata}",
        )
    if name == "MACD":
        _draw_histogram(figure, *_values(bars, daily, "macd_histogram", bar), axis, bar, colours)
    if name == "RSI":
        for level in (30, 70):
            figure.add_shape(
                type="line",
                x0=0,
                x1=1,
                xref="x domain",
                y0=level,
                y1=level,
                yref=axis,
                line={"color": colours.muted, "width": 1, "dash": "dot"},
            )
    for line in PANES[name]:
        _draw_line(figure, _values(bars, daily, line.column, bar), line, colours, axis, bar)


def _draw_histogram(
    figure: go.Figure, points: pd.DataFrame, from_days: bool, axis: str, bar: Bar, colours: Palette
) -> None:
    """Draw the MACD histogram: bars at the size of the candles, a stepped area when it comes from the days."""
    if from_days and bar != "1w":
        figure.add_scatter(
            x=_stamps(points["x"], bar),
            y=points["y"].astype("float32"),
            yaxis=axis,
            name="histogram (daily)",
            showlegend=False,
            fill="tozeroy",
            fillcolor=faded(colours.muted, 0.3),
            line={"shape": "hv", "width": 0},
            hovertemplate="%{y}",
        )
        return
    figure.add_bar(
        x=_stamps(points["x"], bar),
        y=points["y"].astype("float32"),
        yaxis=axis,
        name="histogram",
        showlegend=False,
        hovertemplate="%{y}",
        marker=_two_coloured((points["y"] >= 0).to_numpy(), colours),
    )


def _two_coloured(rising: np.ndarray, colours: Palette) -> dict[str, object]:
    """Return a marker that is up where `rising`, else down.

    Named colours and not a scale of two: Plotly 3 writes a warning for each bar whose colour is a number (1,095 of them
    took 0.2 s of this chart), and takes its opacity for that of black.
    """
    return {"color": np.where(rising, colours.up, colours.down), "opacity": 0.55, "line_width": 0}


def volatility_lines(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """Realised volatility over 7, 30 and 90 days through time, as a yearly percentage."""
    figure = blank(colours, 300, hovermode="x unified")
    for column, name, width in (
        ("volatility_7d", "7 d", 1),
        ("volatility_30d", "30 d", 2),
        ("volatility_90d", "90 d", 2),
    ):
        colour = {"7 d": colours.muted, "30 d": colours.up, "90 d": colours.lines[0]}[name]
        figure.add_scatter(
            x=daily["date"],
            y=daily[column],
            name=name,
            line={"color": colour, "width": width},
            hovertemplate="%{y}",
        )
    figure.update_yaxes(tickformat=".0%", hoverformat=".2%", side="right", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def drawdown_area(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """How far each close stood below the highest before it, in percent, with the deepest day marked."""
    figure = blank(colours, 300, hovermode="x unified", showlegend=False)
    figure.add_scatter(
        x=daily["date"],
        y=daily["drawdown_pct"],
        name="below the high",
        fill="tozeroy",
        line={"color": colours.down, "width": 1.2},
        fillcolor=faded(colours.down, 0.18),
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
            arrowcolor=colours.muted,
            ax=0,
            ay=22,
            font={"color": colours.text},
        )
    # room below the deepest day for its number; a price that never fell has no depth of its own
    figure.update_yaxes(ticksuffix="%", hoverformat=".2f", side="right", range=[low * 1.15 if low < 0 else -1, 0])
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def return_calendar(returns: pd.DataFrame, colours: Palette) -> go.Figure:
    """Heat map of monthly returns in percent (rows years, columns months 1 to 12), the value in each cell."""
    values = returns.to_numpy(dtype=float)
    limit = (float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0) or 1.0
    figure = blank(colours, 90 + 40 * len(returns))
    figure.add_heatmap(
        z=values,
        x=list(MONTHS),
        y=[str(year) for year in returns.index],
        zmid=0,
        zmin=-limit,
        zmax=limit,
        colorscale=diverging(colours, colours.cell),
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        text=[
            ["" if not np.isfinite(cell) else formats.number(cell, int(abs(cell) < 9.95)) for cell in row]
            for row in values
        ],
        texttemplate="%{text}",
        textfont={"color": colours.text, "size": CELL_FONT},
        customdata=[[formats.change(cell) for cell in row] for row in values],
        hovertemplate="%{x} %{y}: %{customdata}<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure


def return_histogram(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """Distribution of daily returns in percent, falls and rises in their colours, the newest day marked."""
    returns = daily["return_pct"].dropna()
    figure = blank(colours, 300, showlegend=False, bargap=0.04, barmode="overlay")
    if returns.empty:
        return figure
    reach = max(1.0, float(np.ceil(returns.abs().quantile(0.995))))
    edges = np.linspace(-reach, reach, 41)
    counts, _ = np.histogram(returns.clip(-reach, reach), edges)
    middles = (edges[:-1] + edges[1:]) / 2
    figure.add_bar(
        x=middles,
        y=counts,
        marker={"color": np.where(middles >= 0, colours.up, colours.down), "line_width": 0},
        customdata=[[formats.signed(edge) for edge in pair] for pair in itertools.pairwise(edges)],
        hovertemplate="%{customdata[0]} to %{customdata[1]}: %{y} days<extra></extra>",
    )
    newest = float(np.clip(returns.iloc[-1], -reach, reach))
    figure.add_vline(
        x=newest,
        line={"color": colours.text, "width": 1, "dash": "dot"},
        annotation_text="newest day",
        annotation_font_color=colours.muted,
        annotation_position="top right" if newest < 0 else "top left",
    )
    figure.update_xaxes(ticksuffix="%")
    # room above the highest bar for the word
    figure.update_yaxes(title="days", side="right", range=[0, counts.max() * 1.15])
    return figure
