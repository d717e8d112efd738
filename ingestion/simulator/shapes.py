"""What the real services would say: rows, pages and files as bytes or JSON-ready objects, from a Market and a moment.

Here belong the formats of Binance (klines text, tickers, symbols), of its archives (zip and checksum), of CoinGecko and
of alternative.me. Requests, limits and faults are in `services` and `server`, prices in `market`.
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coins import Coin
from .market import (
    CLOSE,
    DAY_MS,
    FIRST_DAY,
    HIGH,
    HOUR_BLOCK,
    HOUR_MS,
    INTERVALS_MS,
    LOW,
    MINUTE_MS,
    OPEN,
    OPENED_MS,
    QUOTE,
    TAKER,
    TAKER_QUOTE,
    TRADES,
    VOLUME,
    Edit,
    Ints,
    Market,
    aggregate,
)

JSON_ROW = (b"[", b',"', b'","', b'",', b',"', b'","0"],')
CSV_ROW = (b"", b",", b",", b",", b",", b",0\n")
MICROSECONDS_SINCE = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000)  # archives only
FEAR_GREED_START = 17563  # 2018-02-01, in days since 1970
FEAR_GREED_MISSING = (17635, 17636, 17637, 20022)  # 2018-04-14 to 16 and 2024-10-26, as in the real history
FEAR_GREED_BANDS = ((25, "Extreme Fear"), (46, "Fear"), (54, "Neutral"), (75, "Greed"), (100, "Extreme Greed"))
EPOCH = date(1970, 1, 1)
Text = tuple[bytes, Ints, Ints]  # rows one after the other, the offset of each row and of the end, opening times

_FOUR_DIGITS = np.array([f"{n:04d}".encode() for n in range(10_000)]).view(np.uint32)


def join_rows(pieces: Sequence[bytes | tuple[Ints, int]]) -> tuple[bytes, Ints]:
    """Text of n rows and their offsets: constants, and integers with d decimals printed with 8 (-1: as integers).

    Digits are looked up four at a time and leading zeros masked away: about 0.7 microseconds for a row of klines, where
    Python's formatting takes 4.
    """
    n = next(len(p[0]) for p in pieces if isinstance(p, tuple))
    text = np.empty((n, 32 * len(pieces)), dtype=np.uint8)
    used = np.ones(text.shape, dtype=bool)
    at = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            text[:, at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            at += len(piece)
            continue
        values, decimals = piece
        integers, fractions = (values, values) if decimals < 0 else np.divmod(values, 10**decimals)
        width = (len(str(int(integers.max()))) + 3) // 4 * 4
        used[:, at : at + width - 1] = integers[:, None] >= 10 ** np.arange(width - 1, 0, -1)
        at = _put_digits(text, at, integers, width)
        if decimals >= 0:
            text[:, at] = ord(".")
            at = _put_digits(text, at + 1, fractions * 10 ** (8 - decimals), 8)
    used = used[:, :at]
    offsets = np.append(0, np.cumsum(np.count_nonzero(used, axis=1)))
    return text[:, :at][used].tobytes(), offsets


def _put_digits(text: NDArray[np.uint8], at: int, values: Ints, width: int) -> int:
    """Write values with `width` digits, a multiple of four, from column `at`; returns the column behind them."""
    for end in range(at + width, at, -4):
        values, four = values // 10_000, values % 10_000
        text[:, end - 4 : end] = _FOUR_DIGITS[four].view(np.uint8).reshape(-1, 4)
    return at + width


def kline_rows(coin: Coin, bars: Ints, span_ms: int, marks: Sequence[bytes], micro: bool) -> Text:
    """Rows of twelve columns, as REST (JSON_ROW) or an archive (CSV_ROW) writes them."""
    if bars.shape[1] == 0:
        return b"", np.zeros(1, dtype=np.int64), bars[OPENED_MS]
    scale, price, volume = 1000 if micro else 1, coin.price_decimals, coin.volume_decimals
    begin, text, between, to_int, to_text, end = marks
    pieces: list[bytes | tuple[Ints, int]] = [begin, (bars[OPENED_MS] * scale, -1), text, (bars[OPEN], price)]
    for column in (HIGH, LOW, CLOSE):
        pieces += [between, (bars[column], price)]
    pieces += [between, (bars[VOLUME], volume), to_int, ((bars[OPENED_MS] + span_ms) * scale - 1, -1)]
    pieces += [to_text, (bars[QUOTE], price + volume), to_int, (bars[TRADES], -1), to_text, (bars[TAKER], volume)]
    rows, offsets = join_rows([*pieces, between, (bars[TAKER_QUOTE], price + volume), end])
    return rows, offsets, bars[OPENED_MS]


class Shapes:
    """The replies of all four services over one market; its caches are bounded (about 60 MB)."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._text = lru_cache(192)(self._make_text)
        self.archive = lru_cache(16)(self._make_archive)
        self.coingecko_rows = lru_cache(4)(self._make_coingecko_rows)

    # -- Binance -------------------------------------------------------------------------------------------

    def _make_text(self, symbol: str, interval: str, block: int, edits: tuple[Edit, ...], micro: bool) -> Text:
        bars = self.market.block(symbol, interval, block, edits)
        return kline_rows(self.market.listed[symbol], bars, INTERVALS_MS[interval], JSON_ROW, micro)

    def klines(
        self,
        symbol: str,
        interval: str,
        start: int | None,
        end: int | None,
        limit: int,
        now_ms: int,
        edits: tuple[Edit, ...] = (),
        micro: bool = False,
    ) -> bytes:
        """A page of klines opened in [start, end], ascending: the oldest `limit` from start, else the latest."""
        span, length = INTERVALS_MS[interval], self.market.block_ms(interval)
        current = now_ms // span * span
        low = max(start or 0, self.market.listed[symbol].listed_day * DAY_MS)
        high = min(now_ms if end is None else end, current - 1)
        blocks = range(low // length, high // length + 1)
        parts: list[bytes] = []
        open_row = b""
        if low <= current and (end is None or end >= current):
            bars = self.market.open_bar(symbol, interval, now_ms, edits)
            open_row = kline_rows(self.market.listed[symbol], bars, span, JSON_ROW, micro)[0]
        free = limit - (1 if open_row and start is None else 0)
        for block in blocks if start is not None else reversed(blocks):
            text, offsets, opened = self._text(symbol, interval, block, edits, micro)
            a, b = int(np.searchsorted(opened, low)), int(np.searchsorted(opened, high, "right"))
            a, b = (a, max(a, min(b, a + free))) if start is not None else (min(b, max(a, b - free)), b)
            parts.append(text[offsets[a] : offsets[b]])
            free -= b - a
            if free <= 0:
                break
        if start is None:
            parts.reverse()
        if start is None or free > 0:
            parts.append(open_row)
        return b"[" + b"".join(parts)[:-1] + b"]"

    def ticker_24h(self, symbol: str, now_ms: int, mini: bool, edits: tuple[Edit, ...] = ()) -> dict[str, Any]:
        """Rolling statistics of the last 24 hours, to the minute."""
        coin = self.market.listed[symbol]
        start = now_ms // MINUTE_MS * MINUTE_MS - DAY_MS + MINUTE_MS
        bars = self.market.bars(symbol, "1m", start, now_ms + 1, edits)
        total = np.zeros(10, dtype=np.int64) if bars.shape[1] == 0 else aggregate(bars, 1 << 50)[:, 0]
        price, volume = coin.price_decimals, coin.volume_decimals
        dp = 10.0**price

        def fixed(value: int, decimals: int) -> str:
            sign, value = "-" if value < 0 else "", abs(int(value))
            return f"{sign}{value // 10**decimals}.{value % 10**decimals * 10 ** (8 - decimals):08d}"

        first_id = int(bars[OPENED_MS, 0] // 1000) if bars.shape[1] else -1
        row = {
            "symbol": symbol,
            "openPrice": fixed(total[OPEN], price),
            "highPrice": fixed(total[HIGH], price),
            "lowPrice": fixed(total[LOW], price),
            "lastPrice": fixed(total[CLOSE], price),
            "volume": fixed(total[VOLUME], volume),
            "quoteVolume": fixed(total[QUOTE], price + volume),
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": first_id,
            "lastId": first_id + int(total[TRADES]) - 1,
            "count": int(total[TRADES]),
        }
        if not mini:
            row |= {
                "priceChange": fixed(total[CLOSE] - total[OPEN], price),
                "priceChangePercent": f"{(total[CLOSE] / max(total[OPEN], 1) - 1) * 100:.3f}",
                "weightedAvgPrice": f"{total[QUOTE] / max(total[VOLUME], 1) / dp:.8f}",
                "prevClosePrice": fixed(total[OPEN], price),
                "lastQty": fixed(max(total[VOLUME] // max(total[TRADES], 1), 1), volume),
                "bidPrice": fixed(max(total[CLOSE] - 1, 1), price),
                "bidQty": fixed(total[VOLUME] // 5000, volume),
                "askPrice": fixed(total[CLOSE] + 1, price),
                "askQty": fixed(total[VOLUME] // 4000, volume),
            }
        return row

    def symbol_info(self, symbol: str, now_ms: int) -> dict[str, Any]:
        """One entry of exchangeInfo."""
        coin = self.market.listed[symbol]
        tick, lot = (f"{10.0**-d:.8f}" for d in (coin.price_decimals, coin.volume_decimals))
        quote = "USDT" if symbol.endswith("USDT") else symbol[-4:]
        return {
            "symbol": symbol,
            "status": "TRADING" if now_ms < coin.delisted_day * DAY_MS else "BREAK",
            "baseAsset": symbol.removesuffix(quote),
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
            "icebergAllowed": True,
            "ocoAllowed": True,
            "otoAllowed": True,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": True,
            "cancelReplaceAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": True,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00000000", "stepSize": lot},
            ],
            "permissions": [],
            "permissionSets": [["SPOT", "MARGIN"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
        }

    def _make_archive(
        self, symbol: str, interval: str, first: date, end: date, name: str, edits: tuple[Edit, ...], header: bool
    ) -> tuple[bytes, str] | None:
        """Zip of the bars of [first, end) and its SHA-256, or None when there are none; the clock is not asked."""
        a, b = ((day - EPOCH).days * DAY_MS for day in (first, end))
        bars = self.market.bars(symbol, interval, a, b, edits)
        if bars.shape[1] == 0:
            return None
        span, coin = INTERVALS_MS[interval], self.market.listed[symbol]
        rows = kline_rows(coin, bars, span, CSV_ROW, a >= MICROSECONDS_SINCE)[0]
        if header:
            rows = (
                b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
                b"taker_buy_quote_volume,ignore\n"
            ) + rows
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            entry = zipfile.ZipInfo(f"{name}.csv", (end.year, end.month, end.day, 8, 0, 0))
            archive.writestr(entry, rows, zipfile.ZIP_DEFLATED)
        return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()

    # -- CoinGecko -----------------------------------------------------------------------------------------

    def _make_coingecko_rows(self, minute: int) -> list[dict[str, Any]]:
        """Every coin's row of coins/markets at a minute (since 1970), by market cap; all windows and the sparkline."""
        rows = [self._coingecko_row(n, coin, minute * MINUTE_MS) for n, coin in enumerate(self.market.coins)]
        rows.sort(key=lambda row: int(row["market_cap"]), reverse=True)
        for rank, row in enumerate(rows, 1):
            row["market_cap_rank"] = rank if rank <= len(rows) - 5 else None  # CoinGecko ranks not all it lists
        return rows

    @staticmethod
    def _figure(value: float) -> int | float:
        """Return a price as CoinGecko rounds it: full dollars when large, six digits when small."""
        return round(value) if value >= 10_000 else round(value, 2) if value >= 10 else float(f"{value:.6g}")

    def _coingecko_row(self, number: int, coin: Coin, at_ms: int) -> dict[str, Any]:
        market, unit = self.market, 10.0**coin.price_decimals
        days = market.daily_prices_usd(coin, at_ms)
        moments = [at_ms, at_ms - HOUR_MS, at_ms - DAY_MS, at_ms - 7 * DAY_MS]
        price, hour_ago, then, week_ago = market.prices_usd(coin, moments)
        price *= 1 + 0.0008 * math.sin(at_ms / MINUTE_MS * 1.7 + number)
        hour, length = at_ms // HOUR_MS * HOUR_MS, HOUR_BLOCK * DAY_MS
        blocks = range((hour - 168 * HOUR_MS) // length, hour // length + 1)
        week = np.concatenate([market.raw_hours(coin, n) for n in blocks], axis=1)
        week = week[:, (week[OPENED_MS] < hour) & (week[OPENED_MS] >= hour - 168 * HOUR_MS)]
        day = week[:, -23:]
        high, low = max(day[HIGH].max() / unit, price, then), min(day[LOW].min() / unit, price, then)
        volume = day[QUOTE].sum() / 10.0 ** (coin.price_decimals + coin.volume_decimals) * 3.4
        top, bottom = int(np.argmax(days)), int(np.argmin(days))
        ath, atl = max(days[top] * 1.03, high), min(days[bottom] * 0.97, low)
        supply = coin.supply
        change = (price / then - 1) * 100
        roi = {"times": 40 + price / 100, "currency": "btc", "percentage": 4000 + price} if number % 9 == 1 else None

        def past(offset: int) -> str:
            ms = (max(coin.first_day, FIRST_DAY) + offset) * DAY_MS + (number * 7_654_321) % DAY_MS
            return _iso(min(ms, at_ms))

        def since(day_count: int) -> float | None:
            return None if len(days) <= day_count else (price / days[-1 - day_count] - 1) * 100

        windows: dict[str, float | None] = {f"{n}d": since(n) for n in (14, 30, 200)}
        windows |= {"1h": (price / hour_ago - 1) * 100, "24h": change, "7d": (price / week_ago - 1) * 100}
        windows["1y"] = since(365)
        return {
            "id": coin.crypto_id,
            "symbol": coin.ticker,
            "name": coin.name,
            "image": f"https://coin-images.coingecko.com/coins/images/{number + 1}/large/{coin.crypto_id}.png",
            "current_price": self._figure(price),
            "market_cap": round(price * supply),
            "market_cap_rank": None,
            "fully_diluted_valuation": round(price * (coin.max_supply or supply)) if number % 6 != 5 else None,
            "total_volume": round(volume) if number % 4 else round(volume, 2),
            "high_24h": self._figure(high),
            "low_24h": self._figure(low),
            "price_change_24h": price - then,
            "price_change_percentage_24h": round(change, 5),
            "market_cap_change_24h": (price - then) * supply,
            "market_cap_change_percentage_24h": round(change * 0.998, 5),
            "circulating_supply": supply,
            "total_supply": (coin.max_supply or supply) if number % 12 != 7 else None,
            "max_supply": coin.max_supply,
            "ath": self._figure(ath),
            "ath_change_percentage": round((price / ath - 1) * 100, 5),
            "ath_date": past(top),
            "atl": self._figure(atl),
            "atl_change_percentage": round((price / atl - 1) * 100, 5),
            "atl_date": past(bottom),
            "roi": roi,
            "last_updated": _iso(at_ms + (number * 137) % 55_000),
            "windows": windows,
            "sparkline_in_7d": {"price": (week[CLOSE] / unit).tolist()},
        }

    def coingecko_markets(
        self, now_ms: int, ids: str | None, windows: Sequence[str], sparkline: bool, order: str
    ) -> list[dict[str, Any]]:
        """All rows of a snapshot, in order."""
        rows = self.coingecko_rows(now_ms // MINUTE_MS)
        if ids is not None:
            wanted = set(ids.split(","))
            rows = [row for row in rows if row["id"] in wanted]
        field, _, direction = order.rpartition("_")
        key = {"market_cap": "market_cap", "volume": "total_volume", "id": "id"}.get(field, "market_cap")
        out = []
        for row in sorted(rows, key=lambda r: r[key], reverse=direction == "desc"):
            shown = {k: v for k, v in row.items() if k not in ("windows", "sparkline_in_7d")}
            shown["last_updated"] = min(shown["last_updated"], _iso(now_ms))
            if sparkline:
                shown["sparkline_in_7d"] = row["sparkline_in_7d"]
            out.append(shown | {f"price_change_percentage_{w}_in_currency": row["windows"].get(w) for w in windows})
        return out

    def coingecko_global(self, now_ms: int) -> dict[str, Any]:
        """The body of /global."""
        rows = self.coingecko_rows(now_ms // MINUTE_MS)
        cap = sum(row["market_cap"] for row in rows)
        before = sum(row["market_cap"] - row["market_cap_change_24h"] for row in rows)
        usd_per_btc = next((row["current_price"] for row in rows if row["id"] == "bitcoin"), rows[0]["current_price"])
        volume = sum(row["total_volume"] for row in rows)
        return {
            "data": {
                "active_cryptocurrencies": len(rows),
                "upcoming_icos": 0,
                "ongoing_icos": 49,
                "ended_icos": 3376,
                "markets": 1382,
                "total_market_cap": {"btc": cap / usd_per_btc, "usd": cap},
                "total_volume": {"btc": volume / usd_per_btc, "usd": volume},
                "market_cap_percentage": {row["symbol"]: row["market_cap"] / cap * 100 for row in rows[:10]},
                "market_cap_change_percentage_24h_usd": (cap / before - 1) * 100,
                "updated_at": now_ms // 1000,
            }
        }

    # -- alternative.me ------------------------------------------------------------------------------------

    def fear_greed_rows(self, now_ms: int, limit: int) -> list[dict[str, str]]:
        """Newest first, every value a text; limit 0 is all."""
        days = np.arange(now_ms // DAY_MS, FEAR_GREED_START - 1, -1)
        days = days[~np.isin(days, FEAR_GREED_MISSING)][: limit or None]
        rows = []
        for day, value in zip(days.tolist(), self.market.fear_greed(days).tolist(), strict=True):
            band = next(name for top, name in FEAR_GREED_BANDS if value <= top)
            rows.append({"value": str(value), "value_classification": band, "timestamp": str(day * 86_400)})
        if rows:
            rows[0]["time_until_update"] = str(86_400 - now_ms // 1000 % 86_400)
        return rows


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
