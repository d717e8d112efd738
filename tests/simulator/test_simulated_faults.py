"""Each fault does what its rule says, as often as it says, and a wrong rule is rejected in one line."""

import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from ingestion.simulator.faults import moment_ms as at
from ingestion.simulator.faults import read_rules
from ingestion.simulator.server import Simulator

HOUR = 3_600_000
KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=50"
Klines = Callable[..., list[list[Any]]]


def fetch(http: urllib3.PoolManager, sim: Simulator, path: str = KLINES) -> urllib3.BaseHTTPResponse:
    return http.request("GET", sim.binance_url + path)


def test_times_after_and_contains_decide_when_a_rule_strikes(sim: Simulator, http: urllib3.PoolManager) -> None:
    sim.faults.set([{"kind": "status", "status": 503, "contains": "ETHUSDT", "after": 1, "times": 2}])
    ether = KLINES.replace("BTC", "ETH")
    assert [fetch(http, sim, ether).status for _ in range(5)] == [200, 503, 503, 200, 200]
    assert fetch(http, sim).status == 200
    assert sim.stats()["faults_served"] == {"status": 2}


def test_probability_is_decided_by_the_seed(sim: Simulator, http: urllib3.PoolManager) -> None:
    runs = []
    for _ in range(2):
        sim.faults.set([{"kind": "status", "status": 500, "probability": 0.5}])
        runs.append([fetch(http, sim).status for _ in range(30)])
    assert runs[0] == runs[1]
    assert 5 < runs[0].count(500) < 25


def test_since_waits_for_the_clock(sim: Simulator, http: urllib3.PoolManager) -> None:
    sim.faults.set([{"kind": "empty", "since": "2026-11-20T17:00:00Z"}])
    assert len(json.loads(fetch(http, sim).data)) == 50
    sim.clock.set(at("2026-11-20T17:00:00"))
    assert json.loads(fetch(http, sim).data) == []


@pytest.mark.parametrize(
    ("status", "headers", "code", "text"),
    [
        (429, {}, -1003, "Too much request weight used"),
        (429, {"Retry-After": "2"}, -1003, "Too much request weight used"),
        (418, {"Retry-After": "60"}, -1003, "IP banned until 1"),
        (451, {}, 0, "restricted location"),
        (503, {}, -1008, "overloaded"),
    ],
)
def test_status_faults_speak_as_binance_does(
    sim: Simulator, http: urllib3.PoolManager, status: int, headers: dict[str, str], code: int, text: str
) -> None:
    sim.faults.set([{"kind": "status", "status": status, "headers": headers}])
    reply = fetch(http, sim)
    body = json.loads(reply.data)
    assert (reply.status, body["code"]) == (status, code)
    assert text in body["msg"]
    assert reply.headers.get("Retry-After") == headers.get("Retry-After")


def test_bodies_that_are_no_answer(sim: Simulator, http: urllib3.PoolManager) -> None:
    sim.faults.set([{"kind": "html", "status": 200}])
    reply = fetch(http, sim)
    assert reply.headers["Content-Type"] == "text/html"
    assert reply.data.startswith(b"<html>")
    sim.faults.set([{"kind": "garbage"}])
    with pytest.raises(json.JSONDecodeError):
        json.loads(fetch(http, sim).data)
    sim.faults.set([{"kind": "status", "status": 200, "body": ""}])
    assert fetch(http, sim).data == b""


def test_cut_breaks_the_transfer_and_truncate_only_the_json(sim: Simulator, http: urllib3.PoolManager) -> None:
    sim.faults.set([{"kind": "cut", "bytes": 100}])
    with pytest.raises(urllib3.exceptions.ProtocolError):
        fetch(http, sim)
    sim.faults.set([{"kind": "truncate", "bytes": 100}])
    reply = fetch(http, sim)
    assert (reply.status, len(reply.data)) == (200, 100)
    sim.faults.set([{"kind": "reset"}])
    with pytest.raises(urllib3.exceptions.ProtocolError):
        fetch(http, sim)


def test_a_delayed_or_slow_answer_is_complete(sim: Simulator, http: urllib3.PoolManager) -> None:
    whole = fetch(http, sim).data
    sim.faults.set([{"kind": "delay", "seconds": 0.01}, {"kind": "slow", "bytes": 1000, "seconds": 0.001}])
    assert fetch(http, sim).data == whole
    assert sim.stats()["faults_served"] == {"delay": 1, "slow": 1}
    sim.faults.set([{"kind": "delay", "seconds": 5}])
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        http.request("GET", sim.binance_url + KLINES, timeout=0.1)


def test_a_gap_is_absent_everywhere_and_the_page_goes_on(sim: Simulator, klines: Klines) -> None:
    sim.faults.set([{"kind": "gap", "from": "2026-03-02T05:00Z", "to": "2026-03-02T08:00Z", "symbol": "BTCUSDT"}])
    rows = klines(startTime="2026-03-02", limit=10)
    assert [(r[0] - at("2026-03-02")) // HOUR for r in rows] == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]
    assert len(klines("ETHUSDT", startTime="2026-03-02", endTime="2026-03-02T09:59:59")) == 10
    four_hours = klines(interval="4h", startTime="2026-03-02", limit=2)
    assert four_hours[1][8] == rows[4][8]  # only 04:00 is left of 04:00-08:00
    assert len(klines(interval="1m", startTime="2026-03-02T04:50:00", limit=20)) == 20


def test_a_correction_after_some_requests_restates_klines_and_archive(
    sim: Simulator, http: urllib3.PoolManager, klines: Klines
) -> None:
    archive = f"{sim.archive_url}/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2026-03-02.zip"
    published = http.request("GET", archive).data
    rule = {"kind": "correction", "symbol": "BTCUSDT", "open_time": "2026-03-02T05:00Z", "close": 91000.5}
    sim.faults.set([{**rule, "match": "klines", "after": 1}])
    before, after = (klines(startTime="2026-03-02", limit=24) for _ in range(2))
    assert [n for n in range(24) if before[n] != after[n]] == [5]
    assert after[5][4] == "91000.50000000"
    assert float(after[5][3]) <= 91000.5 <= float(after[5][2])
    again = http.request("GET", archive).data
    assert again != published
    digest = http.request("GET", f"{archive}.CHECKSUM").data.split()[0].decode()
    assert digest == hashlib.sha256(again).hexdigest()
    with zipfile.ZipFile(io.BytesIO(again)) as opened:
        assert b"91000.50000000" in opened.read("BTCUSDT-1h-2026-03-02.csv")


def test_archives_with_a_wrong_checksum_or_a_header(sim: Simulator, http: urllib3.PoolManager) -> None:
    url = f"{sim.archive_url}/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-02.zip"
    sim.faults.set([{"kind": "checksum", "match": ".CHECKSUM"}])
    body = http.request("GET", url).data
    assert http.request("GET", f"{url}.CHECKSUM").data[:64].decode() != hashlib.sha256(body).hexdigest()
    sim.faults.set([{"kind": "header"}])
    with zipfile.ZipFile(io.BytesIO(http.request("GET", url).data)) as opened:
        assert opened.read(opened.namelist()[0]).startswith(b"open_time,open,high")


def test_rows_repeated_and_out_of_order(sim: Simulator, klines: Klines) -> None:
    usual = klines(limit=5, endTime="2026-03-02")
    sim.faults.set([{"kind": "duplicate", "rows": 2}])
    assert klines(limit=5, endTime="2026-03-02") == usual + usual[-2:]
    sim.faults.set([{"kind": "reorder"}])
    mixed = klines(limit=5, endTime="2026-03-02")
    assert mixed != usual
    assert sorted(mixed) == usual


def test_drift_adds_removes_and_retypes_fields(sim: Simulator, http: urllib3.PoolManager, klines: Klines) -> None:
    url = f"{sim.coingecko_url}/coins/markets?vs_currency=usd&per_page=5"
    usual = json.loads(http.request("GET", url).data)
    drift = {"kind": "drift", "add": {"mood": {"a": 1}}, "remove": ["market_cap"], "retype": ["current_price"]}
    sim.faults.set([{**drift, "match": "/coingecko"}])
    rows = json.loads(http.request("GET", url).data)
    for row, before in zip(rows, usual, strict=True):
        assert row["mood"] == {"a": 1}
        assert "market_cap" not in row
        assert row["current_price"] == str(before["current_price"])
    sim.faults.set([{"kind": "drift", "add": {"venue": "x"}}])
    assert {(len(r), r[-1]) for r in klines(limit=5)} == {(13, "x")}
    sim.faults.set([{"kind": "drift", "remove": ["trade_count", "ignore"]}])
    assert {len(r) for r in klines(limit=5)} == {10}
    sim.faults.set([{"kind": "drift", "retype": ["close"]}])
    assert {type(r[4]) for r in klines(limit=5)} == {float}


@pytest.mark.parametrize("path", [KLINES, "coingecko", "fng"])
@pytest.mark.parametrize("what", ["negative_price", "high_below_low", "nan", "timestamp"])
def test_one_impossible_row(sim: Simulator, http: urllib3.PoolManager, path: str, what: str) -> None:
    urls = {
        "coingecko": f"{sim.coingecko_url}/coins/markets?vs_currency=usd&per_page=5",
        "fng": f"{sim.fear_greed_url}/fng/?limit=5",
    }
    url = urls.get(path, sim.binance_url + path)

    def rows() -> list[Any]:
        body = json.loads(http.request("GET", url).data)
        return list(body["data"] if isinstance(body, dict) else body)

    usual = rows()
    sim.faults.set([{"kind": "impossible", "what": what, "row": 2}])
    changed = rows()
    different = [n for n, row in enumerate(usual) if changed[n] != row]
    assert different == ([] if path == "fng" and what == "high_below_low" else [2])
    if path == KLINES and what == "negative_price":
        assert changed[2][4] == f"-{usual[2][4]}"
    if path == KLINES and what == "high_below_low":
        assert float(changed[2][2]) < float(changed[2][3])


def test_a_coin_repeated_across_pages(sim: Simulator, http: urllib3.PoolManager) -> None:
    url = f"{sim.coingecko_url}/coins/markets?vs_currency=usd&per_page=50&page="
    sim.faults.set([{"kind": "repeat_coin"}])
    first, second = (json.loads(http.request("GET", f"{url}{n}").data) for n in (1, 2))
    assert second[0]["id"] == first[-1]["id"]
    assert len(second) == 50


def test_coingecko_statuses_use_its_own_bodies(sim: Simulator, http: urllib3.PoolManager) -> None:
    bodies = {}
    for status in (429, 401, 404):
        sim.faults.set([{"kind": "status", "status": status, "match": "/coingecko"}])
        bodies[status] = json.loads(http.request("GET", f"{sim.coingecko_url}/ping").data)
    assert bodies[429]["status"]["error_code"] == 429
    assert bodies[401]["error"]["status"]["error_code"] == 10012
    assert isinstance(bodies[404]["error"], str)


def test_faults_and_clock_over_http(sim: Simulator, http: urllib3.PoolManager) -> None:
    rules = [{"kind": "status", "status": 500}]
    assert http.request("POST", f"{sim.base_url}/_faults", body=json.dumps(rules)).status == 200
    assert fetch(http, sim).status == 500
    assert json.loads(http.request("GET", f"{sim.base_url}/_stats").data)["faults_served"] == {"status": 1}
    rejected = http.request("POST", f"{sim.base_url}/_faults", body='[{"kind": "delay"}]')
    assert rejected.status == 400
    assert "rule 1: delay needs the field 'seconds'" in json.loads(rejected.data)["error"]
    assert fetch(http, sim).status == 500
    assert http.request("DELETE", f"{sim.base_url}/_faults").status == 200
    assert fetch(http, sim).status == 200
    assert http.request("POST", f"{sim.base_url}/_clock", body='{"now": "2026-01-01T00:00Z"}').status == 200
    assert json.loads(fetch(http, sim, "/api/v3/time").data)["serverTime"] == at("2026-01-01")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("{oops", "not JSON"),
        ("{}", "write a list of rules"),
        ('[{"kind": "status", "status": 500}, {"kind": "explode"}]', "rule 2: unknown kind 'explode'; use one of"),
        ('[{"kind": "gap", "from": "2026-01-01T00:30Z", "to": "2026-01-02"}]', "give a full hour"),
        ('[{"kind": "gap", "from": "2026-01-03", "to": "2026-01-02"}]', "exchange them"),
        ('[{"kind": "status", "status": 5000}]', "from 100 to 599"),
        ('[{"kind": "reset", "probability": 2}]', "from 0 to 1"),
        ('[{"kind": "reset", "mtach": "/x"}]', "no field 'mtach'"),
        ('[{"kind": "reset", "since": "soon"}]', "ISO 8601"),
    ],
)
def test_an_invalid_faults_file_is_one_error_line(tmp_path: Path, text: str, fix: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as rejected:
        read_rules(path)
    assert fix in str(rejected.value)
    assert "\n" not in str(rejected.value)


def run(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ingestion.simulator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_urls_serves_and_stops_on_a_signal(
    tmp_path: Path, http: urllib3.PoolManager, stop: signal.Signals
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"kind": "status", "status": 503, "match": "/ping"}]')
    with run("--now", "2026-11-20T16:37:12Z", "--faults", str(faults)) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert http.request("GET", f"{urls['BINANCE_BASE_URL']}/api/v3/ping").status == 503
        assert http.request("GET", f"{urls['FEAR_GREED_BASE_URL']}/fng/").status == 200
        process.send_signal(stop)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("wrong", [["--faults", "none.json"], ["--now", "tomorrow"], ["--universe", "none.csv"]])
def test_an_invalid_setting_of_the_simulator_is_one_error_line(wrong: list[str]) -> None:
    with run(*wrong) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert errors.count("\n") == 1
    assert wrong[1] in errors
