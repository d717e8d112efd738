"""The pages of the dashboard: title, icon, and the marts that each page reads. dbt's exposures declare the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageInfo:
    """One page. Its script is views/<name>.py; every page also reads fct_dataset_health for the freshness banner."""

    name: str
    title: str
    icon: str
    marts: frozenset[str]


def _page(name: str, title: str, icon: str, marts: str = "") -> PageInfo:
    return PageInfo(name, title, f":material/{icon}:", frozenset(marts.split()) | {"fct_dataset_health"})


PAGES = (
    _page(
        "overview",
        "Overview",
        "monitoring",
        "dim_crypto fct_daily_summary fct_market_global fct_prices fct_sentiment_daily v_screener v_top_gainers "
        "v_total_market_cap v_trending v_trendline_core v_volume_24h",
    ),
    _page(
        "price",
        "Price",
        "candlestick_chart",
        "dim_crypto fct_prices fct_daily_summary fct_candles fct_market_snapshots fct_check_results "
        "v_coin_completeness",
    ),
    _page("sentiment", "Sentiment", "mood", "fct_sentiment_daily fct_sentiment_returns fct_daily_summary"),
    _page("compare", "Compare", "compare_arrows", "dim_crypto fct_daily_summary fct_prices fct_correlations_daily"),
    _page(
        "onchain",
        "On-chain",
        "link",
        "fct_onchain_market_daily fct_onchain_lead_lag fct_onchain_activity fct_onchain_distribution",
    ),
    _page("news", "News", "newspaper", "dim_crypto fct_headlines fct_headline_sentiment_daily"),
    _page(
        "live",
        "Live",
        "bolt",
        "v_live_latest v_live_minutes v_live_stream_minutes v_live_status v_live_gaps v_live_connections fct_live_1m",
    ),
    _page(
        "data_quality",
        "Data quality",
        "fact_check",
        "fct_check_results fct_runs fct_incidents fct_source_requests fct_daily_summary v_price_divergence dim_crypto "
        "v_coin_completeness",
    ),
    _page("connect", "Connect", "cable"),
    _page("dictionary", "Dictionary", "menu_book"),  # reads the comments of all marts from pg_catalog
)


def pages_by_mart() -> dict[str, list[str]]:
    """Return the titles of the pages that read each mart."""
    marts = {mart for page in PAGES for mart in page.marts}
    return {mart: [page.title for page in PAGES if mart in page.marts] for mart in marts}
