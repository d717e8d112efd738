"""Closed days and months of bronze become one object each: no reader, load or rebuild sees another row than before."""

import io
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.arrow import align_decimals, last_wins
from ingestion.bronze import compaction, merge_into, sorted_merge
from ingestion.bronze.compaction import Compacted, compact
from ingestion.bronze.merge_into import merge_rows
from ingestion.bronze.merged import current
from ingestion.bronze.objects import LakeError
from ingestion.bronze.parquet import parse_parquet
from ingestion.bronze.results import FetchResult
from ingestion.database import connections
from ingestion.ops.builds import read_state
from ingestion.raw import loader
from ingestion.simulator.server import Simulator
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.ingest import sync_klines
from ingestion.sources.binance.plan import KlinesRequest, Source
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.coingecko.parse import read_coins
from ingestion.sources.datasets import DATASETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key, parse_history
from ingestion.sources.http import HttpClient
from support.compaction import (
    BITCOIN,
    FEBRUARY,
    FETCHED,
    JANUARY,
    LATER,
    MONTH,
    bars,
    keys,
    put_days,
    raw_rows,
    rows_in_bronze,
    run,
)
from support.dying_lake import DyingLake, Killed
from support.pipeline import Chain
from support.source_rows import coin, index_of, sentiment


def test_a_closed_month_becomes_one_object_and_raw_has_it_already(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 31)
    put_days(chain.lake, FEBRUARY, 1)
    chain.load(KLINES)
    before, rows = raw_rows(chain), rows_in_bronze(chain.lake)
    state = read_state(chain.connection, ["raw"])
    done = run(chain)
    assert (done.objects, done.merged, done.rows, done.removed, done.problems) == (31, 1, 31 * 72, 31, ())
    assert keys(chain) == [MONTH, klines_key("1h", FEBRUARY)]
    assert rows_in_bronze(chain.lake) == rows
    # Nothing is pending, and no model is to be built again.
    assert chain.load(KLINES) == loader.Loaded()
    assert read_state(chain.connection, ["raw"]) == state
    chain.ask("delete from raw.binance_klines; delete from ops.load_ledger")
    assert chain.load(KLINES).inserted == 32 * 72
    assert raw_rows(chain) == before
    days = chain.ask("select object_key, rows from ops.load_ledger where merged_into = %s order by 1", (MONTH,))
    assert days == [(klines_key("1h", JANUARY + timedelta(days=n)), 72) for n in range(31)]


def test_an_open_month_and_a_single_object_stay_as_they_are(chain: Chain) -> None:
    put_days(chain.lake, JANUARY + timedelta(days=30), 3)
    before = keys(chain)
    assert run(chain, now=LATER + timedelta(days=20)) == Compacted()
    # Late corrections of the last day come until the end of the next one.
    put_days(chain.lake, JANUARY, 5)
    assert run(chain, now=LATER - timedelta(seconds=1)) == Compacted()
    assert set(before) < set(keys(chain))


def test_objects_that_a_query_may_still_read_are_removed_later(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 4)
    chain.load(KLINES)
    rows = rows_in_bronze(chain.lake)
    now = datetime.now(UTC)
    assert run(chain, now=now, wait=timedelta(hours=1)).waiting == 4
    assert len(keys(chain)) == 5
    assert [info.key for info in current(chain.lake.list(""))] == [MONTH]
    assert rows_in_bronze(chain.lake) == rows
    assert chain.load(KLINES) == loader.Loaded()
    assert run(chain, now=now, wait=timedelta(hours=1)) == Compacted(waiting=4)
    done = run(chain, now=now + timedelta(hours=2), wait=timedelta(hours=1))
    assert done == Compacted(removed=4)
    assert keys(chain) == [MONTH]


@pytest.mark.parametrize("after", [False, True])
def test_a_compaction_that_ends_at_any_call_is_completed_by_the_next(chain: Chain, after: bool) -> None:
    put_days(chain.lake, JANUARY, 3)
    chain.load(KLINES)
    rows, before = rows_in_bronze(chain.lake), raw_rows(chain)
    for calls in range(40):
        with connections.closing(connections.connect(chain.postgres, "ingest")) as connection:
            lake = DyingLake(chain.lake.store, calls, after=after)
            try:
                compact(lake, connection, [KLINES], LATER, "compaction", remove_after=timedelta())
                completed = True
            except Killed:
                completed = False
        assert rows_in_bronze(chain.lake) == rows
        if calls % 3 == 0:
            chain.load(KLINES)
        if completed and keys(chain) == [MONTH]:
            break
    assert keys(chain) == [MONTH]
    chain.load(KLINES)
    assert raw_rows(chain) == before
    assert chain.one("select count(*) from ops.restatements") == 0


def test_a_day_of_a_merged_month_that_is_fetched_again_is_restated_in_it(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 31)
    chain.load(KLINES)
    run(chain)
    day = JANUARY + timedelta(days=10)
    again = [(klines_key("1h", day), bars(day, fetched_at=LATER))]
    [written] = merge_rows(chain.lake, KLINES, again)
    assert (written.key, written.outcome) == (MONTH, "unchanged")
    assert chain.load(KLINES) == loader.Loaded()
    changed = [
        (klines_key("1h", day), bars(day, ("ETHUSDT",), close="100.5", fetched_at=LATER)),
        (klines_key("1h", day + timedelta(days=1)), bars(day + timedelta(days=1), ("NEWUSDT",), fetched_at=LATER)),
        (klines_key("1h", FEBRUARY), bars(FEBRUARY)),
    ]
    written_keys = {done.key: done.outcome for done in merge_rows(chain.lake, KLINES, changed)}
    assert written_keys == {MONTH: "replaced", klines_key("1h", FEBRUARY): "created"}
    loaded = chain.load(KLINES)
    assert (loaded.inserted, loaded.updated) == (24 + 72, 24)
    assert chain.one("select count(*) from ops.restatements") == 24
    before = raw_rows(chain)
    assert chain.one("select count(*) from raw.binance_klines where close = 100.5") == 24
    assert run(chain) == Compacted()
    chain.ask("delete from raw.binance_klines; delete from ops.load_ledger")
    chain.load(KLINES)
    assert raw_rows(chain) == before


@pytest.mark.parametrize("source", ["rest", "archive"])
def test_a_backfill_over_a_merged_month_changes_nothing(
    chain: Chain, simulator: Simulator, client_of: Callable[..., HttpClient], source: Source
) -> None:
    clients = client_of(simulator.binance_url), client_of(simulator.archive_url, source="Binance archive")

    def backfill(**how: Any) -> FetchResult:
        request = KlinesRequest((BITCOIN,), date(2024, 5, 1), date(2024, 6, 1), source=source, **how)
        result = sync_klines(chain.context(), *clients, request)
        assert (result.error, result.failed) == (None, {})
        return result

    assert backfill(resume=True).files == 31
    chain.load(KLINES)
    before = raw_rows(chain)
    assert run(chain).merged == 1
    again = backfill(resume=True)
    # Archive files that were read before are not read again; REST answers again, with equal rows.
    assert (again.files, again.rows) == (0, 0 if source == "archive" else 744)
    assert backfill(skip_covered=True).skipped_days == 31
    assert chain.load(KLINES) == loader.Loaded()
    assert raw_rows(chain) == before
    assert len(keys(chain)) == 1


def test_an_object_that_comes_back_beside_its_merged_month_is_merged_by_the_next_compaction(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 4)
    chain.load(KLINES)
    run(chain)
    # As restored from a backup: a day that the month lacks, and an older version of one that it has.
    lost = JANUARY + timedelta(days=20)
    chain.lake.write(klines_key("1h", lost), bars(lost))
    chain.lake.write(klines_key("1h", JANUARY), bars(JANUARY, close="99", fetched_at=FETCHED - timedelta(days=1)))
    done = run(chain)
    assert (done.objects, done.merged, done.removed) == (2, 1, 2)
    assert chain.load(KLINES).inserted == 72
    assert chain.one("select count(*) from raw.binance_klines where close <> 101.5") == 0
    assert set(rows_in_bronze(chain.lake).values()) == {1}


def test_a_damaged_object_stops_its_month_alone(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 5)
    put_days(chain.lake, date(2025, 12, 1), 5)
    chain.lake.put(klines_key("1h", JANUARY + timedelta(days=2)), b"no parquet")
    index = parse_history(index_of([sentiment("41", JANUARY)]), "http://index", FETCHED).rows
    for number in (1, 2):
        key = fear_greed_key(JANUARY + timedelta(days=number))
        chain.lake.write(key, index.append_column("batch_id", pa.array(["b"])))
    done = run(chain, KLINES, FEAR_GREED)
    assert len(done.problems) == 1, done.problems
    [problem] = done.problems
    assert klines_key("1h", JANUARY + timedelta(days=2)) in problem
    assert "\n" not in problem
    assert (done.merged, done.removed) == (2, 7)
    assert len([key for key in keys(chain) if "klines" in key]) == 5 + 1


def test_a_damaged_merged_month_is_named_and_its_days_are_requested_again(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 5)
    chain.load(KLINES)
    run(chain)
    days = [JANUARY + timedelta(days=n) for n in range(5)]
    for day in days:
        chain.ask(
            "insert into ops.coverage (dataset, symbol, interval, date, bars, is_final, source) "
            "values ('binance_klines', 'BTCUSDT', '1h', %s, 24, true, 'rest')",
            (day,),
        )
    chain.lake.put(MONTH, b"no parquet")
    loaded, damaged = chain.load_with_damage(KLINES)
    assert loaded == loader.Loaded()
    assert len(damaged) == 1
    assert MONTH in damaged[0]
    assert chain.one("select count(*) from ops.coverage where is_final") == 0
    # What is fetched then replaces it.
    assert [done.outcome for done in merge_rows(chain.lake, KLINES, [(klines_key("1h", JANUARY), bars(JANUARY))])] == [
        "repaired"
    ]
    assert chain.load(KLINES).rows == 72


def test_days_that_still_exist_beside_a_rewritten_month_are_merged_into_it_again(chain: Chain) -> None:
    put_days(chain.lake, JANUARY, 5)
    chain.load(KLINES)
    run(chain, now=datetime.now(UTC), wait=timedelta(hours=1))
    chain.lake.put(MONTH, b"no parquet")
    chain.load_with_damage(KLINES)
    [written] = merge_rows(chain.lake, KLINES, [(klines_key("1h", JANUARY), bars(JANUARY))])
    assert written.outcome == "repaired"
    assert (run(chain).merged, keys(chain)) == (1, [MONTH])
    assert len(rows_in_bronze(chain.lake)) == 5 * 72
    # It has the bytes that it had before it was damaged, which raw has.
    assert chain.load(KLINES) == loader.Loaded()


def test_objects_of_other_columns_and_scales_are_merged_or_named(chain: Chain) -> None:
    chain.lake.write(klines_key("1h", JANUARY), bars(JANUARY, close="100.000000000000001"))
    second = JANUARY + timedelta(days=1)
    chain.lake.write(klines_key("1h", second), bars(second).drop_columns(["extra"]))
    assert run(chain).merged == 1
    held = chain.lake.read(MONTH)
    assert held is not None
    assert held[0]["close"].to_pylist()[0] == Decimal("100.000000000000001")
    put_days(chain.lake, date(2025, 12, 1), 1)
    other = bars(date(2025, 12, 2))
    other = other.set_column(other.schema.get_field_index("volume"), "volume", pa.repeat("much", len(other)))
    chain.lake.write(klines_key("1h", date(2025, 12, 2)), other)
    [problem] = run(chain).problems
    assert "date=2025-12-01/month.parquet" in problem


def test_a_month_above_the_target_size_stays_in_days(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    put_days(chain.lake, JANUARY, 3)
    monkeypatch.setattr(compaction, "MOST_BYTES", 10_000)
    assert run(chain) == Compacted()
    assert len(keys(chain)) == 3


def test_a_folder_for_temporary_files_that_cannot_be_written_is_named(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_days(chain.lake, JANUARY, 3)
    before = keys(chain)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(merge_into, "write_sorted", lambda *arguments: (_ for _ in ()).throw(full))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(LakeError, match=str(tmp_path)) as raised:
        run(chain)
    assert "\n" not in str(raised.value)
    assert keys(chain) == before


def minutes(day: date, symbols: int) -> pa.Table:
    """A day of minute bars of so many symbols."""
    one = bars(day, ("S00",))
    first = int(one["open_time"][0].value)
    opens = pa.array([first + n * 60_000_000 for n in range(1440)], pa.int64()).cast(one.schema.field("open_time").type)
    rows = one.take(pa.array([0] * 1440))
    rows = rows.set_column(rows.schema.get_field_index("open_time"), "open_time", opens)
    rows = rows.set_column(rows.schema.get_field_index("interval"), "interval", pa.repeat("1m", 1440))
    tables = [
        rows.set_column(rows.schema.get_field_index("symbol"), "symbol", pa.repeat(f"S{n:02}", 1440))
        for n in range(symbols)
    ]
    return pa.concat_tables(tables).combine_chunks()


@pytest.mark.parametrize(("interval", "symbols", "most"), [("1m", 4, 1), ("1h", 30, 1)])
def test_one_symbol_of_a_month_is_read_from_the_row_groups_that_have_it(
    chain: Chain, interval: str, symbols: int, most: int
) -> None:
    names = tuple(f"S{n:02}" for n in range(symbols))
    for number in range(28):
        day = JANUARY + timedelta(days=number)
        table = minutes(day, symbols) if interval == "1m" else bars(day, names)
        chain.lake.write(klines_key(interval, day), table)
    assert run(chain).merged == 1
    body = chain.lake.get(MONTH.replace("1h", interval))
    assert body is not None
    metadata = pq.read_metadata(io.BytesIO(body))
    column = metadata.schema.names.index("symbol")
    ranges = [metadata.row_group(at).column(column).statistics for at in range(metadata.num_row_groups)]
    assert len(ranges) > 1
    for name in names:
        assert sum(found.min <= name <= found.max for found in ranges) <= most
    assert all(metadata.row_group(at).num_rows <= sorted_merge.GROUP_MOST for at in range(metadata.num_row_groups))
    table = parse_parquet(body, "month")
    assert table.equals(last_wins(table, KLINES.key))


def test_runs_on_disk_give_the_same_file_as_memory(chain: Chain, tmp_path: Path, monkeypatch: Any) -> None:
    chance = random.Random(4)
    tables = []
    for number in range(40):
        day = JANUARY + timedelta(days=chance.randrange(20))
        symbols = tuple(chance.sample([f"S{n}" for n in range(9)], 4))
        tables.append(bars(day, symbols, close=str(90 + number % 20), fetched_at=FETCHED + timedelta(hours=number)))
    files = []
    for rows, step in ((10**6, 8192), (500, 37), (96, 1000)):
        monkeypatch.setattr(sorted_merge, "RUN_ROWS", rows)
        monkeypatch.setattr(sorted_merge, "STEP_ROWS", step)
        folder = tmp_path / str(rows)
        folder.mkdir()
        path = folder / "month.parquet"
        sorted_merge.write_sorted(sorted_merge.Runs.of(KLINES, folder, tables), path)
        files.append(parse_parquet(path.read_bytes(), "month"))
    newest = last_wins(pa.concat_tables(align_decimals(tables)), KLINES.key, by=("fetched_at",))
    assert all(file.equals(newest) for file in files)


# -- other datasets ----------------------------------------------------------------------------------------------------


def put_snapshot(chain: Chain, at: datetime) -> None:
    rows = read_coins(orjson.dumps([coin("bitcoin"), coin("ethereum")]), "http://markets", at, at).rows
    chain.lake.write(markets_key(at), rows.append_column("batch_id", pa.repeat("b", len(rows))))


def test_snapshots_are_merged_by_day_and_then_by_month(chain: Chain) -> None:
    times = [datetime(2026, 1, day, hour, tzinfo=UTC) for day in (5, 6) for hour in (3, 4, 5)]
    for at in times:
        put_snapshot(chain, at)
    chain.load(MARKETS)
    done = run(chain, MARKETS, now=datetime(2026, 1, 10, tzinfo=UTC))
    assert (done.objects, done.merged, done.removed) == (6, 2, 6)
    assert keys(chain) == [f"coingecko/markets/date=2026-01-0{day}/day.parquet" for day in (5, 6)]
    assert chain.load(MARKETS) == loader.Loaded()
    put_snapshot(chain, datetime(2026, 1, 31, 23, tzinfo=UTC))
    chain.load(MARKETS)
    before = raw_rows(chain, MARKETS)
    done = run(chain, MARKETS, now=datetime(2026, 2, 10, tzinfo=UTC))
    month = "coingecko/markets/date=2026-01-01/month.parquet"
    assert (done.objects, done.merged, keys(chain)) == (3, 1, [month])
    assert chain.load(MARKETS) == loader.Loaded()
    snapshots = dict(chain.ask("select object_key, rows from ops.load_ledger where merged_into = %s", (month,)))
    assert {markets_key(at): 2 for at in times}.items() <= snapshots.items()
    chain.ask("delete from raw.coingecko_markets; delete from ops.load_ledger")
    chain.load(MARKETS)
    assert raw_rows(chain, MARKETS) == before


def test_a_history_that_is_fetched_again_keeps_each_of_its_versions(chain: Chain) -> None:
    for number, value in enumerate(("41", "41", "44", "41")):
        at = datetime(2026, 1, 3 + number, 1, tzinfo=UTC)
        rows = parse_history(index_of([sentiment(value, JANUARY), sentiment("50", date(2025, 12, 1))]), "u", at).rows
        table = rows.append_column("batch_id", pa.repeat(f"batch-{number}", len(rows)))
        chain.lake.write(fear_greed_key(at.date()), last_wins(table, FEAR_GREED.key))
    chain.load(FEAR_GREED)
    before = raw_rows(chain, FEAR_GREED)
    assert run(chain, *DATASETS).merged == 1
    [key] = keys(chain)
    held = chain.lake.read(key)
    assert held is not None
    assert len(held[0]) == 8
    assert chain.load(FEAR_GREED) == loader.Loaded()
    chain.ask("delete from raw.fear_greed; delete from ops.load_ledger")
    chain.load(FEAR_GREED)
    assert raw_rows(chain, FEAR_GREED) == before
