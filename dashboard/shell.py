"""What every page shares: the stamp above, the footer below, captions and definitions of charts, states, exports.

Belongs here: Streamlit calls that more than one page needs. Does not: SQL, figures, the content of a page.
"""

import pickle
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from threading import BoundedSemaphore, local
from types import FunctionType
from typing import Any, TypeVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard import analysis, formats, health, queries, zoom
from dashboard import text as as_text
from dashboard.charts import base
from dashboard.database import MartsError

Made = TypeVar("Made")

TURNS = BoundedSemaphore(3)
VISIT = local()
PATIENCE_S = 3.0

QUALITY_PAGE = "views/data_quality.py"
UNDEFINED = "The definition is missing."
BINANCE = "[Binance](https://www.binance.com)"
COINGECKO = "Data provided by [CoinGecko](https://www.coingecko.com)"
FEAR_GREED = "[Crypto Fear & Greed Index by alternative.me](https://alternative.me/crypto/fear-and-greed-index/)"
DEFAULT_COLOURS = "blue / orange"
COLOUR_NAMES = {"blue / orange": ("blue", "orange"), "green / red": ("green", "red"), "red / green": ("red", "green")}


class Finished(Exception):
    """A page has said all that it can. Unlike st.stop() this ends the page alone: its footer still comes."""


@contextmanager
def turn() -> Iterator[None]:
    """Let few visits be worked on at once: Python runs one at a time, and fifty side by side all end with the last.

    Who waits long goes on without a turn: a slow database must not hold up those whose rows are kept. A part of a page
    belongs to the turn of the page.
    """
    first = not getattr(VISIT, "has_turn", False)
    mine = first and TURNS.acquire(timeout=PATIENCE_S)
    VISIT.has_turn = True
    try:
        yield
    finally:
        VISIT.has_turn = not first
        if mine:
            TURNS.release()


def part(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a part of its page that runs again alone when one of its own widgets changes."""

    @st.fragment
    @wraps(function)
    def run(*inputs: Any) -> None:
        with turn():
            try:
                function(*inputs)
            except MartsError as error:
                problem(error)

    return run


def now() -> datetime:
    """Return the current instant in UTC."""
    return datetime.now(UTC)


def text(words: object) -> str:
    """Return words as Markdown that shows them as they are, 24 h unbroken."""
    return formats.unbroken(as_text.markdown(words))


# -- colours ---------------------------------------------------------------------------------------------------------


def colour_pair() -> str:
    """Return the visitor's pair of colours for up and down, as the address says it."""
    chosen = st.session_state.get("colours", DEFAULT_COLOURS)
    return chosen if chosen in COLOUR_NAMES else DEFAULT_COLOURS


def _choose_colours() -> None:
    """Write the chosen pair into the address, from where every page reads it."""
    st.query_params["colours"] = st.session_state["colours"]


def colours() -> base.Palette:
    """Return the colours of the page that is being shown."""
    return base.palette(st.context.theme.type or "light", colour_pair())


def delta_colour(value: float | None) -> str:
    """Return Streamlit's name of the colour of a change; exactly nothing, or unknown, is grey."""
    if formats.is_missing(value) or round(value, 2) == 0:
        return "gray"
    up, down = COLOUR_NAMES[colour_pair()]
    return up if value > 0 else down


def coloured_change(value: float | None) -> str:
    """Return a change as coloured Markdown."""
    return f":{delta_colour(value)}[{formats.change(value)}]"


# -- above and below -------------------------------------------------------------------------------------------------


def stamp() -> None:
    """Show how old the data is and how far to trust it, with the way to the page that says why."""
    # Not bound to the address by Streamlit, which drops it there when the page changes while the choice stays.
    asked = st.query_params.get("colours")
    if asked in COLOUR_NAMES:
        st.session_state["colours"] = asked
    if colour_pair() != DEFAULT_COLOURS:
        st.query_params["colours"] = colour_pair()
    elif asked is not None:
        del st.query_params["colours"]
    if asked and asked not in COLOUR_NAMES:
        left_out(f"colours cannot be {quoted(asked)}, but one of {', '.join(COLOUR_NAMES)}.")
    left, right = st.columns([5, 1], vertical_alignment="center")
    with (
        right,
        st.container(horizontal=True, horizontal_alignment="right"),
        st.popover("Colours", type="tertiary", icon=":material/palette:"),
    ):
        st.radio(
            "Colours of up and down",
            list(COLOUR_NAMES),
            key="colours",
            on_change=_choose_colours,
            help="Blue and orange can be told apart by everybody. Light or dark follows your system; the menu ⋮ "
            "overrides it.",
        )
    with left:
        try:
            datasets = queries.dataset_health()
        except MartsError as error:
            said = "Nothing loaded yet" if error.reason == "empty" else "Database unreachable"
            st.page_link(QUALITY_PAGE, label=f":red[**{said}** · why?]", icon=":material/error:")
            return
        word = health.worst(datasets["health"])
        as_of = oldest_hourly(datasets)
        loaded = (
            f"Data as of {formats.instant(as_of)} · {formats.span(now() - as_of)} ago"
            if as_of
            else "Nothing loaded yet"
        )
        st.page_link(
            QUALITY_PAGE,
            label=f"{loaded} · :{health.COLOURS[word]}[**{word}**]",
            icon=health.ICONS[word],
            help="  \n".join(
                f"{health.title(row.dataset)}: {row.health}, {age_told(row)}" for row in datasets.itertuples()
            ),
        )
    late = [row for row in datasets.itertuples() if row.freshness_health in ("Warning", "Degraded")]
    if late:
        st.warning(
            "What was loaded last is still shown. "
            + ". ".join(f"{health.title(row.dataset)}: {age_told(row)}" for row in late)
            + ".",
            title="Older than it should be",
            icon=":material/schedule:",
        )


def oldest_hourly(datasets: pd.DataFrame) -> datetime | None:
    """Return the older of the newest candle's end and the newest sweep: only the daily index may be older."""
    known = datasets.loc[datasets["dataset"] != "fear_greed", "last_data_at"].dropna()
    return None if known.empty else known.min().to_pydatetime()


def age_told(row: Any) -> str:
    """Say how old a dataset's newest data is, against what was promised."""
    if formats.is_missing(row.last_data_at):
        return "never loaded"
    limit = formats.span(timedelta(seconds=row.sla_seconds))
    return f"newest data {formats.span(now() - row.last_data_at)} old, promised within {limit}"


def footer() -> None:
    """Credit the sources and say what this is not."""
    st.divider()
    st.caption(
        f"Prices and volumes of the exchange: {BINANCE} spot, in USDT. Market capitalisation, ranks and "
        f"{formats.unbroken('24 h')} volumes: "
        f"{COINGECKO}. Sentiment: {FEAR_GREED}. All times are UTC. **Not financial advice.**"
    )


# -- the address -----------------------------------------------------------------------------------------------------

ON_OFF = ("true", "false")


def quoted(value: str) -> str:
    """Return what a visitor or a link wrote as code, shortened: nothing of it is Markdown, a link least of all."""
    shown = as_text.visible(" ".join(value.replace("`", "'").split()))
    return f"`{shown[:60]}{'…' if len(shown) > 60 else ''}`"


def check_address(**known: Collection[str]) -> None:
    """Say which values of the address this page does not know; each control of them stands as if nothing was asked.

    Comes before the controls: Streamlit takes a strange value of theirs out of the address.
    """
    asked = [(name, value) for name in known for value in st.query_params.get_all(name) if value]
    strange = [
        f"{name} cannot be {quoted(value)}, but one of {', '.join(known[name])}"
        for name, value in asked
        if value not in known[name] and not (known[name] is ON_OFF and value.lower() in ON_OFF)
    ]
    if zoom.PARAMETER in st.query_params and zoom.asked() is None:
        strange.append(
            f"zoom cannot be {quoted(st.query_params[zoom.PARAMETER])}, but from,until or from,until,low,high"
        )
        zoom.forget()
    if strange:
        left_out("; ".join(strange[:5]) + ".")


def left_out(why: str) -> None:
    """Say what of the address is not followed, and why."""
    st.warning(why, title="Left out of the address", icon=":material/link_off:")


def choose_range() -> str:
    """Let the visitor choose one of the ranges of time that Price and Compare share, and return its name."""
    return st.segmented_control(
        "Range",
        list(analysis.RANGES),
        default="1Y",
        required=True,
        key="range",
        bind="query-params",
        on_change=zoom.forget,
    )


# -- charts ----------------------------------------------------------------------------------------------------------


@st.cache_resource(ttl=600, show_spinner=False, validate=bool)  # a page asks for some thirty: never those of no mart
def _definitions() -> dict[tuple[str, str | None], str]:
    """Return the definitions by relation and column; None stands for the relation itself."""
    known = queries.definitions().dropna(subset=["definition"])
    columns = known["column_name"].astype(object).where(known["column_name"].notna(), None)
    return dict(zip(zip(known["relation"], columns, strict=True), known["definition"].str.strip(), strict=True))


def definition(relation: str, column: str | None = None) -> str:
    """Return the definition of a mart's column (or of the mart) as dbt persisted it in the database."""
    return _definitions().get((relation, column), UNDEFINED)


def definitions_text(metrics: Sequence[str]) -> str:
    """Return the definitions of `relation.column` names as Markdown, for a tooltip."""
    return "\n\n".join(f"`{name.partition('.')[2]}` {definition(*name.split('.'))}" for name in metrics)


def heading(title: str, metrics: Sequence[str]) -> None:
    """Put a chart's title, a question, with the definitions of what it shows behind the question mark."""
    st.subheader(title, anchor=False, help=definitions_text(metrics))


def _name_of(function: FunctionType) -> str:
    """Return what tells a function from all others; one that could hide a value of its surroundings is refused."""
    if "<" in function.__qualname__:
        raise ValueError(f"{function.__qualname__} is not a function of a module: its results cannot be kept")
    return f"{function.__module__}.{function.__qualname__}"


@st.cache_resource(
    ttl=300,
    max_entries=300,
    show_spinner=False,
    hash_funcs={
        FunctionType: _name_of,
        pd.DataFrame: pickle.dumps,
        pd.Series: pickle.dumps,
    },
)
def once(function: Callable[..., Made], *inputs: Any, **choices: Any) -> Made:
    """Return what a pure function makes of its inputs, made once for all visitors; nobody changes it.

    Kept by the whole content of the inputs (Streamlit's own hash samples large tables), so that what is shown is never
    older than what was read. Figures and statistics are most of a page's cost: Sentiment takes 0.26 s of CPU without.
    """
    return function(*inputs, **choices)


def chart(figure: go.Figure, key: str, *, alt: str, how: str, source: str, zoomed: str = "") -> None:
    """Show a figure with its alternative text, one line on how to read it, and its source.

    One chart of a page can be zoomed: `zoomed` then names what it shows, so that no zoom is taken for that of another.
    """
    alt = as_text.visible(alt)
    if zoomed:
        with st.container(key=key, gap=None):
            shown = zoom.applied(figure, zoom.asked())
            st.plotly_chart(shown, key=zoom.drawing(key), alt=alt, config=base.CONFIG_ZOOM)
            zoom.listen(key, zoomed)
    else:
        st.plotly_chart(figure, key=key, alt=alt, config=base.CONFIG)
    st.caption(formats.unbroken(f"{how} Source: {source}."))


def table(frame: Any, *, alt: str, missing: str, **options: Any) -> Any:
    """Show a table, or a Styler of one, with its alternative text; under one with dashes it says what a dash means."""
    if isinstance(frame, pd.DataFrame):
        words = frame.select_dtypes(["object", "string"])
        frame = frame.assign(**{name: words[name].map(_visible) for name in words})
    shown = st.dataframe(
        frame, placeholder=formats.MISSING, alt=as_text.visible(alt), **{"hide_index": True, **options}
    )
    if formats.has_dashes(getattr(frame, "data", frame)):
        st.caption(f"{formats.MISSING} {formats.unbroken(missing)}.")
    return shown


def _visible(cell: Any) -> Any:
    return as_text.visible(cell, keep="\n") if isinstance(cell, str) else cell


@contextmanager
def data_and_export() -> Iterator[bool]:
    """Give the place of a page's rows and file, which the address can open, and whether it is open.

    What stands in it is made for those alone who open it: on Price another 120 kB, made anew with each choice.
    """
    place = st.expander("Data and export", key="data", on_change="rerun", bind="query-params")
    with place:
        yield bool(place.open)


def csv_button(label: str, content: Callable[[], bytes], file_name: str) -> None:
    """Offer a file that is made when it is asked for; the page does not run again."""
    file_name = re.sub(r"[^\w.-]", "_", file_name)
    st.download_button(label, content, file_name, "text/csv", icon=":material/download:", on_click="ignore")


def export(frame: pd.DataFrame, name: str, about: str, source: str) -> bytes:
    """Return a CSV whose first lines, marked #, say what it is, whence, and when it was written."""
    lines = [
        f"# tickmart: {as_text.visible(about)}",
        f"# source: {source}",
        f"# written: {formats.instant(now())}; all times are UTC",
    ]
    lines += [f"# {column}: {text}" for column in frame.columns if (text := _defined(name, column))]
    return ("\n".join(lines) + "\n" + as_text.csv(frame)).encode()


def _defined(relation: str, column: str) -> str:
    text = definition(relation, column)
    return "" if text == UNDEFINED else " ".join(text.split())


# -- states ----------------------------------------------------------------------------------------------------------


def problem(error: MartsError) -> None:
    """Say what cannot be shown, and what to do."""
    if error.reason == "empty":
        empty_warehouse()
        return
    st.error(
        f"{error} The Data quality page shows what was known at the last refresh.",
        title="Postgres does not answer" if error.reason == "down" else "Postgres is slow",
        icon=":material/database_off:",
    )
    st.page_link(QUALITY_PAGE, label="Data quality", icon=":material/fact_check:")


def empty_warehouse() -> None:
    """Say that nothing is loaded yet and how to change that."""
    st.info(
        "Nothing has been loaded yet. Run `tickmart run` for the last 30 days of the real markets, or `tickmart demo` "
        "for simulated ones without network; under `tickmart up` the first refresh starts by itself. "
        "This page fills when the refresh is done.",
        title="The warehouse is empty",
        icon=":material/hourglass_empty:",
    )
