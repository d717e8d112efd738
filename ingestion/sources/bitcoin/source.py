"""The declaration of Bitcoin's transactions in the layout of the AWS Public Blockchain bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context
from ingestion.database.connections import fetch
from ingestion.datasets import ONE_DAY, days_between
from ingestion.ops import bitcoin_days
from ingestion.settings import Settings
from ingestion.sources.bitcoin.bucket import SOURCE, Bucket
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS
from ingestion.sources.bitcoin.ingest import REFRESH_DAYS, check_url, ingest_days, refresh_days
from ingestion.sources.bitcoin.load import load_days
from ingestion.sources.conventions import SourceError
from ingestion.sources.source import FetchRequest, Finding, LoadCheck, LoadedRun, Observation, Source

SWITCH = "TICKMART_BITCOIN_TRANSACTIONS"


@dataclass(frozen=True)
class BitcoinOptions:
    """The run configuration: a backfill of the UTC days [start, end), written YYYY-MM-DD; without it, a refresh.

    They are no partitions of the run, which begin with Binance in 2017.
    """

    start: str = ""
    end: str = ""


def _fetch(context: Context, request: FetchRequest) -> FetchResult:
    """Fetch the days of a backfill, or those of the last week that are not final if transactions are on."""
    settings, options = request.settings, request.options or BitcoinOptions()
    assert settings is not None
    if options.start:
        days = list(days_between(date.fromisoformat(options.start), date.fromisoformat(options.end)))
    elif settings.bitcoin_transactions:
        today = request.at.astimezone(UTC).date()
        known = bitcoin_days.read_days(context.connection, today - (REFRESH_DAYS + 1) * ONE_DAY, today + ONE_DAY)
        days = refresh_days(known.values(), today)
    else:
        return FetchResult(BITCOIN_TRANSACTIONS.name)
    return ingest_days(context, Bucket(settings.bitcoin_transactions_url), days)


def _probe(settings: Settings) -> Iterator[Finding]:
    if not settings.bitcoin_transactions:
        yield Finding(True, SOURCE, f"off; {SWITCH}=true switches them on")
        return
    try:
        yield Finding(True, SOURCE, check_url(settings.bitcoin_transactions_url))
    except SourceError as error:
        yield Finding(False, SOURCE, str(error).removeprefix(f"{SOURCE}: "))


def _heights(run: LoadedRun) -> Observation:
    """Look for missing heights around the days that the run loaded."""
    loaded = fetch(
        run.connection,
        "select distinct source_day from raw.bitcoin_blocks where batch_id = %s",
        (run.run_id,),
    )
    days = {day + step * ONE_DAY for (day,) in loaded for step in (0, 1)}
    problems = bitcoin_days.broken_heights(run.connection, sorted(days)) if days else []
    return Observation(problems, len(problems))


BITCOIN = Source(
    name="bitcoin",
    dataset=BITCOIN_TRANSACTIONS,
    apis=(),
    fetch=_fetch,
    description="Bitcoin transactions by day, in the layout of the AWS Public Blockchain bucket",
    bronze_description="Bitcoin's blocks and transactions, one object each per day, in satoshis, verified.",
    raw_description="Bitcoin's transactions, one row each, of the blocks that count.",
    attribution="Bitcoin transactions: AWS Public Blockchain Data",
    options=BitcoinOptions,
    load_checks=(
        LoadCheck(
            "heights_are_contiguous",
            "No height is missing between the blocks of final days next to each other.",
            "each height once",
            _heights,
        ),
    ),
    load=load_days,
    probe=_probe,
)
