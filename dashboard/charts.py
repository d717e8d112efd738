"""Every figure of the dashboard: pure functions from DataFrames to plotly figures.

Belongs here: traces, axes, hover texts, colours by meaning. Does not: SQL, widgets, captions. A figure draws what it is
given and breaks its lines where data is missing; axes are UTC. Figures stay SVG: WebGL is slower without a graphics
card, and browsers allow only some eight WebGL charts on a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import formats
from dashboard.analysis import BAR_LENGTH, Bar, with_gaps

HOVER_TIME = "%Y-%m-%d %H:%M UTC"
HOVER_DAY = "%Y-%m-%d"
DAY_MS = 86_400_000
CONFIG = {"displayModeBar": False}
CONFIG_ZOOM = {
    "scrollZoom": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoom2d", "pan2d"],
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
        return Palette(up, down, "#E8EAED", "#9AA0A8", "#2B2F36", "#14161A", LINES_DARK)
    return Palette(up, down, "#1B1F24", "#636B75", "#E6E9ED", "#FFFFFF", LINES_LIGHT)


def faded(colour: str, opacity: float) -> str:
    """Return a #RRGGBB colour with an opacity, as CSS."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _figure(colours: Palette, height: int, **layout: object) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 8, "b": 0},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"namelength": -1},
        font={"color": colours.text},
        colorway=list(colours.lines),
        **layout,
    )
    figure.update_xaxes(gridcolor=colours.grid, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=colours.grid, zeroline=False, automargin=True)
    return figure


# -- overview --------------------------------------------------------------------------------------------------------


def change_bars(coins: pd.DataFrame, column: str, colours: Palette) -> go.Figure:
    """Horizontal bars of a change in percent (`column`), one per coin in the given order, largest coin on top.

    Expects `symbol`, `name`, `price_usd`, `market_cap_usd`; rows without a change are left out.
    """
    known = coins.dropna(subset=[column])
    figure = _figure(colours, 38 * max(len(known), 3) + 24)
    figure.add_bar(
        x=known[column],
        y=known["symbol"].str.upper(),
        orientation="h",
        marker_color=[colours.up if value >= 0 else colours.down for value in known[column]],
        text=[formats.change(value) for value in known[column]],
        textposition="outside",
        cliponaxis=False,
        customdata=np.column_stack(
            [known["name"], known["price_usd"].map(formats.price), known["market_cap_usd"].map(formats.money)]
        ),
        hovertemplate="%{customdata[0]}<br>%{text}<br>price %{customdata[1]}<br>market cap %{customdata[2]}<extra></extra>",
    )
    reach = float(known[column].abs().max() or 1) if len(known) else 1.0
    low, high = min(float(known[column].min()), 0.0) if len(known) else 0.0, float(known[column].max()) if len(known) else 1
    # room beside the longest bars for their labels
    figure.update_xaxes(range=[low - reach * 0.45 * (low < 0), max(high, 0) + reach * 0.45], showgrid=False)
    figure.update_xaxes(showticklabels=False, zeroline=True, zerolinecolor=colours.muted)
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    return figure


def market_treemap(coins: pd.DataFrame, colours: Palette) -> go.Figure:
    """Treemap of coins: area is market capitalisation, colour the 24 h change in percent, clipped at ±10."""
    sized = coins[coins["market_cap_usd"] > 0]
    moves = sized["change_24h_pct"]
    figure = _figure(colours, 470)
    figure.add_treemap(
        labels=sized["symbol"].str.upper(),
        ids=sized["crypto_id"],
        parents=[""] * len(sized),
        values=sized["market_cap_usd"],
        text=moves.map(formats.change),
        customdata=np.column_stack(
            [sized["name"], sized["price_usd"].map(formats.price), sized["market_cap_usd"].map(formats.money)]
        ),
        texttemplate="<b>%{label}</b><br>%{text}",
        hovertemplate="%{customdata[0]}<br>%{text} in 24 h<br>price %{customdata[1]}<br>market cap %{customdata[2]}<extra></extra>",
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


def diverging(colours: Palette) -> list[list[object]]:
    """Return a colour scale from down through the page's grey to up."""
    middle = "#E9EBEE" if colours.surface == "#FFFFFF" else "#343941"
    return [[0, colours.down], [0.5, middle], [1, colours.up]]


# -- price -----------------------------------------------------------------------------------------------------------


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
VWAP_NAMES: dict[Bar, str] = {"1h": "VWAP since 00:00", "4h": "VWAP 24 h", "1d": "VWAP of the day", "1w": "VWAP of the week"}


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
    revision: str = "",
) -> go.Figure:
    """Price with its overlays above, one pane per choice below, all on one x axis and in one hover box.

    `bars` has opened_at (UTC), OHLC, quote_volume, hours and the averages known at that size; what it lacks is taken
    from `daily` (date and indicators) and drawn as steps that begin when the day is over. `revision` keeps the zoom.
    """
    bars = with_gaps(bars, bar)
    height = 430 + 95 * len(panes)
    share = 95 / height  # of one pane
    figure = _figure(
        colours,
        height,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="pan",
        uirevision=revision,
        barmode="relative",
        bargap=0.15,
    )
    figure.update_layout(margin={"t": 8, "b": 4})
    _draw_price(figure, bars, bar, colours, candles)
    for name in overlays:
        for line in OVERLAYS[name]:
            _draw_line(figure, _values(bars, daily, line.column, bar), line, colours, "y", bar)
    figure.update_yaxes(domain=[len(panes) * share, 1], side="right", tickformat=",.6~g", type="log" if log else "linear")
    for number, name in enumerate(panes, start=2):
        bottom = share * (len(panes) + 1 - number)
        _draw_pane(figure, name, f"y{number}", bars, daily, bar, colours)
        axis = {
            "domain": [bottom, bottom + share * 0.84],
            "side": "right",
            "gridcolor": colours.grid,
            "zeroline": False,
            "nticks": 3,
            "tickformat": {"RSI": "d", "Volatility": ".0%", "Volume": ""}.get(name, ",.3~g"),
            "exponentformat": "B",
            "fixedrange": True,
            "anchor": "x",
        }
        if name == "RSI":
            axis |= {"range": [0, 100], "tickvals": [30, 70]}
        figure.update_layout({f"yaxis{number}": axis})
        figure.add_annotation(
            text=PANE_TITLES[name], x=0, y=bottom + share * 0.84, xref="paper", yref="paper", xanchor="left", yanchor="top",
            showarrow=False, font={"size": 11, "color": colours.muted}, bgcolor=faded(colours.surface, 0.7),
        )  # fmt: skip
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


def _draw_price(figure: go.Figure, bars: pd.DataFrame, bar: Bar, colours: Palette, candles: bool) -> None:
    if not candles:
        figure.add_scatter(
            x=bars["opened_at"], y=bars["close"], name="Close", line={"color": colours.up, "width": 1.8},
            connectgaps=False,
        )  # fmt: skip
        return
    whole = BAR_LENGTH[bar].total_seconds() / 3600
    # only the newest candle can still be forming: an older one with fewer hours has a gap and is what it is
    forming = len(bars) > 0 and bars["hours"].iloc[-1] < whole
    parts = [(bars.iloc[:-1], "Price", 1.0), (bars.iloc[-1:], "still forming", 0.45)] if forming else [(bars, "Price", 1.0)]
    for part, name, opacity in parts:
        figure.add_candlestick(
            x=part["opened_at"], open=part["open"], high=part["high"], low=part["low"], close=part["close"], name=name,
            opacity=opacity,
            increasing={"line": {"color": colours.up, "width": 1}, "fillcolor": faded(colours.up, 0.12)},
            decreasing={"line": {"color": colours.down, "width": 1}, "fillcolor": colours.down},
        )  # fmt: skip


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
        x=points["x"],
        y=points["y"],
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
        hovertemplate="%{y:.0%}" if line.column.startswith("volatility") else "%{y:,.6~g}",
    )


def _draw_pane(
    figure: go.Figure, name: str, axis: str, bars: pd.DataFrame, daily: pd.DataFrame, bar: Bar, colours: Palette
) -> None:
    rose = (bars["close"] >= bars["open"]).to_numpy()
    if name == "Volume":
        figure.add_bar(
            x=bars["opened_at"], y=bars["quote_volume"], yaxis=axis, name="Volume", showlegend=False,
            marker={"color": np.where(rose, faded(colours.up, 0.55), faded(colours.down, 0.55)), "line_width": 0},
            customdata=bars["quote_volume"].map(formats.money), hovertemplate="%{customdata}",
        )  # fmt: skip
    if name == "MACD":
        points, from_days = _values(bars, daily, "macd_histogram", bar)
        figure.add_bar(
            width=None if not from_days or bar == "1w" else 0.8 * DAY_MS, offset=0 if from_days and bar != "1w" else None,
            x=points["x"], y=points["y"], yaxis=axis, name="histogram", showlegend=False,
            marker={"color": np.where(points["y"] >= 0, faded(colours.up, 0.5), faded(colours.down, 0.5)), "line_width": 0},
            hovertemplate="%{y:,.4~g}",
        )  # fmt: skip
    if name == "RSI":
        for level in (30, 70):
            figure.add_shape(
                type="line", x0=0, x1=1, xref="x domain", y0=level, y1=level, yref=axis,
                line={"color": colours.muted, "width": 1, "dash": "dot"},
            )  # fmt: skip
    for line in PANES[name]:
        _draw_line(figure, _values(bars, daily, line.column, bar), line, colours, axis, bar)


def volatility_lines(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """Realised volatility over 7, 30 and 90 days through time, as a yearly percentage."""
    figure = _figure(colours, 300, hovermode="x unified")
    for column, name, width in (("volatility_7d", "7 d", 1), ("volatility_30d", "30 d", 2), ("volatility_90d", "90 d", 2)):
        colour = {"7 d": colours.muted, "30 d": colours.up, "90 d": colours.lines[0]}[name]
        figure.add_scatter(
            x=daily["date"], y=daily[column], name=name, line={"color": colour, "width": width}, hovertemplate="%{y:.1%}"
        )
    figure.update_yaxes(tickformat=".0%", side="right", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def drawdown_area(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """How far each close stood below the highest before it, in percent, with the deepest day marked."""
    figure = _figure(colours, 300, hovermode="x unified", showlegend=False)
    figure.add_scatter(
        x=daily["date"], y=daily["drawdown_pct"], name="below the high", fill="tozeroy",
        line={"color": colours.down, "width": 1.2}, fillcolor=faded(colours.down, 0.18), hovertemplate="%{y:.1f}%",
    )  # fmt: skip
    if daily["drawdown_pct"].notna().any():
        deepest = daily.loc[daily["drawdown_pct"].idxmin()]
        figure.add_annotation(
            x=deepest["date"], y=deepest["drawdown_pct"], text=f"{deepest['drawdown_pct']:.1f}%", showarrow=True,
            arrowhead=0, arrowcolor=colours.muted, ax=0, ay=22, font={"color": colours.text},
        )  # fmt: skip
    figure.update_yaxes(ticksuffix="%", side="right")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def return_calendar(returns: pd.DataFrame, colours: Palette) -> go.Figure:
    """Heat map of monthly returns in percent (rows years, columns months 1 to 12), the value in each cell."""
    values = returns.to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    figure = _figure(colours, 90 + 40 * len(returns))
    figure.add_heatmap(
        z=values, x=list(MONTHS), y=[str(year) for year in returns.index], zmid=0, zmin=-limit, zmax=limit,
        colorscale=diverging(colours), showscale=False, xgap=2, ygap=2, hoverongaps=False,
        text=[["" if not np.isfinite(cell) else f"{cell:+.1f}".replace("-", "−") for cell in row] for row in values],
        texttemplate="%{text}", hovertemplate="%{x} %{y}: %{text}%<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(showgrid=False, side="top")
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure


def return_histogram(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """Distribution of daily returns in percent, falls and rises in their colours, the newest day marked."""
    returns = daily["return_pct"].dropna()
    figure = _figure(colours, 300, showlegend=False, bargap=0.04, barmode="overlay")
    if returns.empty:
        return figure
    reach = float(np.ceil(returns.abs().quantile(0.995)))
    edges = np.linspace(-reach, reach, 41)
    counts, _ = np.histogram(returns.clip(-reach, reach), edges)
    middles = (edges[:-1] + edges[1:]) / 2
    figure.add_bar(
        x=middles, y=counts, marker={"color": np.where(middles >= 0, colours.up, colours.down), "line_width": 0},
        customdata=np.column_stack([edges[:-1], edges[1:]]),
        hovertemplate="%{customdata[0]:.1f} to %{customdata[1]:.1f}%: %{y} days<extra></extra>",
    )  # fmt: skip
    figure.add_vline(
        x=float(np.clip(returns.iloc[-1], -reach, reach)), line={"color": colours.text, "width": 1, "dash": "dot"},
        annotation_text="newest day", annotation_font_color=colours.muted,
    )  # fmt: skip
    figure.update_xaxes(ticksuffix="%")
    figure.update_yaxes(title="days", side="right")
    return figure
