"""The suites of bronze: each expectation fails when its one thing is corrupted, and no other does."""

import copy
import html
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key
from orchestration.quality import data_docs, queries, suites
from orchestration.quality.runner import SuiteResult, validate_frame
from orchestration.quality.suites import Suite

DAY = date(2026, 3, 14)
AT = datetime(2026, 3, 14, 12, 5, tzinfo=UTC)
GIVEN = {"symbols": ["BTCUSDT", "ETHUSDT"], "coins": [f"coin-{i}" for i in range(5)]}
Rows = list[dict[str, Any]]
Corruption = Callable[[Rows], object]


def bars() -> Rows:
    """A day of two symbols."""
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    prices = {name: Decimal(value) for name, value in zip(suites.PRICES, ("100", "110", "90", "105"), strict=True)}
    return [
        {
            "symbol": symbol, "interval": "1h", "open_time": opened, **prices, "volume": Decimal(10),
            "close_time": opened + timedelta(minutes=59), "quote_volume": Decimal(1000), "trade_count": 7,
            "taker_buy_base_volume": Decimal(4), "taker_buy_quote_volume": Decimal(400),
            "object_key": klines_key("1h", DAY),
        }
        for symbol in GIVEN["symbols"]
        for opened in (start + timedelta(hours=n) for n in range(24))
    ]  # fmt: skip


def coins() -> Rows:
    """A snapshot of five coins."""
    return [
        {
            "crypto_id": coin, "snapshot_at": AT, "symbol": coin, "name": coin, "market_cap_rank": rank,
            "current_price": Decimal(5), "market_cap": Decimal(500), "total_volume": Decimal(50), "payload": "{}",
            "object_key": markets_key(AT),
        }
        for rank, coin in enumerate(GIVEN["coins"], start=1)
    ]  # fmt: skip


def days() -> Rows:
    """Ten days of the index."""
    return [
        {
            "date": DAY - timedelta(days=n),
            "value": 40 + n,
            "classification": "Neutral",
            "object_key": fear_greed_key(DAY),
        }
        for n in range(10)
    ]


def _set(**values: Any) -> Corruption:
    return lambda rows: rows[5].update(values)


def _swap(one: str, other: str) -> Corruption:
    return lambda rows: rows[5].update({one: rows[5][other], other: rows[5][one]})


def _again(rows: Rows) -> None:
    rows.append(dict(rows[4]))


KLINES_BROKEN: dict[str, Corruption] = {
    "there is something to load": list.clear,
    "one bar per symbol, interval and open time": _again,
    "every bar opens on the day of its object": lambda rows: rows[5].update(
        {name: rows[5][name] + timedelta(days=1) for name in ("open_time", "close_time")}
    ),
    "every bar opens on the grid of its interval": lambda rows: rows[5].update(
        open_time=rows[5]["open_time"] + timedelta(minutes=28, milliseconds=14_789)
    ),
    "only tracked symbols": _set(symbol="XUSDT"),
    **{
        f"{name} is there": _set(**{name: None})
        for name in ("symbol", "interval", "open_time", "close_time", *suites.PRICES, "volume", "quote_volume",
                     "trade_count")
    },
    **{f"{name} is above 0": _set(**{name: Decimal(0)}) for name in suites.PRICES},
    "base volume is not negative": _set(volume=Decimal(-1), taker_buy_base_volume=Decimal(-1)),
    "quote volume is not negative": _set(quote_volume=Decimal(-1), taker_buy_quote_volume=Decimal(-1)),
    "the number of trades is not negative": _set(trade_count=-1),
    "high is not below low": _swap("high", "low"),
    "open lies between low and high": _set(open=Decimal("110.01")),
    "close lies between low and high": _set(close=Decimal("89.99")),
    "takers bought no more than was traded": _set(taker_buy_base_volume=Decimal("10.01")),
    "takers paid no more than was paid": _set(taker_buy_quote_volume=Decimal("1000.01")),
    "a bar closes after it opens": lambda rows: rows[5].update(close_time=rows[5]["open_time"]),
    "volume only where there were trades": _set(trade_count=0),
    "volume above 0 where there were trades": _set(volume=Decimal(0), taker_buy_base_volume=Decimal(0)),
}  # fmt: skip
MARKETS_BROKEN: dict[str, Corruption] = {
    "there is something to load": list.clear,
    "one row per coin and snapshot": _again,
    "every tracked coin is in the snapshot": lambda rows: rows.pop(),
    "every coin has its JSON": lambda rows: rows[4].update(payload=None),
    "nearly every coin has a price": lambda rows: rows[4].update(current_price=None),
    "prices are not negative": lambda rows: rows[4].update(current_price=Decimal(-1)),
    "market caps are not negative": lambda rows: rows[4].update(market_cap=Decimal(-1)),
    "volumes are not negative": lambda rows: rows[4].update(total_volume=Decimal(-1)),
    "ranks begin at 1": lambda rows: rows[4].update(market_cap_rank=0),
}
FEAR_GREED_BROKEN: dict[str, Corruption] = {
    "there is something to load": list.clear,
    "one value per day and object": _again,
    "value is there": _set(value=None),
    "the index is from 0 to 100": _set(value=101),
    "the class is a known one": _set(classification="Panic"),
}
BATCHES = {
    suites.BRONZE_KLINES: (KLINES, bars, KLINES_BROKEN),
    suites.BRONZE_MARKETS: (MARKETS, coins, MARKETS_BROKEN),
    suites.BRONZE_FEAR_GREED: (FEAR_GREED, days, FEAR_GREED_BROKEN),
}


def judged(suite: Suite, rows: Rows) -> SuiteResult:
    """The suite's judgement of rows as bronze holds them."""
    dataset = BATCHES[suite][0]
    schema = dataset.schema.append(pa.field("object_key", pa.string()))
    table = pa.Table.from_pylist(rows, schema=pa.schema([f.with_nullable(True) for f in schema]))
    return validate_frame(suite, queries.validated_frame([table], GIVEN["coins" if dataset is MARKETS else "symbols"]))


def broken(found: SuiteResult) -> dict[str, str]:
    """What did not pass, and how it is called."""
    return {v.name: v.status for v in found.verdicts if v.status != "passed"}


@pytest.mark.parametrize("suite", BATCHES, ids=lambda s: s.name)
def test_sound_rows_pass_and_each_expectation_has_a_corruption(suite):
    _, rows, corruptions = BATCHES[suite]
    found = judged(suite, rows())
    assert broken(found) == {}
    assert {v.name for v in found.verdicts} == set(corruptions) == {rule.check for rule in suite.rules}


@pytest.mark.parametrize(
    ("suite", "check"), [(s, check) for s, (_, _, all_) in BATCHES.items() for check in all_],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_one_corruption_breaks_exactly_its_expectation(suite, check):
    _, rows, corruptions = BATCHES[suite]
    corrupted = copy.deepcopy(rows())
    corruptions[check](corrupted)
    found = judged(suite, corrupted)
    assert broken(found) == {check: "failed"}
    [verdict] = [v for v in found.verdicts if v.name == check]
    rule = next(r for r in suite.rules if r.check == check)
    assert verdict.severity == rule.severity
    if check != "there is something to load":
        assert verdict.failed_rows in (1, 2), "both of two equal keys break uniqueness"
        assert set(suite.shown) <= set(verdict.sample[0])


def test_a_column_that_is_not_there_is_an_error_and_not_a_pass():
    rows = queries.validated_frame([_table(bars())], GIVEN["symbols"]).drop(columns=["volume"])
    found = broken(validate_frame(suites.BRONZE_KLINES, rows))
    assert set(found.values()) == {"error"}
    assert "volume is there" in found


def _table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=KLINES.schema.append(pa.field("object_key", pa.string())))


def test_failing_rows_are_capped():
    rows = bars()
    for row in rows:
        row["trade_count"] = 0
    [verdict] = [v for v in judged(suites.BRONZE_KLINES, rows).verdicts if v.status != "passed"]
    assert (verdict.failed_rows, len(verdict.sample)) == (48, 10)


def test_what_a_source_sent_is_text_in_data_docs_with_its_digits(tmp_path):
    evil = "<script>alert(1)</script> $name ${x} {{7*7}} &amp;\x1b[31m\u202e"
    market = coins()
    market[0].update(crypto_id=evil, current_price=Decimal("-0.00000001"))
    index = days()
    index[5].update(classification=evil)
    for suite, rows in ((suites.BRONZE_MARKETS, [*market, dict(market[0])]), (suites.BRONZE_FEAR_GREED, index)):
        page = data_docs.publish(tmp_path, "run-1", suite, judged(suite, rows), AT)
        assert page is not None
        written = page.read_text()
        assert "&lt;script&gt;alert(1)" in written
        assert "${x}" in html.unescape(written)
        for raw in ("<script>", "\x1b", "\u202e", "1e-08", "1E-8"):
            assert raw not in written


@pytest.mark.parametrize(
    ("value", "dropped", "statuses"),
    [(50.0, [], {"passed"}), (200.0, [], {"passed", "failed"}), (50.0, ["classification"], {"passed", "error"})],
)
def test_a_page_of_data_docs_shows_each_status_as_a_word(
    tmp_path: Path, value: float, dropped: list[str], statuses: set[str]
):
    frame = pd.DataFrame({"object_key": ["k"], "date": ["2026-01-01"], "value": [value], "classification": ["Fear"]})
    found = validate_frame(suites.BRONZE_FEAR_GREED, frame.drop(columns=dropped))
    page = data_docs.publish(tmp_path, "run-1", suites.BRONZE_FEAR_GREED, found, AT)
    assert page is not None
    text = page.read_text()
    cells = re.findall(r'<td [^>]*class="hide-succeeded[^"]*"[^>]*>(.*?)</td>', text, re.DOTALL)
    first = [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in cells]
    assert set(re.findall(r'<span class="(?:passed|failed)">(\w+)</span>', text)) >= statuses
    assert "" not in first
    # An icon needs a font of another host, and only the site builder makes the pages of expectations.
    assert "<i " not in text
    assert [link for link in re.findall(r'href="([^"#]+)"', text) if link != "../index.html"] == []
