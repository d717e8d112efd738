"""The work log: a line per unit of work, whole whoever writes at once, bounded, and without secrets."""

import json
import logging
import multiprocessing
import stat
from pathlib import Path

import pytest

from orchestration.observability import logs


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    return tmp_path


def lines(home: Path) -> list[dict]:
    return [json.loads(line) for line in (home / "logs" / logs.FILE).read_text().splitlines()]


def test_a_unit_of_work_is_one_json_line_in_the_file_and_one_readable_line_on_the_console(home: Path, capfd):
    logs.unit(
        "fetched", run="r1", asset="bronze/x", source="Binance", rows=5, seconds=1.2345, status="ok", skipped=None
    )
    logs.unit("built", run="r1", asset="marts", status="failed", failed=["fct_prices"])
    first, second = lines(home)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "fetched", "level": "info", "run": "r1", "asset": "bronze/x", "source": "Binance", "rows": 5,
        "seconds": 1.234, "status": "ok",
    }  # fmt: skip
    assert (second["level"], second["failed"]) == ("error", ["fct_prices"])
    console = capfd.readouterr().err.splitlines()
    assert console[0][9:] == "fetched asset=bronze/x source=Binance rows=5 seconds=1.23 status=ok"
    assert "ERROR built asset=marts" in console[1]
    assert stat.S_IMODE((home / "logs" / logs.FILE).stat().st_mode) == 0o600


def test_no_log_line_contains_a_secret_of_the_environment(home: Path, monkeypatch, capfd):
    monkeypatch.setenv("COINGECKO_API_KEY", "canary-key")
    monkeypatch.setenv("SMTP_URL", "smtp://me:canary%21pass@host")
    monkeypatch.setenv("TICKMART_PG_INGEST_PASSWORD", "canary-pg")
    logs.unit("x", problem="refused canary-key", deep={"a": ["canary!pass", {"b": "at canary-pg"}]}, status="failed")
    assert "canary" not in (home / "logs" / logs.FILE).read_text() + capfd.readouterr().err
    assert lines(home)[0]["deep"] == {"a": ["***", {"b": "at ***"}]}


def test_a_new_home_gets_its_own_file(home: Path, monkeypatch):
    logs.unit("one")
    monkeypatch.setenv("TICKMART_HOME", str(home / "demo"))
    logs.unit("two")
    assert [line["event"] for line in lines(home)] == ["one"]
    assert [line["event"] for line in lines(home / "demo")] == ["two"]


def test_a_value_of_any_length_leaves_a_line_short_enough_to_be_one_write(home: Path):
    logs.unit("x", problem="a" * 100_000)
    assert len((home / "logs" / logs.FILE).read_text()) < 2_000


def _write(path: Path, writer: int, count: int) -> None:
    handler = logs.SharedFile(path, limit_bytes=4_000, old_files=500)
    for number in range(count):
        text = f"{writer} {number} {'x' * 60}"
        handler.emit(logging.LogRecord("t", logging.INFO, "", 0, text, None, None))
    handler.close()


def test_processes_that_write_and_rotate_at_once_lose_and_split_no_line(tmp_path: Path):
    path = tmp_path / "shared.jsonl"
    writers = [multiprocessing.get_context("spawn").Process(target=_write, args=(path, n, 300)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    parts = sorted(tmp_path.glob("shared.jsonl*"))
    found = [line.split() for part in parts for line in part.read_text().splitlines()]
    assert len(parts) > 10
    assert sorted((int(w), int(n)) for w, n, _ in found) == [(w, n) for w in range(4) for n in range(300)]
    assert {x for *_, x in found} == {"x" * 60}


def test_the_files_are_bounded(tmp_path: Path):
    path = tmp_path / "shared.jsonl"
    handler = logs.SharedFile(path, limit_bytes=1_000, old_files=3)
    for number in range(1_000):
        handler.emit(logging.LogRecord("t", logging.INFO, "", 0, f"line {number}", None, None))
    handler.close()
    parts = sorted(p.name for p in tmp_path.glob("shared.jsonl*"))
    assert parts == ["shared.jsonl", *(f"shared.jsonl.{n}" for n in (1, 2, 3))]
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 4 * 1_020
    assert path.read_text().splitlines()[-1] == "line 999"
