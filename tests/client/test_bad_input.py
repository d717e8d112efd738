"""Bad input and unreachable databases: one line that names the value and the fix."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tickmart as tm

pytestmark = pytest.mark.servers

BAD: dict[str, Callable[[tm.Source], object]] = {
    "nocoin": lambda source: source.bars("nocoin"),
    "2h": lambda source: source.bars("BTC", "2h"),
    "closing": lambda source: source.bars("BTC", columns=["closing"]),
    "rsi": lambda source: source.daily("BTC", columns=["rsi"]),
    "yesterday": lambda source: source.bars("BTC", start="yesterday"),
    "2024-01-02": lambda source: source.bars("BTC", start="2024-01-02", end="2024-01-01"),
    "ffill": lambda source: source.bars("BTC", gaps="ffill"),
    "coins": lambda source: source.bars([]),
    "2023-11-30": lambda source: source.bars("BTC", end="2023-11-30"),
    "2023-11-29": lambda source: source.daily("BTC", end="2023-11-29"),
    "2024-01-08": lambda source: source.snapshots(at="2024-01-08"),
    "2020-01-01": lambda source: source.sentiment(end="2020-01-01"),
    "7": lambda source: source.correlations(window_days=7),
    "vwap_1h": lambda source: source.bars("BTC", columns=["vwap_1h"], as_of="2024-01-01"),
    "'1d'": lambda source: source.bars("BTC", "1d", as_of="2024-01-01"),
}


@pytest.mark.parametrize("value", BAD)
def test_bad_input_is_one_line_that_names_it(source: tm.Source, value: str) -> None:
    with pytest.raises(tm.ArgumentError) as error:
        BAD[value](source)
    assert value in str(error.value)
    assert "\n" not in str(error.value)


def test_an_ambiguous_ticker_names_both_coins(source: tm.Source) -> None:
    with pytest.raises(tm.ArgumentError) as error:
        source.bars("flow")
    assert "copycat" in str(error.value)
    assert "flow-chain" in str(error.value)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from marts.fct_prices",
        "create table marts.mine (a integer)",
        "with gone as (delete from marts.fct_prices returning 1) select * from gone",
        "select 1; drop table marts.fct_prices",
        "select * from raw.binance_klines",
        "select lo_creat(-1)",
    ],
)
def test_sql_only_reads_the_marts(database: tm.Source, statement: str) -> None:
    before = len(database.bars("BTC"))
    with pytest.raises(tm.TickmartError) as error:
        database.sql(statement)
    assert "\n" not in str(error.value)
    assert len(database.bars("BTC")) == before


def test_a_failed_query_is_one_line_and_the_next_one_works(database: tm.Source) -> None:
    for statement in ("select 1 / (n - 200000) from generate_series(1, 300000) as n", "select nothing", "sel"):
        with pytest.raises(tm.TickmartError) as error:
            database.sql(statement)
        assert "\n" not in str(error.value)
        assert database.sql("select 1 as n").to_pylist() == [{"n": 1}]


def test_a_database_that_is_down_is_one_line_without_the_password(unreachable: str) -> None:
    for address in (unreachable, "postgresql://reader:canary-secret@[broken", "mysql://reader:canary-secret@host/x"):
        with pytest.raises(tm.TickmartError) as error:
            tm.connect(address)
        assert "canary-secret" not in str(error.value)
        assert "\n" not in str(error.value)


def test_without_an_address_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICKMART_URL", raising=False)
    with pytest.raises(tm.TickmartError, match="tickmart connect --format url"):
        tm.connect()


def test_a_folder_without_a_release_or_of_another_format_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(tm.ArgumentError, match=str(tmp_path)):
        tm.open(tmp_path)
    manifest = tmp_path / "manifest.json"
    for content in ("{", "[]", json.dumps({"format": 2, "marts": {}})):
        manifest.write_text(content)
        with pytest.raises(tm.TickmartError, match=str(tmp_path)):
            tm.open(tmp_path)
