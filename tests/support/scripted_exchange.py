"""An exchange whose bars a test sets, and how a test ingests from it and reads what was loaded."""

from collections.abc import Callable
from datetime import date
from typing import Any

from ingestion.bronze.results import FetchResult
from ingestion.sources.binance import ingest as binance_ingest
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from support.pipeline import Chain
from support.scripted_server import Asked, Reply, ScriptedServer
from support.source_rows import bar, moment, ms

DAY, NEXT = date(2026, 1, 2), date(2026, 1, 3)
LATER = moment(NEXT, 12)
Client = Callable[..., HttpClient]
Rows = list[list[Any]]


class Exchange:
    """An exchange whose bars a test sets; it answers ranges as Binance does: by open time, at most `limit`."""

    def __init__(self) -> None:
        self.bars: dict[str, Rows] = {}
        self.now = LATER
        self.page: Callable[[Rows], Any] = lambda rows: rows
        self.broken: dict[str, Reply] = {}
        self.server: ScriptedServer

    def __call__(self, asked: Asked) -> Reply:
        if asked.path.endswith("/time"):
            return Reply(body={"serverTime": ms(self.now)})
        query = asked.query
        if query["symbol"] in self.broken:
            return self.broken[query["symbol"]]
        if query["symbol"] not in self.bars:
            return Reply(400, {"code": -1121, "msg": "Invalid symbol."})
        first, last = int(query["startTime"]), int(query.get("endTime", 10**15))
        rows = [r for r in self.bars[query["symbol"]] if not isinstance(r[0], int) or first <= r[0] <= last]
        return Reply(body=self.page(rows[: int(query["limit"])]))


def asset(symbol: str) -> Asset:
    return Asset(symbol.lower(), symbol, symbol, "")


def day_of(**fields: Any) -> Rows:
    return [bar(DAY, hour, **fields) for hour in range(24)]


def ingest(
    chain: Chain, exchange: Exchange, client_of: Client, start: date = DAY, end: date = NEXT, **options: Any
) -> FetchResult:
    symbols = [*exchange.bars, *exchange.broken]
    client = client_of(exchange.server.url)
    return binance_ingest.ingest_klines(chain.context(), client, [asset(s) for s in symbols], start, end, **options)


def stored(chain: Chain) -> list[tuple[Any, ...]]:
    return chain.ask("select symbol, open_time, close from raw.binance_klines order by 1, 2")


def rejections(chain: Chain) -> list[tuple[Any, ...]]:
    return chain.ask("select reason, record from ops.rejected_records order by rejected_id")
