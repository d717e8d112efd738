"""Suites over a warehouse that `tickmart run` loaded: each check can fail, results are recorded and shown in Data Docs.

One warehouse for the module: a test that corrupts it restores it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import dagster as dg
import pyarrow as pa
import pytest

from ingestion.bronze.lake import Lake
from ingestion.database import connections
from ingestion.datasets import Dataset
from ingestion.ops import checks as ops_checks
from ingestion.settings import ObjectStore, Postgres, load_settings, without_secrets
from ingestion.simulator.server import simulator
from ingestion.sources.binance.dataset import KLINES, klines_key
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.alerting import outbox
from orchestration.assets.raw import RAW
from orchestration.progress import ignore_progress
from orchestration.quality import data_docs, mart_queries, suites, validation
from orchestration.quality import queries as quality_queries
from orchestration.quality.checks import BRONZE_CHECKS, CHECKS
from orchestration.quality.news_queries import HEADLINES as HEADLINES_RECENT
from orchestration.quality.onchain_queries import ONCHAIN_RECONCILIATION
from orchestration.quality.runner import SuiteResult, validate_query
from orchestration.quality.suites import Suite
from orchestration.resources import Stores
from support.cli import ROOT, TICKMART, TIMEOUT_S, UNIVERSE, clean_environment
from support.database import bucket_of, fresh_database

CANARY = "canary-7f3a9c"
RESOURCES = {"stores": Stores(), "progress": ignore_progress}


@dataclass
class Loaded:
    """A warehouse with thirty days of three assets, and the run that loaded them."""

    env: dict[str, str]
    home: Path
    postgres: Postgres
    store: ObjectStore
    summary: dict[str, Any]

    def tickmart(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [TICKMART, *arguments, "--json"], env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout)

    def execute(self, *statements: str) -> None:
        with (
            connections.closing(connections.connect(self.postgres)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("set time zone 'UTC'")
            for statement in statements:
                cursor.execute(statement)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with connections.closing(connections.connect(self.postgres)) as connection, connection.cursor() as cursor:
            cursor.execute("set time zone 'UTC'")
            cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def corrupted(self, *statements: str) -> Iterator[None]:
        """Run statements, and restore the tables and views that they name."""
        names = sorted(set(re.findall(r"\b(?:raw|ops|marts|staging)\.\w+", " ".join(statements))))
        views = [n for n in names if n.startswith("staging.")]
        tables = [n for n in names if n not in views]
        definitions = {n: self.ask(f"select pg_get_viewdef('{n}'::regclass)")[0][0] for n in views}
        self.execute(*(f"create table public.{n.replace('.', '_')} as table {n}" for n in tables))
        try:
            self.execute(*statements)
            yield
        finally:
            self.execute(
                *(f"create or replace view {n} as {text}" for n, text in definitions.items()),
                *(f"delete from {n}" for n in tables),
                *(f"insert into {n} {overriding(n)} table public.{n.replace('.', '_')}" for n in tables),
                *(f"drop table public.{n.replace('.', '_')}" for n in tables),
            )


def overriding(table: str) -> str:
    return "overriding system value" if table in ("ops.check_results",) else ""


@pytest.fixture(scope="module")
def loaded(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("quality")
    (folder / "universe.csv").write_text(UNIVERSE)
    store = bucket_of(stack_env)
    with fresh_database(stack_env) as owner, simulator(seed=5) as sim, pytest.MonkeyPatch.context() as patch:
        settings = (
            "BINANCE_",
            "BLOCKCHAIN_",
            "COINGECKO_",
            "COINMETRICS_",
            "FEAR_GREED_",
            "TICKMART_",
            "PG",
            "MINIO_",
            "DAGSTER_",
            "DBT_",
        )
        env = clean_environment() | {
            **sim.urls(),
            "TICKMART_HOME": str(folder / "home"),
            "TICKMART_UNIVERSE": str(folder / "universe.csv"),
            "TICKMART_COINGECKO_CALLS_PER_MINUTE": "600",
            "COINGECKO_API_KEY": CANARY,
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
            "PGDATABASE": owner.database,
            "MINIO_ENDPOINT": store.endpoint, "MINIO_BUCKET": store.bucket,
            "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key,
        }  # fmt: skip
        made = Loaded(env, folder / "home", owner, store, {})
        code, made.summary = made.tickmart("run")
        assert code == 0, made.summary
        for name, value in env.items():
            if name.startswith(settings):
                patch.setenv(name, value)
        patch.setenv("TICKMART_PG_QUALITY_RO_ROLE", "quality_ro")
        yield made


@pytest.fixture(scope="module")
def yesterday(loaded: Loaded) -> date:
    """The newest complete day."""
    return loaded.ask("select max(open_time)::date from raw.binance_klines")[0][0] - timedelta(days=1)


@pytest.fixture(scope="module")
def queries(loaded: Loaded, yesterday: date) -> dict[Suite, str]:
    """Each suite's query over the newest complete day, and over what the run loaded of the other datasets."""
    with connections.closing(connections.connect(loaded.postgres, "quality_ro")) as connection:
        snapshots = ops_checks.newest_objects(connection, MARKETS, 31)
        history = ops_checks.newest_objects(connection, FEAR_GREED, 31)
    span = [(yesterday, yesterday + timedelta(days=2))]
    return {
        suites.KLINES_COMPLETENESS: quality_queries.klines_completeness(span),
        **{s: quality_queries.freshness(s.asset[1], SLA_HOURS.get(s.asset[1], 2)) for s in suites.FRESHNESS},
        suites.KLINES_RECONCILIATION: quality_queries.klines_reconciliation(span),
        suites.MARKETS_RECONCILIATION: quality_queries.markets_reconciliation(snapshots),
        suites.FEAR_GREED_RECONCILIATION: quality_queries.fear_greed_reconciliation(history),
        suites.FCT_PRICES: mart_queries.fct_prices(span),
        suites.DIVERGENCE: mart_queries.DIVERGENCE,
        suites.ONCHAIN_RECONCILIATION: ONCHAIN_RECONCILIATION,
        suites.HEADLINES_RECENT: HEADLINES_RECENT,
    }


BAR = "symbol = 'ETHUSDT' and open_time = '{day} 05:00+00'"
HOUR = "crypto_id = 'ethereum' and opened_at = '{day} 05:00+00'"
NEWEST = "crypto_id = 'ethereum' and opened_at = (select max(opened_at) from marts.fct_prices)"
BAR_COLUMNS = "symbol, interval, open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, "
BAR_COLUMNS += "taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id"
_NEXT_BAR = BAR_COLUMNS.replace("open_time", "open_time + interval '{later}'", 1)
DAYS_OBJECT = "object_key = 'binance/klines/interval=1h/date={day}/bars.parquet'"
WEEKS_BEFORE = "object_key like 'binance/klines/interval=1h/%' and object_key < 'binance/klines/interval=1h/date={day}'"


def _without(view: str, condition: str) -> str:
    """A statement that makes a view leave rows out, as a wrong model would."""
    filtered = f"create or replace view {view} as select * from (%s) as v where not ({condition})"
    text = f"rtrim(pg_get_viewdef('{view}'::regclass), ';')"
    return f"do $$ begin execute format('{filtered}', {text}); end $$"


def _insert_bar(later: str) -> str:
    return (
        f"insert into raw.binance_klines ({BAR_COLUMNS}) select {_NEXT_BAR.format(later=later)} "
        f"from raw.binance_klines where {BAR}"
    )


ONCHAIN = ("onchain_daily_coinmetrics", "onchain_daily_blockchain")
NEWS = {"headlines_gdelt": 24, "headlines_hackernews": 72, "headlines_rss": 24}
SLA_HOURS = {"fear_greed": 26, **dict.fromkeys(ONCHAIN, 48), **NEWS, "news_tone_gdelt": 48}
SOME = "source = 'gdelt' and external_id in (select external_id from raw.headlines_gdelt order by 1 limit {n})"
CORRUPTIONS: dict[tuple[str, str], list[str]] = {
    ("klines_completeness", "symbol_days_requested"): [
        "delete from ops.coverage where symbol = 'ETHUSDT' and date = '{day}'"
    ],
    ("klines_completeness", "no_missing_bars"): [f"delete from raw.binance_klines where {BAR}"],
    ("klines_completeness", "bars_per_day_at_most_24"): [_insert_bar("30 minutes")],
    **{
        (f"{dataset}_freshness", check): statements
        for dataset, checks in {
            "binance_klines": {
                "has_data": ["delete from raw.binance_klines"],
                "data_within_sla": [
                    "delete from raw.binance_klines where open_time > current_timestamp - interval '5 hours'"
                ],
                "no_future_data": [_insert_bar("4 days")],
            },
            "coingecko_markets": {
                "has_data": ["delete from raw.coingecko_markets"],
                "data_within_sla": ["update raw.coingecko_markets set snapshot_at = snapshot_at - interval '3 hours'"],
                "no_future_data": ["update raw.coingecko_markets set snapshot_at = snapshot_at + interval '3 hours'"],
            },
            "fear_greed": {
                "has_data": ["delete from raw.fear_greed"],
                "data_within_sla": ["delete from raw.fear_greed where date > current_date - 4"],
                "no_future_data": [
                    "insert into raw.fear_greed (date, value, classification, batch_id) "
                    "values (current_date + 3, 50, 'Neutral', 'test')"
                ],
            },
            **{
                name: {
                    "has_data": [f"delete from raw.{name}"],
                    "data_within_sla": [f"delete from raw.{name} where date > current_date - 5"],
                    "no_future_data": [f"update raw.{name} set date = date + 8000"],
                }
                for name in (*ONCHAIN, "news_tone_gdelt")
            },
            **{
                name: {
                    "has_data": [f"delete from raw.{name}"],
                    "data_within_sla": [f"update raw.{name} set published_at = published_at - interval '80 hours'"],
                    "no_future_data": [f"update raw.{name} set published_at = published_at + interval '9000 days'"],
                }
                for name in NEWS
            },
        }.items()
        for check, statements in checks.items()
    },
    ("klines_reconciliation", "raw_matches_bronze"): [
        f"update ops.load_ledger set rows = rows + 1 where {DAYS_OBJECT}"
    ],
    ("klines_reconciliation", "staging_matches_raw"): [
        # A bar of a symbol that is no longer tracked, in bronze and raw, which the view leaves out.
        f"insert into raw.binance_klines ({BAR_COLUMNS}) "
        f"select {BAR_COLUMNS.replace('symbol', chr(39) + 'OLDUSDT' + chr(39), 1)} from raw.binance_klines where {BAR}",
        f"update ops.load_ledger set rows = rows + 1 where {DAYS_OBJECT}",
        _without("staging.stg_binance__ohlcv", "binance_symbol = ''OLDUSDT''"),
    ],
    ("klines_reconciliation", "fct_prices_matches_staging"): [f"delete from marts.fct_prices where {HOUR}"],
    ("klines_reconciliation", "daily_rows_not_below_band"): [
        f"update ops.load_ledger set rows = rows * 2 where {WEEKS_BEFORE}"
    ],
    ("klines_reconciliation", "daily_rows_not_above_band"): [
        f"update ops.load_ledger set rows = rows / 2 where {WEEKS_BEFORE}"
    ],
    ("markets_reconciliation", "raw_matches_bronze"): [
        "update ops.load_ledger set rows = rows + 1 where dataset = 'coingecko_markets'"
    ],
    ("markets_reconciliation", "staging_matches_raw"): [
        _without("staging.stg_coingecko__markets", "crypto_id = ''ethereum''"),
        "delete from marts.fct_market_snapshots where crypto_id = 'ethereum'",
    ],
    ("markets_reconciliation", "fct_market_snapshots_matches_staging"): [
        "delete from marts.fct_market_snapshots where crypto_id = 'ethereum'"
    ],
    **{
        ("markets_reconciliation", check): [
            "insert into ops.load_ledger select replace(object_key, 'date=20', 'date=19'), dataset, sha256, etag, "
            f"{rows}, 0, 0, 0, batch_id, loaded_at from ops.load_ledger where dataset = 'coingecko_markets'",
            *(
                f"insert into ops.load_ledger select replace(object_key, 'date=19', 'date=1{n}'), dataset, sha256, "
                "etag, rows, 0, 0, 0, batch_id, loaded_at from ops.load_ledger "
                "where object_key like 'coingecko/markets/date=19%'"
                for n in range(5, 9)
            ),
        ]
        for check, rows in {
            "snapshot_rows_not_below_band": "rows * 2",
            "snapshot_rows_not_above_band": "rows / 2",
        }.items()
    },
    ("fear_greed_reconciliation", "raw_has_bronze_days"): [
        "update ops.load_ledger set rows = rows + 1 where dataset = 'fear_greed'"
    ],
    ("fear_greed_reconciliation", "staging_matches_raw"): [
        _without("staging.stg_alternative_me__fear_greed", "date = ''{day}''"),
        "delete from marts.fct_sentiment_daily where date = '{day}'",
    ],
    ("fear_greed_reconciliation", "fct_sentiment_daily_matches_staging"): [
        "delete from marts.fct_sentiment_daily where date = '{day}'"
    ],
    ("fear_greed_reconciliation", "few_missing_days"): [
        f"delete from {table} where date between date '{{day}}' - 9 and date '{{day}}' - 6"
        for table in ("raw.fear_greed", "marts.fct_sentiment_daily")
    ]
    + ["update ops.load_ledger set rows = rows - 4 where dataset = 'fear_greed'"],
    ("fear_greed_reconciliation", "daily_step_in_range"): [
        "update raw.fear_greed set value = case when date = '{day}' then 2 else 98 end where date >= '{day}'"
    ],
    ("fct_prices", "has_bars"): ["delete from marts.fct_prices"],
    ("fct_prices", "vwap_between_low_and_high"): [f"update marts.fct_prices set vwap_1h = high * 1.01 where {HOUR}"],
    ("fct_prices", "taker_volume_at_most_volume"): [
        f"update marts.fct_prices set taker_buy_volume = volume + 1 where {HOUR}"
    ],
    ("fct_prices", "metrics_are_finite"): [f"update marts.fct_prices set volatility_7d = 'NaN' where {HOUR}"],
    ("fct_prices", "moving_averages_near_price"): [f"update marts.fct_prices set ma_7d = 101 * close where {HOUR}"],
    ("fct_prices", "volatility_30d_in_range"): [f"update marts.fct_prices set volatility_30d = 51 where {NEWEST}"],
    ("fct_prices", "return_1h_in_range"): [f"update marts.fct_prices set return_1h_pct = 501 where {HOUR}"],
    ("fct_prices", "no_extreme_jump"): [
        f"update marts.fct_prices set volatility_30d = 0.5 where {HOUR.replace('05:00', '04:00')}",
        f"update marts.fct_prices set log_return_1h = 0.6 where {HOUR}",
    ],
    ("divergence", "median_divergence_in_range"): ["update marts.fct_market_snapshots set price_usd = price_usd * 1.1"],
    ("divergence", "coin_divergence_in_range"): [
        "update marts.fct_market_snapshots set price_usd = price_usd * 1.5 where crypto_id = 'ethereum'"
    ],
    ("headlines_recent", "headlines_every_day"): [
        "delete from raw.headlines_gdelt where published_at::date = current_date - 2"
    ],
    ("headlines_recent", "english_headlines_scored"): [f"delete from raw.headline_scores where {SOME.format(n=1)}"],
    ("headlines_recent", "scores_not_below_range"): [
        f"update raw.headline_scores set compound = -2 where {SOME.format(n=1)}"
    ],
    ("headlines_recent", "scores_not_above_range"): [
        f"update raw.headline_scores set compound = 2 where {SOME.format(n=1)}"
    ],
    ("headlines_recent", "neutral_share_in_band"): ["update raw.headline_scores set compound = compound / 10"],
    ("headlines_recent", "untagged_share_in_band"): ["update raw.headline_scores set crypto_ids = '{}'"],
    ("headlines_recent", "text_is_not_damaged"): [
        f"update raw.headlines_gdelt set title = 'CafÃ© â€™' where {SOME.format(n=20)}"
    ],
    ("headlines_recent", "no_burst_of_copies"): [
        "update marts.fct_headlines set copy_count = 60 where date = (select max(date) from marts.fct_headlines)"
    ],
    ("onchain_reconciliation", "transaction_counts_agree"): [
        "update marts.fct_onchain_market_daily set transaction_count_blockchain = transaction_count_blockchain * 1.02"
        " where date between date '{day}' - 364 and date '{day}' - 150"
    ],
}


def failures(found: SuiteResult) -> dict[str, str]:
    return {check.id: check.status for check in found.failures}


def test_every_suite_passes_after_a_fresh_run(queries):
    assert {suite.name: failures(validate_query(suite, query)) for suite, query in queries.items()} == {
        suite.name: {} for suite in queries
    }


def test_every_check_has_a_corruption(queries):
    assert set(CORRUPTIONS) == {(suite.name, rule.id) for suite in queries for rule in suite.rules}


@pytest.mark.parametrize(("name", "check_id"), CORRUPTIONS)
def test_one_corruption_fails_exactly_its_check(loaded, queries, yesterday, name, check_id):
    suite = next(s for s in queries if s.name == name)
    statements = [s.replace("{day}", yesterday.isoformat()) for s in CORRUPTIONS[name, check_id]]
    with loaded.corrupted(*statements):
        found = validate_query(suite, queries[suite])
    assert failures(found) == {check_id: "failed"}, found.failures
    [check_result] = [v for v in found.checks if v.id == check_id]
    assert check_result.severity == next(r.severity for r in suite.rules if r.id == check_id)
    if check_result.failed_rows:
        assert set(suite.sample_columns) <= set(check_result.sample[0]), "the failed row is shown"


def test_a_known_halt_is_no_missing_bar(loaded, queries, yesterday):
    at = f"{yesterday} 05:00+00"
    with loaded.corrupted(
        f"delete from raw.binance_klines where open_time = '{at}'",
        "insert into ops.gaps (symbol, interval, gap_start, gap_end, bars, kind) "
        f"select binance_symbol, '1h', '{at}', timestamptz '{at}' + interval '1 hour', 1, 'exchange_halt' "
        "from raw.universe",
    ):
        assert failures(validate_query(suites.KLINES_COMPLETENESS, queries[suites.KLINES_COMPLETENESS])) == {}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select * from raw.no_such_table", "no_such_table"),
        ("select crypto_id, opened_at from marts.fct_prices", "vwap_in_bar"),
        (
            "select crypto_id, opened_at, 1 / (close - close) = 1 as vwap_in_bar from marts.fct_prices",
            "division by zero",
        ),
    ],
    ids=["missing table", "missing column", "query that raises"],
)
def test_a_check_that_cannot_be_evaluated_is_an_error_and_never_a_pass(loaded, query, message):
    found = validate_query(suites.FCT_PRICES, query)
    assert any(check.status == "error" and message in check.observed for check in found.checks), found.checks
    rows = [check.as_row("marts/fct_prices", blocking=False) for check in found.checks]
    assert all(row["status"] != "passed" for row in rows if row["check_name"] != "has_bars")


def test_a_page_that_cannot_be_written_is_named_and_costs_no_result(loaded, queries, tmp_path, monkeypatch):
    (tmp_path / "data_docs").write_text("a file where the folder should be")
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    found = validation.validate_rows(suites.DIVERGENCE.name, "a_run", queries[suites.DIVERGENCE])
    assert {check.id for check in found.result.checks} == {rule.id for rule in suites.DIVERGENCE.rules}
    assert (found.page, found.trace) == (None, None)
    assert "divergence" in found.page_error


def test_validations_share_their_connections(loaded, queries):
    others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    open_after = []
    for suite in (suites.DIVERGENCE, suites.FCT_PRICES, suites.DIVERGENCE):
        validate_query(suite, queries[suite])
        open_after += loaded.ask(others)
    # Great Expectations has two: to test an asset, and to evaluate it.
    assert open_after == [(2,)] * 3


@pytest.mark.parametrize("name", ["klines_completeness", "klines_reconciliation", "fct_prices"])
def test_a_query_reads_no_bar_outside_of_its_span(loaded, queries, name):
    query = next(q for s, q in queries.items() if s.name == name)
    with connections.closing(connections.connect(loaded.postgres)) as connection, connection.cursor() as cursor:
        # A month of three assets is small enough for a sequential scan to be right; years of fifty are not.
        cursor.execute("set time zone 'UTC'; set enable_seqscan = off")
        cursor.execute(f"explain (analyze, format json) {query}")
        plan = cursor.fetchone()[0][0]["Plan"]
    read = {table: rows for table, rows in rows_read(plan) if table.startswith(("binance_klines", "fct_prices"))}
    assert read
    # Three assets, two days, an hour before each day; the walk over the symbols reads one row per symbol.
    assert max(read.values()) <= 3 * (2 * 24 + 2) + 4, read


def rows_read(node: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Each scan's table and the rows that it read, those it threw away included."""
    if "Relation Name" in node:
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield node["Relation Name"], round((node["Actual Rows"] + removed) * node["Actual Loops"])
    for child in node.get("Plans", []):
        yield from rows_read(child)


# -- ops, Dagster and Data Docs ----------------------------------------------------------------------------------------


def test_every_result_of_every_suite_is_recorded(loaded):
    rows = loaded.ask(
        "select distinct asset, check_name, severity, blocking from ops.check_results "
        "where source = 'great_expectations'"
    )
    wanted = {
        (s.asset_path, r.id, r.severity, s.blocking and r.severity == "error") for s in suites.SUITES for r in s.rules
    }
    assert set(rows) == wanted
    assert loaded.ask("select count(*) from ops.check_results where observed is null or expected is null") == [(0,)]


def test_a_run_has_a_page_per_suite_and_an_index_that_links_to_it(loaded):
    folder = loaded.home / "data_docs"
    pages = {path.stem for path in (folder / loaded.summary["run_id"]).glob("*.html")}
    assert pages == {suite.name for suite in suites.SUITES}
    for suite in suites.SUITES:
        text = unescape((folder / loaded.summary["run_id"] / f"{suite.name}.html").read_text())
        assert [rule.id for rule in suite.rules if rule.description not in text] == []
    index = (folder / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', index)
    assert len(links) >= len(pages)
    assert all((folder / link).is_file() for link in links)


def test_data_docs_as_served_have_no_dead_link_and_no_empty_status(loaded):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(loaded.home / "data_docs"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        todo, seen, cells = [f"http://127.0.0.1:{server.server_port}/index.html"], set(), []
        while todo:
            url = todo.pop()
            seen.add(url)
            with urlopen(url) as answer:  # an HTTP 404 is raised
                page = answer.read().decode()
            links = re.findall(r"(?:href|src)=[\"']([^\"'#]+)", page)
            todo += {urljoin(url, unescape(link)) for link in links} - seen - set(todo)
            assert "<i " not in page, "an icon needs a font that is not there"
            for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
                heads = [text(head) for head in re.findall(r"<th\b.*?</th>", table, re.DOTALL)]
                if "Status" in heads:
                    rows = [re.findall(r"<td\b.*?</td>", row, re.DOTALL) for row in table.split("<tr")[1:]]
                    cells += [text(row[heads.index("Status")]) for row in rows if row]
        server.shutdown()
    assert len(seen) > len(suites.SUITES)
    assert set(cells) == {"passed"}
    assert len(cells) == sum(len(suite.rules) for suite in suites.SUITES)


def text(cell: str) -> str:
    """What a cell of a page shows."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split())


def test_data_docs_contact_no_other_host_and_contain_no_secret(loaded):
    secrets = [loaded.postgres.password, loaded.store.secret_key, CANARY]
    for page in (loaded.home / "data_docs").rglob("*"):
        if page.is_file():
            text = page.read_text()
            assert not [s for s in secrets if s in text], page
            assert "postgresql" not in text.lower()
            assert not re.findall(r"(?:src|href)=[\"']https?://", text), page
            assert "<script" not in text


def test_data_docs_show_failed_rows_and_escape_html(loaded, queries, tmp_path, yesterday):
    with loaded.corrupted(
        "update marts.fct_market_snapshots set price_usd = 2 * price_usd where crypto_id = 'ethereum'"
    ):
        rows = f"select * from ({mart_queries.DIVERGENCE}) as d union all select '<b>x</b>', 1, 1, 99, 0"
        found = validate_query(suites.DIVERGENCE, rows)
    page = data_docs.publish(tmp_path, "run-1", suites.DIVERGENCE, found, datetime.now(UTC))
    text = page.read_text()
    assert "ethereum" in text
    assert "coin_divergence_in_range" in text
    assert "<b>x</b>" not in text
    assert "warned" in (tmp_path / "data_docs" / "index.html").read_text()


def test_data_docs_keep_the_newest_runs(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(data_docs, "KEEP_RUNS", 3)
    found = validate_query(suites.DIVERGENCE, mart_queries.DIVERGENCE)
    for n in range(6):
        page = data_docs.publish(tmp_path, f"run-{n}", suites.DIVERGENCE, found, datetime.now(UTC))
        os.utime(page.with_name("results.json"), (n, n))
    data_docs.index(tmp_path)
    folder = tmp_path / "data_docs"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["run-3", "run-4", "run-5"]
    assert "run-2" not in (folder / "index.html").read_text()


def test_an_error_is_shown_without_the_login_in_its_url(monkeypatch):
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_PASSWORD", CANARY)
    shown = without_secrets(f"could not reach postgresql+psycopg2://someone:{CANARY}@host:1/db?x, password={CANARY}")
    assert CANARY not in shown
    assert "someone" not in shown


def test_a_failed_login_is_an_error_without_the_password(loaded, monkeypatch):
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_USER", "nobody_here")
    monkeypatch.setenv("TICKMART_PG_QUALITY_RO_PASSWORD", CANARY)
    [check_result] = validate_query(suites.DIVERGENCE, mart_queries.DIVERGENCE).checks
    assert check_result.status == "error"
    assert CANARY not in str(check_result)


def test_great_expectations_is_not_imported_before_a_suite_runs():
    imports = "import orchestration.cli, orchestration.definitions, sys; print('great_expectations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_dagster_shows_severity_observed_and_expected_of_each_check(loaded):
    rows = loaded.ask(
        "select asset_key, evaluation_event from dagster.asset_check_executions "
        "where execution_status = 'SUCCEEDED' and evaluation_event is not null"
    )
    shown = {}
    for asset, event in rows:
        evaluation = json.loads(event)["dagster_event"]["event_specific_data"]
        shown[asset, evaluation["check_name"]] = evaluation["metadata"]
    dbt = [m for m in shown.values() if "unique_id" in m]
    assert len(dbt) > 30
    assert all({"severity", "status", "observed", "expected"} <= set(m) for m in dbt)
    mine = [shown[json.dumps(list(s.asset)), s.check] for s in suites.SUITES]
    assert all({"rows", "seconds", "expectations", "failures", "data_docs"} <= set(m) for m in mine)


def validate_and_load(dataset: Dataset, raw: list[Any]) -> dg.ExecuteInProcessResult:
    """Run the checks before a dataset's load and the assets `raw` behind them, in Dagster's order."""
    [check] = [c for c in BRONZE_CHECKS if dg.AssetKey(["bronze", dataset.name]) in {k.asset_key for k in c.check_keys}]
    selection = dg.AssetSelection.checks(*check.check_keys) | dg.AssetSelection.assets(*raw)
    made = dg.Definitions(
        [dg.AssetSpec(["bronze", dataset.name]), *raw], asset_checks=[check], resources=RESOURCES,
        jobs=[dg.define_asset_job("validation", selection, executor_def=dg.in_process_executor)],
    )  # fmt: skip
    with dg.instance_for_test() as instance:
        return made.resolve_job_def("validation").execute_in_process(instance=instance)


def test_a_blocked_gate_prevents_the_load_and_a_passed_one_allows_it(loaded):
    lake = Lake(loaded.store)
    key = max(o.key for o in lake.list(f"{FEAR_GREED.prefix}/"))
    table, _ = lake.read(key)
    at = table.schema.get_field_index("value")
    wrong = pa.array([*table["value"].to_pylist()[:-1], 101], pa.int64())
    lake.write(key, table.set_column(at, table.schema.field(at), [wrong]))
    stage = "select status, rows from ops.run_stages where stage = 'raw' and run_id = '{}'"
    blocked = validate_and_load(FEAR_GREED, [RAW["fear_greed"]])
    assert blocked.success, "the steps behind the load continue"
    assert loaded.ask(stage.format(blocked.run_id)) == [("failed", 0)]
    assert loaded.ask("select count(*) from raw.fear_greed where value > 100") == [(0,)]
    lake.write(key, table)
    fixed = validate_and_load(FEAR_GREED, [RAW["fear_greed"]])
    assert loaded.ask(stage.format(fixed.run_id))[0][0] == "ok"


def test_a_suite_that_raises_is_an_error_and_blocks_the_gate(loaded, monkeypatch):
    monkeypatch.setenv("TICKMART_UNIVERSE", "/no/such/universe.csv")
    result = validate_and_load(MARKETS, [])
    found = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    # The gate is a warning to Dagster: a failed blocking check would skip the other datasets' models.
    assert found == {
        "expectations": (False, dg.AssetCheckSeverity.ERROR), "load_gate": (False, dg.AssetCheckSeverity.WARN),
    }  # fmt: skip
    with connections.closing(connections.connect(loaded.postgres, "ingest")) as connection:
        [reason] = ops_checks.failed_blocking_checks(connection, [result.run_id], "bronze/coingecko_markets")
    assert "/no/such/universe.csv" in reason


def run_check(suite: Suite) -> dg.ExecuteInProcessResult:
    """Run the check of one suite after the load, as a run of its own."""
    [check] = [c for c in CHECKS if dg.AssetCheckKey(dg.AssetKey(list(suite.asset)), suite.check) in c.check_keys]
    made = dg.Definitions(
        [dg.AssetSpec(list(suite.asset))], asset_checks=[check], resources=RESOURCES,
        jobs=[dg.define_asset_job("after", dg.AssetSelection.checks(*check.check_keys))],
    )  # fmt: skip
    with dg.instance_for_test() as instance:
        return made.resolve_job_def("after").execute_in_process(instance=instance, raise_on_error=False)


@pytest.mark.parametrize("suite", [suites.KLINES_RECONCILIATION, suites.FCT_PRICES], ids=lambda suite: suite.name)
def test_the_next_run_validates_once_what_a_killed_run_loaded(loaded, yesterday, monkeypatch, suite):
    key = klines_key("1h", yesterday)
    [(brought_by,)] = loaded.ask(f"select batch_id from ops.load_ledger where object_key = '{key}'")
    rows = "select count(*) from ops.check_results where run_id = '{}'"
    try:
        loaded.execute(
            f"update ops.load_ledger set batch_id = 'killed' where object_key = '{key}'",
            "insert into ops.runs values ('killed', 'refresh', now(), null, 'running')",
        )
        assert loaded.ask(rows.format(run_check(suite).run_id)) == [(0,)], "another run is still working on it"
        loaded.execute("update ops.runs set status = 'failed', ended_at = now() where run_id = 'killed'")
        with monkeypatch.context() as without:
            without.setenv("TICKMART_PG_QUALITY_RO_ROLE", "nobody")
            assert not run_check(suite).get_asset_check_evaluations()[0].passed
        found = run_check(suite)
        assert found.get_asset_check_evaluations()[0].passed
        counted = rows.format(found.run_id)
        assert loaded.ask(f"{counted} and check_name <> 'suite_runs'") == [(len(suite.rules),)], "it is repeated"
        assert loaded.ask(rows.format(run_check(suite).run_id)) == [(0,)], "a second time"
    finally:
        loaded.execute(
            f"update ops.load_ledger set batch_id = '{brought_by}' where object_key = '{key}'",
            "delete from ops.runs where run_id = 'killed'; delete from ops.judged_batches where batch_id = 'killed'",
        )


def open_incidents(loaded: Loaded) -> set[str]:
    """Evaluate the incidents; return the open ones about suites of the bars that could not run."""
    with connections.closing(connections.connect(loaded.postgres, "ingest")) as connection:
        outbox.evaluate(connection, load_settings(), datetime.now(UTC))
    query = (
        "select fingerprint from ops.incidents where recovered_at is null and fingerprint like '%klines:%suite_runs'"
    )
    return {fingerprint for (fingerprint,) in loaded.ask(query)}


def test_a_suite_that_runs_again_resolves_its_own_incident_alone(loaded, monkeypatch):
    [freshness] = [suite for suite in suites.FRESHNESS if suite.asset == suites.KLINES_COMPLETENESS.asset]
    both = (suites.KLINES_COMPLETENESS, freshness)
    incidents = [f"check_failed:raw/binance_klines:{suite.runs_id}" for suite in both]
    with monkeypatch.context() as without:
        without.setenv("TICKMART_PG_QUALITY_RO_ROLE", "nobody")
        for suite in both:
            run_check(suite)
    assert open_incidents(loaded) == set(incidents)
    run_check(freshness)
    assert open_incidents(loaded) == {incidents[0]}
    run_check(suites.KLINES_COMPLETENESS)
    assert open_incidents(loaded) == set()


def test_a_blocked_object_blocks_its_own_dataset_and_no_other(loaded):
    lake = Lake(loaded.store)
    # A day that no refresh requests again, so that nothing replaces it.
    key = sorted(o.key for o in lake.list(f"{KLINES.prefix}/interval=1h/"))[-10]
    table, _ = lake.read(key)
    at = table.schema.get_field_index("taker_buy_base_volume")
    bought = [table["volume"][0].as_py() + 1, *table["taker_buy_base_volume"].to_pylist()[1:]]
    lake.write(key, table.set_column(at, table.schema.field(at), [pa.array(bought, table.schema.field(at).type)]))
    snapshots = loaded.ask("select count(*) from raw.coingecko_markets")[0][0]
    bars = loaded.ask(
        "select count(*), md5(string_agg(k::text, '' order by symbol, open_time)) from raw.binance_klines k"
    )
    code, summary = loaded.tickmart("run")
    assert code == 1
    stages = {(s["stage"], s["dataset"]): s for s in summary["stages"]}
    assert stages["raw", "binance_klines"]["status"] == "failed"
    assert "records_meet_contract (1 of " in stages["raw", "binance_klines"]["detail"]["error"]
    assert (
        loaded.ask("select count(*), md5(string_agg(k::text, '' order by symbol, open_time)) from raw.binance_klines k")
        == bars
    )
    assert stages["raw", "coingecko_markets"]["status"] == "ok"
    assert stages["dbt", "models"]["status"] == "ok"
    assert loaded.ask("select count(*) from raw.coingecko_markets")[0][0] > snapshots
    assert loaded.ask("select max(snapshot_at) from marts.fct_market_snapshots") == loaded.ask(
        "select max(snapshot_at) from raw.coingecko_markets"
    )
