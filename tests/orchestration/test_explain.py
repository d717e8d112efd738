"""tickmart explain: values reproduce from raw, rows lead to bronze, a null has a reason, bad input is one line."""

import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from ingestion.arrow import align_decimals
from ingestion.bronze.compaction import compact
from ingestion.database import connections
from ingestion.raw.loader import load_universe
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.binance.parse import parse_klines
from ingestion.sources.coingecko.dataset import MARKETS, markets_key
from ingestion.sources.coingecko.parse import read_coins
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key, parse_history
from ingestion.universe import Asset
from orchestration.cli.main import main
from orchestration.explain.explanation import explain, is_confirmed
from orchestration.explain.metrics import MARTS
from orchestration.explain.target import Request
from support.pipeline import Chain
from support.source_rows import bar, body_of, coin, index_of, sentiment

FIRST, DAYS = date(2026, 1, 1), 230
FETCHED = datetime(2026, 11, 1, 12, tzinfo=UTC)
RENAMED, LISTED = FIRST + timedelta(days=20), FIRST + timedelta(days=60)
URL = "http://exchange/api/v3/klines"
ASSETS = [
    Asset("bitcoin", "BTCUSDT", "Bitcoin", ""),
    Asset("ethereum", "OLDUSDT", "Ethereum", "", valid_to=RENAMED),
    Asset("ethereum", "ETHUSDT", "Ethereum", "", valid_from=RENAMED),
    # Two coins have the ticker FLOW; the price of one never changes and nothing of it is traded.
    Asset("flow-chain", "FLOWUSDT", "Flow chain", ""),
    Asset("idle", "FLOWUSDC", "Idle", ""),
]
# Hours since FIRST: three that bitcoin was halted, a whole day that is lost of ethereum, and one corrected bar.
HALT, LOST, CORRECTED, INVALID = range(2405, 2408), range(3600, 3624), 3000, 4000
SNAPSHOT_AT = datetime(2026, 8, 18, 10, 30, tzinfo=UTC)
CORRECTED_INDEX_DAY, MISSING_INDEX_DAY = FIRST + timedelta(days=30), FIRST + timedelta(days=50)


def at(hour: int) -> datetime:
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(hours=hour)


def bars_of(symbol: str, hours: range, *, price: float, seed: int) -> list[list[Any]]:
    """A random walk of hourly bars as Binance sends them; a price of 1 stays."""
    chance = random.Random(seed)
    rows = []
    for hour in hours:
        opened, moves = price, not symbol.endswith("USDC")
        price = price * (1 + chance.gauss(0, 0.01)) if moves else price
        volume = chance.randint(1, 10**6) / 1000 if moves else 0
        spread = 0.001 if moves else 0
        rows.append(
            bar(
                at(hour).date(), at(hour).hour, open=f"{opened:.8f}", close=f"{price:.8f}",
                high=f"{max(opened, price) * (1 + spread):.8f}", low=f"{min(opened, price) * (1 - spread):.8f}",
                volume=f"{volume:.8f}", quote_volume=f"{volume * price:.8f}", trade_count=round(volume),
                taker_buy_base_volume=f"{volume / 3:.8f}", taker_buy_quote_volume=f"{volume / 3 * price:.8f}",
            )
        )  # fmt: skip
    return rows


def put_bars(chain: Chain, bars: dict[str, list[list[Any]]], fetched_at: datetime) -> None:
    """Merge bars into the objects of their days."""
    by_day: dict[date, dict[str, list[list[Any]]]] = {}
    for symbol, rows in bars.items():
        for row in rows:
            day = datetime.fromtimestamp(row[0] / 1000, UTC).date()
            by_day.setdefault(day, {}).setdefault(symbol, []).append(row)
    batch = chain.context().batch_id
    for day, symbols in by_day.items():
        tables = [parse_klines(body_of(rows), name, "1h", URL, fetched_at).rows for name, rows in symbols.items()]
        table = pa.concat_tables(align_decimals(tables))
        chain.lake.merge(
            KLINES, klines_key("1h", day), table.append_column("batch_id", [[batch] * len(table)]).combine_chunks()
        )


def put_index(chain: Chain, values: list[dict[str, Any]], fetched_at: datetime) -> None:
    """Write the whole index as the object of a day, and load it."""
    table = parse_history(index_of(values), "http://index/fng/", fetched_at).rows
    chain.lake.write(fear_greed_key(fetched_at.date()), table.append_column("batch_id", [["index"] * len(table)]))
    chain.load(FEAR_GREED)


def load_everything(chain: Chain) -> None:
    """Load bars with a halt, a lost day and a correction, the index without one day, and a snapshot."""
    load_universe(chain.connection, ASSETS, "universe")
    hours, renamed, listed = range(DAYS * 24), (RENAMED - FIRST).days * 24, (LISTED - FIRST).days * 24
    bitcoin = bars_of("BTCUSDT", hours, price=40000, seed=1)
    bars = {
        "BTCUSDT": [row for hour, row in enumerate(bitcoin) if hour not in HALT],
        "OLDUSDT": bars_of("OLDUSDT", range(renamed), price=2000, seed=2),
        "ETHUSDT": [
            row
            for hour, row in enumerate(bars_of("ETHUSDT", range(renamed, DAYS * 24), price=2100, seed=3), renamed)
            if hour not in LOST
        ],
        "FLOWUSDT": bars_of("FLOWUSDT", range(listed, DAYS * 24), price=0.00071, seed=4),
        "FLOWUSDC": bars_of("FLOWUSDC", range(listed, DAYS * 24), price=1, seed=5),
    }
    put_bars(chain, bars, FETCHED)
    chain.load(KLINES)
    corrected = list(bitcoin[CORRECTED])
    corrected[4] = corrected[2]  # the close is the highest price
    put_bars(chain, {"BTCUSDT": [corrected]}, FETCHED + timedelta(days=1))
    chain.load(KLINES)
    chain.ask(
        "insert into ops.gaps (symbol, interval, gap_start, gap_end, bars, kind) values "
        "('BTCUSDT', '1h', %s, %s, 3, 'exchange_halt'), ('ETHUSDT', '1h', %s, %s, 24, 'missing_locally')",
        (at(HALT.start), at(HALT.stop), at(LOST.start), at(LOST.stop)),
    )
    chain.ask("update raw.binance_klines set low = 2 where symbol = 'FLOWUSDC' and open_time = %s", (at(INVALID),))
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    values = [sentiment(str(20 + n * 7 % 60), day) for n, day in enumerate(days) if day != MISSING_INDEX_DAY]
    put_index(chain, values, FETCHED)
    values[days.index(CORRECTED_INDEX_DAY)] = sentiment("99", CORRECTED_INDEX_DAY)
    put_index(chain, values, FETCHED + timedelta(days=1))
    coins = [
        coin("bitcoin", symbol="btc", max_supply=None),
        coin("ethereum", symbol="eth", current_price=2100.123456789012),
    ]
    snapshot = read_coins(orjson.dumps(coins), "http://markets/coins", SNAPSHOT_AT, FETCHED).rows
    chain.lake.write(markets_key(SNAPSHOT_AT), snapshot.append_column("batch_id", [["markets"] * len(snapshot)]))
    chain.load(MARKETS)
    chain.ask(
        "insert into ops.check_results (run_id, asset, check_name, source, severity, status, observed) values "
        "('r', 'marts/fct_prices', 'no_extreme_jump', 'great_expectations', 'warn', 'failed', '3 rows'), "
        "('r', 'raw/binance_klines', 'has_data', 'great_expectations', 'error', 'passed', '1'), "
        "('r', 'raw/fear_greed', 'has_data', 'great_expectations', 'error', 'failed', '0')"
    )


class Marts:
    """The marts of the simulated data, and how to explain their values."""

    def __init__(self, chain: Chain, home: Path) -> None:
        self.chain = chain
        owner, store = chain.postgres, chain.lake.store
        self.environment = {
            "TICKMART_HOME": str(home), "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user,
            "PGPASSWORD": owner.password, "PGDATABASE": owner.database, "MINIO_ENDPOINT": store.endpoint,
            "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
        }  # fmt: skip

    def command(self, *arguments: str) -> Result:
        """Run `tickmart` in this process."""
        return CliRunner(env=self.environment).invoke(main, list(arguments))

    def explain(self, coin_: str, metric: str, time: Any, **choice: Any) -> dict[str, Any]:
        """Explain one value."""
        text = time.isoformat() if hasattr(time, "isoformat") else time
        with connections.connected(self.chain.postgres, "quality_ro") as connection:
            return explain(connection, self.chain.lake, Request(coin_, metric, text, **choice))

    def rows(self, mart: str) -> list[dict[str, Any]]:
        """Every row of a mart."""
        with connections.connected(self.chain.postgres) as connection:
            return connections.fetch_dicts(connection, f"select * from marts.{mart} order by {MARTS[mart].time}, 1")


@pytest.fixture(scope="module")
def marts(chain_of_module: Chain, tmp_path_factory: pytest.TempPathFactory) -> Marts:
    load_everything(chain_of_module)
    made = Marts(chain_of_module, tmp_path_factory.mktemp("home"))
    built = made.command("dbt", "run")
    assert built.exit_code == 0, built.output
    return made


def request_of(mart: str, metric: str, row: dict[str, Any]) -> Request:
    of = row.get("crypto_id") or "/".join(row[name] for name in ("crypto_id_a", "crypto_id_b") if name in row)
    choice = {name: row[name] for name in ("timeframe", "window_days") if name in row}
    return Request(of or "bitcoin", f"{mart}.{metric}", row[MARTS[mart].time].isoformat(), **choice)


def test_200_random_cells_of_all_metrics_reproduce_and_their_rows_equal_bronze(marts: Marts) -> None:
    chance = random.Random(7)
    cells = []
    for mart, described in MARTS.items():
        rows = marts.rows(mart)
        # Windows have gaps in few rows: half of the cells are of these.
        near = [row for row in rows if 2400 <= hours_since_first(row[described.time]) <= 2600] or rows
        for metric in described.metrics:
            cells += [(mart, metric, chance.choice(rows)), (mart, metric, chance.choice(near))]
    cells += [(mart, chance.choice(list(MARTS[mart].metrics)), row) for mart, _, row in chance.sample(cells, 20)]
    assert len(cells) >= 200
    with connections.connected(marts.chain.postgres, "quality_ro") as connection:
        for mart, metric, row in cells:
            found = explain(connection, marts.chain.lake, request_of(mart, metric, row))
            assert found["value"] == row[metric]
            assert is_confirmed(found), found
            assert (found["null_reason"] is None) == (found["value"] is not None)


def hours_since_first(time: date) -> float:
    moment = time if isinstance(time, datetime) else datetime(time.year, time.month, time.day, tzinfo=UTC)
    return (moment - at(0)) / timedelta(hours=1)


def test_every_column_with_a_formula_can_be_explained(marts: Marts) -> None:
    documented = marts.chain.ask(
        "select relname, attname from pg_attribute join pg_class as c on c.oid = attrelid "
        "where relnamespace = 'marts'::regnamespace and relname = any(%s) and attnum > 0 "
        "and col_description(c.oid, attnum) like '%%Formula:%%'",
        (list(MARTS),),
    )
    # The share of a coin is of all coins of its snapshot.
    unexplained = [(mart, column) for mart, column in documented if column not in MARTS[mart].metrics]
    assert unexplained == [("fct_market_snapshots", "dominance_pct")]


def test_a_value_leads_to_its_object_its_source_and_its_restatement(marts: Marts) -> None:
    found = marts.explain("bitcoin", "close", at(CORRECTED))
    key = klines_key("1h", at(CORRECTED).date())
    body = marts.chain.lake.get(key)
    assert body is not None
    [entry] = found["bronze"]["read"]
    assert (entry["object_key"], entry["sha256"]) == (key, hashlib.sha256(body).hexdigest())
    assert (entry["source_urls"], entry["fetched_at"]) == ([URL], FETCHED + timedelta(days=1))
    assert (entry["problem"], found["bronze"]["rows_compared"], found["bronze"]["rows_different"]) == (None, 1, 0)
    [restated] = found["restatements"]
    assert restated["at"] == at(CORRECTED).isoformat()
    assert Decimal(str(restated["changed"]["close"]["new"])) == found["value"]
    assert not marts.explain("bitcoin", "close", at(CORRECTED + 1))["restatements"]


def test_a_value_of_the_index_leads_to_the_newest_object_and_its_restatement(marts: Marts) -> None:
    found = marts.explain("bitcoin", "fct_sentiment_daily.value", CORRECTED_INDEX_DAY)
    assert found["value"] == found["recalculated"] == 99
    [entry] = found["bronze"]["read"]
    assert entry["object_key"] == fear_greed_key((FETCHED + timedelta(days=1)).date())
    assert (entry["rows"], entry["rows_different"], entry["source_urls"]) == (1, 0, ["http://index/fng/"])
    assert [row["changed"]["value"]["new"] for row in found["restatements"]] == [99]


def test_definition_formula_and_unit_are_those_of_the_database(marts: Marts) -> None:
    found = marts.explain("btc", "volatility_24h", at(3000))
    [(comment,)] = marts.chain.ask(
        "select col_description(attrelid, attnum) from pg_attribute "
        "where attrelid = 'marts.fct_prices'::regclass and attname = 'volatility_24h'"
    )
    assert found["definition"] in comment
    assert f"Formula: {found['formula']}\nUnit: {found['unit']}" in comment


def test_the_window_and_its_gaps_are_described(marts: Marts) -> None:
    found = marts.explain("bitcoin", "vwap_24h", at(HALT.stop))
    [window] = found["inputs"]
    assert (window["expected"], window["present"], window["missing"], window["symbols"]) == (24, 21, 3, ["BTCUSDT"])
    assert (window["window_start"], window["window_end"]) == (
        at(HALT.stop - 23).isoformat(),
        at(HALT.stop + 1).isoformat(),
    )
    assert [(gap["kind"], gap["bars"]) for gap in found["gaps"]] == [("exchange_halt", 3)]
    assert not marts.explain("bitcoin", "vwap_24h", at(HALT.start - 1))["gaps"]


def test_an_invalid_row_is_named_and_not_used(marts: Marts) -> None:
    [window] = marts.explain("idle", "ma_7d", at(INVALID + 5))["inputs"]
    assert (window["expected"], window["present"]) == (168, 167)
    assert [row["at"] for row in window["invalid"]] == [at(INVALID).isoformat()]


def test_a_renamed_coin_has_rows_of_both_symbols_and_of_two_coins_both_are_shown(marts: Marts) -> None:
    [window] = marts.explain("ethereum", "sma_7", RENAMED)["inputs"]
    assert window["symbols"] == ["ETHUSDT", "OLDUSDT"]
    pair = marts.explain("flow-chain/BTC", "correlation", FIRST + timedelta(days=200), window_days=30)
    assert [window["coin"] for window in pair["inputs"]] == ["bitcoin", "flow-chain"]


def test_checks_are_those_of_the_mart_and_its_dataset(marts: Marts) -> None:
    found = marts.explain("bitcoin", "close", at(100))
    assert [(check["asset"], check["status"]) for check in found["checks"]] == [
        ("marts/fct_prices", "failed"),
        ("raw/binance_klines", "passed"),
    ]


@pytest.mark.parametrize(
    ("coin_id", "metric", "time", "reason"),
    [
        ("flow-chain", "ma_7d", at(60 * 24 + 100), "not full"),
        ("flow-chain", "sma_30", LISTED + timedelta(days=3), "day 4"),
        ("bitcoin", "change_24h_pct", at(HALT.stop + 22), "exchange_halt"),
        ("bitcoin", "return_1h_pct", at(HALT.stop), "exchange_halt"),
        ("ethereum", "return_pct", at(LOST.stop).date(), "missing_locally"),
        ("ethereum", "volatility_30d", (at(LOST.stop) + timedelta(days=5)).date(), "no return"),
        ("flow-chain", "beta_btc_90d", LISTED + timedelta(days=40), "day 41"),
        ("idle", "vwap_24h", at(3000), "traded"),
        ("idle", "sharpe_90d", FIRST + timedelta(days=200), "differ"),
        ("bitcoin", "mean_30d", MISSING_INDEX_DAY + timedelta(days=1), MISSING_INDEX_DAY.isoformat()),
        ("bitcoin", "btc_return_next_week_pct", FIRST + timedelta(days=DAYS - 2), "no complete day"),
        ("bitcoin", "max_supply", SNAPSHOT_AT, "sent no value"),
    ],
)
def test_a_null_has_its_reason(marts: Marts, coin_id: str, metric: str, time: Any, reason: str) -> None:
    found = marts.explain(coin_id, metric, time)
    assert found["value"] is None
    assert found["is_equal"]
    assert reason in found["null_reason"]


def test_latest_is_the_newest_row(marts: Marts) -> None:
    last = at(DAYS * 24 - 1)
    assert marts.explain("btc", "volatility_24h", "latest")["key"]["opened_at"] == last.isoformat()
    assert marts.explain("bitcoin", "rsi_14", "latest")["key"]["date"] == last.date().isoformat()
    assert marts.explain("ethereum", "price_usd", "latest")["key"]["snapshot_at"] == SNAPSHOT_AT.isoformat()


def test_the_mart_is_chosen_by_the_form_of_the_time_or_by_its_name(marts: Marts) -> None:
    day, hour = "2026-06-10", "2026-06-10T14:25+02:00"
    assert marts.explain("bitcoin", "volatility_30d", hour)["mart"] == "fct_prices"
    assert marts.explain("bitcoin", "volatility_30d", hour)["key"]["opened_at"] == "2026-06-10T12:00:00+00:00"
    assert marts.explain("bitcoin", "volatility_30d", day)["mart"] == "fct_daily_summary"
    assert marts.explain("bitcoin", "rsi_14", hour)["key"] == {"crypto_id": "bitcoin", "date": "2026-06-10"}
    week = marts.explain("bitcoin", "fct_candles.close", day)
    assert week["key"] == {"crypto_id": "bitcoin", "timeframe": "week", "started_on": "2026-06-08"}
    month = marts.explain("bitcoin", "marts.fct_candles.close", day, timeframe="month")
    assert month["key"]["started_on"] == "2026-06-01"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("nothing", "close", "2026-06-10"), ["nothing"]),
        (("FLOW", "close", "2026-06-10"), ["flow-chain", "idle"]),
        (("", "close", "2026-06-10"), ["COIN"]),
        (("bitcoin", "volatility_31d", "2026-06-10"), ["volatility_30d"]),
        (("bitcoin", "nowhere.close", "2026-06-10"), ["fct_prices"]),
        (("bitcoin", "close", "yesterday"), ["yesterday"]),
        (("bitcoin", "close", "2020-06-10T10:00"), ["2026-01-01"]),
        (("bitcoin", "close", "2030-06-10"), ["2026-08-18"]),
        (("bitcoin", "ma_7d", "2026-06-10"), ["fct_prices", "T10:00"]),
        (("bitcoin", "close", at(HALT.start).isoformat()), ["exchange_halt"]),
        (("ethereum", "close", at(LOST.start).date().isoformat()), ["missing_locally"]),
        (("bitcoin", "price_usd", "2026-06-10T10:00"), ["snapshot"]),
        (("bitcoin", "correlation", "2026-06-10"), ["bitcoin/ethereum"]),
        (("bitcoin/ethereum", "close", "2026-06-10"), ["fct_daily_summary"]),
        (("bitcoin/ethereum", "correlation", "2026-06-10", "--window-days", "365"), ["window"]),
        (("bitcoin/ethereum", "correlation", "latest", "--window-days", "365"), ["window"]),
        (("ethereum", "mean_30d", "2026-06-10"), ["bitcoin"]),
    ],
)
def test_bad_input_is_one_line_with_exit_code_2(marts: Marts, arguments: tuple[str, ...], names: list[str]) -> None:
    done = marts.command("explain", *arguments)
    assert done.exit_code == 2, done.output
    assert len(done.output.strip().splitlines()) == 1
    assert all(name in done.output for name in names), done.output


def test_a_database_without_marts_is_one_line(marts: Marts, tmp_path: Path, postgres: Any) -> None:
    empty = Marts(marts.chain, tmp_path)
    empty.environment["PGDATABASE"] = postgres.database
    done = empty.command("explain", "bitcoin", "close", "2026-06-10")
    assert (done.exit_code, len(done.output.strip().splitlines())) == (2, 1)


@pytest.mark.parametrize("server", ["MINIO_ENDPOINT", "PGPORT"])
def test_a_server_that_is_down_is_one_line_with_exit_code_1(marts: Marts, monkeypatch: Any, server: str) -> None:
    value = "127.0.0.1:1" if server == "MINIO_ENDPOINT" else "1"
    monkeypatch.setitem(marts.environment, server, value)
    monkeypatch.setitem(marts.environment, "TICKMART_POSTGRES_PATIENCE_SECONDS", "0")
    done = marts.command("explain", "bitcoin", "close", at(500).isoformat())
    assert done.exit_code == 1, done.output
    assert len(done.output.strip().splitlines()) == 1


def test_the_command_prints_text_or_one_json_object_with_exact_numbers(marts: Marts) -> None:
    arguments = ("explain", "bitcoin", "close", at(CORRECTED).isoformat())
    text, as_json = marts.command(*arguments), marts.command(*arguments, "--json")
    assert (text.exit_code, as_json.exit_code) == (0, 0)
    found = json.loads(as_json.output)
    query = "select close::text from marts.fct_prices where opened_at = %s and crypto_id = 'bitcoin'"
    [(value,)] = marts.chain.ask(query, (at(CORRECTED),))
    assert found["value"] == found["recalculated"] == value
    entry = found["bronze"]["read"][0]
    for shown in (value, entry["object_key"], entry["sha256"], URL, "no_extreme_jump"):
        assert shown in text.output


@contextmanager
def changed(chain: Chain, change: str) -> Iterator[None]:
    """Change the close of the corrected bar in the database, for the block."""
    where = {"raw": "symbol = 'BTCUSDT' and open_time", "marts": "crypto_id = 'bitcoin' and opened_at"}
    table = {"raw": "raw.binance_klines", "marts": "marts.fct_prices"}[change]
    [(before,)] = chain.ask(f"select close from {table} where {where[change]} = %s", (at(CORRECTED),))
    statement = f"update {table} set close = %s where {where[change]} = %s"
    chain.ask(statement, (before - Decimal("0.00000001"), at(CORRECTED)))
    try:
        yield
    finally:
        chain.ask(statement, (before, at(CORRECTED)))


@pytest.mark.parametrize(("layer", "equals_raw", "different_rows"), [("marts", False, 0), ("raw", False, 1)])
def test_a_value_changed_by_hand_in_its_last_digit_is_found(
    marts: Marts, layer: str, equals_raw: bool, different_rows: int
) -> None:
    with changed(marts.chain, layer):
        done = marts.command("explain", "bitcoin", "close", at(CORRECTED).isoformat(), "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["is_equal"], found["bronze"]["rows_different"]) == (1, equals_raw, different_rows)


def test_an_object_that_was_replaced_or_is_gone_is_named(marts: Marts) -> None:
    key = klines_key("1h", at(500).date())
    body = marts.chain.lake.get(key)
    assert body is not None
    try:
        marts.chain.lake.remove(key)
        gone = marts.explain("bitcoin", "close", at(500))
        marts.chain.lake.put(key, b"no Parquet")
        damaged = marts.explain("bitcoin", "close", at(500))
    finally:
        marts.chain.lake.put(key, body)
    for found in (gone, damaged):
        assert found["is_equal"]
        assert not is_confirmed(found)
        assert found["bronze"]["read"][0]["problem"]


def test_values_lead_to_merged_objects_as_they_led_to_their_days(marts: Marts) -> None:
    """The last test of the module: no other one finds the objects of single days."""
    chain, now = marts.chain, datetime(2026, 12, 10, tzinfo=UTC)
    done = compact(
        chain.lake, chain.connection, (KLINES, MARKETS, FEAR_GREED), now, "compaction", remove_after=timedelta()
    )
    assert done.problems == ()
    corrected = marts.explain("bitcoin", "close", at(CORRECTED))
    [entry] = corrected["bronze"]["read"]
    assert entry["object_key"] == f"binance/klines/interval=1h/date={at(CORRECTED):%Y-%m}-01/month.parquet"
    assert (entry["problem"], entry["rows"], entry["fetched_at"]) == (None, 1, FETCHED + timedelta(days=1))
    month = marts.explain("bitcoin", "volatility_30d", at(CORRECTED))
    assert month["bronze"]["objects"] == 2
    index = marts.explain("bitcoin", "fct_sentiment_daily.value", CORRECTED_INDEX_DAY)
    assert index["bronze"]["read"][0]["object_key"].endswith("/month.parquet")
    for found in (corrected, month, index, marts.explain("ethereum", "price_usd", SNAPSHOT_AT)):
        assert is_confirmed(found), found
        assert found["bronze"]["rows_compared"] > 0
