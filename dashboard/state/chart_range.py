"""The visible range of a page's main chart, kept in the URL: `?zoom=2026-01-29T02:44,2026-09-30T18:44,48986,80291`.

Streamlit redraws a chart on any change of it (a new pane, a new candle) without the user's zoom, and does not report
zoom events (https://github.com/streamlit/streamlit/issues/8655). A small script in the browser reports them, the URL
stores the range, and the next drawing starts with it. Without the script the zoom is lost on a redraw and nothing else
changes.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.charts.base import fit_prices

PARAMETER = "zoom"
# Listens to Plotly's relayout event, debounced because a drag or a wheel sends many. The event also fires on a window
# resize, which is no zoom. Streamlit replaces charts under the same key, hence the poll every 300 ms. The event carries
# the scope of the chart, because it can arrive when the page already shows another chart.
LISTENER = r"""
export default function ({ data, setTriggerValue }) {
  let chart = null, timer = null;
  const changed = (change) => {
    if (!zoomed(change)) return;
    clearTimeout(timer);
    timer = setTimeout(report, 250);
  };
  const digits = (value, type) => Number((type === "log" ? 10 ** value : value).toPrecision(6));
  const zoomed = (change) => Object.keys(change).some((name) => /^[xy]axis\.(range|autorange)/.test(name));
  const report = () => {
    if (!chart._fullLayout) return;
    const { xaxis: x, yaxis: y } = chart._fullLayout;
    const times = x.range.map((at) => String(at).slice(0, 16).replace(" ", "T"));
    const prices = y.autorange || y.fixedrange ? [] : y.range.map((at) => digits(at, y.type));
    setTriggerValue("changed", { scope: data.scope, range: x.autorange ? "" : [...times, ...prices].join(",") });
  };
  const attach = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (!found || found === chart || !found.on || !found._fullLayout) return;
    chart?.removeListener?.("plotly_relayout", changed);
    chart = found;
    chart.on("plotly_relayout", changed);
  };
  const poll = setInterval(attach, 300);
  return () => { clearInterval(poll); clearTimeout(timer); chart?.removeListener?.("plotly_relayout", changed); };
}
"""


@dataclass(frozen=True)
class ChartRange:
    """Start and end (UTC, in Plotly's format) and, unless the y axis scales automatically, two prices."""

    since: str
    until: str
    low: float | None = None
    high: float | None = None


def parse(text: str) -> ChartRange | None:
    """Return the range of a URL parameter, or None if it is invalid."""
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
    return ChartRange(f"{since:%Y-%m-%d %H:%M}", f"{until:%Y-%m-%d %H:%M}", *prices)


def apply(figure: go.Figure, visible: ChartRange | None) -> go.Figure:
    """Return a copy of the figure with the range applied (figures are cached and shared by all sessions).

    A range outside the data, as in an old link, is ignored.
    """
    if visible is None or not _overlaps(figure, visible):
        return figure
    figure = go.Figure(figure)
    figure.layout.xaxis.range = [visible.since, visible.until]
    if visible.low is None or visible.high is None:
        fit_prices(figure, visible.since, visible.until)
        return figure
    if figure.layout.yaxis.type != "log":
        figure.layout.yaxis.range = [visible.low, visible.high]
    elif visible.low > 0:
        figure.layout.yaxis.range = [math.log10(visible.low), math.log10(visible.high)]
    return figure


def _overlaps(figure: go.Figure, visible: ChartRange) -> bool:
    times = [pd.Timestamp(trace.x[end]) for trace in figure.data if len(trace.x) for end in (0, -1)]
    times = [time.tz_localize(None) if time.tz else time for time in times]
    return bool(times) and min(times) < pd.Timestamp(visible.until) and pd.Timestamp(visible.since) < max(times)


def clear() -> None:
    """Remove the range from the URL, for example when another coin is chosen."""
    st.query_params.pop(PARAMETER, None)


def from_url() -> ChartRange | None:
    """Return the range of the URL, or None."""
    return parse(st.query_params.get(PARAMETER, ""))


def element_key(chart: str) -> str:
    """Return the element key of a chart; a new one if the URL asks for another range than the browser shows.

    Streamlit does not redraw a figure that equals the last one it sent, even if the user zoomed since.
    """
    requested = st.query_params.get(PARAMETER, "")
    shown, number = st.session_state.get(f"{chart}_shown", (requested, 0))
    number += shown != requested
    st.session_state[f"{chart}_shown"] = (requested, number)
    return f"{chart} {number}"


@st.fragment
def listen(chart: str, scope: str, redraw: str = "") -> None:
    """Write the visible range of the chart in the container with this key into the URL, without rerunning the page.

    `redraw` is the key of the fragment that shows the chart; it reruns to fit the price axis to what is visible.

    `scope` names what the chart shows. Events of another scope arrived too late and are ignored.
    """

    def on_change() -> None:
        event = st.session_state[key]["changed"]
        if not event or event["scope"] != scope or (event["range"] and not parse(event["range"])):
            return
        _, number = st.session_state[f"{chart}_shown"]
        st.session_state[f"{chart}_shown"] = (event["range"], number)
        if event["range"]:
            st.query_params[PARAMETER] = event["range"]
        else:
            clear()
        if redraw:
            st.rerun(redraw)

    key = f"{chart}_range"
    mount: Any = st.components.v2.component("tickmart_chart_range", js=LISTENER)
    mount(key=key, data={"chart": chart, "scope": scope}, on_changed_change=on_change, height=1)
