"""Fetches one CoinGecko market snapshot into bronze."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ingestion.bronze.results import FetchResult
from ingestion.bronze.write import Context, note_new_fields, write_page
from ingestion.sources.coingecko import client as coingecko_client
from ingestion.sources.coingecko.client import Snapshot
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.coingecko.parse import unknown_fields
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset


def ingest_markets(context: Context, client: HttpClient, assets: Sequence[Asset], snapshot_at: datetime) -> FetchResult:
    """Fetch one snapshot of the universe and the top 250 into bronze, as one object."""
    snapshot = coingecko_client.fetch_snapshot(client, sorted({a.crypto_id for a in assets}), snapshot_at)
    result = write_page(context, MARKETS, snapshot, snapshot_at)
    missing = snapshot.missing_from_top
    lacking = f"of the {coingecko_client.TOP} largest coins are in no page of CoinGecko's list"
    fields = unknown_fields(snapshot.rows["payload"].to_pylist())
    return replace(
        result,
        repeated=snapshot.repeated,
        shortfall=f"{missing} {lacking}" if missing else None,
        failed=_failed_coins(snapshot, assets, snapshot_at),
        notes=(*note_new_fields(context, MARKETS, fields), *_unfit_notes(snapshot.unfit)),
    )


def _failed_coins(snapshot: Snapshot, assets: Sequence[Asset], snapshot_at: datetime) -> dict[str, str]:
    """Return the current coins of the universe without a usable record, and why."""
    rejected = {_coin_id(r.record) for r in snapshot.rejected}
    received = set(snapshot.rows["crypto_id"].to_pylist())
    stale = coingecko_client.stale_coins(snapshot.rows)
    # An id whose rows of the universe have all ended may become stale.
    current = {a.crypto_id: a for a in assets if a.valid_to is None or a.valid_to > snapshot_at.date()}
    failed: dict[str, str] = {}
    for coin in sorted(current):
        if coin not in received:
            failed[coin] = (
                f"CoinGecko's record of {coin} breaks its contract; ops.rejected_records has the reason"
                if coin in rejected
                else f"CoinGecko does not know the id {coin}; correct or remove its row in the universe file"
            )
        elif coin in stale:
            row = f"{coin},{current[coin].binance_symbol}"
            failed[coin] = (
                f"CoinGecko answers {coin} {stale[coin]}: the id is stale, retired or renamed; in the universe file, "
                f"put its present id into the row {row}, or end that row with a valid_to"
            )
    return failed


def _unfit_notes(unfit: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return one note on the optional values that do not fit their column: how many by field, each with an example."""
    found = []
    for name, values in sorted(unfit.items()):
        coin, value = next(iter(values.items()))
        found.append(f"{name} of {len(values)} (such as {value} of {coin})")
    if not found:
        return []
    return [f"{MARKETS.name}: optional values that do not fit are null, and kept in payload: {', '.join(found)}"]


def _coin_id(record: str) -> str | None:
    try:
        entry = json.loads(record)
    except ValueError:
        return None
    found = entry.get("id", entry.get("crypto_id")) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else None
