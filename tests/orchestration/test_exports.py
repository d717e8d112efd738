"""Exports and releases: equal bytes for equal data, gaps named, nothing half-written, small reads."""

import csv
import fcntl
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ingestion.database import connections
from ingestion.database.connections import Connection, execute
from ingestion.settings import Postgres, SettingsError
from orchestration.cli.exports import export as exports_command
from orchestration.exports import bars, release
from orchestration.exports.bars import Window, fill_gaps, find_coins, read_bars
from orchestration.exports.export import Request, export
from orchestration.exports.folder import ExportError
from orchestration.exports.formats import FORMATS, freqtrade_pair
from orchestration.exports.reading import query_schema, read_batches, read_table
from support.database import fresh_database

FIRST = datetime(2026, 1, 30, tzinfo=UTC)
HOURS = 24 * 365
HALT = range(30, 33)
LOST = range(100, 101)
MARTS = """
    create table marts.dim_crypto (crypto_id text primary key, symbol text, name text, binance_symbol text,
        first_bar_at timestamptz, last_bar_at timestamptz);
    create table marts.fct_prices (crypto_id text, opened_at timestamptz, open numeric, high numeric, low numeric,
        close numeric, volume numeric, quote_volume numeric, trade_count bigint, vwap_1h double precision,
        ma_7d double precision, binance_symbol text, loaded_at timestamptz, primary key (crypto_id, opened_at));
    create table marts.fct_daily_summary (crypto_id text, date date, open numeric, high numeric, low numeric,
        close numeric, volume numeric, quote_volume numeric, trade_count bigint, vwap double precision,
        sma_7 double precision, loaded_at timestamptz, primary key (crypto_id, date));
    create view marts.fct_check_results as select 'a' as asset, 'c' as check_name, 'warn' as severity, '1' as observed,
        '0' as expected, 'failed' as status, true as is_latest;
    create view marts.fct_dataset_health as select 'binance_klines' as dataset, now() as checked_at;
    comment on column marts.fct_prices.close is 'Close of the bar.';
    insert into marts.dim_crypto select id, symbol, initcap(id), pair, %(first)s, %(first)s + interval '1 hour' * (%(hours)s - 1)
        from (values ('alpha', 'ALF', 'ALFUSDT'), ('beta', 'ALF', 'BETAUSDC'), ('gamma', 'GAM', 'GAMUSDT')) as c (id, symbol, pair);
    insert into marts.fct_prices
        select crypto_id, %(first)s + interval '1 hour' * n, 1 + n, 3 + n, 0.5 + n, 0.00000001 * (n + 1), n, n * 2, n, 1.5,
            n / 3.0, binance_symbol, %(first)s
        from marts.dim_crypto, generate_series(0, %(hours)s - 1) as n
        where not (crypto_id = 'alpha' and n in (30, 31, 32, 100));
    insert into marts.fct_daily_summary
        select crypto_id, (opened_at at time zone 'UTC')::date, min(open), max(high), min(low), max(close), sum(volume),
            sum(quote_volume), sum(trade_count), 1, 2, max(loaded_at)
        from marts.fct_prices group by 1, 2;
    insert into ops.gaps values ('ALFUSDT', '1h', %(first)s + interval '30 hours', %(first)s + interval '33 hours', 3, 'exchange_halt');
"""  # noqa: E501


@pytest.fixture(scope="module")
def marts(stack_env: dict[str, str]) -> Iterator[Postgres]:
    with fresh_database(stack_env) as database:
        with connections.connected(database) as connection:
            execute(connection, MARTS, {"first": FIRST, "hours": HOURS})
        yield database


@pytest.fixture
def connection(marts: Postgres) -> Iterator[Connection]:
    with connections.connected(marts) as opened:
        yield opened


def nothing(line: str) -> None:
    raise AssertionError(line)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_export_of_unchanged_data_has_equal_bytes(connection, tmp_path, form):
    for folder in ("a", "b", "a"):
        export(connection, Request(form), tmp_path / folder, nothing)
        connection.rollback()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    listed = {entry["file"] for entry in json.loads((tmp_path / "a/manifest.json").read_text())["files"]}
    assert listed | {"manifest.json"} == contents(tmp_path / "a").keys()


def test_a_new_export_replaces_the_files_of_the_earlier_one(connection, tmp_path):
    export(connection, Request("csv"), tmp_path, nothing)
    connection.rollback()
    export(connection, Request("pandas-feather", coins=("gamma",)), tmp_path, nothing)
    assert contents(tmp_path).keys() == {"gamma-1h.feather", "gaps.csv", "manifest.json"}


def test_parquet_has_every_bar_sorted_by_coin_and_time_with_the_metrics(connection, tmp_path):
    export(connection, Request("parquet"), tmp_path, nothing)
    table = pq.read_table(tmp_path / "bars-1h.parquet")
    assert table.num_rows == 3 * HOURS - len(HALT) - len(LOST)
    assert table.sort_by([("crypto_id", "ascending"), ("opened_at", "ascending")]).equals(table)
    assert table.schema.field("opened_at").type == pa.timestamp("us", "UTC")
    assert {"close", "vwap", "ma_7d"} <= set(table.column_names)
    assert not {"loaded_at", "vwap_1h"} & set(table.column_names)


def test_csv_has_iso_times_and_the_digits_of_the_database(connection, tmp_path):
    export(connection, Request("csv", coins=("gamma",)), tmp_path, nothing)
    rows = list(csv.DictReader((tmp_path / "gamma-1h.csv").read_text().splitlines()))
    assert rows[0]["opened_at"] == "2026-01-30T00:00:00Z"
    assert [rows[n]["close"] for n in (0, 9)] == ["0.00000001", "0.00000010"]


def test_gaps_are_listed_with_their_reason(connection, tmp_path):
    export(connection, Request("csv", coins=("alpha", "gamma")), tmp_path, nothing)
    rows = list(csv.DictReader((tmp_path / "gaps.csv").read_text().splitlines()))
    assert [(row["crypto_id"], row["gap_start"], row["bars"], row["reason"]) for row in rows] == [
        ("alpha", "2026-01-31T06:00:00Z", "3", "exchange_halt"),
        ("alpha", "2026-02-03T04:00:00Z", "1", "unknown"),
    ]


@pytest.mark.parametrize("policy", ["keep", "null", "ffill"])
@pytest.mark.parametrize("form", ["csv", "pandas-feather"])
def test_missing_bars_are_left_out_empty_or_repeat_the_close_before(connection, tmp_path, policy, form):
    export(connection, Request(form, coins=("alpha",), gaps=policy), tmp_path, nothing)
    path = tmp_path / f"alpha-1h.{'csv' if form == 'csv' else 'feather'}"
    frame = pd.read_csv(path) if form == "csv" else pd.read_feather(path)
    if policy == "keep":
        assert len(frame) == HOURS - 4
        return
    assert len(frame) == HOURS
    missing = frame.iloc[[*HALT, *LOST]]
    if policy == "null":
        assert missing.drop(columns="opened_at").isna().all(axis=None)
    else:
        assert (missing[["volume", "quote_volume", "trade_count"]] == 0).all(axis=None)
        assert missing["open"].tolist() == missing["close"].tolist()
        assert missing["close"].tolist() == [frame["close"][29]] * 3 + [frame["close"][99]]


@given(st.lists(st.integers(0, 400), min_size=1, unique=True))
def test_filling_gaps_keeps_every_bar_and_leaves_no_hour_out(hours):
    opened = [FIRST + timedelta(hours=n) for n in sorted(hours)]
    close = [float(n) for n in sorted(hours)]
    zero = [0.0] * len(hours)
    columns = dict.fromkeys(("open", "high", "low", "close"), close) | dict.fromkeys(("volume", "quote_volume"), zero)
    bars = pa.table(
        {"opened_at": pa.array(opened, pa.timestamp("us", "UTC"))} | columns
        | {"trade_count": pa.array([0] * len(hours), pa.int64()), "vwap": close}
    )  # fmt: skip
    filled = fill_gaps(bars, "1h", "null")
    assert filled.num_rows == max(hours) - min(hours) + 1
    assert filled.filter(pa.compute.is_valid(filled["close"])).equals(bars)
    assert fill_gaps(bars, "1h", "ffill")["close"].null_count == 0


def test_four_hour_bars_are_those_of_their_hours(connection):
    (coin,) = find_coins(connection, ["gamma"])
    hours = read_bars(connection, coin, "1h", Window(), numbers="double").to_pandas().set_index("opened_at")
    found = read_bars(connection, coin, "4h", Window(), numbers="double").to_pandas().set_index("opened_at")
    rules = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    expected = hours.resample("4h").agg(rules)
    pd.testing.assert_frame_equal(found[list(rules)], expected, check_freq=False)


def test_freqtrade_files_have_its_names_columns_and_types(connection, tmp_path):
    export(connection, Request("freqtrade", coins=("beta", "gamma"), interval="1d"), tmp_path, nothing)
    assert {path.name for path in tmp_path.glob("*.feather")} == {"BETA_USDC-1d.feather", "GAM_USDT-1d.feather"}
    frame = pd.read_feather(tmp_path / "GAM_USDT-1d.feather")
    assert list(frame.columns) == ["date", "open", "high", "low", "close", "volume"]
    assert str(frame["date"].dtype) == "datetime64[ms, UTC]"
    assert set(map(str, frame.dtypes[1:])) == {"float64"}
    assert freqtrade_pair("1000SATSUSDT") == "1000SATS_USDT"


@pytest.fixture
def unnamed_pair(marts: Postgres) -> Iterator[str]:
    """A coin whose quote currency is not known, before all others."""
    with connections.connected(marts) as writing:
        for table in ("dim_crypto", "fct_prices"):
            execute(
                writing,
                f"create temp table copied as select * from marts.{table} where crypto_id = 'gamma';"
                "update copied set crypto_id = 'aardvark', binance_symbol = 'AARZZZ';"
                f"insert into marts.{table} select * from copied; drop table copied",
            )
        yield "aardvark"
        for table in ("dim_crypto", "fct_prices"):
            execute(writing, f"delete from marts.{table} where crypto_id = 'aardvark'")


def test_a_pair_without_a_freqtrade_name_is_named_and_skipped(connection, tmp_path, unnamed_pair):
    reported: list[str] = []
    manifest = export(connection, Request("freqtrade"), tmp_path, reported.append)
    assert [line.split()[0] for line in reported] == [unnamed_pair]
    assert manifest["coins"] == ["alpha", "beta", "gamma"]
    assert [entry["coin"] for entry in manifest["skipped"]] == [unnamed_pair]
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    connection.rollback()
    assert export(connection, Request("csv"), tmp_path, nothing)["skipped"] == []


def test_a_requested_pair_without_a_freqtrade_name_is_an_error(connection, tmp_path, unnamed_pair):
    with pytest.raises(SettingsError, match="AARZZZ"):
        export(connection, Request("freqtrade", coins=("gamma", unnamed_pair)), tmp_path / "new", nothing)
    assert not (tmp_path / "new").exists()


def test_the_command_ends_with_the_code_for_partial_if_a_pair_was_skipped(
    connection, tmp_path, unnamed_pair, monkeypatch
):
    @contextmanager
    def warehouse(role: str) -> Iterator[tuple[None, Connection]]:
        yield None, connection

    monkeypatch.setattr("orchestration.cli.exports.warehouse", warehouse)
    result = CliRunner().invoke(exports_command, ["--format", "freqtrade", str(tmp_path)])
    assert result.exit_code == 3, result.output
    assert unnamed_pair in result.stderr
    connection.rollback()
    assert CliRunner().invoke(exports_command, ["--format", "csv", str(tmp_path)]).exit_code == 0


def test_the_catalog_is_asked_for_the_metrics_once(connection, tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(bars, "mart_columns", lambda _, mart: asked.append(mart) or [])
    export(connection, Request("parquet"), tmp_path, nothing)
    assert asked == ["fct_prices"]


def test_the_window_is_half_open(connection, tmp_path):
    window = Window(FIRST + timedelta(hours=5), FIRST + timedelta(hours=8))
    export(connection, Request("pandas-feather", coins=("gamma",), window=window), tmp_path, nothing)
    opened = pd.read_feather(tmp_path / "gamma-1h.feather")["opened_at"]
    assert opened.tolist() == [FIRST + timedelta(hours=n) for n in (5, 6, 7)]


@pytest.mark.parametrize(
    "request_",
    [
        Request("csv", coins=("nope",)),
        Request("csv", coins=("ALF",)),
        Request("csv", window=Window(None, FIRST)),
        Request("csv", window=Window(FIRST + timedelta(days=400))),
        Request("csv", window=Window(FIRST, FIRST)),
    ],
    ids=["unknown coin", "ambiguous ticker", "before the data", "after the data", "empty window"],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(connection, tmp_path, request_):
    with pytest.raises(SettingsError) as error:
        export(connection, request_, tmp_path / "new", nothing)
    assert "\n" not in str(error.value)
    if request_.coins == ("ALF",):
        assert "alpha" in str(error.value)
        assert "beta" in str(error.value)
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize("kind", ["full folder", "file", "unwritable", "in use"])
def test_a_folder_that_cannot_be_used_is_named_and_left_as_it_was(connection, tmp_path, kind):
    target = tmp_path / "folder"
    handle = None
    if kind == "file":
        target.write_text("mine")
    elif kind == "unwritable":
        target = Path("/proc/self/tickmart")
    else:
        target.mkdir()
        if kind == "full folder":
            (target / "mine.txt").write_text("mine")
        else:
            handle = os.open(target, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
    before = contents(tmp_path)
    for write in (
        lambda: export(connection, Request("csv"), target, nothing),
        *([] if kind == "full folder" else [lambda: release.publish(connection, target)]),
    ):
        connection.rollback()
        with pytest.raises(ExportError, match=str(target)) as error:
            write()
        assert "\n" not in str(error.value)
    assert contents(tmp_path) == before
    if handle is not None:
        os.close(handle)


KILLED = """
import sys, time
from pathlib import Path
from ingestion.database import connections
from ingestion.settings import Postgres
from orchestration.exports import release
from orchestration.exports.export import Request, export
postgres = Postgres(*{postgres!r})
with connections.connected(postgres) as connection:
    print("ready", flush=True)
    while True:
        export(connection, Request("csv"), Path({folder!r}) / "export", print)
        connection.rollback()
        release.publish(connection, Path({folder!r}) / "release", keep=1)
        connection.rollback()
"""


def test_a_killed_export_or_release_leaves_whole_files_and_the_next_one_repairs_the_rest(marts, connection, tmp_path):
    postgres = (marts.host, marts.port, marts.database, marts.user, marts.password)
    code = KILLED.format(postgres=postgres, folder=str(tmp_path))
    chance = random.Random(5)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for path in (tmp_path / "export").glob("*.csv"):
            assert path.read_bytes().endswith(b"\n"), path
        if (tmp_path / "release/latest").is_symlink():
            assert_whole(tmp_path / "release/latest")
    export(connection, Request("csv"), tmp_path / "export", nothing)
    connection.rollback()
    release.publish(connection, tmp_path / "release", keep=1)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert len(list((tmp_path / "release/releases").iterdir())) == 1


def assert_whole(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, mart in manifest["marts"].items():
        assert pq.read_metadata(folder / mart["file"]).num_rows == mart["rows"], name
    return manifest


def test_a_release_is_exact_and_describes_itself(connection, tmp_path):
    manifest, is_new = release.publish(connection, tmp_path)
    assert is_new
    assert assert_whole(tmp_path / "latest") == manifest
    prices = manifest["marts"]["fct_prices"]
    assert prices["sorted_by"] == ["crypto_id", "opened_at"]
    assert prices["columns"]["close"] == {"type": "numeric", "description": "Close of the bar."}
    table = pq.read_table(tmp_path / "latest" / prices["file"])
    assert table["close"][0].as_py() == Decimal("0.00000001")
    assert [gap["reason"] for gap in manifest["gaps"]] == ["exchange_halt"]
    assert [check["check_name"] for check in manifest["failed_checks"]] == ["c"]


def test_unchanged_data_makes_no_new_release_and_a_changed_row_makes_one(connection, tmp_path):
    first, _ = release.publish(connection, tmp_path)
    connection.rollback()
    again, is_new = release.publish(connection, tmp_path)
    assert (again, is_new) == (first, False)
    connection.rollback()
    connection.set_session(isolation_level="READ COMMITTED", readonly=False)
    execute(connection, "update marts.fct_prices set trade_count = trade_count + 1 where crypto_id = 'gamma'")
    second, is_new = release.publish(connection, tmp_path)
    assert is_new
    assert (tmp_path / "latest").resolve().name == second["version"] != first["version"]
    assert second["marts"]["dim_crypto"]["sha256"] == first["marts"]["dim_crypto"]["sha256"]
    assert_whole(tmp_path / "releases" / first["version"])
    connection.rollback()
    release.publish(connection, tmp_path, keep=1)
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [second["version"]]


class CountingFile(io.FileIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size) or b""
        self.count += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        size = super().readinto(buffer) or 0
        self.count += size
        return size


def test_one_coin_and_month_reads_at_most_a_part_of_a_release(connection, tmp_path):
    release.publish(connection, tmp_path)
    path = tmp_path / "latest/marts/fct_prices.parquet"
    with CountingFile(str(path)) as file:
        start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
        filters = [("crypto_id", "=", "beta"), ("opened_at", ">=", start), ("opened_at", "<", end)]
        rows = pq.read_table(file, filters=filters, pre_buffer=False).num_rows
        assert rows == 31 * 24
        # Here a row group is a 36th of the rows, since it has at least 720. With a hundred groups it is 1 to 4%.
        assert file.count < 0.25 * path.stat().st_size


def test_a_release_has_one_state_of_the_database_although_another_login_changes_it(
    marts, connection, tmp_path, monkeypatch
):
    write, day = release._write_mart, "date '1999-01-01'"

    def write_during_a_refresh(reader: Connection, name: str, files: Path) -> dict[str, Any]:
        with connections.connected(marts) as other:
            execute(other, f"insert into marts.fct_daily_summary (crypto_id, date) values ('alpha', {day})")
        monkeypatch.setattr(release, "_write_mart", write)
        return write(reader, name, files)

    monkeypatch.setattr(release, "_write_mart", write_during_a_refresh)
    try:
        manifest, _ = release.publish(connection, tmp_path)
        ((present,),) = connections.fetch(connection, "select count(*) from marts.fct_daily_summary")
    finally:
        with connections.connected(marts) as other:
            execute(other, f"delete from marts.fct_daily_summary where date = {day}")
    assert manifest["marts"]["fct_daily_summary"]["rows"] == present - 1


def test_without_marts_the_fix_is_named(stack_env, tmp_path):
    with fresh_database(stack_env) as database, connections.connected(database) as connection:
        for write in (
            lambda: export(connection, Request("csv"), tmp_path, nothing),
            lambda: release.publish(connection, tmp_path),
        ):
            with pytest.raises(SettingsError, match="tickmart run"):
                write()


def test_the_duckdb_catalog_reads_the_release_from_its_folder(connection, tmp_path, monkeypatch):
    manifest, _ = release.publish(connection, tmp_path)
    (tmp_path / "releases" / manifest["version"]).rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    with duckdb.connect("tickmart.duckdb", read_only=True) as catalog:
        for name, mart in manifest["marts"].items():
            assert catalog.execute(f"select count(*) from {name}").fetchall() == [(mart["rows"],)]


def test_a_query_is_read_exactly(connection):
    query = """
        select * from (values
            (1, 'a,"b', 0.1::numeric, true, null::text, 1.1::float8, '2026-01-01 00:00:00.000001+00'::timestamptz),
            (null, '', 12345678901234567890.123456789012345678::numeric, false, 'x', 'nan', null)
        ) as rows (whole, text, exact, flag, nothing, double, moment)"""
    table = read_table(connection, query, "decimal")
    assert table["text"].to_pylist() == ['a,"b', ""]
    assert table["nothing"].to_pylist() == [None, "x"]
    assert table["exact"].to_pylist() == [Decimal("0.1"), Decimal("12345678901234567890.123456789012345678")]
    assert table["flag"].to_pylist() == [True, False]
    assert table["moment"].to_pylist() == [datetime(2026, 1, 1, 0, 0, 0, 1, UTC), None]
    assert read_table(connection, f"select * from ({query}) as q where false").num_rows == 0
    large = read_table(
        connection, "select 123456789012345678901234567890.5::numeric as a, 'NaN'::numeric as b", "decimal"
    )
    assert large.to_pylist() == [{"a": Decimal("123456789012345678901234567890.5"), "b": "NaN"}]


def test_a_failed_or_unfinished_query_leaves_the_connection_usable(connection):
    schema = query_schema(connection, "select n, 1 / (n - 900000) as x from generate_series(1, 1000000) as n")
    with pytest.raises(Exception, match="division by zero"):
        list(read_batches(connection, "select n, 1 / (n - 900000) as x from generate_series(1, 1000000) as n", schema))
    connection.rollback()
    batches = read_batches(connection, "select n, n as x from generate_series(1, 5000000) as n", schema)
    next(batches)
    batches.close()
    connection.rollback()
    assert connections.fetch(connection, "select 1") == [(1,)]
