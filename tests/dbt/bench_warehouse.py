"""Measures the warehouse alone: full rebuild, hourly refresh, the same at ten times the history, and the naive windows.

Run it by hand: `python tests/dbt/bench_warehouse.py [--symbols 50] [--years 3] [--times 10] [--naive]`. It starts a
PostgreSQL of its own, fills raw with random walks, and prints a table. CPU seconds of the server's backend stand beside
the wall clock, because they hardly move when the machine is shared.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psutil
from conftest import postgres_server
from dbt_warehouse import Warehouse, create_warehouse

FILL = """
insert into raw.universe (crypto_id, binance_symbol, name, category, batch_id, loaded_at)
select
    case i when 1 then 'bitcoin' else 'asset-' || i end, 'A' || i || 'USDT', 'Asset ' || i, 'bench', 'bench',
    '2020-01-01'
from generate_series(1, %(symbols)s) as i;
select setseed(0.5);
insert into raw.binance_klines
select
    'A' || i || 'USDT', '1h', opened_at, close, close * 1.01, close * 0.99, close, volume,
    opened_at + interval '59 minutes 59.999 seconds', round(close * volume, 8), 1000, volume / 2,
    round(close * volume / 2, 8),
    '2025-01-01 00:01+00', 'bench'
from generate_series(1, %(symbols)s) as i
cross join lateral (
    select
        opened_at,
        round((exp(sum(random() - 0.5) over (order by opened_at) * 0.01) * 100 / i)::numeric, 8) as close,
        round((random() * 1000)::numeric, 3) as volume
    from generate_series(
        '2025-01-01 00:00+00'::timestamptz - interval '1 hour' * %(hours)s, '2024-12-31 22:00+00', '1 hour'
    ) as opened_at
    where i > 0
) as bars
order by i, opened_at;
vacuum analyze raw.binance_klines;
"""
NEXT_HOUR = """
insert into raw.binance_klines
select
    symbol, interval, open_time + interval '1 hour', open, high, low, close, volume, close_time + interval '1 hour',
    quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at + interval '1 hour', batch_id
from raw.binance_klines where open_time = (select max(open_time) from raw.binance_klines where symbol = 'A1USDT')
"""


def measured(warehouse: Warehouse, work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds of the work, and CPU seconds that the whole machine's Postgres backends spent meanwhile."""
    [(postmaster,)] = warehouse.query("select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int")

    def spent() -> float:
        times = psutil.Process(postmaster).cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    before, started = spent(), time.perf_counter()
    work()
    wall = time.perf_counter() - started
    time.sleep(1)  # a backend is counted once it has ended
    return wall, spent() - before


def dbt(warehouse: Warehouse, *arguments: str) -> None:
    """One dbt invocation that must succeed."""
    result = warehouse.dbt(*arguments)
    if not result.success:
        raise SystemExit(result.log[-3000:])


def bench(warehouse: Warehouse, symbols: int, hours: int, *, naive: bool) -> dict[str, tuple[float, float]]:
    """Fill, rebuild, refresh three kinds of hour; seconds by name."""
    for statement in FILL.split(";\n"):
        if statement.strip():
            warehouse.execute(statement, {"symbols": symbols, "hours": hours})
    build = ("build", "--exclude-resource-type", "unit_test")
    dbt(warehouse, "parse")
    times = {"full rebuild (dbt run)": measured(warehouse, lambda: dbt(warehouse, "run", "--full-refresh"))}
    times["refresh, nothing new (dbt build)"] = measured(warehouse, lambda: dbt(warehouse, *build))
    warehouse.execute(NEXT_HOUR)
    times["refresh, the hour that ends a day"] = measured(warehouse, lambda: dbt(warehouse, *build))
    warehouse.execute(NEXT_HOUR)
    times["refresh, an hour"] = measured(warehouse, lambda: dbt(warehouse, *build))
    if naive:
        dbt(warehouse, "compile", "--select", "fct_prices", "--full-refresh")
        ours = (warehouse.target / "compiled/tickmart/models/marts/fct_prices.sql").read_text()
        theirs = Path(__file__).with_name("naive_hourly_windows.sql").read_text()
        for name, sql in (("hourly windows, as fct_prices", ours), ("hourly windows, naive", theirs)):
            statement = f"set max_parallel_workers_per_gather = 0; create temp table measured as {sql}"
            times[name] = measured(warehouse, lambda statement=statement: warehouse.execute(statement))
    return times


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--years", type=float, default=3)
    parser.add_argument("--times", type=int, default=1, help="also measure this many times the history")
    parser.add_argument("--naive", action="store_true", help="also measure the naive windows (minutes)")
    options = parser.parse_args()
    hours = round(options.years * 365.25 * 24)
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        for times in sorted({1, options.times}):
            warehouse = create_warehouse(server, Path(folder) / "target")
            results = bench(warehouse, options.symbols, hours * times, naive=options.naive and times == 1)
            print(f"{options.symbols} symbols, {hours * times} hours each")
            for name, (wall, cpu) in results.items():
                print(f"  {name:36} {wall:8.1f} s wall {cpu:8.1f} s CPU of Postgres")


if __name__ == "__main__":
    main()
