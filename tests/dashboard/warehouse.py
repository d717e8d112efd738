"""The warehouse that the dashboard's tests read: simulated raw data in a real Postgres, and copies of the database."""

import contextlib
import csv
import io
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
from psycopg2 import sql

from dashboard import database
from ingestion.database import migrate
from ingestion.settings import ROLES, Postgres
from ingestion.simulator.coins import UNIVERSE, all_coins, read_universe
from ingestion.simulator.market import DAY_MS, HOUR_MS, Market
from ingestion.simulator.shapes import Shapes

COINS, DAYS = 10, 130
SNAPSHOTS_HOURS_AGO = (25, 24, 12, 1, 0)
SNAPSHOT_COLUMNS = (
    *("name", "image", "current_price", "market_cap", "market_cap_rank", "total_volume", "high_24h", "low_24h"),
    *("price_change_24h", "price_change_percentage_24h", "market_cap_change_24h"),
    *("market_cap_change_percentage_24h", "circulating_supply", "total_supply", "max_supply"),
    *("ath", "ath_change_percentage", "ath_date", "last_updated", "price_change_percentage_1h_in_currency"),
    *("price_change_percentage_24h_in_currency", "price_change_percentage_7d_in_currency"),
)
HALTED_HOURS_AGO = range(50, 53)


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _copy(cursor, table: str, columns: str, rows) -> None:
    buffer = io.StringIO()
    for row in rows:
        buffer.write("\t".join("\\N" if cell is None else str(cell) for cell in row) + "\n")
    buffer.seek(0)
    cursor.copy_expert(f"copy {table} ({columns}) from stdin", buffer)


def load_simulated_raw(cursor) -> None:
    """Fill raw with ten coins over 130 days, a three-hour halt, snapshots and the index; ops with runs and checks."""
    market = Market(3, all_coins(read_universe(UNIVERSE)))
    shapes, now = Shapes(market), int(time.time() * 1000)
    hour = now // HOUR_MS * HOUR_MS
    with UNIVERSE.open() as file:
        assets = list(csv.DictReader(file))[:COINS]
    _copy(
        cursor,
        "raw.universe",
        "crypto_id, binance_symbol, name, category, batch_id",
        [(a["crypto_id"], a["binance_symbol"], a["name"], a["category"], "test") for a in assets],
    )
    for symbol in (asset["binance_symbol"] for asset in assets):
        coin = market.listed[symbol]
        prices, lots = coin.price_decimals, coin.volume_decimals
        rows = []
        for bar in market.bars(symbol, "1h", hour - DAYS * DAY_MS, hour).T.tolist():
            if (hour - bar[0]) // HOUR_MS in HALTED_HOURS_AGO:
                continue
            money = [f"{value / 10**prices:.{prices}f}" for value in bar[1:5]]
            rows.append(
                (
                    symbol,
                    "1h",
                    _instant(bar[0]),
                    *money,
                    bar[5] / 10**lots,
                    _instant(bar[0] + HOUR_MS - 1),
                    bar[6] / 10 ** (prices + lots),
                    bar[7],
                    bar[8] / 10**lots,
                    bar[9] / 10 ** (prices + lots),
                    "test",
                )
            )
        _copy(
            cursor,
            "raw.binance_klines",
            "symbol, interval, open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, "
            "taker_buy_base_volume, taker_buy_quote_volume, batch_id",
            rows,
        )
    for hours in SNAPSHOTS_HOURS_AGO:
        at = now - hours * HOUR_MS - 60_000
        snapshot = shapes.coingecko_markets(at, None, ("1h", "24h", "7d"), False, "market_cap_desc")
        _copy(
            cursor,
            "raw.coingecko_markets",
            "crypto_id, snapshot_at, symbol, payload, batch_id, " + ", ".join(SNAPSHOT_COLUMNS),
            [
                (r["id"], _instant(at), r["symbol"], "{}", "test", *(r[name] for name in SNAPSHOT_COLUMNS))
                for r in snapshot
            ],
        )
    _copy(
        cursor,
        "raw.fear_greed",
        "date, value, classification, batch_id",
        [
            (_instant(int(r["timestamp"]) * 1000)[:10], r["value"], r["value_classification"], "test")
            for r in shapes.fear_greed_rows(now, DAYS)
        ],
    )
    _load_onchain(cursor)
    _load_news(cursor)
    _load_bitcoin(cursor)
    load_live(cursor)
    cursor.execute(
        """
        insert into ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id)
        select dataset, dataset, '', '', 1, 1, 0, 0, 'test'
        from unnest(array['binance_klines', 'coingecko_markets', 'fear_greed']) as dataset;
        insert into ops.check_results
            (run_id, asset, check_name, source, severity, status, observed, expected, failed_rows, sample, checked_at)
        select
            'run-' || run, asset, check_name, 'great_expectations', 'warn',
            case when run = 0 and check_name = 'hours_without_trades' then 'failed' else 'passed' end,
            '3 hours', '0 hours', 3, '[{"hour": "2026-01-01T00:00:00Z"}]', now() - run * interval '1 hour'
        from generate_series(0, 5) as run
        cross join (
            values
                ('raw/binance_klines', 'hours_without_trades'),
                ('raw/coingecko_markets', 'ranks_are_unique'),
                ('raw/fear_greed', 'value_is_0_to_100')
        ) as checks (asset, check_name);
        insert into ops.runs (run_id, job, started_at, ended_at, status)
        select
            'run-' || run, 'market_refresh', now() - run * interval '1 hour',
            now() - run * interval '1 hour' + (20 + run) * interval '1 second',
            case when run = 2 then 'failed' else 'ok' end
        from generate_series(0, 5) as run;
        insert into ops.source_requests
            (source, endpoint, host, requested_at, http_status, latency_ms, bytes, attempt, weight)
        select 'binance', '/api/v3/klines', 'host', now() - n * interval '10 minutes',
            case when n % 10 = 0 then 429 else 200 end, 40 + n, 1000, 1, 2
        from generate_series(1, 100) as n;
        insert into ops.incidents (fingerprint, kind, severity, title, detail, opened_at, recovered_at)
        values
            (
                'a', 'gap_stays', 'warn', 'Three hours of BTCUSDT stay missing', 'Backfill them.',
                now() - interval '5 hours', null
            ),
            ('b', 'run_failed', 'error', 'A run failed', 'It works again.', now() - interval '1 day', now())
        """
    )


def _load_onchain(cursor) -> None:
    """Fill the on-chain series of both providers: twice as many days as candles, one missing, with a weekly cycle."""
    cursor.execute(
        """
        insert into raw.onchain_daily (source, asset, metric, date, value, source_url, fetched_at, batch_id)
        select
            source, 'btc', metric, current_date - n,
            round((size * (1 + 0.2 * sin(n * 2 * pi() / 7) + 0.1 * sin(n * n)))::numeric, 2), 'test', now(), 'test'
        from generate_series(1, %s) as n
        cross join (
            values
                ('coinmetrics', 'TxCnt', 400000), ('coinmetrics', 'AdrActCnt', 800000),
                ('coinmetrics', 'FeeTotNtv', 12.5), ('coinmetrics', 'HashRate', 9e8),
                ('coinmetrics', 'TxTfrCnt', 1200000),
                ('blockchain', 'n-transactions', 400144), ('blockchain', 'estimated-transaction-volume-usd', 5e9),
                ('blockchain', 'output-volume', 900000)
        ) as metrics (source, metric, size)
        where n <> 40
        """,
        (2 * DAYS,),
    )


def load_live(cursor) -> None:
    """Fill three hours of OKX tickers and trades of nine of the ten coins up to now, and what the stream recorded.

    Every coin has a ticker each 20 seconds but the third, whose last is five minutes old; the second lacks two minutes
    and has an order book without bids at the end.
    """
    today = datetime.now(UTC).date()
    for table in ("okx_trades", "okx_tickers"):
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            cursor.execute(
                f"create table if not exists raw.{table}_{day:%Y%m%d} partition of raw.{table}"
                f" for values from ('{day}+00') to ('{day + timedelta(days=1)}+00')"
            )
    cursor.execute(
        """
        insert into raw.okx_tickers (
            inst_id, ts, last, bid, ask, open_24h, high_24h, low_24h, quote_volume_24h, received_at, source_url,
            fetched_at, batch_id
        )
        select
            replace(binance_symbol, 'USDT', '-USDT'), ts, last, case when place > 2 or n > 0 then last * 0.9999 end,
            last * 1.0001, 1000 / place, last * 1.1, last * 0.9, 1e9 / place, ts, 'wss://test', ts, 'test'
        from (
            select *, row_number() over (order by binance_symbol) as place from raw.universe
        ) as coins
        cross join generate_series(0, 540) as n
        cross join lateral (
            select
                now() - n * interval '20 seconds' as ts,
                round((1000.0 / place * (1 + 0.01 * sin(n / 30.0 + place)))::numeric, 4) as last
        ) as quotes
        where place < 10 and (place <> 3 or n >= 15) and (place <> 2 or n not between 60 and 65);
        insert into raw.okx_trades (
            inst_id, trade_id, ts, price, size, side, fills, received_at, source_url, fetched_at, batch_id
        )
        select
            inst_id, 1000000 - row_number() over (partition by inst_id order by ts desc), ts, last, 0.5,
            case when extract(second from ts)::integer % 2 = 0 then 'buy' else 'sell' end, 1, ts, 'wss://test', ts,
            'test'
        from raw.okx_tickers;
        insert into ops.stream_minutes (
            stream, minute, messages, trades, tickers, duplicates, rejected, delay_p50_s, delay_p95_s
        )
        select
            'okx', date_trunc('minute', now()) - n * interval '1 minute', 60, 20, 40, n % 3, 0,
            0.4 + 0.1 * sin(n), 1.2 + 0.3 * sin(n)
        from generate_series(0, 180) as n;
        insert into ops.stream_gaps (
            inst_id, after_trade_id, before_trade_id, opened_at, closed_at, reason, filled_trades, is_filled
        )
        values
            ('BTC-USDT', 10, 14, now() - interval '2 hours', now() - interval '119 minutes', 'reconnect', 3, true),
            ('ETH-USDT', 20, 90, now() - interval '1 hour', null, 'reconnect', 0, false);
        insert into ops.stream_connections (connected_at, ended_at, reason)
        values
            (now() - interval '3 hours', now() - interval '2 hours', 'notice 64008'),
            (now() - interval '2 hours', null, null);
        insert into ops.stream_status (
            stream, received_at, sink_at, broker_bytes, broker_max_bytes, pending_messages, missing_assets,
            broker_id, last_sequence
        )
        values ('okx', now(), now(), 1000000, 100000000, 12, array['tron'], 'test', 1)
        """
    )


def _load_news(cursor) -> None:
    """Fill headlines with scores: four a day of two sources, one of them hostile, and GDELT's tone."""
    cursor.execute(
        """
        insert into raw.headlines (
            source, external_id, published_at, title, url, publisher, language, channel, source_url, fetched_at,
            batch_id
        )
        select
            (array['gdelt', 'rss'])[1 + mod(m, 2)], n || '-' || m,
            (current_date - n)::timestamptz + m * interval '1 hour',
            case when m = 0 and n = 1 then '<img src=x onerror=alert(1)> [link](javascript:alert(1)) ‮' else '' end
                || 'Headline ' || n || ' ' || m,
            'https://a.example/' || n || '/' || m || '_(x)', 'a.example', case when m = 3 then 'German' else 'en' end,
            'q', 'test', now(), 'test'
        from generate_series(0, %s) as n
        cross join generate_series(0, 3) as m;
        insert into raw.headline_scores (
            source, external_id, title_hash, score_version, compound, tag_version, crypto_ids, canonical_url, title_key
        )
        select
            source, external_id, '', 'v',
            case when language = 'en' then round(sin(hashtext(external_id))::numeric, 2) end,
            'v', case when external_id like '%%-1' then '{bitcoin,ethereum}' else '{}' end::text[], url, title
        from raw.headlines;
        insert into raw.news_tone_gdelt (topic, date, tone, source_url, fetched_at, batch_id)
        select 't', current_date - n, sin(n), 'test', now(), 'test' from generate_series(1, %s) as n
        """,
        (DAYS, DAYS),
    )


def _load_bitcoin(cursor) -> None:
    """Fill four weeks of Bitcoin blocks, one an hour, with a coinbase and two to six transactions."""
    cursor.execute(
        """
        create table raw.bitcoin_transactions_test partition of raw.bitcoin_transactions default;
        insert into raw.bitcoin_blocks (
            source_day, block_hash, block_number, block_timestamp, transaction_count, row_count, is_final, loaded_at,
            batch_id
        )
        select
            (opened_at at time zone 'UTC')::date, decode(md5(n::text) || md5(n::text), 'hex'), 900000 + n, opened_at,
            3 + n % 5, 3 + n % 5, true, now(), 'test'
        from (
            select n, date_trunc('day', now(), 'UTC') - interval '28 days' + n * interval '1 hour' as opened_at
            from generate_series(0, 28 * 24 - 1) as n
        ) as hours;
        insert into raw.bitcoin_transactions (
            block_hash, txid, block_number, block_timestamp, is_coinbase, input_count, output_count, output_sats,
            fee_sats, size_bytes, virtual_size
        )
        select
            block_hash, decode(md5(block_number || ' ' || place) || md5(''), 'hex'), block_number, block_timestamp,
            place = 1, case when place = 1 then 0 else place % 3 + 1 end, place % 4 + 1,
            (10 ^ (2 + (block_number + place) % 9))::bigint, case when place > 1 then 150 * (1 + block_number % 30) end,
            300, 100 + 40 * place
        from raw.bitcoin_blocks
        cross join lateral generate_series(1, transaction_count) as place;
        """
    )


class Warehouse:
    """A running embedded Postgres: admin connections, copies of databases, libpq variables of the read-only role."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.manifest = Path()

    def connect(self, name: str):
        given = self.environment
        connection = psycopg2.connect(
            host=given["PGHOST"], port=given["PGPORT"], user=given["PGUSER"], password=given["PGPASSWORD"], dbname=name
        )
        connection.autocommit = True
        return connection

    def execute(self, name: str, statement: str) -> None:
        with contextlib.closing(self.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def query(self, name: str, statement: str) -> list[tuple]:
        with contextlib.closing(self.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def copy_database(self, name: str, of: str) -> None:
        database.ENGINE.dispose()
        statement = "create database {} template {}"
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(of)))

    def bootstrap(self, name: str) -> None:
        given = self.environment
        owner = Postgres(given["PGHOST"], int(given["PGPORT"]), name, given["PGUSER"], given["PGPASSWORD"])
        migrate.bootstrap(owner, {role: given[f"TICKMART_PG_{role.upper()}_PASSWORD"] for role in ROLES})

    def reader(self, name: str) -> dict[str, str]:
        given = self.environment
        return {
            "PGHOST": given["PGHOST"],
            "PGPORT": given["PGPORT"],
            "PGDATABASE": name,
            "PGUSER": given["TICKMART_PG_DASHBOARD_RO_USER"],
            "PGPASSWORD": given["TICKMART_PG_DASHBOARD_RO_PASSWORD"],
        }
