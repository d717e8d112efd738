"""The simulator's replies have the shapes, semantics and error codes of the services it stands for."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.simulator.faults import moment_ms as at
from ingestion.simulator.server import Simulator, simulator

NOW = "2026-11-20T16:37:12Z"  # of the shared simulator
HOUR = 3_600_000
Klines = Callable[..., list[list[Any]]]


def get(http: urllib3.PoolManager, url: str, **options: Any) -> Any:
    return json.loads(http.request("GET", url, **options).data)


# -- klines --------------------------------------------------------------------------------------------------


def test_a_row_has_twelve_elements_with_the_types_of_binance(klines: Klines) -> None:
    rows = klines("SHIBUSDT", startTime="2026-01-05", limit=3)
    for row in rows:
        assert [type(v) for v in row] == [int, *[str] * 5, int, str, int, str, str, str]
        assert row[6] == row[0] + HOUR - 1
        assert row[11] == "0"
        assert all(len(v.split(".")[1]) == 8 for v in (*row[1:6], row[7], row[9], row[10]))


def test_the_same_window_twice_is_equal_bytes(sim: Simulator, http: urllib3.PoolManager) -> None:
    url = f"{sim.binance_url}/api/v3/klines?symbol=ETHUSDT&interval=1h&startTime={at('2024-03-01')}&limit=1000"
    first = http.request("GET", url).data
    sim.shapes._text.cache_clear()
    sim.market.raw_hours.cache_clear()
    assert http.request("GET", url).data == first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["BTCUSDT", "PEPEUSDT", "SOLUSDT"]),
    st.sampled_from(["1m", "15m", "1h", "4h", "1d"]),
    st.integers(at("2023-06-01"), at("2026-11-20")),
    st.integers(0, 40 * 24 * HOUR),
    st.integers(1, 1000),
)
def test_overlapping_windows_agree(
    klines: Klines, symbol: str, interval: str, start: int, length: int, limit: int
) -> None:
    page = klines(symbol, interval, startTime=start, endTime=start + length, limit=limit)
    assert all(start <= row[0] <= start + length for row in page)
    latest = klines(symbol, interval, endTime=start + length, limit=1000)
    known = {row[0]: row for row in latest}
    if latest:
        assert [r for r in page if r[0] >= latest[0][0]] == [known[r[0]] for r in page if r[0] >= latest[0][0]]


def test_long_answers_are_compressed_for_whoever_accepts_it(sim: Simulator, http: urllib3.PoolManager) -> None:
    url = f"{sim.binance_url}/api/v3/klines?symbol=BTCUSDT&interval=1h&endTime={at('2026-03-01')}"
    plain = http.request("GET", url)
    packed = http.request("GET", url, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert packed.data == plain.data


def test_pages_follow_the_limits_and_orders_of_binance(klines: Klines) -> None:
    assert len(klines()) == 500
    assert len(klines(limit=5000)) == 1000
    assert len(klines(limit=7)) == 7
    oldest = klines(startTime="2025-02-01", limit=3)
    assert [r[0] for r in oldest] == [at("2025-02-01") + n * HOUR for n in range(3)]
    latest = klines(endTime="2025-02-01", limit=3)
    assert [r[0] for r in latest] == [at("2025-02-01") - n * HOUR for n in (2, 1, 0)]
    both = klines(startTime="2025-02-01", endTime="2025-02-01T02:30:00")
    assert len(both) == 3
    assert klines(startTime="2025-02-02", endTime="2025-02-01") == []
    assert klines(startTime="2027-01-01") == []
    assert klines(startTime=at("2025-02-01") * 1000, limit=3) == oldest


def test_paging_from_zero_returns_every_bar_once(klines: Klines) -> None:
    seen, start = [], 0
    while page := klines("JUPUSDT", "4h", startTime=start, limit=1000):
        seen += [row[0] for row in page]
        start = page[-1][0] + 4 * HOUR
    assert seen == sorted(set(seen))
    assert seen[0] == at("2024-01-31T04:00:00")
    assert seen[-1] == at("2026-11-20T16:00:00")


def test_the_last_row_is_the_bar_in_progress_and_grows_with_the_clock(klines: Klines, sim: Simulator) -> None:
    early = klines(limit=1)[0]
    assert early[0] == at("2026-11-20T16:00:00")
    assert early[6] > sim.clock.now_ms()
    sim.clock.set(at("2026-11-20T16:52:00"))
    later = klines(limit=1)[0]
    assert later[0] == early[0]
    assert float(later[5]) > float(early[5])
    assert later[8] > early[8]
    minutes = klines(interval="1m", startTime=early[0], limit=1000)
    assert later[8] == sum(r[8] for r in minutes)
    assert later[4] == minutes[-1][4]
    sim.clock.set(at("2026-11-20T17:00:00"))
    closed, fresh = klines(limit=2)
    assert closed[0] == early[0]
    assert closed[6] < sim.clock.now_ms()
    assert fresh[8] > 0


def test_microseconds_on_request(sim: Simulator, http: urllib3.PoolManager, klines: Klines) -> None:
    url = f"{sim.binance_url}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=2&endTime={at('2025-02-01')}"
    row = get(http, url, headers={"X-MBX-TIME-UNIT": "MICROSECOND"})[0]
    plain = klines(endTime="2025-02-01", limit=2)[0]
    assert (row[0], row[6]) == (plain[0] * 1000, (plain[6] + 1) * 1000 - 1)
    assert row[1:6] == plain[1:6]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("interval=1h", -1102),
        ("symbol=BTCUSDT", -1102),
        ("symbol=&interval=1h", -1102),
        ("symbol=BTCUSDT&interval=1H", -1120),
        ("symbol=NOSUCHUSDT&interval=1h", -1121),
        ("symbol=btcusdt&interval=1h", -1100),
        ("symbol=BTCUSDT&interval=1h&limit=ten", -1100),
        ("symbol=BTCUSDT&interval=1h&startTime=-1", -1100),
        ("symbol=BTCUSDT&interval=1h&from=1", -1104),
        ("symbol=BTCUSDT&interval=1h&interval=4h", -1101),
    ],
)
def test_bad_parameters_get_binance_codes(sim: Simulator, http: urllib3.PoolManager, query: str, code: int) -> None:
    reply = http.request("GET", f"{sim.binance_url}/api/v3/klines?{query}")
    assert reply.status == 400
    assert json.loads(reply.data)["code"] == code


# -- the rest of Binance -------------------------------------------------------------------------------------


def test_exchange_info_and_ticker_name_the_universe(sim: Simulator, http: urllib3.PoolManager) -> None:
    api = f"{sim.binance_url}/api/v3"
    info = get(http, f"{api}/exchangeInfo")
    assert len(info["symbols"]) == len(sim.market.listed) == 50
    assert {r["rateLimitType"]: r["limit"] for r in info["rateLimits"]}["REQUEST_WEIGHT"] == 10_000_000
    assert get(http, f"{api}/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ABCUSDT%22%5D")["code"] == -1121
    assert get(http, f"{api}/ticker/24hr?symbol=ABCUSDT")["code"] == -1121
    assert len(get(http, f"{api}/ticker/24hr?type=MINI")) == 50
    assert get(http, f"{api}/ping") == {}
    assert get(http, f"{api}/time") == {"serverTime": at(NOW)}


def test_the_ticker_is_the_last_24_hours_of_minutes(sim: Simulator, http: urllib3.PoolManager, klines: Klines) -> None:
    ticker = get(http, f"{sim.binance_url}/api/v3/ticker/24hr?symbol=XRPUSDT")
    rows = klines("XRPUSDT", "1m", limit=1000, startTime="2026-11-19T16:38:00")
    rows += klines("XRPUSDT", "1m", limit=1000, startTime=rows[-1][0] + 60_000)
    assert ticker["lastPrice"] == rows[-1][4]
    assert ticker["openPrice"] == rows[0][1]
    assert ticker["highPrice"] == max((r[2] for r in rows), key=float)
    assert ticker["count"] == sum(r[8] for r in rows)


def test_weight_over_the_limit_is_rejected_then_banned(http: urllib3.PoolManager) -> None:
    with simulator(seed=1, now=NOW, weight_limit=50) as sim:
        sim.limiter.ban_seconds = 1000
        url = f"{sim.binance_url}/api/v3/exchangeInfo?symbol=BTCUSDT"
        replies = [http.request("GET", url) for _ in range(40)]
        statuses = [r.status for r in replies]
        assert statuses[0] == 200
        assert replies[0].headers["X-MBX-USED-WEIGHT-1M"] == "20"
        assert statuses[-1] == 418
        assert statuses.index(429) < statuses.index(418)
        assert all(int(r.headers["Retry-After"]) > 0 for r in replies if r.status != 200)
        assert "banned until" in json.loads(replies[-1].data)["msg"]
        assert sim.stats()["paths"]["/binance/api/v3/exchangeInfo"]["418"] == statuses.count(418)


# -- archives ------------------------------------------------------------------------------------------------


def archive_rows(http: urllib3.PoolManager, sim: Simulator, path: str) -> list[list[str]]:
    url = f"{sim.archive_url}/data/spot/{path}"
    body = http.request("GET", url).data
    digest, name = http.request("GET", f"{url}.CHECKSUM").data.decode().split()
    assert digest == hashlib.sha256(body).hexdigest()
    assert name == path.rpartition("/")[2]
    assert http.request("GET", url).data == body
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.namelist() == [name.replace(".zip", ".csv")]
        assert archive.infolist()[0].date_time[3:] == (8, 0, 0)  # not the time of the request, which would change bytes
        return list(csv.reader(io.TextIOWrapper(archive.open(archive.namelist()[0]))))


@pytest.mark.parametrize(
    ("path", "start", "scale"),
    [
        ("monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip", "2024-12-01", 1),
        ("monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2025-01.zip", "2025-01-01", 1000),
        ("daily/klines/SHIBUSDT/15m/SHIBUSDT-15m-2026-11-19.zip", "2026-11-19", 1000),
    ],
)
def test_an_archive_says_what_rest_says(
    sim: Simulator, http: urllib3.PoolManager, klines: Klines, path: str, start: str, scale: int
) -> None:
    rows = archive_rows(http, sim, path)
    symbol, interval = path.split("/")[2:4]
    rest = klines(symbol, interval, startTime=start, limit=len(rows))
    expected = [[r[0] * scale, *r[1:6], (r[6] + 1) * scale - 1, *r[7:]] for r in rest]
    assert rows == [[str(v) for v in row] for row in expected]


@pytest.mark.parametrize(
    ("path", "there_from"),
    [
        ("daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11-20.zip", "2026-11-21T08:30:00"),
        ("monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-11.zip", "2026-12-07T08:30:00"),
    ],
)
def test_an_archive_appears_when_its_time_has_come(
    sim: Simulator, http: urllib3.PoolManager, path: str, there_from: str
) -> None:
    url = f"{sim.archive_url}/data/spot/{path}"
    sim.clock.set(at(there_from) - 1)
    missing = http.request("GET", url)
    assert missing.status == 404
    assert b"<Code>NoSuchKey</Code>" in missing.data
    sim.clock.set(at(there_from))
    assert http.request("GET", url).status == 200


@pytest.mark.parametrize("name", ["ABCUSDT-1h-2024-01", "SUIUSDT-1h-2020-01", "BTCUSDT-1h-2024-13", "BTCUSDT-1w-2024"])
def test_what_was_never_traded_has_no_archive(sim: Simulator, http: urllib3.PoolManager, name: str) -> None:
    symbol, interval = name.split("-")[:2]
    url = f"{sim.archive_url}/data/spot/monthly/klines/{symbol}/{interval}/{name}.zip"
    assert http.request("GET", url).status == 404


# -- CoinGecko -----------------------------------------------------------------------------------------------


def test_markets_page_through_all_coins_once(sim: Simulator, http: urllib3.PoolManager) -> None:
    url = f"{sim.coingecko_url}/coins/markets?vs_currency=usd&per_page=250&page="
    pages = [get(http, f"{url}{n}") for n in (1, 2, 3)]
    assert len(pages[0]) == 250
    assert len(pages[1]) >= 10
    assert pages[2] == []
    rows = pages[0] + pages[1]
    assert len({r["id"] for r in rows}) == len(rows) == len(get(http, f"{sim.coingecko_url}/coins/list"))
    caps = [r["market_cap"] for r in rows]
    assert caps == sorted(caps, reverse=True)
    assert [r["market_cap_rank"] for r in pages[0]] == list(range(1, 251))


def test_markets_mix_types_and_nulls_like_the_real_ones(sim: Simulator, http: urllib3.PoolManager) -> None:
    rows = get(http, f"{sim.coingecko_url}/coins/markets?vs_currency=usd&per_page=250&price_change_percentage=1h,7d")
    assert {type(r["current_price"]) for r in rows} == {int, float}
    for field in ("roi", "max_supply", "fully_diluted_valuation", "total_supply"):
        nulls = sum(r[field] is None for r in rows)
        assert 0 < nulls < len(rows)
    assert all(r["low_24h"] <= r["current_price"] <= r["high_24h"] <= r["ath"] for r in rows)
    assert all(r["atl"] <= r["low_24h"] for r in rows)
    assert {k for k in rows[0] if k.endswith("_in_currency")} == {
        "price_change_percentage_1h_in_currency",
        "price_change_percentage_7d_in_currency",
    }
    assert "sparkline_in_7d" not in rows[0]


@pytest.mark.parametrize("moment", [NOW, "2025-03-09T00:00:30", "2026-02-28T23:59:59"])
def test_markets_agree_with_the_exchange(
    sim: Simulator, http: urllib3.PoolManager, klines: Klines, moment: str
) -> None:
    sim.clock.set(at(moment))
    ids = {c.crypto_id: c.symbol for c in sim.market.listed.values() if c.symbol[0] in "BESX"}
    rows = get(http, f"{sim.coingecko_url}/coins/markets?vs_currency=usd&ids={','.join(ids)}&sparkline=true")
    assert {r["id"] for r in rows} == set(ids)
    for row in rows:
        close = float(klines(ids[row["id"]], "1m", limit=1)[0][4])
        assert row["current_price"] == pytest.approx(close, rel=0.003)
        assert len(row["sparkline_in_7d"]["price"]) == 168


def test_coingecko_errors_come_in_three_shapes(http: urllib3.PoolManager) -> None:
    with simulator(seed=1, now=NOW) as sim:
        sim.coingecko_limiter.limit = 3
        missing = http.request("GET", f"{sim.coingecko_url}/coins/markets")
        assert (missing.status, json.loads(missing.data)) == (422, {"error": "Missing parameter vs_currency"})
        wrong_key = http.request("GET", f"{sim.coingecko_url}/ping", headers={"x-cg-pro-api-key": "k"})
        assert wrong_key.status == 400
        assert json.loads(wrong_key.data)["error"]["status"]["error_code"] == 10010
        replies = [http.request("GET", f"{sim.coingecko_url}/ping") for _ in range(8)]
        assert replies[-1].status == 429
        assert json.loads(replies[-1].data)["status"]["error_code"] == 429


def test_global_adds_up(sim: Simulator, http: urllib3.PoolManager) -> None:
    data = get(http, f"{sim.coingecko_url}/global")["data"]
    assert data["active_cryptocurrencies"] >= 260
    assert 30 < data["market_cap_percentage"]["btc"] < 80
    assert data["updated_at"] == at(NOW) // 1000


# -- alternative.me ------------------------------------------------------------------------------------------


def test_fear_and_greed_is_text_newest_first_with_the_real_gaps(sim: Simulator, http: urllib3.PoolManager) -> None:
    rows = get(http, f"{sim.fear_greed_url}/fng/?limit=0")["data"]
    stamps = [int(r["timestamp"]) for r in rows]
    assert stamps == sorted(stamps, reverse=True)
    assert stamps[0] == at("2026-11-20") // 1000
    assert stamps[-1] == at("2018-02-01") // 1000
    every_day = set(range(stamps[-1], stamps[0] + 1, 86_400))
    assert every_day - set(stamps) == {at(d) // 1000 for d in ("2018-04-14", "2018-04-15", "2018-04-16", "2024-10-26")}
    assert [n for n, r in enumerate(rows) if "time_until_update" in r] == [0]
    assert all(isinstance(v, str) for r in rows for v in r.values())
    bands = {r["value_classification"] for r in rows}
    assert bands == {"Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed"}
    assert all((int(r["value"]) <= 25) == (r["value_classification"] == "Extreme Fear") for r in rows)
    assert len(get(http, f"{sim.fear_greed_url}/fng/")["data"]) == 1
