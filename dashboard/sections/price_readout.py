"""The line above the price chart with the values of the newest bar, or of the bar under the pointer.

Plotly's own hover box covers the candles. The script listens to Plotly's hover events (the traces have hoverinfo none)
and labels the crosshair on both axes. Without the script, the chart and its crosshair stay.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard import formats

READOUT = r"""
export default function ({ data, parentElement }) {
  const line = parentElement.querySelector(".readout");
  const [priceTag, timeTag] = parentElement.querySelectorAll(".tag");
  const full = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 7 });
  const rounded = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 5 });
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
  const text = (name, value) => (name === "Volume" ? short : full).format(value);
  let chart = null;

  const show = (time, values) => {
    line.replaceChildren(...[[time, "", ""], ...values].map(([name, value, color]) => {
      const part = document.createElement("span");
      part.textContent = value ? `${name} ${value}` : name;
      if (color) part.style.borderBottom = `2px solid ${color}`;  // as text, its contrast would be too low
      return part;
    }));
  };
  const reset = () => {
    show(data.time, data.values);
    priceTag.hidden = timeTag.hidden = true;
  };
  const place = (tag, value, x, y) => {
    tag.textContent = value;
    tag.hidden = false;
    tag.style.left = `${x}px`;
    tag.style.top = `${y}px`;
  };
  const plots = () => [...chart.querySelectorAll(".nsewdrag")].map((plot) => plot.getBoundingClientRect());
  const hovered = ({ points, event }) => {
    const values = [];
    const seen = new Set();
    for (const point of points) {
      const name = point.data.name;
      if (point.data.type === "candlestick") {
        if (point.close === undefined) continue;
        for (const part of ["close", "low", "high", "open"]) {
          values.unshift([part[0].toUpperCase(), full.format(point[part]), ""]);
        }
      } else if (!seen.has(name) && typeof point.y === "number") {
        values.push([name, text(name, point.y), data.colors[name] ?? ""]);
      }
      seen.add(name);
    }
    const time = `${String(points[0].x).slice(0, 16)} UTC`;
    show(time, values);
    const lowest = Math.max(...plots().map((plot) => plot.bottom));
    if (event) place(timeTag, time, event.clientX, lowest);
  };
  const moved = (event) => {
    const plot = plots()[0];
    if (!plot || event.clientY < plot.top || event.clientY > plot.bottom) return void (priceTag.hidden = true);
    const { range, type } = chart.layout.yaxis;
    const at = range[0] + (range[1] - range[0]) * (1 - (event.clientY - plot.top) / plot.height);
    const value = type === "log" ? 10 ** at : at;
    place(priceTag, rounded.format(value), plot.right, event.clientY);
  };
  const detach = () => {
    chart?.removeListener?.("plotly_hover", hovered);
    chart?.removeListener?.("plotly_unhover", reset);
    chart?.removeEventListener("mousemove", moved);
    chart?.removeEventListener("mouseleave", reset);
  };
  const attach = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (!found || found === chart || !found.on) return;
    detach();
    chart = found;
    chart.on("plotly_hover", hovered);
    chart.on("plotly_unhover", reset);
    chart.addEventListener("mousemove", moved);
    chart.addEventListener("mouseleave", reset);
  };
  reset();
  const poll = setInterval(attach, 300);
  return () => { clearInterval(poll); detach(); };
}
"""
HTML = """<div class="readout"></div><div class="tag price" hidden></div><div class="tag time" hidden></div>"""
CSS = """
.readout { display: flex; flex-wrap: wrap; gap: 0 0.9em; font-size: 0.875rem; min-height: 1.3em; line-height: 1.3;
  font-variant-numeric: tabular-nums; color: var(--st-text-color); font-family: var(--st-font); }
.tag { position: fixed; z-index: 9; pointer-events: none; padding: 1px 4px; font: 11px var(--st-font);
  color: var(--st-background-color); background: var(--st-text-color); border-radius: 2px; }
.tag.price { transform: translateY(-50%); }
.tag.time { transform: translateX(-50%); }
.tag[hidden] { display: none; }
"""


def readout(figure: go.Figure, chart: str, newest: pd.Series, time: str) -> None:
    """Show the values of the newest bar above the chart in the container with this key; on hover, those of that bar."""
    colors = {trace.name: trace.line.color for trace in figure.data if trace.type == "scatter" and trace.name}
    mount: Any = st.components.v2.component("tickmart_price_readout", html=HTML, css=CSS, js=READOUT)
    mount(
        key=f"{chart}_readout",
        data={"chart": chart, "time": time, "values": _values(figure, newest, colors), "colors": colors},
    )


def _values(figure: go.Figure, newest: pd.Series, colors: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return name, text and color of each value of the newest bar."""
    values = [
        (name[0].upper(), formats.price(newest[name]).removeprefix("$"), "")
        for name in ("open", "high", "low", "close")
    ]
    values.append(("Volume", formats.amount(newest["quote_volume"]), ""))
    for trace in figure.data:
        if trace.type != "scatter" or trace.name == "Close":
            continue
        known = pd.Series(trace.y, dtype=float).dropna()
        if len(known):
            values.append((trace.name, formats.price(known.iloc[-1]).replace("$", ""), colors[trace.name]))
    return values
