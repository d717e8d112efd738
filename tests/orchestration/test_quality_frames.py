"""The bronze suites: each check fails when its one property is corrupted, and no other check does."""

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
from ingestion.sources.news.dataset import EARLIEST, GDELT_TONE, HEADLINES
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY
from ingestion.sources.onchain.dataset import FIRST_DAY as ONCHAIN_SINCE
from orchestration.quality import data_docs, frames, suites
from orchestration.quality.runner import SuiteResult, validate_frame
from orchestration.quality.suites import Suite

DAY = date(2026, 3, 14)
AT = datetime(2026, 3, 14, 12, 5, tzinfo=UTC)
GIVEN = {"symbols": ["BTCUSDT", "ETHUSDT"], "coins": [f"coin-{i}" for i in range(5)]}
PRICES = ("open", "high", "low", "close")
Rows = list[dict[str, Any]]
Corruption = Callable[[Rows], object]


def bars() -> Rows:
    """A day of two symbols."""
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    prices = {name: Decimal(value) for name, value in zip(PRICES, ("100", "110", "90", "105"), strict=True)}
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


def onchain_days() -> Rows:
    """Ten days of a series."""
    return [
        {
            "source": "coinmetrics",
            "asset": "btc",
            "metric": "TxCnt",
            "date": DAY - timedelta(days=n),
            "value": Decimal(40 + n),
            "object_key": f"onchain/coinmetrics/date={DAY}/daily.parquet",
        }
        for n in range(10)
    ]


def headlines() -> Rows:
    """Ten headlines."""
    return [
        {
            "source": "gdelt",
            "external_id": str(n),
            "published_at": datetime(2024, 1, 1, n, tzinfo=UTC),
            "title": f"Bitcoin {n}",
            "url": f"https://a.example/{n}",
            "channel": "q",
            "object_key": f"headlines/gdelt/date={DAY}/headlines.parquet",
        }
        for n in range(10)
    ]


def tone_days() -> Rows:
    """Ten days of tone."""
    key = f"gdelt/tone/date={DAY}/tone.parquet"
    return [{"topic": "t", "date": DAY - timedelta(days=n), "tone": Decimal(n), "object_key": key} for n in range(10)]


def _set(**values: Any) -> Corruption:
    return lambda rows: rows[5].update(values)


def _swap(one: str, other: str) -> Corruption:
    return lambda rows: rows[5].update({one: rows[5][other], other: rows[5][one]})


def _again(rows: Rows) -> None:
    rows.append(dict(rows[4]))


KLINES_CORRUPTIONS: dict[str, Corruption] = {
    "has_rows": list.clear,
    "unique_key": _again,
    "records_meet_contract": _set(open=Decimal("110.01")),
    "bars_open_on_object_day": lambda rows: rows[5].update(
        {name: rows[5][name] + timedelta(days=1) for name in ("open_time", "close_time")}
    ),
    "bars_open_on_interval_grid": lambda rows: rows[5].update(
        open_time=rows[5]["open_time"] + timedelta(minutes=28, milliseconds=14_789)
    ),
    "symbols_are_tracked": _set(symbol="XUSDT"),
    "volume_has_trades": _set(trade_count=0),
    "trades_have_volume": _set(volume=Decimal(0), taker_buy_base_volume=Decimal(0)),
}
MARKETS_CORRUPTIONS: dict[str, Corruption] = {
    "has_rows": list.clear,
    "unique_key": _again,
    "records_meet_contract": lambda rows: rows[4].update(market_cap=Decimal(-1)),
    "tracked_coins_present": lambda rows: rows.pop(),
    "most_coins_have_price": lambda rows: rows[4].update(current_price=None),
    "market_cap_rank_is_positive": lambda rows: rows[4].update(market_cap_rank=0),
}
FEAR_GREED_CORRUPTIONS: dict[str, Corruption] = {
    "has_rows": list.clear,
    "unique_key": _again,
    "records_meet_contract": _set(value=101),
    "classification_is_known": _set(classification="Panic"),
}
ONCHAIN_CORRUPTIONS: dict[str, Corruption] = {
    "has_rows": list.clear,
    "unique_key": _again,
    "records_meet_contract": _set(value=Decimal(-1)),
}
HEADLINE_CORRUPTIONS = ONCHAIN_CORRUPTIONS | {"records_meet_contract": _set(title=None)}
TONE_CORRUPTIONS = ONCHAIN_CORRUPTIONS | {"records_meet_contract": _set(tone=Decimal(101))}
# One record for each reason of a contract that a stored object can have.
VIOLATIONS: dict[Suite, dict[str, Corruption]] = {
    suites.BRONZE_KLINES: {
        **{
            f"{name} is missing": _set(**{name: None})
            for name in (
                "symbol",
                "interval",
                "open_time",
                "close_time",
                *PRICES,
                "volume",
                "quote_volume",
                "trade_count",
            )
        },
        **{f"{name} is not above 0": _set(**{name: Decimal(0)}) for name in PRICES},
        "volume is below 0": _set(volume=Decimal(-1), taker_buy_base_volume=Decimal(-1)),
        "quote_volume is below 0": _set(quote_volume=Decimal(-1), taker_buy_quote_volume=Decimal(-1)),
        "trade_count is below 0": _set(trade_count=-1),
        "low is above high": _swap("high", "low"),
        "close is below the low": _set(close=Decimal("89.99")),
        "taker_buy_base_volume is above volume": _set(taker_buy_base_volume=Decimal("10.00000001")),
        "taker_buy_quote_volume is above quote_volume": _set(taker_buy_quote_volume=Decimal("1000.01")),
        "close_time is not after open_time": lambda rows: rows[5].update(close_time=rows[5]["open_time"]),
        "close_time is after the interval": lambda rows: rows[5].update(
            close_time=rows[5]["open_time"] + timedelta(hours=4)
        ),
    },
    suites.BRONZE_MARKETS: {
        "payload is missing": lambda rows: rows[4].update(payload=None),
        "current_price is below 0": lambda rows: rows[4].update(current_price=Decimal("-0.00000001")),
        "total_volume is below 0": lambda rows: rows[4].update(total_volume=Decimal(-1)),
    },
    suites.BRONZE_FEAR_GREED: {
        "value is missing": _set(value=None),
        "value is below 0": _set(value=-1),
    },
}
VIOLATIONS |= {
    suite: {
        "value is missing": _set(value=None),
        "value is below 0": _set(value=Decimal(-1)),
        f"date is before {ONCHAIN_SINCE} or not over": _set(date=ONCHAIN_SINCE - timedelta(days=1)),
    }
    for suite in suites.BRONZE_ONCHAIN
}
VIOLATIONS |= {
    suite: {
        "title is missing": _set(title=None),
        f"published_at is before {EARLIEST:%Y-%m-%d} or in the future": _set(published_at=EARLIEST - timedelta(days=1)),
    }
    for suite in suites.BRONZE_HEADLINES
}
VIOLATIONS[suites.BRONZE_TONE] = {
    "tone is missing": _set(tone=None),
    "tone is not within -100 to 100": _set(tone=Decimal(-101)),
    "date is not over": _set(date=date(2900, 1, 1)),
}
BATCHES = {
    suites.BRONZE_KLINES: (KLINES, bars, KLINES_CORRUPTIONS),
    suites.BRONZE_MARKETS: (MARKETS, coins, MARKETS_CORRUPTIONS),
    suites.BRONZE_FEAR_GREED: (FEAR_GREED, days, FEAR_GREED_CORRUPTIONS),
    **{
        suite: (dataset, onchain_days, ONCHAIN_CORRUPTIONS)
        for suite, dataset in zip(suites.BRONZE_ONCHAIN, (COINMETRICS_DAILY, BLOCKCHAIN_DAILY), strict=True)
    },
    **{
        suite: (dataset, headlines, HEADLINE_CORRUPTIONS)
        for suite, dataset in zip(suites.BRONZE_HEADLINES, HEADLINES[:3], strict=True)
    },
    suites.BRONZE_TONE: (GDELT_TONE, tone_days, TONE_CORRUPTIONS),
}


def validated(suite: Suite, rows: Rows) -> SuiteResult:
    """The suite's result for rows as bronze stores them."""
    dataset = BATCHES[suite][0]
    schema = dataset.schema.append(pa.field("object_key", pa.string()))
    table = pa.Table.from_pylist(rows, schema=pa.schema([f.with_nullable(True) for f in schema]))
    tracked = GIVEN["coins" if dataset is MARKETS else "symbols"]
    return validate_frame(suite, frames.to_frame([table], dataset, tracked))


def failures(found: SuiteResult) -> dict[str, str]:
    """The status of each check that did not pass."""
    return {check.id: check.status for check in found.failures}


@pytest.mark.parametrize("suite", BATCHES, ids=lambda s: s.name)
def test_valid_rows_pass_and_each_check_has_a_corruption(suite):
    _, rows, corruptions = BATCHES[suite]
    found = validated(suite, rows())
    assert failures(found) == {}
    assert {check.id for check in found.checks} == set(corruptions) == {rule.id for rule in suite.rules}


@pytest.mark.parametrize(
    ("suite", "check_id"), [(s, check_id) for s, (_, _, all_) in BATCHES.items() for check_id in all_],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_one_corruption_fails_exactly_its_check(suite, check_id):
    _, rows, corruptions = BATCHES[suite]
    corrupted = copy.deepcopy(rows())
    corruptions[check_id](corrupted)
    found = validated(suite, corrupted)
    assert failures(found) == {check_id: "failed"}
    [failed] = found.failures
    assert failed.severity == next(r.severity for r in suite.rules if r.id == check_id)
    if check_id != "has_rows":
        assert failed.failed_rows in (1, 2), "both of two equal keys violate uniqueness"
        assert set(suite.sample_columns) <= set(failed.sample[0])


@pytest.mark.parametrize(
    ("suite", "reason"), [(s, reason) for s, all_ in VIOLATIONS.items() for reason in all_],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_a_stored_record_that_the_parser_would_reject_blocks_the_load(suite, reason):
    corrupted = copy.deepcopy(BATCHES[suite][1]())
    VIOLATIONS[suite][reason](corrupted)
    [check] = [c for c in validated(suite, corrupted).checks if c.id == "records_meet_contract"]
    assert (check.status, check.severity, check.failed_rows) == ("failed", "error", 1)
    assert check.as_row(suite.asset_path, blocking=suite.blocking)["blocking"]


def test_a_missing_column_is_an_error_and_not_a_pass():
    rows = frames.to_frame([_table(bars())], KLINES, GIVEN["symbols"]).drop(columns=["on_object_day"])
    assert failures(validate_frame(suites.BRONZE_KLINES, rows)) == {"bars_open_on_object_day": "error"}
    with pytest.raises(KeyError):
        frames.to_frame([_table(bars()).drop_columns(["volume"])], KLINES, GIVEN["symbols"])


def _table(rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=KLINES.schema.append(pa.field("object_key", pa.string())))


def test_the_sample_of_failed_rows_is_capped():
    rows = bars()
    for row in rows:
        row["trade_count"] = 0
    [failed] = validated(suites.BRONZE_KLINES, rows).failures
    assert (failed.failed_rows, len(failed.sample)) == (48, 10)


def test_data_docs_show_source_values_as_text_with_exact_digits(tmp_path):
    evil = "<script>alert(1)</script> $name ${x} {{7*7}} &amp;\x1b[31m\u202e"
    market = coins()
    market[0].update(crypto_id=evil, current_price=Decimal("-0.00000001"))
    index = days()
    index[5].update(classification=evil)
    for suite, rows in ((suites.BRONZE_MARKETS, [*market, dict(market[0])]), (suites.BRONZE_FEAR_GREED, index)):
        page = data_docs.publish(tmp_path, "run-1", suite, validated(suite, rows), AT)
        assert page is not None
        written = page.read_text()
        assert "&lt;script&gt;alert(1)" in written
        assert "${x}" in html.unescape(written)
        for raw in ("<script>", "\x1b", "\u202e", "1e-08", "1E-8"):
            assert raw not in written


@pytest.mark.parametrize(
    ("violation", "dropped", "statuses"),
    [
        (None, [], {"passed"}),
        ("value is above 100", [], {"passed", "failed"}),
        (None, ["classification"], {"passed", "error"}),
    ],
)
def test_data_docs_show_each_status_as_text(
    tmp_path: Path, violation: str | None, dropped: list[str], statuses: set[str]
):
    frame = pd.DataFrame(
        {"object_key": ["k"], "date": ["2026-01-01"], "classification": ["Fear"], "contract_violation": [violation]}
    )
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
