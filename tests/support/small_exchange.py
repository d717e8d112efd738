"""An exchange of hourly bars over REST and archive files whose every answer a test can bend: `SmallExchange`."""

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from support.scripted_server import Asked, Reply
from support.source_rows import HOUR_MS, bar, moment, ms

DAY_MS = 24 * HOUR_MS
NO_FILE = Reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
INVALID_SYMBOL = Reply(400, {"code": -1121, "msg": "Invalid symbol."})


def csv_of(rows: list[list[Any]]) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


def zip_of(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


class SmallExchange:
    """Bars of `since` to `until` for each symbol; the hooks change what one way answers."""

    def __init__(self, *symbols: str, since: date = date(2024, 1, 1), until: date = date(2024, 4, 1)) -> None:
        self.since, self.until, self.now = since, until, moment(date(2024, 6, 1), 12)
        self.status = dict.fromkeys(symbols, "TRADING")
        self.ends: dict[str, datetime] = {}
        self.hours: Callable[[str, str, datetime], bool] = lambda way, symbol, opened: True
        self.files: Callable[[str, bytes], bytes | None] = lambda name, content: content
        self.answer_instead: Callable[[Asked], Reply | None] = lambda asked: None
        self.listed: Callable[[list[dict[str, str]]], list[dict[str, str]]] = lambda entries: entries
        self.counts: Counter[str] = Counter()

    def rows(self, way: str, symbol: str, first: int, last: int) -> list[list[Any]]:
        """The hourly bars that open in [first, last] by one way: rest, monthly or daily."""
        low, high = max(first, ms(moment(self.since))), min(last, ms(self.ends.get(symbol, moment(self.until))) - 1)
        opens = (datetime.fromtimestamp(t / 1000, UTC) for t in range(-(-low // HOUR_MS) * HOUR_MS, high + 1, HOUR_MS))
        return [bar(o.date(), o.hour, trade_count=len(symbol)) for o in opens if self.hours(way, symbol, o)]

    def __call__(self, asked: Asked) -> Reply:
        self.counts[asked.path.rpartition("/")[2]] += 1
        if reply := self.answer_instead(asked):
            return reply
        if asked.path.endswith("/exchangeInfo"):
            return self.exchange_info(asked.query)
        if asked.path.endswith("/klines"):
            return self.klines(asked.query)
        return self.archive(asked.path)

    def exchange_info(self, query: dict[str, str]) -> Reply:
        wanted = json.loads(query.get("symbols", json.dumps(list(self.status))))
        if set(wanted) - set(self.status):
            return INVALID_SYMBOL
        entries = [{"symbol": symbol, "status": self.status[symbol]} for symbol in wanted]
        return Reply(body={"serverTime": ms(self.now), "rateLimits": [], "symbols": self.listed(entries)})

    def klines(self, query: dict[str, str]) -> Reply:
        symbol, first, last = query["symbol"], int(query["startTime"]), int(query.get("endTime", ms(self.now)))
        if symbol not in self.status:
            return INVALID_SYMBOL
        rows = self.rows("rest", symbol, first, last)
        if query["interval"] == "1d":
            rows = [[t, *row[1:6], t + DAY_MS - 1, *row[7:]] for row in rows if (t := row[0]) % DAY_MS == 0]
        return Reply(body=rows[: int(query["limit"])])

    def archive(self, path: str) -> Reply:
        found = re.search(r"/(monthly|daily)/klines/(\w+)/1h/(\w+-1h-(\d{4}-\d\d(?:-\d\d)?))\.zip", path)
        assert found, path
        way, symbol, name = found[1], found[2], found[3]
        first = date.fromisoformat(found[4] if way == "daily" else f"{found[4]}-01")
        end = first + timedelta(days=1) if way == "daily" else (first + timedelta(days=31)).replace(day=1)
        rows = self.rows(way, symbol, ms(moment(first)), ms(moment(end)) - 1)
        body = self.files(f"{name}.zip", zip_of((f"{name}.csv", csv_of(rows)))) if rows else None
        if body is None:
            return NO_FILE
        if path.endswith(".CHECKSUM"):
            return Reply(body=f"{hashlib.sha256(body).hexdigest()}  {name}.zip\n".encode())
        return Reply(body=body)
