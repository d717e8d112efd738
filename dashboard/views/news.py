"""News: sentiment and number of headlines of an asset beside its price, and whether they go together."""

from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.analysis import news as statistics
from dashboard.charts import news as figures
from dashboard.components import narrow
from dashboard.components.charts import BINANCE, chart, heading
from dashboard.components.csv_download import download
from dashboard.components.rendering import PageFinished, fragment
from dashboard.components.tables import data_and_export, table, time_column
from dashboard.components.theme import palette
from dashboard.labels import labels
from dashboard.queries import news
from dashboard.queries.news import ANY, MARKET
from dashboard.state.cache import cached
from dashboard.state.date_range import DATES, date_range
from dashboard.state.query_params import ON_OFF, check_query_params
from dashboard.text import escaped, truncated, visible

MARKET_NAME = "the market"
RANGES = {"1M": 30, "3M": 91, "1Y": 365, "All": None}
ONE_DAY = pd.Timedelta(days=1)
DAILY, HEADLINES = "fct_headline_sentiment_daily", "fct_headlines"
PROVIDERS = {
    "gdelt": "[GDELT](https://www.gdeltproject.org)",
    "hackernews": "[Hacker News](https://news.ycombinator.com)",
    "rss": "the news feeds of each publisher",
    "x": "[X](https://x.com)",
}
SOURCE_NAMES = {"gdelt": "GDELT", "hackernews": "Hacker News", "rss": "News feeds", "x": "X"}
NOT_STATED = "not stated"
# Shown of a day, chosen among those with the strongest scores of either sign.
PER_DAY, CANDIDATES_PER_DAY = 4, 12


def definitions(*columns: str) -> list[str]:
    return [f"{DAILY}.{column}" for column in columns]


def choices(coins: pd.DataFrame) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return what can be chosen: assets and sources by their label, languages."""
    named = labels(coins[coins["crypto_id"] != MARKET], "name", "symbol")
    names = {"Market": MARKET} | {name: crypto_id for crypto_id, name in named.items()}
    found = news.sources_and_languages()
    sources = {ANY: ANY} | {SOURCE_NAMES.get(s, s): s for s in dict.fromkeys(found["source"])}
    languages = [ANY, *dict.fromkeys(found["language"].fillna(NOT_STATED).map(visible))]
    return names, sources, languages


def controls(
    names: dict[str, str], sources: dict[str, str], languages: list[str], loaded: tuple[pd.Timestamp, pd.Timestamp]
) -> tuple[str, str, str, tuple[pd.Timestamp, pd.Timestamp, str]]:
    """Show asset, range, source and language; return the chosen ones, the range as first day, end and name."""
    with narrow.controls("range", "Range and sources"):
        with narrow.always("asset"):
            asset = st.selectbox("Asset", list(names), key="asset", width=200, bind="query-params")
        period = date_range(RANGES, "1Y", loaded)
        source = st.selectbox("Source", list(sources), key="source", width=150, bind="query-params")
        language = st.selectbox("Language", languages, key="language", width=150, bind="query-params")
    first, end = (at.tz_localize(None) for at in period.bounds(*loaded))
    return names[asset], sources[source], language, (first, end, f"{asset} {source} {language} {period}")


def providers(source: str) -> str:
    """Return the chosen provider, or all that have headlines."""
    loaded = dict.fromkeys(news.sources_and_languages()["source"])
    return ", ".join(PROVIDERS[name] for name in loaded if name in PROVIDERS and source in (name, ANY))


@fragment
def history(shown: pd.DataFrame, name: str, source: str, scope: str) -> None:
    heading("News and price", definitions("mean_compound", "headline_count", "count_z_90d", "close"))
    first, last = shown["date"].iloc[0], shown["date"].iloc[-1]
    priced = "Bitcoin" if name == MARKET_NAME else name
    chart(
        cached(figures.price_sentiment_count, shown, priced, palette()),
        "news_history",
        alt=f"Close of {priced}, mean sentiment and number of headlines about {name} per day from {first:%Y-%m-%d} to "
        f"{last:%Y-%m-%d}",
        caption="Per UTC day of publication. Sentiment: mean VADER score of English headlines, −1 to 1, with its 7-day "
        "mean. Highlighted numbers are more than 2 standard deviations from the 90 days before. Days without data are "
        "blank. A source counts from its first loaded day on: more sources are more headlines.",
        source=f"{providers(source)}; {BINANCE}",
        range_scope=scope,
        redraw="history",
    )


def lead_and_lag(days: pd.DataFrame, lags: pd.DataFrame, name: str, source: str) -> None:
    heading("Lead and lag", definitions("mean_compound", "return_pct"))
    if lags["correlation"].notna().sum() == 0:
        st.info(
            f"Needs {statistics.MIN_DAYS} days with scored headlines and a return that vary; there are "
            f"{int(days[['mean_compound', 'return_pct']].notna().all(axis=1).sum())}.",
            title="Not enough days",
        )
        return
    beyond = int((lags["correlation"].abs() > lags["band"]).sum())
    chart(
        cached(figures.lead_lag_bars, lags, palette()),
        "news_lags",
        alt=f"Correlation of the mean sentiment of headlines about {name} with returns from 7 days before to 7 days "
        "after",
        caption=f"Daily mean sentiment vs return, days of the range, n = "
        f"{formats.count_range(lags['n'].min(), lags['n'].max())}. Gray: 95% band of independent series with the same "
        f"autocorrelation ({statistics.DRAWS:,} block draws of {statistics.BLOCK_DAYS} days). {beyond} of {len(lags)} "
        "lags are outside; about 1 is expected by chance.",
        source=f"computed from {providers(source)}; {BINANCE}",
    )


def findings(lags: pd.DataFrame, name: str) -> None:
    """Say what the correlation with the next day's return shows, and what it cannot show."""
    found = statistics.finding(lags)
    if found is None:
        shows = "There are too few days with headlines and returns for a correlation."
    else:
        r, band, n = found
        inside = abs(r) <= band
        shows = (
            f"Sentiment of headlines about {escaped(name)} and the return of the next day have a correlation of "
            f"{formats.ratio(r)} (n = {n:,} days). Independent series would lie within ±{formats.ratio(band)}, so this "
            + ("is no evidence that news lead the price." if inside else "is more than chance alone would show.")
        )
    st.info(
        f"{shows} Headlines also report moves that have happened, so a relation on the same day is expected. The "
        "score counts words: on headlines labeled by hand it is right in 57 of 100 (49 to 64). History that was "
        "loaded later was not known on its day.",
        title="What this shows, and what it cannot",
        icon=":material/info:",
    )


def headline_line(row: pd.Series) -> str:
    """Return a headline as a Markdown link; Streamlit opens it in a new tab without access to this page."""
    # Characters that would end the address in Markdown.
    address = quote(str(row["url"]), safe=":/?#@!$&'*+,;=%~-._")
    score = "no score" if formats.is_missing(row["compound"]) else formats.ratio(row["compound"])
    copies = f", {row['copy_count']} copies" if row["copy_count"] > 1 else ""
    origin = f"{row['publisher'] or ''}, {SOURCE_NAMES.get(row['source'], row['source'])}".strip(", ")
    return f"- [{escaped(truncated(row['title'], 160))}]({address}) ({escaped(origin)}; {score}{copies})"


def strongest_days(days: pd.DataFrame, chosen: tuple[str, str, str]) -> None:
    heading("Days that stand out", definitions("mean_compound", "scored_count"))
    negative, positive = statistics.extreme_days(days)
    texts = tuple(f"{day:%Y-%m-%d}" for day in pd.concat([negative["date"], positive["date"]]))
    if not texts:
        st.info(
            f"No day of this range has {statistics.MIN_HEADLINES} scored headlines.", title="Too few scored headlines"
        )
        return
    found = news.headlines_of(*chosen, texts, CANDIDATES_PER_DAY)
    with st.grid(2, min_column_width=340, gap="medium"):
        for title, group in (("Most negative", negative), ("Most positive", positive)):
            with st.container():
                st.subheader(title, anchor=False)
                for day in group.itertuples():
                    st.markdown(
                        f"**{day.date:%Y-%m-%d}**: mean {formats.ratio(day.mean_compound)}, "
                        f"{formats.count(day.headline_count)} headlines, return {formats.signed(day.return_pct)}"
                    )
                    rows = found[found["date"] == day.date]
                    rows = rows.sort_values("compound", ascending=group is negative, kind="stable").head(PER_DAY)
                    st.markdown("\n".join(headline_line(row) for _, row in rows.iterrows()))
    st.caption(
        f"Mean score of at least {statistics.MIN_HEADLINES} headlines; of each day the {PER_DAY} with the strongest "
        "scores of its sign. Links open in a new tab."
    )


@fragment
def data_section(shown: pd.DataFrame, chosen: tuple[str, str, str]) -> None:
    with data_and_export() as opened:
        if not opened:
            return
        days = shown.assign(date=shown["date"].dt.date)
        table(
            days.iloc[::-1], height=300, alt="News and the market by day, newest first",
            missing="No scored headline, Binance had no candle, or fewer than 30 days before",
        )  # fmt: skip
        download(days, "tickmart_news.csv", relation=DAILY)
        first, end = shown["date"].iloc[0], shown["date"].iloc[-1] + ONE_DAY
        headlines = news.headlines_between(*chosen, f"{first:%Y-%m-%d}", f"{end:%Y-%m-%d}")
        table(
            headlines, height=300, alt="Headlines, newest first",
            missing="Not English, or the source does not state it",
            column_config={"published_at": time_column("published_at"), "url": st.column_config.LinkColumn("url")},
        )  # fmt: skip
        download(headlines, "tickmart_headlines.csv", "Download headlines (CSV)", relation=HEADLINES)


def summary(shown: pd.DataFrame, name: str) -> str:
    """Return number and mean sentiment of the newest day with headlines."""
    counted = shown[shown["headline_count"] > 0]
    if counted.empty:
        return f"News: {escaped(name)}"
    last = counted.iloc[-1]
    text = f"News: {formats.count(last['headline_count'])} headlines about {escaped(name)} on {last['date']:%Y-%m-%d}"
    return text if formats.is_missing(last["mean_compound"]) else (
        f"{text}, mean sentiment {formats.ratio(last['mean_compound'])}"
    )  # fmt: skip


def page() -> None:
    coins = news.assets()
    if coins.empty:
        st.title("News", anchor=False)
        st.info(
            "Every `tickmart run` loads headlines of GDELT, Hacker News and news feeds.",
            title="No headlines loaded yet",
            icon=":material/hourglass_empty:",
        )
        raise PageFinished
    names, sources, languages = choices(coins)
    check_query_params(*DATES, range=RANGES, asset=names, source=sources, language=languages, data=ON_OFF)
    title = st.empty()
    spans = news.daily_market(MARKET)["date"]
    loaded = (spans.iloc[0].tz_localize("UTC"), (spans.iloc[-1] + ONE_DAY).tz_localize("UTC"))
    crypto_id, source, language, (first, end, scope) = controls(names, sources, languages, loaded)
    name = MARKET_NAME if crypto_id == MARKET else next(label for label, value in names.items() if value == crypto_id)
    chosen = (crypto_id, source, language)
    days = statistics.joined(news.daily_sentiment(*chosen), news.daily_market(crypto_id))
    shown = days[(days["date"] >= first) & (days["date"] < end)].reset_index(drop=True)
    title.title(summary(shown, name), anchor=False)
    if shown["headline_count"].sum() == 0:
        st.info("No headline of this choice on these days. Choose other dates.", title="No headlines in this range")
        raise PageFinished
    lags = cached(statistics.lead_lag, shown)
    findings(lags, name)
    history(shown, name, source, scope)
    data_section(shown, chosen)
    strongest_days(shown, chosen)
    lead_and_lag(shown, lags, name, source)


page()
