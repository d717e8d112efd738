"""Answers as the sources send them, made by hand: bars, coins and days whose every field a test can choose."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

HOUR_MS = 3_600_000


def moment(day: date, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def bar(day: date, hour: int = 0, **fields: Any) -> list[Any]:
    """One hourly bar that breaks no rule; `fields` replace its own."""
    opened = ms(moment(day, hour))
    own = {
        "open_time": opened, "open": "100.00000000", "high": "110.00000000", "low": "90.00000000",
        "close": "101.50000000", "volume": "12.50000000", "close_time": opened + HOUR_MS - 1,
        "quote_volume": "1262.50000000", "trade_count": 42, "taker_buy_base_volume": "6.25000000",
        "taker_buy_quote_volume": "631.25000000", "unused": "0",
    }  # fmt: skip
    assert set(fields) <= set(own), fields
    return list({**own, **fields}.values())


def body_of(rows: Iterable[Any]) -> bytes:
    """An answer without white space, as Binance writes it."""
    return json.dumps(list(rows), separators=(",", ":")).encode()


def coin(crypto_id: str = "bitcoin", **fields: Any) -> dict[str, Any]:
    """One row of /coins/markets that breaks no rule."""
    return {
        "id": crypto_id, "symbol": crypto_id[:3], "name": crypto_id.title(), "image": "https://images/x.png",
        "current_price": 32797, "market_cap": 613445605654, "market_cap_rank": 1,
        "fully_diluted_valuation": 687370246260, "total_volume": 34555888553, "high_24h": 34877, "low_24h": 32318.5,
        "price_change_24h": -1068.55, "price_change_percentage_24h": -3.15532,
        "market_cap_change_24h": -21029528977.49, "market_cap_change_percentage_24h": -3.31448,
        "circulating_supply": 18741512.0, "total_supply": 21000000.0, "max_supply": None, "ath": 64805,
        "ath_change_percentage": -49.56718, "ath_date": "2021-04-14T11:54:46.763Z", "atl": 67.81,
        "atl_change_percentage": 48098.39, "atl_date": "2013-07-06T00:00:00.000Z", "roi": None,
        "last_updated": "2026-01-02T03:32:13.383Z", **fields,
    }  # fmt: skip


def sentiment(value: Any = "41", day: date = date(2026, 1, 2), name: Any = "Fear", **fields: Any) -> dict[str, Any]:
    """One day of the Fear & Greed index."""
    return {"value": value, "value_classification": name, "timestamp": str(ms(moment(day)) // 1000), **fields}


def index_of(days: Iterable[Any], error: Any = None) -> bytes:
    return json.dumps({"name": "Fear and Greed Index", "data": list(days), "metadata": {"error": error}}).encode()
