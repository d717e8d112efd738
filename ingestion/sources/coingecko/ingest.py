"""A CoinGecko market snapshot to bronze."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from ingestion.bronze.write import Context, Report, _constant, _note_new_fields, _quarantine
from ingestion.sources.coingecko import client as coingecko_client
from ingestion.sources.coingecko import parse
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset

# -- markets and fear & greed ------------------------------------------------------------------------------------------


def ingest_markets(context: Context, client: HttpClient, assets: Sequence[Asset], snapshot_at: datetime) -> Report:
    """Bring one sweep over the universe and the top 250 into bronze, as one object."""
    report = Report(MARKETS.name)
    ids = sorted({a.crypto_id for a in assets})
    page = coingecko_client.fetch_snapshot(client, ids, snapshot_at)
    report.repeated = page.repeated
    if page.missing_from_top:
        report.shortfall = (
            f"{page.missing_from_top} of the {coingecko_client.TOP} largest coins are in no page of CoinGecko's list"
        )
    table = page.rows.append_column("batch_id", _constant(context, [page.rows]))
    _quarantine(context, report, MARKETS, page.rejected)
    report.rows = len(table)
    spoilt = {_coin_id(r.record) for r in page.rejected}
    kept = set(table["crypto_id"].to_pylist())
    today = snapshot_at.date()
    # An id whose rows of the universe have all ended may go quiet.
    current = {a.crypto_id: a for a in assets if a.valid_to is None or a.valid_to > today}
    quiet = coingecko_client.stale_coins(table)
    for coin in sorted(current):
        if coin not in kept:
            report.failed[coin] = (
                f"CoinGecko's record of {coin} breaks its contract; ops.rejected_records tells how"
                if coin in spoilt
                else f"CoinGecko does not know the id {coin}; correct or remove its row in the universe file"
            )
        elif coin in quiet:
            row = f"{coin},{current[coin].binance_symbol}"
            report.failed[coin] = (
                f"CoinGecko answers {coin} {quiet[coin]}: the id is stale, retired or renamed; in the universe file, "
                f"put its present id into the row {row}, or end that row with a valid_to"
            )
    _note_new_fields(context, report, MARKETS, parse.unknown_fields(table["payload"].to_pylist()))
    _note_unfit_values(report, page.unfit)
    if len(table):
        report.written.append(context.lake.merge(MARKETS, markets_key(snapshot_at), table.combine_chunks()))
    return report


def _note_unfit_values(report: Report, unfit: dict[str, dict[str, str]]) -> None:
    """Note in one line the optional values that do not fit their column: how many by field, each with an example."""
    found = []
    for name, values in sorted(unfit.items()):
        coin, value = next(iter(values.items()))
        found.append(f"{name} of {len(values)} (such as {value} of {coin})")
    if found:
        report.notes.append(
            f"{report.dataset}: optional values that do not fit are null, and kept in payload: {', '.join(found)}"
        )


def _coin_id(record: str) -> str | None:
    try:
        entry = json.loads(record)
    except ValueError:
        return None
    found = entry.get("id", entry.get("crypto_id")) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else None
