"""The zoom of a page's large chart, kept in its address: `?zoom=2026-01-29T02:44,2026-09-30T18:44,48986,80291`.

Streamlit draws a chart anew whenever anything of it changes, a pane added as well as a new candle, and forgets how far
the visitor had zoomed; it tells nobody of it either (streamlit issue 8655). So a few lines in the browser tell when a
zoom is over, the address keeps it, and the next drawing begins with it. Where they do not run, the zoom is lost as
before and nothing else changes. Belongs here: reading, writing and applying that range. Does not: any one chart.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

PARAMETER = "zoom"
# Plotly's own event, debounced: a wheel makes many. It also comes when the window is resized, which is no zoom. Charts
# come and go under the same key, hence the look every 300 ms. What is told comes with the name of its picture: it can
# arrive when the page already shows another.
LISTENER = r"""
export default function ({ data, setTriggerValue }) {
  let chart = null, waiting = null;
  const digits = (value, type) => Number((type === "log" ? 10 ** value : value).toPrecision(6));
  const zoomed = (change) => Object.keys(change).some((name) => /^[xy]axis\.(range|autorange)/.test(name));
  const tell = () => {
    if (!chart._fullLayout) return;
    const { xaxis: x, yaxis: y } = chart._fullLayout;
    const days = x.range.map((at) => String(at).slice(0, 16).replace(" ", "T"));
    const prices = y.autorange ? [] : y.range.map((at) => digits(at, y.type));
    setTriggerValue("told", { picture: data.picture, zoom: x.autorange ? "" : [...days, ...prices].join(",") });
  };
  const look = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (!found || found === chart || !found.on || !found._fullLayout) return;
    chart = found;
    chart.on("plotly_relayout", (change) => {
      if (!zoomed(change)) return;
      clearTimeout(waiting);
      waiting = setTimeout(tell, 500);
    });
  };
  const clock = setInterval(look, 300);
  return () => { clearInterval(clock); clearTimeout(waiting); };
}
"""


@dataclass(frozen=True)
class Zoom:
    """Two instants (UTC, as Plotly reads them) and, unless the price keeps its own scale, two prices."""

    since: str
    until: str
    low: float | None = None
    high: float | None = None


def parse(text: str) -> Zoom | None:
    """Return the zoom that an address tells; None when it is none."""
    parts = text.split(",")
    if len(parts) not in (2, 4):
        return None
    try:
        since, until = (pd.Timestamp(part) for part in parts[:2])
        prices = [float(part) for part in parts[2:]]
    except (ValueError, OverflowError):
        return None
    if pd.isna(since) or pd.isna(until) or since.tz or until.tz or not since < until:
        return None
    if prices and not (all(map(math.isfinite, prices)) and prices[0] < prices[1]):
        return None
    return Zoom(f"{since:%Y-%m-%d %H:%M}", f"{until:%Y-%m-%d %H:%M}", *prices)


def applied(figure: go.Figure, zoom: Zoom | None) -> go.Figure:
    """Return the figure as far as it was zoomed; a copy, because figures are shared by all visitors.

    A zoom beside all that is drawn, as in an old link to the newest week, is as if none were asked.
    """
    if zoom is None or not _shows_something(figure, zoom):
        return figure
    figure = go.Figure(figure)
    figure.layout.xaxis.range = [zoom.since, zoom.until]
    if zoom.low is None or zoom.high is None:
        return figure
    if figure.layout.yaxis.type != "log":
        figure.layout.yaxis.range = [zoom.low, zoom.high]
    elif zoom.low > 0:
        figure.layout.yaxis.range = [math.log10(zoom.low), math.log10(zoom.high)]
    return figure


def _shows_something(figure: go.Figure, zoom: Zoom) -> bool:
    days = [pd.Timestamp(trace.x[end]) for trace in figure.data if len(trace.x) for end in (0, -1)]
    days = [day.tz_localize(None) if day.tz else day for day in days]
    return bool(days) and min(days) < pd.Timestamp(zoom.until) and pd.Timestamp(zoom.since) < max(days)


def forget() -> None:
    """Take the zoom out of the address: another coin or range is another picture."""
    st.query_params.pop(PARAMETER, None)


def asked() -> Zoom | None:
    """Return the zoom of the address."""
    return parse(st.query_params.get(PARAMETER, ""))


def drawing(chart: str) -> str:
    """Return the key of the chart's element: a new one where the address asks for another zoom than the browser shows.

    Else Streamlit leaves a figure alone that is the same as when it was drawn, before the visitor zoomed and went back.
    """
    asked_for = st.query_params.get(PARAMETER, "")
    shown, number = st.session_state.get(f"{chart}_shown", (asked_for, 0))
    number += shown != asked_for
    st.session_state[f"{chart}_shown"] = (asked_for, number)
    return f"{chart} {number}"


@st.fragment
def listen(chart: str, picture: str) -> None:
    """Keep the address told of the zoom of the chart in the container of this key.

    A fragment, so that the page is not run again. `picture` names what the chart shows: a zoom that is told of another
    comes too late, and is not heard.
    """

    def heard() -> None:
        told = st.session_state[key]["told"]
        if not told or told["picture"] != picture or (told["zoom"] and not parse(told["zoom"])):
            return
        _, number = st.session_state[f"{chart}_shown"]
        st.session_state[f"{chart}_shown"] = (told["zoom"], number)
        if told["zoom"]:
            st.query_params[PARAMETER] = told["zoom"]
        else:
            forget()

    key = f"{chart}_zoom"
    mount: Any = st.components.v2.component("tickmart_zoom", js=LISTENER)
    mount(key=key, data={"chart": chart, "picture": picture}, on_told_change=heard, height=1)
