"""Serves the recorded market data of `tests/fixtures/recorded` over HTTP as the real APIs do.

Here: Binance REST, its daily archive files, CoinGecko and alternative.me, on one address, each below its own path. Not
here: faults and invented markets (the simulator, `scripted`).
"""

import contextlib
import csv
import gzip
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.ingest import ingest_klines
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.coingecko.ingest import ingest_markets
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.fear_greed.ingest import ingest_fear_greed
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, ScriptedServer, scripted

FOLDER = Path(__file__).parents[1] / "fixtures" / "recorded"
ASSETS = [
    Asset(crypto_id, f"{ticker}USDT", ticker, "")
    for crypto_id, ticker in (("bitcoin", "BTC"), ("ethereum", "ETH"), ("dogecoin", "DOGE"))
]
# Five minutes after the last recorded hour closed.
NOW = datetime(2023, 4, 1, 0, 5, tzinfo=UTC)
START, END = date(2023, 3, 15), date(2023, 4, 1)
ARCHIVE_FILE = re.compile(r"/data/spot/daily/klines/([^/]+)/(\w+)/\1-\2-(\d{4}-\d\d-\d\d)\.zip(\.CHECKSUM)?")
NOT_FOUND = Reply(404, b"<Error><Code>NoSuchKey</Code></Error>")


def read(name: str) -> Any:
    """Return what a file of the recording holds."""
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


class Recording:
    """The recorded answers, by request."""

    def __init__(self) -> None:
        self.klines = {interval: read(f"binance_klines_{interval}") for interval in ("1h", "1d")}
        self.markets, self.fear_greed = read("coingecko_markets"), read("fear_greed")

    def answer(self, asked: Asked) -> Reply:
        """Return the reply to one request; 404 for what was not recorded."""
        _, api, path = asked.path.split("/", 2)
        answer = {
            "binance": self._binance,
            "archive": self._archive,
            "coingecko": self._coingecko,
            "alternative": lambda path, query: Reply(body={"data": self.fear_greed}),
        }.get(api)
        return answer(f"/{path}", asked.query) if answer else NOT_FOUND

    def _binance(self, path: str, query: dict[str, str]) -> Reply:
        if path == "/api/v3/time":
            return Reply(body={"serverTime": milliseconds(NOW)})
        if path == "/api/v3/exchangeInfo":
            symbols = [{"symbol": a.binance_symbol, "status": "TRADING"} for a in ASSETS]
            return Reply(body={"serverTime": milliseconds(NOW), "rateLimits": [], "symbols": symbols})
        rows = self.klines[query["interval"]].get(query["symbol"])
        if rows is None:
            return Reply(400, {"code": -1121, "msg": "Invalid symbol."})
        first, last = int(query["startTime"]), int(query.get("endTime", milliseconds(NOW)))
        return Reply(body=[row for row in rows if first <= row[0] <= last][: int(query["limit"])])

    def _archive(self, path: str, query: dict[str, str]) -> Reply:
        found = ARCHIVE_FILE.fullmatch(unquote(path))
        if not found:
            return NOT_FOUND
        symbol, interval, day, checksum = found.groups()
        first = datetime.fromisoformat(day).replace(tzinfo=UTC)
        low, high = milliseconds(first), milliseconds(first + timedelta(days=1))
        rows = [row for row in self.klines[interval].get(symbol, []) if low <= row[0] < high]
        if not rows:
            return NOT_FOUND
        text, body = io.StringIO(), io.BytesIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
            name = f"{symbol}-{interval}-{day}.csv"
            archive.writestr(zipfile.ZipInfo(name, (2023, 4, 1, 0, 0, 0)), text.getvalue())
        digest = hashlib.sha256(body.getvalue()).hexdigest()
        return Reply(body=f"{digest}  {name}.zip\n".encode() if checksum else body.getvalue())

    def _coingecko(self, path: str, query: dict[str, str]) -> Reply:
        page = int(query.get("page", 1))
        ids = query.get("ids")
        coins = [coin for coin in self.markets if ids is None or coin["id"] in ids.split(",")]
        size = int(query["per_page"])
        return Reply(body=coins[(page - 1) * size : page * size])


def milliseconds(moment: datetime) -> int:
    """Return Unix time in milliseconds."""
    return round(moment.timestamp() * 1000)


@contextlib.contextmanager
def recorded_server() -> Iterator[ScriptedServer]:
    """Serve the recording; the APIs are at /binance, /archive, /coingecko/api/v3 and /alternative."""
    with scripted(Recording().answer) as server:
        yield server


def load_recording(chain: Chain, url: str, start: date = START) -> None:
    """Load what `recorded_server` serves at `url`: hourly and daily bars, a market snapshot and the index."""

    def client(source: str, path: str) -> HttpClient:
        return HttpClient(source, [f"{url}/{path}"], setting="BINANCE_BASE_URL")

    binance = client("Binance", "binance")
    reports = [
        ingest_klines(chain.context(), binance, ASSETS, start, END),
        ingest_klines(chain.context(), binance, ASSETS, start, END, interval="1d"),
        ingest_markets(
            chain.context(), client("CoinGecko", "coingecko/api/v3"), ASSETS, datetime(2025, 1, 1, tzinfo=UTC)
        ),
        ingest_fear_greed(chain.context(), client("Fear & Greed", "alternative"), date(2024, 12, 31)),
    ]
    for report in reports:
        assert (report.rejected, report.failed, report.error) == (0, {}, None)
    for dataset in (KLINES, MARKETS, FEAR_GREED):
        chain.load(dataset)
