"""Compare: which coins did better, and whether they move together."""

import streamlit as st

from dashboard import analysis, formats, queries, shell, zoom
from dashboard.charts import base
from dashboard.charts import compare as charts
from dashboard.labels import coins_called, labels

MOST = 5
WINDOWS = {"30 days": 30, "90 days": 90, "365 days": 365}
MATRIX = 12  # more cells than this cannot be read


@shell.part
def together(chosen: list[str]) -> None:
    """Who moves with whom, over a window of its own."""
    coins = queries.latest_risk()
    names, tickers = labels(coins, "name", "symbol"), labels(coins)
    shell.heading("Do they move together?", ["fct_correlations_daily.correlation", "fct_correlations_daily.n"])
    window = WINDOWS[
        st.segmented_control(
            "Window",
            list(WINDOWS),
            default="90 days",
            required=True,
            key="window",
            bind="query-params",
            label_visibility="collapsed",
        )
    ]
    rows = list(dict.fromkeys([*chosen, *coins["crypto_id"].head(MATRIX)]))[:MATRIX]
    pairs = queries.correlations(tuple(rows), window)
    if pairs.empty:
        st.info(
            f"No pair of these coins has {window} days of returns yet: take a shorter window.",
            title="Too little history",
        )
    else:
        correlations, numbers = shell.once(analysis.correlation_matrix, pairs, rows)
        shell.chart(
            shell.once(charts.correlation_heatmap, correlations, numbers, tickers, shell.colours()),
            "matrix",
            alt=f"Correlation matrix of daily log returns over {window} days",
            how=f"Correlation of daily log returns over the {window} days to "
            f"{formats.instant(pairs['date'].max().date())}; "
            f"n = {formats.between(pairs['n'].min(), pairs['n'].max())} days. The chosen coins and the largest.",
            source=f"computed from {shell.BINANCE} closes",
        )
    if len(chosen) > 1:
        shell.heading("Has that changed?", ["fct_correlations_daily.correlation"])
        lines = {
            f"{tickers[chosen[0]]} with {tickers[other]}": queries.correlation_history(
                chosen[0], other, window
            ).set_index("date")["correlation"]
            for other in chosen[1:]
        }
        shell.chart(
            shell.once(base.correlation_lines, lines, shell.colours()),
            "pairs",
            alt=f"Correlation of {names[chosen[0]]} with the other chosen coins through time, over {window} days",
            how=f"Correlation over {window} days of the first chosen coin with each other one.",
            source=f"computed from {shell.BINANCE} closes",
        )


coins = queries.latest_risk()
if coins.empty:
    shell.empty_warehouse()
    raise shell.Finished
names = labels(coins, "name", "symbol")
default = coins["crypto_id"].head(3).tolist()
asked = st.query_params.get_all("coins")
meant = {link: coins_called(link, coins) for link in asked}
unknown = [link for link, found in meant.items() if len(found) != 1]
if unknown:
    near = meant[unknown[0]] or analysis.similar_coins(unknown[0], coins)
    shell.left_out(
        f"Not tracked, or the ticker of several coins: {', '.join(map(shell.quoted, unknown[:MOST]))}. "
        f"Perhaps you meant {' or '.join(map(shell.text, near))}?"
    )
wanted = list(dict.fromkeys(found[0] for found in meant.values() if len(found) == 1))
if len(wanted) > MOST:
    st.warning(f"At most {MOST} coins are compared: these are the first of {len(wanted)}.", icon=":material/link_off:")
shell.check_address(range=analysis.RANGES, log=shell.ON_OFF, window=WINDOWS)
st.session_state["coins"] = wanted[:MOST] or st.session_state.get("last_coins", default)
st.session_state["last_coins"] = st.session_state["coins"]


def choose_coins() -> None:
    """Write the chosen coins into the address, from where the page reads them."""
    st.query_params["coins"] = st.session_state["last_coins"] = st.session_state["coins"]
    zoom.forget()


with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
    chosen = st.multiselect(
        "Coins (at most 5)",
        list(names),
        format_func=names.get,
        max_selections=MOST,
        key="coins",
        on_change=choose_coins,
        width=480,
    )
    span = shell.choose_range()
    log = st.toggle("Log scale", key="log", bind="query-params")
if not chosen:
    st.info("Choose at least one coin above.", title="Nothing to compare")
    raise shell.Finished
st.query_params["coins"] = chosen
days = analysis.RANGES[span]
closes = queries.hourly_closes(tuple(chosen), days) if days and days <= 7 else queries.daily_closes(tuple(chosen), days)
table = shell.once(analysis.indexed_to_100, closes).reindex(columns=chosen)
if table.dropna(how="all").empty:
    st.info("The chosen coins have no day in common in this range: take a longer one.", title="Nothing to compare")
    raise shell.Finished
final = table.ffill().iloc[-1].sort_values(ascending=False)
since = formats.instant(table.index[0].date())
st.title(shell.text(analysis.best_and_worst(final, names, since)), anchor=False)
shell.heading("Which did better?", ["fct_daily_summary.close"])
shell.chart(
    shell.once(charts.indexed_lines, table, names, shell.colours(), log),
    "indexed",
    alt="Closes indexed to 100: " + ", ".join(f"{names[key]} {value:.1f}" for key, value in final.items()),
    how="Each close divided by that of the first day which all chosen coins have, times 100.",
    source=shell.BINANCE,
    zoomed=f"{chosen} {span}",
)

coins["return_90d_pct"] = (coins["close"] / coins["close_before"] - 1) * 100
with st.grid(2, min_column_width=340, gap="medium"):
    with st.container():
        shell.heading("Was the risk paid?", ["fct_daily_summary.volatility_90d", "fct_daily_summary.return_pct"])
        shell.chart(
            shell.once(charts.risk_return, coins, chosen, shell.colours()),
            "risk",
            alt="Scatter of 90-day volatility and 90-day return of all tracked coins, the chosen ones marked",
            how="Left is calmer, up is better; the area is the newest day's volume. Coins younger than 90 days are "
            "missing.",
            source=f"computed from {shell.BINANCE} closes",
        )
    with st.container():
        shell.heading("How much do they follow bitcoin?", ["fct_daily_summary.beta_btc_90d"])
        shell.chart(
            shell.once(charts.beta_bars, coins, chosen, shell.colours()),
            "beta",
            alt="Beta to bitcoin over 90 days of all tracked coins: "
            + ", ".join(
                f"{names[row.crypto_id]} {formats.ratio(row.beta_btc_90d)}"
                for row in coins.itertuples()
                if row.crypto_id in chosen
            ),
            how="2 moved twice as much as bitcoin, on the dotted line as much; chosen coins in colour.",
            source=f"computed from {shell.BINANCE} closes",
        )

together(chosen)
