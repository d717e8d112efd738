"""`tickmart export`: bars of coins as files of one format, with a list of the gaps and a manifest."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingestion.database.connections import Connection
from ingestion.database.one_state import one_state
from ingestion.settings import SettingsError
from orchestration.exports.bars import (
    Coin,
    Gap,
    Window,
    check_window,
    fill_gaps,
    find_coins,
    find_gaps,
    metric_columns,
    read_bars,
)
from orchestration.exports.folder import MANIFEST, file_sha256, staged_files, write_json
from orchestration.exports.formats import FORMATS, UnknownQuoteError

GAPS_FILE = "gaps.csv"


@dataclass(frozen=True)
class Request:
    """What to export: format, interval, coins (none: all), window of opening times, and what to do about gaps."""

    format: str
    interval: str = "1h"
    coins: tuple[str, ...] = ()
    window: Window = field(default_factory=Window)
    gaps: str = "keep"


@dataclass
class _Series:
    """What was written of one coin."""

    coin: Coin
    file: str
    rows: int
    gaps: list[Gap]
    last: str


def export(connection: Connection, request: Request, target: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Write the files of a request to a folder and return their manifest; all are written or none.

    `report` gets a line for each coin without bars in the window, and for each coin that is skipped because the format
    has no file name for it; if the request names such a coin, it is an error. Equal data gives equal bytes.

    Raises SettingsError for a wrong request, ExportError if the folder cannot be written, psycopg2.Error if the
    database fails.
    """
    with one_state(connection):
        coins = find_coins(connection, request.coins)
        check_window(coins, request.window)
        named, skipped = _file_names(request, coins)
        for crypto_id, reason in skipped.items():
            report(f"{crypto_id} is skipped: {reason}")
        with staged_files(target) as files:
            written = list(_write_coins(connection, request, named, files, report))
            if not written:
                raise SettingsError(
                    f"nothing to export of {len(coins)} coins: "
                    "choose an earlier --start, a later --end or another --format"
                )
            _write_gaps(files / GAPS_FILE, written, request.interval)
            manifest = _manifest(request, written, files)
            manifest["skipped"] = [{"coin": crypto_id, "reason": reason} for crypto_id, reason in skipped.items()]
            write_json(files / MANIFEST, manifest)
    return manifest


def _file_names(request: Request, coins: Sequence[Coin]) -> tuple[dict[Coin, str], dict[str, str]]:
    """Return each coin's file, and why the coins that the format cannot name are skipped."""
    file_name = FORMATS[request.format].file_name
    named: dict[Coin, str] = {}
    skipped: dict[str, str] = {}
    for coin in coins:
        try:
            named[coin] = file_name(coin, request.interval)
        except UnknownQuoteError as error:
            if request.coins:
                raise
            skipped[coin.crypto_id] = str(error)
    return named, skipped


def _write_coins(
    connection: Connection, request: Request, coins: Mapping[Coin, str], files: Path, report: Callable[[str], None]
) -> Iterator[_Series]:
    form, interval = FORMATS[request.format], request.interval
    metrics = metric_columns(connection, interval) if form.metrics else []
    writer = form.writer(files)
    for coin, file in coins.items():
        bars = read_bars(connection, coin, interval, request.window, numbers=form.numbers, metrics=metrics)
        if not bars.num_rows:
            report(f"{coin.crypto_id}: no bars in this time, nothing written")
            continue
        gaps = find_gaps(connection, coin, bars, interval)
        bars = fill_gaps(bars, interval, request.gaps)
        writer.add(file, coin, bars)
        yield _Series(coin, file, bars.num_rows, gaps, _iso(bars["opened_at"][-1]))
    writer.close()


def _write_gaps(path: Path, written: Sequence[_Series], interval: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("gap_start", "gap_end", "crypto_id", "binance_symbol", "interval", "bars", "reason"))
        for series in written:
            for gap in series.gaps:
                times = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (gap.start, gap.end))
                coin = series.coin
                writer.writerow((*times, coin.crypto_id, coin.binance_symbol, interval, gap.bars, gap.reason))


def _manifest(request: Request, written: Sequence[_Series], files: Path) -> dict[str, Any]:
    names = sorted({series.file for series in written} | {GAPS_FILE})
    rows = {name: sum(series.rows for series in written if series.file == name) for name in names}
    rows[GAPS_FILE] = sum(len(series.gaps) for series in written)
    return {
        "kind": "export",
        "format": request.format,
        "interval": request.interval,
        "gaps": request.gaps,
        "start": request.window.start and request.window.start.isoformat(),
        "end": request.window.end and request.window.end.isoformat(),
        "watermark": max(series.last for series in written),
        "coins": [series.coin.crypto_id for series in written],
        "files": [
            {
                "file": name,
                "rows": rows[name],
                "bytes": (files / name).stat().st_size,
                "sha256": file_sha256(files / name),
            }
            for name in names
        ],
    }


def _iso(moment: pa.Scalar) -> str:
    return f"{moment.as_py():%Y-%m-%dT%H:%M:%SZ}"
