"""SQL over marts: the rows of their suites, and the columns that a rule needs beside them.

Does not belong here: rows of raw, and the layers compared (``queries``), rules (``suites``).
"""
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence

from orchestration.quality.queries import Span, spans_cte


def fct_prices(spans: Sequence[Span]) -> str:
    """Return the query of the hours in the spans, with what a rule needs beside the mart's own columns."""
    metrics = [
        *("vwap_1h", "vwap_24h", "return_1h_pct", "log_return_1h", "ma_7d", "ma_30d"),
        *("volatility_24h", "volatility_7d", "volatility_30d"),
    ]
    finite = " and ".join(f"coalesce(abs(p.{name}) < 'Infinity', true)" for name in metrics)
    near = " and ".join(
        f"coalesce({name} > p.close::float8 / 100 and {name} < p.close::float8 * 100, true)"
        for name in ("ma_7d", "ma_30d")
    )
    return f"""
    with {spans_cte(spans)}
    select
        p.crypto_id,
        p.opened_at,
        p.close::float8 as close,
        p.return_1h_pct,
        p.volatility_30d,
        coalesce(
            p.vwap_1h between p.low::float8 * (1 - 1e-6) and p.high::float8 * (1 + 1e-6), true
        ) as vwap_in_bar,
        coalesce(p.taker_buy_volume <= p.volume, true) as takers_within,
        {finite} as is_finite,
        {near} as averages_near,
        -- in standard deviations of the bar before: the jump itself would widen its own
        abs(p.log_return_1h) / nullif(p.volatility_before / sqrt(24 * 365), 0) as jump_sigmas
    from (select distinct crypto_id from raw.universe) as u
    cross join span
    cross join lateral (
        select prices.*, lag(prices.volatility_30d) over (order by prices.opened_at) as volatility_before
        from marts.fct_prices as prices
        where
            prices.crypto_id = u.crypto_id
            and prices.opened_at >= span.starts_at - interval '1 hour'
            and prices.opened_at < span.ends_at
    ) as p
    where p.opened_at >= span.starts_at
    """


DIVERGENCE = """
    select
        crypto_id,
        close::float8 as close,
        price_usd::float8 as price_usd,
        divergence_pct,
        (
            select percentile_cont(0.5) within group (order by divergence_pct) from marts.v_price_divergence
        ) as median_divergence_pct
    from marts.v_price_divergence
"""
