"""Charts with heading, alternative text, caption and source."""

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from dashboard.charts import base
from dashboard.components.definitions import definitions_help
from dashboard.state import chart_range
from dashboard.text import nbsp_units, visible

BINANCE = "[Binance](https://www.binance.com)"
BITCOIN_BUCKET = "[AWS Public Blockchain Data](https://registry.opendata.aws/aws-public-blockchain/)"
BLOCKCHAIN = "[blockchain.com](https://www.blockchain.com/explorer/charts)"
COINGECKO = "Data provided by [CoinGecko](https://www.coingecko.com)"
COIN_METRICS = "[Coin Metrics community](https://coinmetrics.io/community-network-data/) (CC BY-NC 4.0)"
OKX = "[OKX](https://www.okx.com)"
FEAR_GREED = "[Crypto Fear & Greed Index by alternative.me](https://alternative.me/crypto/fear-and-greed-index/)"


def heading(title: str, metrics: Sequence[str]) -> None:
    """Show a section title with the definitions of its metrics (`relation.column`) as tooltip."""
    st.header(title, anchor=False, help=definitions_help(metrics))


def chart(
    figure: go.Figure, key: str, *, alt: str, caption: str, source: str, range_scope: str = "", redraw: str = ""
) -> None:
    """Show a figure with its alternative text, a caption and its source.

    One chart per page can keep its visible range in the URL: `range_scope` names what it shows (coin and time range),
    so that a range is not applied to another picture. `redraw` is the key of its fragment, which fits the price axis.
    """
    alt = visible(alt)
    if range_scope:
        with st.container(key=key, gap=None):
            shown = chart_range.apply(figure, chart_range.from_url())
            st.plotly_chart(shown, key=chart_range.element_key(key), alt=alt, config=base.CONFIG_RANGE)
            chart_range.listen(key, range_scope, redraw)
    else:
        st.plotly_chart(figure, key=key, alt=alt, config=base.CONFIG)
    st.caption(nbsp_units(f"{caption} Source: {source}.".strip()))
