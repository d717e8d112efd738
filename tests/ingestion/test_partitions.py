"""Bars of each interval lie in a table part of their own; a table that was made whole before goes on as it is."""

from collections.abc import Callable

from ingestion.bronze.lake import Lake
from ingestion.database import connections, migrate
from ingestion.settings import Postgres
from ingestion.simulator.server import Simulator
from ingestion.sources.http import HttpClient
from support.market import Market
from support.pipeline import Chain


def test_hours_are_read_without_touching_the_minutes(
    chain: Chain, simulator: Simulator, client_of: Callable[..., HttpClient]
) -> None:
    market = Market(chain, simulator, client_of)
    for interval in ("1h", "15m"):
        market.bring("2024-05-01", "2024-05-02", interval=interval)
    counts = "select tableoid::regclass::text, count(*) from raw.binance_klines group by 1 order by 1"
    assert chain.ask(counts) == [("raw.binance_klines_15m", 96), ("raw.binance_klines_1h", 24)]
    plan = "\n".join(row[0] for row in chain.ask("explain select * from raw.binance_klines where interval = '1h'"))
    assert "binance_klines_1h" in plan
    assert "binance_klines_15m" not in plan


def test_a_table_without_partitions_stays_usable(
    postgres: Postgres, lake: Lake, simulator: Simulator, client_of: Callable[..., HttpClient]
) -> None:
    with connections.closing(connections.connect(postgres, "ingest")) as connection:
        chain = Chain(postgres, lake, connection)
        # As a tickmart left it that knew neither partitions nor migrations; what ops then held does not matter here.
        chain.ask(
            "create table raw.whole (like raw.binance_klines including all); alter table raw.whole owner to ingest;"
            "drop table raw.binance_klines; alter table raw.whole rename to binance_klines;"
            "drop table raw.onchain_daily, raw.bitcoin_blocks, raw.bitcoin_transactions, raw.headlines;"
            "drop table raw.okx_trades, raw.okx_tickers;"
            "drop table raw.headline_scores, raw.news_tone_gdelt; drop schema ops cascade"
        )
        assert migrate.bootstrap(postgres)
        market = Market(chain, simulator, client_of)
        market.bring("2024-05-01", "2024-05-02")
        market.bring("2024-05-01", "2024-05-03")
        assert chain.one("select relkind::text from pg_class where oid = 'raw.binance_klines'::regclass") == "r"
        assert len(market.rows()) == 48
