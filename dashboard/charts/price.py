"""The price chart with overlays and indicator panes.

An indicator that is not available at the bar size comes from the daily data and starts when its day is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis.bars import Bar, Event, full_hours, with_gaps
from dashboard.charts.base import FIT, HOVER_DAY, HOVER_TIME, Palette, axis_colors, blank, faded, fit_prices
from dashboard.text import label


@dataclass(frozen=True)
class Line:
    """One indicator line: its column, name, color index and dash style."""

    column: str
    name: str
    color: int
    dash: str = "solid"


AVERAGES = {
    f"{kind} {days}": (
        Line(f"{kind.lower()}_{days}", f"{kind} {days}d", color % 6, "dash" if kind == "EMA" else "solid"),
    )
    for kind, periods in (("SMA", (7, 20, 30, 50, 100, 200)), ("EMA", (20, 50, 100, 200)))
    for color, days in enumerate(periods)
}
OVERLAYS: dict[str, tuple[Line, ...]] = {
    **AVERAGES,
    "EMA": (Line("ema_12", "EMA 12d", 3), Line("ema_26", "EMA 26d", 4)),
    "Bollinger": (Line("bb_upper_20", "Bollinger (20, 2σ)", 5, "dot"), Line("bb_lower_20", "lower band", 5, "dot")),
    "VWAP": (Line("vwap", "VWAP", 2, "dot"),),
}
PANES: dict[str, tuple[Line, ...]] = {
    "Volume": (),
    "RSI": (Line("rsi_14", "RSI 14", 1),),
    "MACD": (Line("macd", "MACD", 3), Line("macd_signal", "Signal", 0, "dash")),
    "ATR": (Line("atr_14", "ATR 14", 2),),
    "Volatility": (Line("volatility_30d", "30d", 4), Line("volatility_90d", "90d", 3, "dash")),
}
PANE_TITLES = {
    "Volume": "Volume, USDT",
    "RSI": "RSI 14",
    "MACD": "MACD 12, 26, 9",
    "ATR": "ATR 14, USDT",
    "Volatility": "Volatility (annualized)",
}
PRICE_PX, PANE_PX = 365, 95
VWAP_NAMES: dict[Bar, str] = {
    "1h": "VWAP (since 00:00)",
    "4h": "VWAP (24h)",
    "1d": "VWAP (day)",
    "1w": "VWAP (week)",
    "1mo": "VWAP (month)",
}
LONG_BARS = ("1w", "1mo")  # daily values are taken at the end of the bar
NO_OTHERS: Mapping[str, pd.DataFrame] = {}


@dataclass(frozen=True)
class Display:
    """How the price is drawn, names of OVERLAYS over it, and names of PANES below it, from top to bottom."""

    candles: bool = True
    log: bool = False
    overlays: tuple[str, ...] = ()
    panes: tuple[str, ...] = ("Volume",)


DEFAULT_DISPLAY = Display()


def price_chart(
    bars: pd.DataFrame,
    daily: pd.DataFrame,
    bar: Bar,
    colors: Palette,
    display: Display = DEFAULT_DISPLAY,
    *,
    others: Mapping[str, pd.DataFrame] = NO_OTHERS,
    events: Sequence[Event] = (),
) -> go.Figure:
    """Return the price with its overlays and one pane per indicator, on one x axis.

    `bars` has opened_at (UTC), OHLC, quote_volume, hours and the averages known at that bar size. Other indicators come
    from `daily` and are drawn as steps that start when their day is over. `others` are closes of other coins by name.
    No trace has a hover box, which would cover the candles; the page shows the values above the chart.
    """
    bars = with_gaps(bars, bar)
    height = PRICE_PX + PANE_PX * len(display.panes)
    share = PANE_PX / height  # of one pane
    figure = blank(
        colors, height, hovermode="x", hoversubplots="axis", dragmode="zoom", barmode="relative", bargap=0.15
    )
    figure.layout.margin.t, figure.layout.showlegend = 30, False
    _draw_price(figure, bars, bar, colors, display.candles)
    for number, (name, closes) in enumerate(others.items()):
        _draw_other(figure, name, closes, bars, colors.lines[(number + 1) % len(colors.lines)], bar)
    for name in display.overlays:
        for line in OVERLAYS[name]:
            _draw_line(figure, _values(bars, daily, line.column, bar), line, colors, "y", bar)
    figure.update_yaxes(
        domain=[len(display.panes) * share, 1],
        side="right",
        tickformat=",.6~r",  # g would format a price of 0.00000941 as 9.41e-6
        hoverformat=",.6~r",
        type="log" if display.log else "linear",
        rangemode="nonnegative",
        fixedrange=True,  # a drag chooses a time range; the page fits the prices to it
        **_crosshair("cursor", colors),
    )
    for number, name in enumerate(display.panes, start=2):
        bottom = share * (len(display.panes) + 1 - number)
        _draw_pane(figure, name, f"y{number}", bars, daily, bar, colors)
        _add_pane_axis(figure, name, number, (bottom, bottom + share * 0.84), colors)
    figure.update_xaxes(
        rangeslider_visible=False,
        anchor=f"y{len(display.panes) + 1}" if display.panes else "y",
        **_crosshair("hovered data", colors),
        hoverformat=HOVER_TIME if bar in ("1h", "4h") else HOVER_DAY,
    )
    figure.update_traces(hoverinfo="none", hovertemplate=None)
    fit_prices(figure)
    _tag_last_price(figure, bars, colors, display.log)
    _mark_events(figure, events, bar, colors)
    return figure


def _crosshair(snap: str, colors: Palette) -> dict[str, Any]:
    """Return the line that an axis draws through the pointer, or through the bar under it."""
    return {
        "showspikes": True,
        "spikemode": "across",
        "spikesnap": snap,
        "spikethickness": 1,
        "spikedash": "dot",
        "spikecolor": colors.muted,
    }


def _tag_last_price(figure: go.Figure, bars: pd.DataFrame, colors: Palette, log: bool) -> None:
    known = bars.dropna(subset=["close"])
    if known.empty:
        return
    last = known.iloc[-1]
    color = colors.up if last["close"] >= last["open"] else colors.down
    figure.add_hline(y=last["close"], line={"color": color, "width": 1, "dash": "dot"})
    figure.add_annotation(
        x=1,
        xref="paper",
        y=np.log10(last["close"]) if log and last["close"] > 0 else last["close"],
        yref="y",
        xanchor="left",
        text=formats.price(last["close"]).removeprefix("$"),
        showarrow=False,
        font={"size": 11, "color": colors.surface},
        bgcolor=color,
        borderpad=2,
        name="last price",
    )


def _mark_events(figure: go.Figure, events: Sequence[Event], bar: Bar, colors: Palette) -> None:
    for event, at in zip(events, _plotly_times(pd.Series([event.at for event in events]), bar), strict=True):
        figure.add_annotation(
            x=at,
            y=0,
            yref="y domain",
            yanchor="bottom",
            text=event.letter,
            hovertext=label(event.text),
            showarrow=False,
            font={"size": 10, "color": colors.text},
            bgcolor=colors.surface,
            bordercolor=colors.muted,
            borderpad=1,
            name="event",
        )


def _draw_other(figure: go.Figure, name: str, closes: pd.DataFrame, bars: pd.DataFrame, color: str, bar: Bar) -> None:
    """Draw another coin's closes, rebased to the close of the first bar that both have."""
    both = bars[["opened_at", "close"]].merge(closes[["opened_at", "close"]], on="opened_at", suffixes=("", "_other"))
    common = both.dropna()
    if common.empty:
        return
    scale = common["close"].iloc[0] / common["close_other"].iloc[0]
    figure.add_scatter(
        x=_plotly_times(both["opened_at"], bar),
        y=both["close_other"] * scale,
        name=f"{label(name)} (rebased)",
        meta=FIT,
        line={"color": color, "width": 1.8},
        connectgaps=False,
    )


def _add_pane_axis(figure: go.Figure, name: str, number: int, domain: tuple[float, float], colors: Palette) -> None:
    axis: dict[str, object] = {
        "domain": domain,
        "side": "right",
        **axis_colors(colors),
        "zeroline": False,
        "nticks": 3,
        # SI prefixes for volumes; three digits would write an ATR of 3,240 as 3e+3
        "tickformat": {"RSI": "d", "Volatility": ".0%", "Volume": ""}.get(name, ",.6~r"),
        "hoverformat": {"RSI": ".2f", "Volatility": ".2%"}.get(name, ",.6~r"),
        "exponentformat": "B",
        "fixedrange": True,
        "anchor": "x",
    }
    if name != "MACD":  # the only indicator that can be negative
        axis["rangemode"] = "tozero" if name == "Volume" else "nonnegative"
    if name == "RSI":
        axis |= {"range": [0, 100], "tickvals": [30, 70], "ticktext": ["30", "70"]}
    figure.update_layout({f"yaxis{number}": axis})
    figure.add_annotation(
        text=PANE_TITLES[name],
        x=0,
        y=domain[1],
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        showarrow=False,
        font={"size": 11, "color": colors.muted},
        bgcolor=faded(colors.surface, 0.7),
    )


def _plotly_times(instants: pd.Series, bar: Bar) -> list[str]:
    """Return UTC times in Plotly's shortest format: with every pane shown, times are half of the data sent."""
    return pd.to_datetime(instants).dt.strftime("%Y-%m-%d %H:%M" if bar in ("1h", "4h") else "%Y-%m-%d").tolist()


def _draw_price(figure: go.Figure, bars: pd.DataFrame, bar: Bar, colors: Palette, candles: bool) -> None:
    if not candles:
        figure.add_scatter(
            x=_plotly_times(bars["opened_at"], bar),
            y=bars["close"],
            name="Close",
            meta=FIT,
            line={"color": colors.up, "width": 1.8},
            connectgaps=False,
        )
        return
    # only the newest candle can be incomplete; an older one with fewer hours has a gap
    incomplete = len(bars) > 0 and bars["hours"].iloc[-1] < full_hours(bar, bars["opened_at"].iloc[-1])
    groups = [(bars, "Price", 1.0)]
    if incomplete:
        groups = [(bars.iloc[:-1], "Price", 1.0), (bars.iloc[-1:], "Incomplete", 0.45)]
    for group, name, opacity in groups:
        figure.add_candlestick(
            x=_plotly_times(group["opened_at"], bar),
            open=group["open"],
            high=group["high"],
            low=group["low"],
            close=group["close"],
            name=name,
            meta=FIT,
            opacity=opacity,
            increasing={"line": {"color": colors.up, "width": 1}, "fillcolor": faded(colors.up, 0.12)},
            decreasing={"line": {"color": colors.down, "width": 1}, "fillcolor": colors.down},
        )


def _values(bars: pd.DataFrame, daily: pd.DataFrame, column: str, bar: Bar) -> tuple[pd.DataFrame, bool]:
    """Return x and y of a line, and whether they come from the daily data."""
    if column in bars and bars[column].notna().any():
        return pd.DataFrame({"x": bars["opened_at"], "y": bars[column]}), False
    if bars.empty or column not in daily:
        return pd.DataFrame({"x": [], "y": []}), True
    days = pd.DataFrame({"x": pd.to_datetime(daily["date"], utc=True), "y": daily[column]})
    if bar in LONG_BARS:
        days = days[days["x"] >= bars["opened_at"].iloc[0]]
        periods = days["x"].dt.tz_localize(None).dt.to_period("W" if bar == "1w" else "M").dt.start_time
        days = days.groupby(periods)[["y"]].last()
        return pd.DataFrame({"x": days.index.tz_localize("UTC"), "y": days["y"].to_numpy()}), True
    days["x"] += pd.Timedelta(days=1)  # a daily value is known when its day is over
    first, last = bars["opened_at"].iloc[0], bars["opened_at"].iloc[-1]
    known = days[days["x"] <= first].tail(1)
    shown = pd.concat([known.assign(x=first), days[(days["x"] > first) & (days["x"] <= last)]])
    if not shown.empty:
        shown = pd.concat([shown, shown.tail(1).assign(x=last)])
    return shown, True


def _draw_line(
    figure: go.Figure, values: tuple[pd.DataFrame, bool], line: Line, colors: Palette, axis: str, bar: Bar
) -> None:
    points, from_days = values
    if points.empty or points["y"].isna().all():
        return
    name = VWAP_NAMES[bar] if line.column == "vwap" else line.name
    figure.add_scatter(
        x=_plotly_times(points["x"], bar),
        y=points["y"].astype("float32"),
        yaxis=axis,
        name=f"{name} (daily)" if from_days and axis != "y" else name,
        mode="lines",
        line={
            "color": colors.lines[line.color],
            "width": 1.5,
            "dash": line.dash,
            "shape": "hv" if from_days and bar not in LONG_BARS else "linear",
        },
        connectgaps=False,
    )


def _draw_pane(
    figure: go.Figure, name: str, axis: str, bars: pd.DataFrame, daily: pd.DataFrame, bar: Bar, colors: Palette
) -> None:
    rose = (bars["close"] >= bars["open"]).to_numpy()
    if name == "Volume":
        figure.add_bar(
            x=_plotly_times(bars["opened_at"], bar),
            y=bars["quote_volume"].astype("float32"),
            yaxis=axis,
            name="Volume",
            marker=_up_down_marker(rose, colors),
        )
    if name == "MACD":
        _draw_histogram(figure, *_values(bars, daily, "macd_histogram", bar), axis, bar, colors)
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
                line={"color": colors.muted, "width": 1, "dash": "dot"},
            )
    for line in PANES[name]:
        _draw_line(figure, _values(bars, daily, line.column, bar), line, colors, axis, bar)


def _draw_histogram(
    figure: go.Figure, points: pd.DataFrame, from_days: bool, axis: str, bar: Bar, colors: Palette
) -> None:
    """Draw the MACD histogram: bars at the bar size of the candles, a stepped area if it comes from daily data."""
    if from_days and bar not in LONG_BARS:
        figure.add_scatter(
            x=_plotly_times(points["x"], bar),
            y=points["y"].astype("float32"),
            yaxis=axis,
            name="Histogram (daily)",
            fill="tozeroy",
            fillcolor=faded(colors.muted, 0.3),
            line={"shape": "hv", "width": 0},
        )
        return
    figure.add_bar(
        x=_plotly_times(points["x"], bar),
        y=points["y"].astype("float32"),
        yaxis=axis,
        name="Histogram",
        marker=_up_down_marker((points["y"] >= 0).to_numpy(), colors),
    )


def _up_down_marker(rising: np.ndarray, colors: Palette) -> dict[str, object]:
    """Return a marker with the up color where `rising`, else the down color.

    Named colors instead of a color scale: Plotly.js 3 logs a warning for each bar with a numeric color (1,095 of them
    took 0.2 s of this chart) and applies the opacity of black.
    """
    return {"color": np.where(rising, colors.up, colors.down), "opacity": 0.55, "line_width": 0}
