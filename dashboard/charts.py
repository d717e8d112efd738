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
    cell: float  # strongest share of a colour under a number, so that the number keeps its contrast
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
        return Palette(up, down, "#E8EAED", "#9AA0A8", "#2B2F36", "#14161A", 0.4, LINES_DARK)
    return Palette(up, down, "#1B1F24", "#636B75", "#E6E9ED", "#FFFFFF", 0.62, LINES_LIGHT)


def faded(colour: str, opacity: float) -> str:
    """Return a #RRGGBB colour with an opacity, as CSS."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _figure(colours: Palette, height: int, **layout: object) -> go.Figure:
    figure = go.Figure()
    # a phone always shows the buttons in the corner of a figure that can be zoomed: its legend stands below them
    top = 56 if layout.get("dragmode") == "pan" else 8
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": top, "b": 0},
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
    """Closes of a week from 100, one line per coin (symbol, opened_at, index_100), broken where an hour is missing."""
    figure = _figure(colours, 320, hovermode="x unified")
    shades = (colours.up, *colours.lines)
    dashes = ("solid", "solid", "dash", "dot", "dashdot")
    for number, (symbol, part) in enumerate(trends.groupby("symbol", sort=False)):
        hours = with_gaps(part[["opened_at", "index_100"]], "1h")
        figure.add_scatter(
            x=hours["opened_at"],
            y=hours["index_100"].round(3),
            name=str(symbol).upper(),
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
    figure = _figure(colours, 320)
    figure.add_bar(
        x=coins["volume_24h_usd"],
        y=coins["symbol"].str.upper(),
        orientation="h",
        marker={"color": faded(colours.up, 0.6), "line_width": 0},
        cliponaxis=False,
        textposition="outside",
        text=[
            f"{formats.money(row.volume_24h_usd)} · {formats.percent(row.volume_share_pct, 1)}"
            for row in coins.itertuples()
        ],
        hovertemplate="%{y}: %{text} of all volume<extra></extra>",
    )
    # room beside the longest bar for its label
    figure.update_xaxes(visible=False, range=[0, float(coins["volume_24h_usd"].max() or 1) * 1.5])
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    return figure


def diverging(colours: Palette, strength: float = 1.0) -> list[list[object]]:
    """Return a colour scale from down through the page's grey to up; weaker ends leave text on them readable."""
    middle = "#E9EBEE" if colours.surface == "#FFFFFF" else "#343941"
    return [[0, mixed(colours.down, middle, strength)], [0.5, middle], [1, mixed(colours.up, middle, strength)]]


def mixed(colour: str, ground: str, share: float) -> str:
    """Return `share` of one #RRGGBB colour over another."""
    channels = ((int(colour[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(share * top + (1 - share) * below):02X}" for top, below in channels)


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
    _draw_price(figure, bars, bar, colours, candles)
    for name in overlays:
        for line in OVERLAYS[name]:
            _draw_line(figure, _values(bars, daily, line.column, bar), line, colours, "y", bar)
    figure.update_yaxes(
        domain=[len(panes) * share, 1], side="right", tickformat=",.6~g", type="log" if log else "linear"
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
            "tickformat": {"RSI": "d", "Volatility": ".0%", "Volume": ""}.get(name, ",.3~g"),
            "exponentformat": "B",
            "fixedrange": True,
            "anchor": "x",
        }
        if name == "RSI":
            axis |= {"range": [0, 100], "tickvals": [30, 70]}
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
        hovertemplate="%{y:.0%}" if line.column.startswith("volatility") else "%{y:,.6~g}",
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
            hovertemplate="%{y:,.4~g}",
        )
        return
    figure.add_bar(
        x=_stamps(points["x"], bar),
        y=points["y"].astype("float32"),
        yaxis=axis,
        name="histogram",
        showlegend=False,
        hovertemplate="%{y:,.4~g}",
        marker=_two_coloured((points["y"] >= 0).to_numpy(), colours),
    )


def _two_coloured(rising: np.ndarray, colours: Palette) -> dict[str, object]:
    """Return a marker that is up where `rising`, else down: a byte per bar instead of the name of a colour."""
    scale = [[0, faded(colours.down, 0.55)], [1, faded(colours.up, 0.55)]]
    return {
        "color": rising.astype("int8"),
        "cmin": 0,
        "cmax": 1,
        "colorscale": scale,
        "showscale": False,
        "line_width": 0,
    }


def volatility_lines(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """Realised volatility over 7, 30 and 90 days through time, as a yearly percentage."""
    figure = _figure(colours, 300, hovermode="x unified")
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
            hovertemplate="%{y:.1%}",
        )
    figure.update_yaxes(tickformat=".0%", side="right", rangemode="tozero")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def drawdown_area(daily: pd.DataFrame, colours: Palette) -> go.Figure:
    """How far each close stood below the highest before it, in percent, with the deepest day marked."""
    figure = _figure(colours, 300, hovermode="x unified", showlegend=False)
    figure.add_scatter(
        x=daily["date"],
        y=daily["drawdown_pct"],
        name="below the high",
        fill="tozeroy",
        line={"color": colours.down, "width": 1.2},
        fillcolor=faded(colours.down, 0.18),
        hovertemplate="%{y:.1f}%",
    )
    if daily["drawdown_pct"].notna().any():
        deepest = daily.loc[daily["drawdown_pct"].idxmin()]
        figure.add_annotation(
            x=deepest["date"],
            y=deepest["drawdown_pct"],
            text=f"{deepest['drawdown_pct']:.1f}%",
            showarrow=True,
            arrowhead=0,
            arrowcolor=colours.muted,
            ax=0,
            ay=22,
            font={"color": colours.text},
        )
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
        text=[["" if not np.isfinite(cell) else f"{cell:+.1f}".replace("-", "−") for cell in row] for row in values],
        texttemplate="%{text}",
        textfont={"color": colours.text},
        hovertemplate="%{x} %{y}: %{text}%<extra></extra>",
    )
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
        x=middles,
        y=counts,
        marker={"color": np.where(middles >= 0, colours.up, colours.down), "line_width": 0},
        customdata=np.column_stack([edges[:-1], edges[1:]]),
        hovertemplate="%{customdata[0]:.1f} to %{customdata[1]:.1f}%: %{y} days<extra></extra>",
    )
    figure.add_vline(
        x=float(np.clip(returns.iloc[-1], -reach, reach)),
        line={"color": colours.text, "width": 1, "dash": "dot"},
        annotation_text="newest day",
        annotation_font_color=colours.muted,
    )
    figure.update_xaxes(ticksuffix="%")
    figure.update_yaxes(title="days", side="right")
    return figure


# -- sentiment -------------------------------------------------------------------------------------------------------

ZONES = ((0, 25, "Extreme Fear"), (25, 47, "Fear"), (47, 54, "Neutral"), (54, 76, "Greed"), (76, 100, "Extreme Greed"))


def zone_colours(colours: Palette) -> dict[str, str]:
    """Return a colour for each class of the Fear & Greed index, from down to up."""
    return {
        "Extreme Fear": colours.down,
        "Fear": faded(colours.down, 0.55),
        "Neutral": colours.muted,
        "Greed": faded(colours.up, 0.55),
        "Extreme Greed": colours.up,
    }


def fear_greed_gauge(value: float, yesterday: float | None, colours: Palette) -> go.Figure:
    """The index today on its scale of five zones, with yesterday's as the mark."""
    shades = zone_colours(colours)
    figure = _figure(colours, 230)
    figure.add_indicator(
        mode="gauge+number",
        value=value,
        number={"font": {"size": 44, "color": colours.text}},
        gauge={
            "axis": {"range": [0, 100], "tickvals": [0, 25, 47, 54, 76, 100], "tickcolor": colours.muted},
            "bar": {"color": colours.text, "thickness": 0.18},
            "borderwidth": 0,
            "steps": [{"range": [low, high], "color": shades[name]} for low, high, name in ZONES],
            "threshold": None
            if formats.is_missing(yesterday)
            else {"line": {"color": colours.lines[0], "width": 4}, "thickness": 0.8, "value": yesterday},
        },
    )
    figure.update_layout(margin={"l": 24, "r": 24, "t": 24, "b": 8})
    return figure


def sentiment_history(sentiment: pd.DataFrame, colours: Palette) -> go.Figure:
    """Bitcoin's close above, on a log scale, and the index below, a bar per day in the colour of its class."""
    shades = zone_colours(colours)
    figure = _figure(
        colours,
        480,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="pan",
        showlegend=False,
        bargap=0,
        uirevision="history",
    )
    every_day = pd.date_range(sentiment["date"].min(), sentiment["date"].max(), name="date")
    known = sentiment.set_index("date").reindex(every_day).reset_index()
    figure.add_scatter(
        x=known["date"],
        y=known["btc_close"],
        name="Bitcoin",
        line={"color": colours.text, "width": 1.4},
        hovertemplate="$%{y:,.0f}",
        connectgaps=False,
    )
    figure.add_bar(
        x=known["date"],
        y=known["value"],
        yaxis="y2",
        name="Fear & Greed",
        customdata=known["classification"],
        marker={"color": known["classification"].map(shades).fillna(colours.grid), "line_width": 0},
        hovertemplate="%{y} %{customdata}",
    )
    figure.update_yaxes(domain=[0.44, 1], side="right", type="log", tickformat=",.6~g")
    figure.update_layout(
        yaxis2={
            "domain": [0, 0.38],
            "side": "right",
            "range": [0, 100],
            "tickvals": [0, 25, 50, 75, 100],
            "gridcolor": colours.grid,
            "fixedrange": True,
        },
    )
    figure.update_xaxes(anchor="y2", hoverformat=HOVER_DAY, showspikes=True, spikemode="across", spikethickness=1)
    return figure


def volume_lines(trend: pd.DataFrame, colours: Palette) -> go.Figure:
    """Daily volume as bars, unusual days in full colour, with its 7- and 30-day means."""
    figure = _figure(colours, 320, hovermode="x unified", bargap=0.1)
    unusual = trend["z"].abs() > 2
    figure.add_bar(
        x=trend["date"],
        y=trend["volume_usd"],
        name="volume",
        marker={"color": np.where(unusual, colours.up, faded(colours.muted, 0.35)), "line_width": 0},
        customdata=np.column_stack([trend["volume_usd"].map(formats.money), trend["z"].map(formats.ratio)]),
        hovertemplate="%{customdata[0]}, z %{customdata[1]}",
        showlegend=False,
    )
    for column, name, colour, dash in (("mean_7", "7-day mean", 0, "solid"), ("mean_30", "30-day mean", 1, "dash")):
        figure.add_scatter(
            x=trend["date"],
            y=trend[column],
            name=name,
            line={"color": colours.lines[colour], "width": 1.8, "dash": dash},
            customdata=trend[column].map(formats.money),
            hovertemplate="%{customdata}",
        )
    figure.update_yaxes(side="right", exponentformat="B")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def correlation_lines(lines: dict[str, pd.Series], colours: Palette) -> go.Figure:
    """Rolling correlations through time on a fixed scale from −1 to 1; keys are names, indexes are days."""
    figure = _figure(colours, 300, hovermode="x unified")
    styles = (("solid", 0), ("dash", 3), ("dot", 2), ("dashdot", 1))
    for (name, values), (dash, colour) in zip(lines.items(), styles, strict=False):
        figure.add_scatter(
            x=values.index,
            y=values,
            name=name,
            connectgaps=False,
            hovertemplate="%{y:.2f}",
            line={"dash": dash, "color": colours.up if colour == 3 else colours.lines[colour], "width": 1.6},
        )
    figure.add_hline(y=0, line={"color": colours.muted, "width": 1})
    figure.update_yaxes(range=[-1.05, 1.05], side="right")
    figure.update_xaxes(hoverformat=HOVER_DAY)
    return figure


def lead_lag_bars(lags: pd.DataFrame, colours: Palette) -> go.Figure:
    """Correlation at each lag in days, with the band that independent series would keep to."""
    figure = _figure(colours, 300, showlegend=False)
    beyond = lags["correlation"].abs() > lags["band"]
    figure.add_scatter(
        x=[*lags["lag"], *lags["lag"][::-1]],
        y=[*lags["band"], *-lags["band"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colours.muted, 0.2),
        hoverinfo="skip",
    )
    figure.add_bar(
        x=lags["lag"],
        y=lags["correlation"],
        customdata=lags[["n", "band"]],
        marker={"color": np.where(beyond, colours.up, faded(colours.muted, 0.6)), "line_width": 0},
        hovertemplate="lag %{x} d: %{y:.2f}<br>n = %{customdata[0]}, band ± %{customdata[1]:.2f}<extra></extra>",
    )
    limit = max(0.3, float(lags["correlation"].abs().max() or 0) * 1.15) if lags["correlation"].notna().any() else 0.3
    figure.update_yaxes(range=[-limit, limit], side="right", zeroline=True, zerolinecolor=colours.muted)
    figure.update_xaxes(title="days by which the mood is ahead", dtick=7)
    return figure


def forward_returns(returns: pd.DataFrame, classes: Sequence[str], colours: Palette) -> go.Figure:
    """Mean return after days of each class, with its 95 % error, one mark per horizon; n stands in the axis labels."""
    figure = _figure(colours, 330)
    shades = (colours.up, colours.lines[0])
    for number, (horizon, part) in enumerate(returns.groupby("horizon", sort=True)):
        rows = part.set_index("classification").reindex(classes)
        figure.add_scatter(
            x=[
                f"{name}<br>n = {formats.count(n)}" for name, n in zip(classes, _least_n(returns, classes), strict=True)
            ],
            y=rows["mean_return_pct"],
            name=str(horizon),
            mode="markers",
            marker={"size": 11, "symbol": ("circle", "diamond")[number % 2], "color": shades[number % 2]},
            error_y={"type": "data", "array": rows["mean_error_95_pct"], "thickness": 1.6},
            customdata=rows[["n", "median_return_pct", "positive_pct"]],
            hovertemplate="mean %{y:.2f}%, median %{customdata[1]:.2f}%<br>%{customdata[2]:.0f}% of %{customdata[0]} "
            "days rose",
        )
    figure.update_layout(scattermode="group")
    figure.update_yaxes(ticksuffix="%", side="right", zeroline=True, zerolinecolor=colours.muted)
    figure.update_xaxes(showgrid=False)
    return figure


def index_against_forward(forward: pd.DataFrame, tens: pd.DataFrame, colours: Palette) -> go.Figure:
    """Each day by the index (x) and bitcoin's return after (y); by tens the median and the middle 80 %."""
    figure = _figure(colours, 360)
    figure.add_scatter(
        x=[*tens["middle"], *tens["middle"][::-1]],
        y=[*tens["high"], *tens["low"][::-1]],
        fill="toself",
        mode="none",
        fillcolor=faded(colours.muted, 0.22),
        name="middle 80 %",
        hoverinfo="skip",
    )
    shades = zone_colours(colours)
    figure.add_scatter(
        x=forward["value"],
        y=forward["forward_pct"].round(2),
        name="a day",
        mode="markers",
        marker={"size": 5, "opacity": 0.45, "color": forward["classification"].map(shades).fillna(colours.muted)},
        customdata=forward["date"].dt.strftime("%Y-%m-%d"),
        hovertemplate="%{customdata}: index %{x}, then %{y:+.1f}%<extra></extra>",
        showlegend=False,
    )
    figure.add_scatter(
        x=tens["middle"],
        y=tens["median"],
        name="median",
        mode="lines+markers",
        line={"color": colours.text, "width": 2},
        customdata=tens["n"],
        hovertemplate="median %{y:+.1f}%, n = %{customdata} days<extra></extra>",
    )
    figure.update_yaxes(ticksuffix="%", side="right", zeroline=True, zerolinecolor=colours.muted)
    figure.update_xaxes(title="index", range=[0, 100], dtick=10)
    return figure


def _least_n(returns: pd.DataFrame, classes: Sequence[str]) -> list[float]:
    return returns.groupby("classification")["n"].min().reindex(classes).tolist()


# -- compare ---------------------------------------------------------------------------------------------------------


def indexed_lines(table: pd.DataFrame, names: dict[str, str], colours: Palette, log: bool) -> go.Figure:
    """One line per column of closes indexed to 100, named at its end."""
    figure = _figure(colours, 440, hovermode="x unified", dragmode="pan", uirevision="indexed")
    shades = (colours.up, *colours.lines)
    dashes = ("solid", "solid", "dash", "dot", "dashdot")
    for number, column in enumerate(table.columns):
        figure.add_scatter(
            x=table.index,
            y=table[column],
            name=names.get(column, column),
            connectgaps=False,
            line={"color": shades[number % len(shades)], "width": 1.8, "dash": dashes[number % len(dashes)]},
            hovertemplate="%{y:.1f}",
        )
    figure.add_hline(y=100, line={"color": colours.muted, "width": 1, "dash": "dot"})
    figure.update_yaxes(side="right", type="log" if log else "linear", tickformat=",.4~g")
    return figure


def risk_return(coins: pd.DataFrame, chosen: Sequence[str], colours: Palette) -> go.Figure:
    """Each coin by its 90-day volatility (x, a year) and 90-day return (y); the chosen ones named and in colour.

    Expects crypto_id, symbol, name, volatility_90d, return_90d_pct, quote_volume.
    """
    known = coins.dropna(subset=["volatility_90d", "return_90d_pct"])
    figure = _figure(colours, 400, showlegend=False)
    size = np.sqrt(known["quote_volume"].clip(lower=0) / max(known["quote_volume"].max(), 1)) * 34 + 7
    picked = known["crypto_id"].isin(chosen)
    figure.add_scatter(
        x=known["volatility_90d"],
        y=known["return_90d_pct"],
        mode="markers+text",
        text=np.where(picked, known["symbol"].str.upper(), ""),
        textposition="top center",
        cliponaxis=False,
        marker={
            "size": size,
            "color": np.where(picked, colours.up, faded(colours.muted, 0.45)),
            "line": {"width": 1, "color": colours.surface},
        },
        customdata=np.column_stack([known["name"], known["return_90d_pct"].map(formats.change)]),
        hovertemplate="%{customdata[0]}<br>return %{customdata[1]}<br>volatility %{x:.0%}<extra></extra>",
    )
    figure.add_hline(y=0, line={"color": colours.muted, "width": 1})
    figure.update_xaxes(title="volatility, a year", tickformat=".0%")
    figure.update_yaxes(title="return over 90 days", ticksuffix="%", side="right")
    return figure


def correlation_heatmap(correlations: pd.DataFrame, numbers: pd.DataFrame, colours: Palette) -> go.Figure:
    """Square heat map of correlations from −1 to 1, the value in each cell, its n in the hover; labels as given."""
    figure = _figure(colours, 90 + 34 * len(correlations))
    values = correlations.to_numpy(dtype=float)
    figure.add_heatmap(
        z=values,
        x=list(correlations.columns),
        y=list(correlations.index),
        zmin=-1,
        zmax=1,
        zmid=0,
        colorscale=diverging(colours, colours.cell),
        showscale=False,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        text=[[formats.ratio(cell) if np.isfinite(cell) else "" for cell in row] for row in values],
        texttemplate="%{text}",
        textfont={"color": colours.text},
        customdata=numbers.to_numpy(dtype=float),
        hovertemplate="%{y} with %{x}: %{text}<br>n = %{customdata:.0f} days<extra></extra>",
    )
    figure.update_xaxes(showgrid=False, type="category", side="top")
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed")
    return figure


def beta_bars(coins: pd.DataFrame, chosen: Sequence[str], colours: Palette) -> go.Figure:
    """Beta to bitcoin of each coin, smallest first, the chosen ones in colour; a line at 1."""
    known = coins.dropna(subset=["beta_btc_90d"]).sort_values("beta_btc_90d")
    figure = _figure(colours, 330, showlegend=False)
    figure.add_bar(
        x=known["symbol"].str.upper(),
        y=known["beta_btc_90d"],
        customdata=known["name"],
        marker={
            "color": np.where(known["crypto_id"].isin(chosen), colours.up, faded(colours.muted, 0.45)),
            "line_width": 0,
        },
        hovertemplate="%{customdata}: %{y:.2f}<extra></extra>",
    )
    figure.add_hline(y=1, line={"color": colours.text, "width": 1, "dash": "dot"})
    figure.update_xaxes(showgrid=False, type="category", tickangle=-60, tickfont={"size": 10})
    figure.update_yaxes(side="right")
    return figure


# -- data quality ----------------------------------------------------------------------------------------------------


RUN_STATES = {
    "ok": ("ok", ""),
    "partial": ("partial ▲", "▲"),
    "failed": ("failed ✕", "✕"),
    "running": ("running …", "…"),
}


def run_squares(runs: pd.DataFrame, colours: Palette) -> go.Figure:
    """One square per run, oldest left, a row per job, its end told by colour and by mark; below, how long each took.

    Expects job, started_at, seconds, status, fetched_rows, changed_rows, run_id.
    """
    jobs = sorted(runs["job"].unique())
    strip = 26 * max(len(jobs), 1)
    height = strip + 150
    figure = _figure(colours, height, barmode="overlay", bargap=0.2)
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
            "run_id": runs["run_id"],
        }
    )
    places = pd.Series(range(len(runs)), index=runs.index)
    hover = "%{customdata[0]}, took %{customdata[1]}<br>%{customdata[2]} rows fetched, %{customdata[3]} changed"
    hover += "<br>run %{customdata[4]}<extra></extra>"
    for status, (name, mark) in RUN_STATES.items():
        mask = runs["status"] == status
        if not mask.any():
            continue
        figure.add_bar(
            x=places[mask],
            y=[0.8] * int(mask.sum()),
            base=[jobs.index(job) + 0.1 for job in runs.loc[mask, "job"]],
            name=name,
            marker={"color": shades[status], "line_width": 0},
            text=mark,
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": colours.surface},
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
    figure.update_xaxes(visible=False, range=[-0.7, max(len(runs), 30) - 0.3], fixedrange=True)
    figure.update_yaxes(
        domain=[1 - strip / drawn, 1],
        tickvals=[row + 0.5 for row in range(len(jobs))],
        ticktext=[job.replace("_", " ") for job in jobs],
        range=[max(len(jobs), 1), 0],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_layout(
        yaxis2={
            "domain": [0, 1 - strip / drawn - 0.08],
            "rangemode": "tozero",
            "ticksuffix": " s",
            "nticks": 4,
            "gridcolor": colours.grid,
            "fixedrange": True,
            "automargin": True,
        }
    )
    return figure


def bars_with_band(counts: pd.DataFrame, colours: Palette) -> go.Figure:
    """Bars per day (date, bars, low, high): days inside the band in grey, outside in the colour of down."""
    figure = _figure(colours, 280, bargap=0.15, showlegend=False)
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


def missing_heatmap(missing: pd.DataFrame, colours: Palette) -> go.Figure:
    """Missing hours by coin and day (crypto_id, date, missing); only coins and days with any are drawn."""
    table = missing.pivot(index="crypto_id", columns="date", values="missing").reindex(missing["crypto_id"].unique())
    days = pd.date_range(table.columns.min(), table.columns.max())
    table = table.reindex(columns=days)
    figure = _figure(colours, 70 + 17 * len(table))
    figure.add_heatmap(
        z=table.to_numpy(dtype=float),
        x=days,
        y=list(table.index),
        zmin=0,
        zmax=24,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        colorscale=[[0, faded(colours.down, 0.25)], [1, colours.down]],
        colorbar={"title": "hours", "thickness": 10},
        hovertemplate="%{y}, %{x|%Y-%m-%d}: %{z:.0f} hours missing<extra></extra>",
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed", tickfont={"size": 10})
    return figure


def divergence_bars(coins: pd.DataFrame, tolerance_pct: float, colours: Palette) -> go.Figure:
    """How far Binance's close stands from CoinGecko's price, in percent, with the tolerated band."""
    figure = _figure(colours, 34 * max(len(coins), 3) + 50, showlegend=False)
    figure.add_vrect(
        x0=-tolerance_pct, x1=tolerance_pct, fillcolor=faded(colours.muted, 0.15), line_width=0, layer="below"
    )
    off = coins["divergence_pct"].abs() > tolerance_pct
    figure.add_bar(
        x=coins["divergence_pct"],
        y=coins["symbol"].str.upper(),
        orientation="h",
        marker={"color": np.where(off, colours.down, faded(colours.up, 0.6)), "line_width": 0},
        customdata=np.column_stack(
            [
                coins["price_usd"].map(formats.price),
                coins["close"].map(formats.price),
                coins["opened_at"].map(formats.instant),
            ]
        ),
        hovertemplate="%{x:.2f}%<br>CoinGecko %{customdata[0]}<br>Binance %{customdata[1]} (hour of "
        "%{customdata[2]})<extra></extra>",
    )
    reach = max(tolerance_pct * 1.4, float(coins["divergence_pct"].abs().max() or 0) * 1.1)
    figure.update_xaxes(ticksuffix="%", range=[-reach, reach])
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure
