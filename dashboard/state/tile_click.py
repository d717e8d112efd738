"""Opens a coin on a click on its tile of a treemap. Streamlit reports selections of points, not clicks on tiles."""

from typing import Any

import streamlit as st

# Streamlit replaces the chart on a redraw, hence the poll every 300 ms. `false` keeps Plotly from zooming into a tile.
LISTENER = """
export default function ({ data, setTriggerValue }) {
  let chart = null;
  const open = (event) => {
    const id = event.points[0]?.id;
    if (id && id !== data.ignored) setTriggerValue("opened", id);
    return false;
  };
  const attach = () => {
    const found = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
    if (!found || found === chart || !found.on || !found._fullLayout) return;
    chart = found;
    chart.on("plotly_treemapclick", open);
  };
  const poll = setInterval(attach, 300);
  return () => { clearInterval(poll); chart?.removeListener?.("plotly_treemapclick", open); };
}
"""


def clicked_tile(chart: str, ignored: str) -> str | None:
    """Return the id of the tile that was clicked in the chart of the container with this key, else None.

    A click on the tile `ignored` has no effect.
    """
    mount: Any = st.components.v2.component("tickmart_tile_click", js=LISTENER)
    clicked = mount(
        key=f"{chart}_click", data={"chart": chart, "ignored": ignored}, on_opened_change=lambda: None, height=1
    )
    return clicked.opened
