"""Daily on-chain series of the simulated bitcoin: pure functions of a Market and days.

Counts grow as Bitcoin's have since 2009, and busy days of the simulated market are busy days of the chain: from its
first day on (2017-08-17) a part of their noise is the market's daily move. What services answer is in `onchain`.
"""

from collections.abc import Sequence
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np

from .market import DAY_MS, FIRST_DAY, Floats, Ints, Market, _normals

# 2009-01-03, the day of the genesis block, in days since 1970.
GENESIS_DAY = 14247
# Years since 2009 and the usual number of transactions a day without those of miners.
_YEARS = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 9.0, 12.0, 15.0, 18.0])
_TRANSACTIONS = np.array([0.5, 120, 1_500, 8_000, 45_000, 90_000, 250_000, 280_000, 270_000, 480_000, 450_000])
_PLACES = Context(prec=46)


class Chain:
    """The series of one market by name; `values` has one number per day as text, as the providers write it."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._bitcoin = next((c for c in market.coins if c.crypto_id == "bitcoin"), market.coins[0])
        self._busy = lru_cache(2)(self._make_busy)

    def _make_busy(self, today: int) -> Floats:
        """Return for each day since the genesis block how busy it is: 0 on average, 0.1 on a busy day."""
        days = np.arange(GENESIS_DAY, today + 1)
        busy = 0.08 * _normals(self._market._key("chain", "busy"), days)[0]
        prices = np.asarray(self._market.daily_prices_usd(self._bitcoin, today * DAY_MS))
        first = max(self._bitcoin.first_day, FIRST_DAY)
        moves = np.abs(np.diff(np.log(prices), prepend=np.log(prices[0])))
        known = moves[: max(0, today + 1 - first)]
        busy[first - GENESIS_DAY : first - GENESIS_DAY + len(known)] += 2.0 * (known - 0.03)
        return busy

    def _noise(self, name: str, days: Ints, sigma: float) -> Floats:
        noise: Floats = np.exp(sigma * _normals(self._market._key("chain", name), days)[0])
        return noise

    def counts(self, days: Ints) -> Ints:
        """Return transactions without those of miners per day."""
        today = int(days.max())
        years = (days - 14245) / 365.25
        usual = np.exp(np.interp(years, _YEARS, np.log(_TRANSACTIONS)))
        counts: Ints = np.rint(usual * np.exp(self._busy(today)[days - GENESIS_DAY]) - 0.5).clip(0).astype(np.int64)
        return counts

    def blocks(self, days: Ints) -> Ints:
        """Return blocks per day: about 144."""
        return np.rint(144 + 9 * _normals(self._market._key("chain", "blocks"), days)[0]).astype(np.int64)

    def values(self, name: str, days: Ints) -> Sequence[str]:
        """Return a series by its provider's name; KeyError for one that is not known."""
        counts, years = self.counts(days), (days - 14245) / 365.25
        if name in ("TxCnt", "n-transactions"):
            return [str(n) for n in (counts + self.blocks(days) * (name != "TxCnt")).tolist()]
        if name in ("TxTfrCnt", "AdrActCnt"):
            share = 2.4 if name == "TxTfrCnt" else 2.1
            return [f"{n:.0f}" for n in np.rint(counts * share * self._noise(name, days, 0.04)).tolist()]
        if name in ("FeeTotNtv", "output-volume"):
            satoshis, sigma = (9_000.0, 0.4) if name == "FeeTotNtv" else (2.2e8, 0.2)
            amounts = np.rint(counts * satoshis * self._noise(name, days, sigma)).astype(np.int64)
            return [f"{n // 10**8}.{n % 10**8:08d}" for n in amounts.tolist()]
        if name == "HashRate":
            # Divided, hence with many decimals.
            work = np.rint(np.exp(np.minimum(years * 1.7, 8 + years * 0.72)) * 700 * self._noise(name, days, 0.06))
            return [str(_PLACES.divide(Decimal(n), Decimal(700))) for n in work.astype(np.int64).tolist()]
        if name == "estimated-transaction-volume-usd":
            worth = np.rint(counts * 1_900_000 * self._noise(name, days, 0.25)).astype(np.int64).tolist()
            # Every few months a number comes in exponent form.
            return [
                f"{n / 100:.6E}" if day % 97 == 0 else f"{n / 100}" for n, day in zip(worth, days.tolist(), strict=True)
            ]
        raise KeyError(name)
