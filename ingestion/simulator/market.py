"""Simulated prices, bars and sentiment: pure functions of (seed, symbol, time) with random access.

Every random number is a hash of (seed, stream, index), so nothing is stored and any window asked twice is equal.
Log prices are built top-down: one mean-reverting step a day for the common factor and for each coin (a few thousand
numbers, made once per coin), hours bridged between the days, minutes bridged inside the hours. All bars are integers
(ticks and lots), and each minute is a share of its hour, so longer bars aggregate exactly from shorter ones.
No HTTP and no JSON here. Floating-point libraries may differ in the last bit: equal bytes are promised per machine.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

from .coins import Coin

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
INTERVALS_MS = {
    **{f"{n}m": n * MINUTE_MS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * HOUR_MS for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY_MS,
}
# Bars are int64 arrays of shape (10, n): prices in ticks, base volumes in lots, quote volumes in ticks x lots.
OPENED_MS, OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TRADES, TAKER, TAKER_QUOTE = range(10)
FIRST_DAY = 17395  # 2017-08-17, when the real exchange's first pairs began
LEVEL_DAY = 20454  # 2026-01-01, the day of Coin.price_2026
DAYS = 8400  # the simulated world ends in 2040
HOUR_BLOCK, MINUTE_BLOCK = 64, 1  # days generated at a time
SIGMA_MARKET = 0.022  # daily standard deviation of the common factor
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Edit:
    """A change of history that a fault asks for: hourly bars opened in [from_ms, to_ms) dropped, or restated."""

    from_ms: int
    to_ms: int
    symbol: str | None = None  # None: every symbol
    close: float | None = None  # quote units; high and low are widened to include it
    volume: float | None = None  # base units; quote and taker volumes follow in proportion

    @property
    def drops(self) -> bool:
        """True for a gap, False for a restatement."""
        return self.close is None and self.volume is None


def _hash(key: int, index: Ints) -> NDArray[np.uint64]:
    """SplitMix64 of a counter (Steele, Lea, Flood 2014): one independent 64-bit number for each index."""
    z = (index.astype(np.uint64) + np.uint64(1)) * GOLDEN + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(key: int, index: Ints) -> Floats:
    """Numbers in (0, 1)."""
    return ((_hash(key, index) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _normals(key: int, index: Ints) -> tuple[Floats, Floats]:
    """Two independent standard normals for each index (Box-Muller on the halves of one hash)."""
    bits = _hash(key, index)
    radius = np.sqrt(-2 * np.log(((bits >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32))
    angle = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2 * np.pi * 2.0**-32)
    return radius * np.cos(angle), radius * np.sin(angle)


def _fat(key: int, index: Ints) -> Floats:
    """Unit-variance noise with fat tails (kurtosis about 6): a normal times a log-normal scale."""
    z, scale = _normals(key, index)
    return z * np.exp(0.4 * scale - 0.16)


def _ar1(noise: Floats, phi: float) -> Floats:
    """y[t] = phi y[t-1] + noise[t] in closed form; safe in float64 for phi >= 0.93 over DAYS steps."""
    decay = np.float64(phi) ** np.arange(len(noise), dtype=np.float64)
    return decay * np.cumsum(noise / decay)


def _log_trend(coin: Coin, days: Ints | Floats) -> Floats:
    """The median path of a coin: straight in logs from its first day to 2026, then level."""
    trend: Floats = np.interp(days, [coin.first_day, LEVEL_DAY], [log(coin.price_listed), log(coin.price_2026)])
    return trend


def split(total: Ints, weight: Floats) -> Ints:
    """Integer shares along the last axis, in proportion to the weights; each row of shares sums to its total."""
    cumulative = np.cumsum(weight, axis=1)
    cumulative /= np.maximum(cumulative[:, -1:], 1e-300)
    # Rounded, not floored: a total equal to the sum of integer weights gives those weights back, whatever float adds.
    shares = np.rint(total[:, None] * cumulative).astype(np.int64)
    shares[cumulative == 1.0] = np.broadcast_to(total[:, None], shares.shape)[cumulative == 1.0]
    return np.diff(shares, axis=1, prepend=0)


def aggregate(bars: Ints, span_ms: int) -> Ints:
    """Bars of span_ms from shorter ones: first open, last close, extreme high and low, sums; absent stays absent."""
    if bars.shape[1] == 0:
        return bars
    opened = bars[OPENED_MS] // span_ms * span_ms
    first = np.flatnonzero(np.diff(opened, prepend=-1))
    last = np.append(first[1:], len(opened)) - 1
    out = np.add.reduceat(bars, first, axis=1)
    out[OPENED_MS], out[OPEN], out[CLOSE] = opened[first], bars[OPEN, first], bars[CLOSE, last]
    out[HIGH] = np.maximum.reduceat(bars[HIGH], first)
    out[LOW] = np.minimum.reduceat(bars[LOW], first)
    return out


class Market:
    """All simulated series of one seed; methods are pure, their caches bounded (about 150 MB when all are full)."""

    def __init__(self, seed: int, coins: Sequence[Coin]) -> None:
        self.seed = seed
        self.coins = list({c.crypto_id: c for c in coins}.values())
        self.listed = {c.symbol: c for c in coins if c.symbol}
        self._common = lru_cache(64)(self._make_common)
        self._days = lru_cache(512)(self._make_days)
        self.raw_hours = lru_cache(192)(self._make_hours)
        self._minutes = lru_cache(128)(self._make_minutes)
        # About 1.5 times a year the exchange stops for one to six hours; half the time the hour before is dead.
        days = np.arange(FIRST_DAY, FIRST_DAY + DAYS)
        key = self._key("halt")
        halt_days = days[_uniform(key, days) < 1 / 240]
        start = halt_days * 24 + (_uniform(key + 1, halt_days) * 24).astype(np.int64)
        length = 1 + (5.99 * _uniform(key + 2, halt_days) ** 3).astype(np.int64)
        self.halted_hours = np.unique(np.concatenate([np.arange(a, a + n) for a, n in zip(start, length, strict=True)]))
        self._quiet_hours = np.setdiff1d(start[_uniform(key + 3, halt_days) < 0.5] - 1, self.halted_hours)

    def _key(self, *names: str) -> int:
        digest = hashlib.blake2b("/".join((str(self.seed), *names)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    # -- days ----------------------------------------------------------------------------------------------

    def _make_days(self, coin: Coin | None) -> tuple[Floats, Floats]:
        """Log deviation at the start of each day (DAYS + 1) and the day's volatility; None is the common factor."""
        key, day = self._key("days", coin.crypto_id if coin else ""), np.arange(DAYS)
        own = _ar1(_normals(key, day)[0], 0.96) * 0.28  # stationary standard deviation 1
        if coin is None:
            sigma = SIGMA_MARKET * np.exp(0.42 * own - 0.17)
        else:
            sigma = coin.sigma_own * np.exp(0.25 * own - 0.06) * (self._days(None)[1] / SIGMA_MARKET) ** 0.6
        levels = _ar1(sigma * _fat(key + 1, day), 0.996)  # half-life of a deviation: 170 days
        return np.append(0.0, levels), sigma

    def _path(self, coin: Coin | None, first_day: int, shape: Floats) -> Floats:
        """Log deviation at the HOUR_BLOCK * 24 + 1 hour boundaries from first_day: each day a fat-tailed bridge."""
        levels, sigma = self._days(coin)
        day = np.clip(np.arange(first_day, first_day + HOUR_BLOCK) - FIRST_DAY, 0, DAYS - 1)
        hours = np.arange(first_day * 24, (first_day + HOUR_BLOCK) * 24)
        scale = (sigma[day] / 24**0.5)[:, None] * shape
        step = scale * _fat(self._key("hours", coin.crypto_id if coin else ""), hours).reshape(-1, 24)
        pull = scale**2 / np.sum(scale**2, axis=1, keepdims=True)
        step += pull * (levels[day + 1] - levels[day] - step.sum(axis=1))[:, None]
        return np.append((levels[day][:, None] + np.cumsum(step, axis=1) - step).ravel(), levels[day[-1] + 1])

    def _make_common(self, block: int) -> tuple[Floats, Floats, Floats]:
        """Common factor at the hour boundaries, and volatility and volume multipliers of each hour, (days, 24)."""
        hours = np.arange(block * HOUR_BLOCK * 24, (block + 1) * HOUR_BLOCK * 24)
        lattice = _normals(self._key("activity"), np.arange(hours[0] // 5, hours[-1] // 5 + 2))[0]
        burst = np.interp(hours / 5, np.arange(hours[0] // 5, hours[-1] // 5 + 2), lattice).reshape(-1, 24)
        of_day = np.cos((np.arange(24) - 15) * np.pi / 12)  # busiest at 15:00 UTC, when Europe and America overlap
        weekend = (((hours[::24] // 24 + 3) % 7) >= 5)[:, None]
        volatility = np.exp(0.35 * burst - 0.05) * (1 + 0.25 * of_day) * np.where(weekend, 0.75, 1.06)
        volume = np.exp(0.4 * burst) * (1 + 0.4 * of_day) * np.where(weekend, 0.65, 1.12)
        return self._path(None, block * HOUR_BLOCK, volatility), volatility, volume

    # -- hours ---------------------------------------------------------------------------------------------

    def _make_hours(self, coin: Coin, block: int) -> Ints:
        """Hourly bars of one block of days, as if the exchange had always been open and the coin always listed."""
        common, volatility, activity = self._common(block)
        hours = np.arange(block * HOUR_BLOCK * 24, (block + 1) * HOUR_BLOCK * 24)
        day = np.clip(hours // 24 - FIRST_DAY, 0, DAYS - 1)
        trend = _log_trend(coin, np.append(hours, hours[-1] + 1) / 24)
        level = np.exp(trend + coin.beta * common + self._path(coin, block * HOUR_BLOCK, volatility))
        ticks = np.maximum(np.rint(level * 10.0**coin.price_decimals), 2).astype(np.int64)
        key = self._key("bars", coin.crypto_id)
        nudge = (_uniform(key, hours) * 10).astype(np.int64) - 5
        first = np.maximum(ticks[:-1] + np.where(abs(nudge) == 1, nudge, 0), 1)  # open = last close, mostly
        close = ticks[1:].copy()

        sigma_day = np.hypot(coin.beta * self._days(None)[1][day], self._days(coin)[1][day])
        sigma = sigma_day * volatility.ravel() / 24**0.5
        up, down = np.abs(_normals(key + 1, hours))
        noise, lean = _normals(key + 2, hours)
        high = np.rint(np.maximum(first, close) * (1 + 0.5 * sigma * up)).astype(np.int64)
        low = np.maximum(np.rint(np.minimum(first, close) * (1 - 0.5 * sigma * down)), 1).astype(np.int64)

        moved = np.log(level[1:] / level[:-1]) / np.maximum(sigma, 1e-9)
        usual = np.hypot(coin.beta * SIGMA_MARKET, coin.sigma_own)
        usd = coin.volume_usd / 24 * activity.ravel() * np.exp(0.3 * noise - 0.05) * (0.6 + 0.5 * np.abs(moved))
        usd *= (sigma_day / max(usual, 1e-9)) ** 0.7 * (level[:-1] / coin.price_2026) ** 0.5
        volume = np.maximum(np.rint(usd / level[:-1] * 10.0**coin.volume_decimals), 2).astype(np.int64)
        trades = np.maximum(usd / 450 * np.exp(0.2 * lean), 1).astype(np.int64)
        share = np.clip(0.5 + 0.03 * np.tanh(moved) + 0.03 * lean, 0.1, 0.9)
        taker = (volume * share).astype(np.int64)
        middle, width = (first + high + low + close) / 4, (high - low) * 0.05
        taker_quote = taker * np.clip(np.rint(middle + width * noise), low, high).astype(np.int64)
        quote = taker_quote + (volume - taker) * np.clip(np.rint(middle - width * noise), low, high).astype(np.int64)

        bars = np.stack([hours * HOUR_MS, first, high, low, close, volume, quote, trades, taker, taker_quote])
        dead = np.isin(hours, self._quiet_hours)
        bars[HIGH:VOLUME, dead] = bars[OPEN, dead]
        bars[VOLUME:, dead] = 0
        return bars

    def _hours(self, coin: Coin, block: int, edits: tuple[Edit, ...]) -> Ints:
        """The hourly bars that the exchange reports: listed, not halted, and as the edits have them."""
        bars = self.raw_hours(coin, block)
        opened = bars[OPENED_MS]
        keep = (opened >= coin.listed_day * DAY_MS + 4 * HOUR_MS) & (opened < coin.delisted_day * DAY_MS)
        keep &= ~np.isin(opened // HOUR_MS, self.halted_hours)
        if edits:
            bars = bars.copy()
        for edit in edits:
            hit = (opened >= edit.from_ms) & (opened < edit.to_ms)
            if edit.drops:
                keep &= ~hit
            if edit.close is not None:
                bars[CLOSE, hit] = round(edit.close * 10**coin.price_decimals)
                bars[HIGH, hit] = np.maximum(bars[HIGH, hit], bars[CLOSE, hit])
                bars[LOW, hit] = np.minimum(bars[LOW, hit], bars[CLOSE, hit])
            if edit.volume is not None:
                _, _, _, _, _, old, quote, trades, taker, taker_quote = bars[:, hit]
                taker_price = taker_quote // np.maximum(taker, 1)
                maker_price = (quote - taker_quote) // np.maximum(old - taker, 1)
                new = np.full_like(old, round(edit.volume * 10**coin.volume_decimals))
                taker = (taker / np.maximum(old, 1) * new).astype(np.int64)
                maker_price = np.where(old > 0, maker_price, bars[CLOSE, hit])
                taker_quote = taker * taker_price
                bars[VOLUME:, hit] = [new, taker_quote + (new - taker) * maker_price, trades, taker, taker_quote]
        return bars[:, keep]

    # -- minutes -------------------------------------------------------------------------------------------

    def minutes(self, coin: Coin, hours: Ints) -> Ints:
        """Each of n hourly bars split in 60: (10, n) -> (10, n * 60); a minute without trades is flat."""
        n = hours.shape[1]
        key = self._key("minutes", coin.crypto_id)
        index = hours[OPENED_MS][:, None] // MINUTE_MS + np.arange(60)
        wave, weight = _normals(key, index)
        out = np.zeros((10, n, 60), dtype=np.int64)
        _, h_open, h_high, h_low, h_close, h_volume, h_quote, h_trades, h_taker, h_taker_quote = hours
        out[OPENED_MS] = index * MINUTE_MS
        out[TRADES] = split(h_trades, np.exp(0.6 * weight))
        alive = out[TRADES] > 0

        # Prices: a bridge from open to close, bent towards the hour's mean price and folded into [low, high]; it moves
        # only in minutes with trades.
        width = np.maximum(h_high - h_low, 1)[:, None]
        step = wave * 0.075 * width
        t = np.arange(1, 61) / 60
        walk = np.cumsum(step, axis=1)
        walk += h_open[:, None] + t * ((h_close - h_open)[:, None] - walk[:, -1:])
        share = out[TRADES] / np.maximum(h_trades, 1)[:, None]
        bend = 6 * t * (1 - t)
        lift = np.where(h_volume > 0, h_quote / np.maximum(h_volume, 1), h_open) - np.sum(walk * share, axis=1)
        lift = (lift / np.maximum(np.sum(bend * share, axis=1), 0.1))[:, None]
        walk += np.clip(lift, -2 * width, 2 * width) * bend
        walk = width - np.abs((walk - h_low[:, None]) % (2 * width) - width)
        path = np.minimum(np.rint(walk).astype(np.int64) + h_low[:, None], h_high[:, None])
        rows, final = np.arange(n), 59 - np.argmax(alive[:, ::-1], axis=1)
        path[rows, final] = h_close
        seen = np.maximum.accumulate(np.where(alive, np.arange(60), -1), axis=1)
        close = np.where(seen >= 0, np.take_along_axis(path, np.maximum(seen, 0), axis=1), h_open[:, None])
        first = np.concatenate([h_open[:, None], close[:, :-1]], axis=1)
        wick = (np.abs(weight) * ((h_high - h_low) * 0.04)[:, None] * alive).astype(np.int64)
        high = np.minimum(np.maximum(first, close) + wick, h_high[:, None])
        low = np.maximum(np.minimum(first, close) - wick, h_low[:, None])
        high[rows, np.argmax(np.where(alive, high, -1), axis=1)] = h_high
        low[rows, np.argmin(np.where(alive, low, np.iinfo(np.int64).max), axis=1)] = h_low

        # Volumes: takers and makers apart; each minute's mean price is moved within [low, high] of the hour until the
        # quote volumes sum, and the minute's own high and low follow it.
        middle = (first + close + high + low) // 4
        tilt = np.exp(0.3 * wave) * out[TRADES]
        parts = [(h_taker, h_taker_quote, out[TRADES] * 1.0), (h_volume - h_taker, h_quote - h_taker_quote, tilt)]
        for amount, quote, shares in parts:
            lots = split(amount, shares)
            spent = lots * middle
            missing = quote - spent.sum(axis=1)
            free = np.where((missing > 0)[:, None], lots * h_high[:, None] - spent, spent - lots * h_low[:, None])
            spent += np.sign(missing)[:, None] * split(np.abs(missing), free.astype(np.float64))
            traded = lots > 0
            high = np.where(traded, np.maximum(high, -(-spent // np.maximum(lots, 1))), high)
            low = np.where(traded, np.minimum(low, spent // np.maximum(lots, 1)), low)
            out[VOLUME] += lots
            out[QUOTE] += spent
            if amount is h_taker:
                out[TAKER], out[TAKER_QUOTE] = lots, spent
        out[OPEN], out[HIGH], out[LOW], out[CLOSE] = first, high, low, close
        return out.reshape(10, -1)

    def _make_minutes(self, coin: Coin, day: int, edits: tuple[Edit, ...]) -> Ints:
        hours = self._hours(coin, day // HOUR_BLOCK, edits)
        return self.minutes(coin, hours[:, hours[OPENED_MS] // DAY_MS == day])

    # -- what the servers ask --------------------------------------------------------------------------------

    def block_ms(self, interval: str) -> int:
        """Length of the blocks in which bars of this interval are made."""
        return (HOUR_BLOCK if INTERVALS_MS[interval] >= HOUR_MS else MINUTE_BLOCK) * DAY_MS

    def block(self, symbol: str, interval: str, number: int, edits: tuple[Edit, ...] = ()) -> Ints:
        """All bars of one block, whatever the clock says; KeyError when the symbol is not listed."""
        coin, span = self.listed[symbol], INTERVALS_MS[interval]
        start, length = number * self.block_ms(interval), self.block_ms(interval)
        if not FIRST_DAY * DAY_MS <= start + length - 1 < (FIRST_DAY + DAYS) * DAY_MS:
            return np.zeros((10, 0), dtype=np.int64)
        edits = tuple(e for e in edits if e.symbol in (None, symbol) and e.from_ms < start + length and e.to_ms > start)
        if span < HOUR_MS:
            return aggregate(self._minutes(coin, number, edits), span)
        return aggregate(self._hours(coin, number, edits), span)

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int, edits: tuple[Edit, ...] = ()) -> Ints:
        """Complete bars opened in [start_ms, end_ms), whatever the clock says."""
        length = self.block_ms(interval)
        start_ms = max(start_ms, FIRST_DAY * DAY_MS)
        parts = [self.block(symbol, interval, n, edits) for n in range(start_ms // length, -(-end_ms // length))]
        bars = np.concatenate([np.zeros((10, 0), dtype=np.int64), *parts], axis=1)
        return bars[:, (bars[OPENED_MS] >= start_ms) & (bars[OPENED_MS] < end_ms)]

    def open_bar(self, symbol: str, interval: str, now_ms: int, edits: tuple[Edit, ...] = ()) -> Ints:
        """The bar in progress, shape (10, 1), or (10, 0) when nothing has traded: full minutes up to now's."""
        span = INTERVALS_MS[interval]
        start, hour = now_ms // span * span, now_ms // HOUR_MS * HOUR_MS
        closed = self.bars(symbol, "1h", start, hour, edits)
        minutes = self.bars(symbol, "1m", max(start, hour), now_ms + 1, edits)
        return aggregate(np.concatenate([closed, minutes], axis=1), span)

    def prices_usd(self, coin: Coin, moments_ms: Sequence[int]) -> list[float]:
        """Close of the minute of each moment, also for coins that the exchange does not list, also in a halt."""
        length = HOUR_BLOCK * DAY_MS
        hours = [self.raw_hours(coin, at // length)[:, at % length // HOUR_MS] for at in moments_ms]
        closes = self.minutes(coin, np.stack(hours, axis=1))[CLOSE].reshape(-1, 60)
        return [
            float(row[at // MINUTE_MS % 60]) / 10.0**coin.price_decimals
            for row, at in zip(closes, moments_ms, strict=True)
        ]

    def daily_prices_usd(self, coin: Coin, now_ms: int) -> Floats:
        """Price at each midnight from the coin's first day (2017-08-17 at the earliest) up to now."""
        levels = coin.beta * self._days(None)[0] + self._days(coin)[0]
        days = np.arange(max(coin.first_day, FIRST_DAY), max(now_ms // DAY_MS, coin.first_day, FIRST_DAY) + 1)
        days = days[days <= FIRST_DAY + DAYS]
        prices: Floats = np.exp(_log_trend(coin, days) + levels[days - FIRST_DAY])
        return prices

    def fear_greed(self, days: Ints) -> Ints:
        """Index of each day (days since 1970), 3 to 97: the market's 30-day momentum less a penalty for turbulence."""
        levels, sigma = self._days(None)
        at = np.clip(days - FIRST_DAY, 34, DAYS - 1)[:, None] - np.arange(5)  # five-day means: the real one is sluggish
        momentum = np.mean(levels[at] - levels[at - 30], axis=1) / (SIGMA_MARKET * 30**0.5)
        mood = np.mean(_normals(self._key("mood"), at)[0], axis=1)
        value = 50 + 34 * np.tanh(0.8 * momentum) - 9 * (np.mean(sigma[at], axis=1) / SIGMA_MARKET - 0.9) + 5 * mood
        index: Ints = np.clip(value, 3, 97).astype(np.int64)
        return index
