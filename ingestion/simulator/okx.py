"""The simulated OKX: trades and tickers as they happen, and what REST knows of them. The WebSocket is in `websocket`.

An exchange trades whether anybody listens: a thread makes messages at a settable rate from the first listener on. A
trade message joins one to three fills of a taker order, as OKX does; REST lists the single fills.
"""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .coins import Coin
from .onchain import OnchainServices
from .services import Clock, ErrorResponse, Request
from .shapes import Shapes

QUOTE = "USDT"
FIRST_TRADE_ID = 338_476_307
TICK_S = 0.01
# The fills that REST remembers, per instrument.
HISTORY = 200_000
HOUR_MS = 3_600_000
CANDLES_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1H": HOUR_MS, "4H": 4 * HOUR_MS, "1Dutc": 24 * HOUR_MS}
# Faults of the stream; `clock` and `delist` take a value.
ORDERS = (
    "drop", "notice", "silence", "no_pong", "garbage", "binary", "half_frame", "subscription_error", "lose",
    "duplicate", "reorder",
)  # fmt: skip

Message = tuple[str, str, bytes]
"""Channel, instrument, and the text of a message."""


class Listener(Protocol):
    """A connection that gets messages."""

    def push(self, messages: Sequence[Message]) -> None:
        """Take messages of one tick."""

    def order(self, what: str) -> None:
        """Take the order of a fault."""


@dataclass
class _Instrument:
    symbol: str
    inst_id: str
    trade_id: int = FIRST_TRADE_ID
    first_id: int = FIRST_TRADE_ID + 1
    stamp_ms: int = 0
    minute: int = -1
    quote: dict[str, Any] = field(default_factory=dict)
    places: int = 2
    price: int = 0
    # (last id, fills, stamp, price, size of a fill in 1e-8, side)
    trades: deque[tuple[int, int, int, str, int, str]] = field(default_factory=lambda: deque(maxlen=HISTORY))


def fixed(value: int, places: int) -> str:
    """Return an integer with so many decimals."""
    return f"{value // 10**places}.{value % 10**places:0{places}}" if places else str(value)


class Exchange:
    """The instruments, the thread that trades them, and the listeners."""

    def __init__(self, shapes: Shapes, coins: Iterable[Coin], clock: Clock, rate: float) -> None:
        self._shapes, self._clock = shapes, clock
        self.rate = rate
        listed = sorted({coin.symbol for coin in coins if coin.symbol.endswith(QUOTE)})
        self.instruments = {
            f"{symbol.removesuffix(QUOTE)}-{QUOTE}": _Instrument(symbol, f"{symbol.removesuffix(QUOTE)}-{QUOTE}")
            for symbol in listed
        }
        self.delisted: set[str] = set()
        self.clock_ms = 0
        self.lock = threading.Lock()
        self.counts = Counter[str]()
        self._listeners: list[Listener] = []
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._made = 0

    def add(self, listener: Listener) -> None:
        """Add a listener; the first one opens the market."""
        with self.lock:
            self._listeners.append(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._trade, daemon=True)
                self._thread.start()

    def remove(self, listener: Listener) -> None:
        """Remove a listener."""
        with self.lock:
            self._listeners.remove(listener)

    def stop(self) -> None:
        """Close the market."""
        self._stopped.set()

    def stats(self) -> dict[str, Any]:
        """What has happened: counts, and the ids of each instrument's trades since the market opened."""
        with self.lock:
            ids = {i.inst_id: [i.first_id, i.trade_id] for i in self.instruments.values() if i.trade_id >= i.first_id}
            return {**self.counts, "ids": ids, "listeners": len(self._listeners)}

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what a POST to /_okx asks; ValueError for what is not known."""
        unknown = set(order) - {"rate", "do", "clock_ms", "delist", "relist"}
        if unknown or ("do" in order and order["do"] not in ORDERS):
            raise ValueError(f"{sorted(unknown) or order['do']}: write rate, clock_ms, delist, relist, or do: {ORDERS}")
        with self.lock:
            if "rate" in order:
                self.rate = float(order["rate"])
            self.clock_ms = int(order.get("clock_ms", self.clock_ms))
            self.delisted |= {order["delist"]} if "delist" in order else set()
            self.delisted -= {order["relist"]} if "relist" in order else set()
            listeners = list(self._listeners)
        for listener in listeners:
            if "delist" in order:
                listener.order(f"delist {order['delist']}")
            if "do" in order:
                listener.order(order["do"])
        return {"rate": self.rate, "clock_ms": self.clock_ms, "delisted": sorted(self.delisted)}

    def now_ms(self) -> int:
        """The exchange's clock, which a fault sets wrong."""
        return self._clock.now_ms() + self.clock_ms

    def _trade(self) -> None:
        """Make messages at the rate of the moment until the market is closed."""
        began, owed = time.monotonic(), 0.0
        while not self._stopped.wait(TICK_S):
            now = time.monotonic()
            owed, began = min(owed + (now - began) * self.rate, self.rate), now
            if owed < 1:
                continue
            names = [n for n in self.instruments if n not in self.delisted]
            with self.lock:
                messages = [self._message(self.instruments[names[n % len(names)]], n) for n in self._numbers(int(owed))]
                listeners = list(self._listeners)
            owed -= len(messages)
            for listener in listeners:
                listener.push(messages)

    def _numbers(self, count: int) -> range:
        self._made += count
        return range(self._made - count, self._made)

    def _message(self, i: _Instrument, number: int) -> Message:
        """Make the next message of an instrument: three trades to two tickers."""
        now = self.now_ms()
        i.stamp_ms = max(now, i.stamp_ms + 1)
        if i.minute != now // 60_000:
            i.minute, i.quote = now // 60_000, self._shapes.ticker_24h(i.symbol, now, mini=False)
            i.places = len(i.quote["lastPrice"].partition(".")[2])
            i.price = round(float(i.quote["lastPrice"]) * 10**i.places)
        # Within 0.02 % of the bar of its minute.
        turn = number * 2_654_435_761 % 2**32
        price = fixed(max(1, i.price + i.price * (turn % 401 - 200) // 1_000_000), i.places)
        if number // len(self.instruments) % 5 < 3:
            return "trades", i.inst_id, self._trade_message(i, turn, price)
        return "tickers", i.inst_id, self._ticker_message(i, turn, price)

    def _trade_message(self, i: _Instrument, turn: int, price: str) -> bytes:
        fills, size, side = 1 + turn // 7 % 3, 1 + turn % 99_999_999, "buy" if turn & 64 else "sell"
        i.trade_id += fills
        i.trades.append((i.trade_id, fills, i.stamp_ms, price, size, side))
        self.counts["trades"] += 1
        self.counts["fills"] += fills
        return (
            f'{{"arg":{{"channel":"trades","instId":"{i.inst_id}"}},"data":[{{"instId":"{i.inst_id}",'
            f'"tradeId":"{i.trade_id}","px":"{price}","sz":"{fixed(size * fills, 8)}","side":"{side}",'
            f'"ts":"{i.stamp_ms}","count":"{fills}","source":"0","seqId":{i.trade_id}}}]}}'
        ).encode()

    def _ticker_message(self, i: _Instrument, turn: int, price: str) -> bytes:
        # 0.01 to 1 basis point above the bid
        ask = fixed(i.price + i.price * (turn % 401 - 199 + turn % 100) // 1_000_000 + 1, i.places)
        quote = i.quote
        self.counts["tickers"] += 1
        return (
            f'{{"arg":{{"channel":"tickers","instId":"{i.inst_id}"}},"data":[{{"instType":"SPOT",'
            f'"instId":"{i.inst_id}","last":"{price}","lastSz":"{fixed(1 + turn % 99_999_999, 8)}","askPx":"{ask}",'
            f'"askSz":"1.55896972","bidPx":"{price}","bidSz":"0.23393","open24h":"{quote["openPrice"]}",'
            f'"high24h":"{quote["highPrice"]}","low24h":"{quote["lowPrice"]}","sodUtc0":"{quote["openPrice"]}",'
            f'"sodUtc8":"{quote["openPrice"]}","volCcy24h":"{quote["quoteVolume"]}","vol24h":"{quote["volume"]}",'
            f'"ts":"{i.stamp_ms}"}}]}}'
        ).encode()

    def fills(self, inst_id: str, before: int | None, limit: int) -> list[dict[str, str]]:
        """The newest single fills below an id, newest first."""
        out: list[dict[str, str]] = []
        with self.lock:
            for last, count, stamp, price, size, side in reversed(self.instruments[inst_id].trades):
                for trade_id in range(last, last - count, -1):
                    if before is not None and trade_id >= before:
                        continue
                    out.append(
                        {"instId": inst_id, "side": side, "sz": fixed(size, 8), "px": price, "source": "0",
                         "tradeId": str(trade_id), "ts": str(stamp)}
                    )  # fmt: skip
                    if len(out) == limit:
                        return out
        return out


class OkxServices(OnchainServices):
    """Answers requests to OKX's REST API."""

    def _usual_body(self, status: int) -> Any:
        if self._route.startswith("/okx"):
            code = {429: "50011", 404: "404"}.get(status, "50013")
            return {"code": code, "msg": f"HTTP {status}", "data": []}
        return super()._usual_body(status)

    def _okx(self, request: Request) -> Any:
        answers: dict[str, Callable[[Request], list[Any]]] = {
            "/api/v5/public/time": lambda r: [{"ts": str(self.server.exchange.now_ms())}],
            "/api/v5/public/instruments": self._okx_instruments,
            "/api/v5/market/trades": self._okx_trades,
            "/api/v5/market/history-trades": self._okx_trades,
            "/api/v5/market/candles": self._okx_candles,
            "/api/v5/market/history-candles": self._okx_candles,
        }
        if request.path not in answers:
            raise ErrorResponse(404, {"code": "404", "msg": "Not Found", "data": []})
        return {"code": "0", "msg": "", "data": answers[request.path](request)}

    def _okx_instruments(self, request: Request) -> list[Any]:
        exchange = self.server.exchange
        return [
            {"instType": "SPOT", "instId": inst_id, "baseCcy": inst_id.split("-")[0], "quoteCcy": QUOTE,
             "state": "live"}
            for inst_id in exchange.instruments if inst_id not in exchange.delisted
        ]  # fmt: skip

    def _okx_instrument(self, request: Request) -> str:
        inst_id = request.query.get("instId", "")
        if inst_id not in self.server.exchange.instruments:
            # With HTTP status 200, as OKX does.
            text = "Instrument ID, Instrument ID code, or Spread ID doesn't exist."
            raise ErrorResponse(200, {"code": "51001", "msg": text, "data": []})
        return inst_id

    def _okx_trades(self, request: Request) -> list[Any]:
        inst_id, query = self._okx_instrument(request), request.query
        is_history = request.path.endswith("history-trades")
        limit = min(int(query.get("limit", "100")), 100 if is_history else 500)
        before = int(query["after"]) if is_history and query.get("after", "").isdigit() else None
        found: list[Any] = self.server.exchange.fills(inst_id, before, limit)
        return found

    def _okx_candles(self, request: Request) -> list[Any]:
        """Newest first; the bar that is open has confirm 0."""
        inst_id, query = self._okx_instrument(request), request.query
        span = CANDLES_MS.get(query.get("bar", "1m"))
        if span is None:
            raise ErrorResponse(200, {"code": "51000", "msg": "Parameter bar error", "data": []})
        interval = {"1H": "1h", "4H": "4h", "1Dutc": "1d"}.get(query.get("bar", "1m"), query.get("bar", "1m"))
        end = int(query["after"]) - 1 if query.get("after", "").isdigit() else None
        symbol = self.server.exchange.instruments[inst_id].symbol
        limit = min(int(query.get("limit", "100")), 300)
        rows = json.loads(self.server.shapes.klines(symbol, interval, None, end, limit, request.now_ms))
        return [
            [str(r[0]), *r[1:5], r[5], r[5], r[7], "1" if r[0] + span <= request.now_ms else "0"]
            for r in reversed(rows)
        ]  # fmt: skip
