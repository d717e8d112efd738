"""The declaration of Binance Spot: klines by REST and from the bulk archives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.datasets import ONE_DAY
from ingestion.ops import checks
from ingestion.settings import Settings
from ingestion.sources.binance import archive, gaps, rest
from ingestion.sources.binance.dataset import KLINES, klines_day
from ingestion.sources.binance.gap_classification import classify
from ingestion.sources.binance.ingest import sync_klines
from ingestion.sources.binance.plan import KlinesRequest
from ingestion.sources.http import HttpClient
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, FetchRequest, Finding, LoadCheck, LoadedRun, Observation, Source
from ingestion.universe import read_universe

# The documented limit per minute and address, until the exchange states its own (exchangeInfo.rateLimits).
WEIGHT_PER_MINUTE = 6000
# The key under which ops.judged_batches records that a load was searched for gaps.
GAPS_ASSET = "ops/gaps"


@dataclass(frozen=True)
class KlinesOptions:
    """The run configuration of klines; ``plan.KlinesRequest`` says what each option means."""

    interval: Literal["1m", "5m", "15m", "1h", "4h", "1d"] = "1h"
    source: Literal["rest", "archive", "auto"] = "rest"
    skip_covered: bool = False
    resume: bool = False


def _fetch(context: Context, request: FetchRequest, client: HttpClient, archive_client: HttpClient) -> FetchResult:
    assert request.days is not None
    options: KlinesOptions = request.options
    wanted = KlinesRequest(
        request.universe, *request.days, options.interval, options.source, options.skip_covered, options.resume
    )
    return sync_klines(context, client, archive_client, wanted)


def _probe(client: HttpClient, settings: Settings) -> Iterator[Finding]:
    symbols = sorted({a.binance_symbol for a in read_universe(settings.universe_path) if a.binance_symbol})
    exchange = rest.exchange_info(client, symbols)
    yield Finding(True, REST_API.name, f"answers; {exchange.weight_per_minute} weight a minute")
    for symbol, status in exchange.status.items():
        if status != "TRADING":
            where = status or "in no answer"
            fix = "correct or remove its row in the universe file"
            yield Finding(False, f"universe {symbol}", f"is {where} on Binance; {fix}")


def _find_gaps(run: LoadedRun) -> Observation:
    """Look for gaps on the run's days, on the days of loads since the last search, and where a second way answered."""
    loaded = checks.unvalidated_objects(run.connection, GAPS_ASSET, KLINES, run.run_id)
    ranges: dict[str, list[tuple[date, date]]] = {"1h": []}
    for interval, day in filter(None, (klines_day(key) for key, _ in loaded)):
        ranges.setdefault(interval, []).append((day, day + ONE_DAY))
    # A second answer that lacks a gap's bars too explains the gap without a load.
    for interval, first, end in gaps.answered_twice(run.connection):
        ranges.setdefault(interval, []).append((first, end))
    kinds: Counter[str] = Counter()
    for interval, touched in ranges.items():
        days = [run.days, *touched] if run.days else touched
        kinds.update(classify(run.connection, interval, days, run.universe()))
    checks.mark_validated(run.connection, GAPS_ASSET, (batch for _, batch in loaded))
    unexplained = gaps.unexplained(run.connection)
    problems = [f"{symbol} {interval} {start} UTC ({bars} bars)" for symbol, interval, start, bars in unexplained]
    return Observation(problems, sum(bars for *_, bars in unexplained), kinds)


REST_API = Api(
    name="Binance",
    setting="BINANCE_BASE_URL",
    limits=lambda _: Limits(WEIGHT_PER_MINUTE),
    conventions=rest.CONVENTIONS,
    probe=_probe,
)
# The archives state no limit.
ARCHIVE_API = Api(
    name="Binance archive",
    setting="BINANCE_ARCHIVE_URL",
    conventions=archive.CONVENTIONS,
)
BINANCE = Source(
    name="binance",
    dataset=KLINES,
    apis=(REST_API, ARCHIVE_API),
    fetch=_fetch,
    description="Binance Spot REST",
    bronze_description="Closed bars of every tracked symbol as Binance sends them, one object per interval and day.",
    raw_description="Hourly (and other) bars, one row per symbol, interval and open time.",
    attribution="Market data: Binance",
    options=KlinesOptions,
    by_day=True,
    load_checks=(
        LoadCheck(
            "holes_are_explained",
            "No bar is missing here alone after Binance was asked for it again.",
            "no bar missing here alone after another request",
            _find_gaps,
            maintains=(
                "gaps",
                "Each gap in a series of bars, and why: exchange_halt, symbol_halt, not_listed, delisted, "
                "missing_locally.",
            ),
        ),
    ),
)
