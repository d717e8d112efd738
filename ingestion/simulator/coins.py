"""The assets of the simulated market: levels, listing dates and supplies.

Here belongs what a coin is: the hand-written profiles of well-known assets (round figures, plausible rather than
exact), the derivation of a profile for any other asset from its name, the invented coins that fill CoinGecko's pages
up to TOTAL, and the reader of the universe file. How prices move is in `market`.
"""

import csv
import hashlib
import math
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

UNIVERSE = Path(__file__).parents[1] / "universe.csv"
TOTAL = 275
EPOCH = date(1970, 1, 1).toordinal()

# base asset, first day on Binance, price then, price at 2026-01-01 (USD), Binance volume (million USD a day),
# circulating and maximum supply (million coins; 0 = no maximum)
PROFILES = """
BTC    2017-08-17 4300     84000   2200 19.9      21
ETH    2017-08-17 300      3100    1500 120.6     0
XRP    2018-05-04 0.85     2.2     450  59000     100000
BNB    2017-11-06 1.7      850     250  139       200
SOL    2020-08-11 3        160     500  540       0
DOGE   2019-07-05 0.004    0.19    260  150000    0
ADA    2018-04-17 0.25     0.62    120  35500     45000
TRX    2018-06-11 0.045    0.28    70   94700     0
LINK   2019-01-16 0.5      17      120  680       1000
AVAX   2020-09-22 4.5      22      90   420       720
XLM    2018-05-31 0.28     0.3     45   31500     50002
SUI    2023-05-03 1.3      2.6     180  3600      10000
HBAR   2019-09-29 0.035    0.18    60   42400     50000
BCH    2019-11-28 210      480     50   19.9      21
LTC    2017-12-13 260      95      90   76        84
SHIB   2021-05-10 3e-5     1.1e-5  35   589500000 0
TON    2024-08-08 6.5      2.6     25   2500      0
DOT    2020-08-18 3.2      3.6     40   1520      0
UNI    2020-09-17 3.5      8       60   600       1000
AAVE   2020-10-15 52       250     60   15.2      16
PEPE   2023-05-05 2.2e-6   9e-6    120  420690000 420690000
NEAR   2020-10-16 1.2      2.4     70   1250      0
APT    2022-10-19 8        4.5     40   700       0
ICP    2021-05-11 60       5       25   535       0
ETC    2018-06-12 15       19      30   153       210.7
POL    2024-09-13 0.38     0.23    20   10500     0
ARB    2023-03-23 1.35     0.4     45   5100      10000
ATOM   2019-04-29 4        4.3     20   470       0
FIL    2020-10-15 55       2.3     25   690       1959
VET    2018-07-25 0.015    0.023   15   85985     86712
ALGO   2019-06-22 1.6      0.22    20   8700      10000
RENDER 2024-07-26 6.5      3.6     20   518       644
OP     2022-06-01 1.4      0.7     35   1760      4295
INJ    2020-10-21 0.8      12      25   98        0
FET    2019-03-02 0.25     0.6     40   2380      2714
IMX    2022-01-11 3.6      0.6     12   1930      2000
GRT    2020-12-17 0.15     0.09    14   10480     10800
TIA    2023-10-31 2.3      1.8     30   780       0
SEI    2023-08-15 0.18     0.27    45   5900      10000
STX    2019-10-25 0.2      0.65    14   1520      1818
LDO    2022-05-10 1.7      1       25   896       1000
THETA  2018-04-20 0.15     0.8     10   1000      1000
SAND   2020-08-14 0.06     0.27    15   2450      3000
MANA   2020-08-06 0.07     0.28    10   1920      2193
GALA   2021-09-13 0.075    0.016   18   45500     50000
WLD    2023-07-24 2.2      1.1     60   2000      10000
BONK   2023-12-15 1.3e-5   1.6e-5  60   81000000  88000000
ENA    2024-04-02 0.65     0.5     70   6900      15000
JUP    2024-01-31 0.62     0.45    25   3100      7000
CRV    2020-08-15 3        0.65    40   1400      2200
"""


@dataclass(frozen=True)
class Coin:
    """One asset: identity, price levels in USD, volume in USD a day, supplies in coins, daily log-return sizes."""

    crypto_id: str
    symbol: str  # on Binance; empty when it is not listed there
    ticker: str
    name: str
    first_day: int  # days since 1970-01-01; the price trends from here to 2026
    price_listed: float
    price_2026: float
    volume_usd: float
    supply: float
    max_supply: float | None
    beta: float  # to the common market factor
    sigma_own: float  # daily standard deviation of its own moves
    listed_day: int  # the symbol's bars begin here
    delisted_day: int = 1 << 20  # and end before here

    @property
    def price_decimals(self) -> int:
        """Tick size as decimals, close to Binance's own: 2 for BTC, 4 for XRP, 8 for SHIB."""
        return min(max(math.ceil(4 - math.log10(self.price_2026)), 2), 8)

    @property
    def volume_decimals(self) -> int:
        """Lot size as decimals: 5 for BTC, 0 for coins below some dollars; price and volume decimals fit in 8."""
        return min(max(round(math.log10(self.price_2026)), 0), 5)


def _share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big") / 2**48


def make_coin(crypto_id: str, symbol: str, name: str, ticker: str = "", scale: float = 1.0) -> Coin:
    """A coin from its hand-written profile, or else one derived from its id; `scale` shrinks cap and volume."""
    base = ticker.upper() or symbol.removesuffix("USDT") or crypto_id.upper()
    row = next((r.split() for r in PROFILES.strip().splitlines() if r.split()[0] == base), None)
    majors = {"BTC": (1.0, 0.004), "ETH": (1.15, 0.014), "BNB": (0.9, 0.016)}
    beta, sigma = majors.get(base, (1.0 + 0.45 * _share("beta" + base), 0.02 + 0.02 * _share("sigma" + base)))
    if row:
        listed, *figures = row[1:]
        then, level, volume, supply, maximum = map(float, figures)
        day = date.fromisoformat(listed).toordinal() - EPOCH
    else:
        level = 10 ** (3.2 * _share("level" + crypto_id) - 2)
        then = level * 10 ** (_share("then" + crypto_id) - 0.5)
        cap = 1.2e9 * scale * (0.8 + 0.4 * _share("cap" + crypto_id))  # USD
        supply = float(f"{cap / level / 1e6:.4g}")
        maximum = supply * 1.5 if _share("maximum" + crypto_id) < 0.5 else 0
        volume = cap / 1e6 * (0.01 + 0.04 * _share("volume" + crypto_id))
        day = date(2018, 1, 1).toordinal() - EPOCH + int(2000 * _share("listed" + crypto_id))
    return Coin(
        crypto_id,
        symbol,
        base.lower(),
        name,
        day,
        then,
        level,
        volume * 1e6,
        supply * 1e6,
        maximum * 1e6 or None,
        beta,
        sigma,
        day,
    )


def stablecoin(crypto_id: str, ticker: str, name: str, supply: float) -> Coin:
    """A coin that stays at one dollar and is not traded on the simulated exchange."""
    return Coin(crypto_id, "", ticker, name, 17395, 1.0, 1.0, supply * 0.3, supply, None, 0.0, 0.0001, 17395)


def invented(count: int) -> list[Coin]:
    """`count` coins that only CoinGecko lists, ever smaller; ids, tickers and names are made of syllables."""
    heads = ("Nova", "Quill", "Terra", "Orbit", "Lumen", "Zephyr", "Kite", "Mist", "Ember", "Coral", "Delta", "Fable")
    tails = ("Swap", "Chain", "Pay", "Verse", "Net", "Fi", "Dex", "Cloud", "Mint", "Gate", "Bridge", "Yield")
    coins = []
    for n in range(count):
        name = f"{heads[n % 12]} {tails[n // 12 % 12]}" + ("" if n < 144 else f" {n // 144 + 1}")
        ticker = (name[:2] + name.split()[1][:2]).upper()  # not unique, as in life
        coins.append(make_coin(name.lower().replace(" ", "-"), "", name, "X" + ticker, 0.985**n))
    return coins


def read_universe(path: Path = UNIVERSE) -> list[Coin]:
    """The coins of a universe file (crypto_id, binance_symbol, name[, …]); ValueError names file, line and fix."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = [(reader.line_num, {k: v.strip() for k, v in row.items() if k}) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a universe file ({error}); pass a CSV with --universe") from error
    missing = {"crypto_id", "binance_symbol", "name"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: line 1: column {sorted(missing)[0]!r} is missing; add it to the header")
    newest = {row["crypto_id"]: row["binance_symbol"] for _, row in rows}
    coins = []
    for line, row in rows:
        if not row["crypto_id"] or not row["name"]:
            raise ValueError(f"{path}: line {line}: crypto_id and name must not be empty; fill them")
        coin = make_coin(row["crypto_id"], newest[row["crypto_id"]], row["name"])  # one price under all its symbols
        first = coin.first_day if row["binance_symbol"] == newest[row["crypto_id"]] else coin.first_day - 1500
        try:
            start, end = (
                row.get(column) and date.fromisoformat(row[column]).toordinal() - EPOCH
                for column in ("valid_from", "valid_to")
            )
        except ValueError as error:
            raise ValueError(f"{path}: line {line}: {error}; write valid_from and valid_to as 2026-01-31") from None
        coins.append(
            replace(
                coin,
                symbol=row["binance_symbol"],
                listed_day=max(start or 0, first),
                delisted_day=end or coin.delisted_day,
            )
        )
    return coins


def all_coins(universe: list[Coin]) -> list[Coin]:
    """The universe, two stablecoins and invented coins up to TOTAL."""
    others = [stablecoin("tether", "usdt", "Tether", 1.85e11), stablecoin("usd-coin", "usdc", "USDC", 7.5e10)]
    return universe + others + invented(max(TOTAL - len(universe) - len(others), 25))
