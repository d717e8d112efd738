"""Metrics of the semantic layer are columns of the marts, described once; MetricFlow returns the marts' values."""

import csv
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbt_warehouse import PROJECT, Warehouse
from small_markets import KLINE_COLUMNS, UNIVERSE_COLUMNS, hours_between, random_walk, universe_rows

from support.environments import locked_environment

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)
COINS = {"BTCUSDT": "bitcoin", "ETHUSDT": "ethereum"}
MARTS = PROJECT / "models" / "marts"


def documents(pattern: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(MARTS.rglob(pattern))]


def declared_metrics() -> dict[str, dict[str, str]]:
    """Name and description of each metric by mart; a metric that is not a measure belongs to the daily bars."""
    found: dict[str, dict[str, str]] = {}
    for document in documents("_semantic_models.yml"):
        for model in document["semantic_models"]:
            mart = model["model"].split("'")[1]
            measures = [measure for measure in model.get("measures", []) if measure.get("create_metric")]
            found[mart] = {measure["name"]: measure["description"] for measure in measures}
        for metric in document.get("metrics", []):
            found["fct_daily_summary"][metric["name"]] = metric["description"]
    return {mart: metrics for mart, metrics in found.items() if metrics}


def test_each_metric_has_the_name_and_the_definition_of_a_column_of_its_mart() -> None:
    models = {model["name"]: model for document in documents("_*__models.yml") for model in document["models"]}
    metrics = declared_metrics()
    assert sum(map(len, metrics.values())) >= 15
    for mart, names in metrics.items():
        columns = {column["name"]: column["description"] for column in models[mart]["columns"]}
        assert names.items() <= columns.items()


@pytest.fixture(scope="module")
def filled(warehouse: Warehouse) -> Warehouse:
    """Four months of two coins, with a day without trades, and the index."""
    rows = []
    for seed, (symbol, price) in enumerate(zip(COINS, (40_000, 2_300), strict=True)):
        hours = [hour for hour in hours_between(START, END) if hour.date() != date(2024, 3, 10) or seed]
        bars = random_walk(symbol, hours, price=price, decimals=2, seed=seed)
        rows += [bar.row(datetime(2024, 5, 1, tzinfo=UTC)) for bar in bars]
    warehouse.copy("raw.binance_klines", KLINE_COLUMNS, rows)
    assets = [(crypto_id, symbol, None, None) for symbol, crypto_id in COINS.items()]
    warehouse.copy("raw.universe", UNIVERSE_COLUMNS, universe_rows(assets))
    warehouse.execute(
        "insert into raw.fear_greed (date, value, classification, batch_id) select day::date, "
        "(extract(doy from day)::integer * 7) % 101, 'Fear', 'test' "
        "from generate_series('2024-01-01'::timestamp, '2024-04-30', '1 day') as day"
    )
    warehouse.run()
    return warehouse


class MetricFlow:
    """`mf` in an environment of its own, on a copy of the project."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.folder = folder / "project"
        shutil.copytree(PROJECT, self.folder, ignore=shutil.ignore_patterns("target", "logs"))
        (self.folder / "target").mkdir()
        warehouse.parsed()
        shutil.copy(warehouse.target / "semantic_manifest.json", self.folder / "target")
        self.environment = {
            **warehouse.environment(),
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "HOME": str(folder),
            "TZ": "UTC",
        }

    def query(self, metrics: Sequence[str], by: Sequence[str]) -> dict[tuple[str, ...], dict[str, float]]:
        """Return the metrics of each group."""
        target = self.folder / "found.csv"
        options = ["--metrics", ",".join(metrics), "--group-by", ",".join(by), "--csv", str(target), "--quiet"]
        done = subprocess.run(
            [locked_environment("metricflow", without_wheel="halo") / "bin" / "mf", "query", *options],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        with target.open(newline="") as file:
            return {
                tuple(row[name].removesuffix(" 00:00:00") for name in by): {
                    name: float(row[name] or "nan") for name in metrics
                }
                for row in csv.DictReader(file)
            }


@pytest.fixture(scope="module")
def metricflow(filled: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> MetricFlow:
    return MetricFlow(filled, tmp_path_factory.mktemp("metricflow"))


def approximately(values: Mapping[str, float]) -> Any:
    return pytest.approx(values, rel=1e-12, nan_ok=True)


def of_mart(warehouse: Warehouse, columns: Sequence[str], key: Sequence[str], query: str) -> Mapping[Any, Any]:
    rows = warehouse.query(query)
    width = len(key)
    return {
        tuple(map(str, row[:width])): {
            name: math.nan if value is None else float(value) for name, value in zip(columns, row[width:], strict=True)
        }
        for row in rows
    }


@pytest.mark.metricflow
@pytest.mark.parametrize(
    ("mart", "by", "key"),
    [
        ("fct_daily_summary", ("metric_time__day", "asset"), ("date", "crypto_id")),
        ("fct_sentiment_daily", ("metric_time__day",), ("date",)),
    ],
)
def test_by_day_each_metric_equals_its_column(
    filled: Warehouse, metricflow: MetricFlow, mart: str, by: tuple[str, ...], key: tuple[str, ...]
) -> None:
    names = list(declared_metrics()[mart])
    expected = of_mart(filled, names, key, f"select {', '.join((*key, *names))} from marts.{mart}")
    assert len(expected) > 100
    assert metricflow.query(names, by) == {group: approximately(values) for group, values in expected.items()}


@pytest.mark.metricflow
def test_over_a_month_amounts_add_up_and_indicators_are_those_of_the_last_day(
    filled: Warehouse, metricflow: MetricFlow
) -> None:
    names = ["volume", "vwap", "close", "volatility_30d"]
    expected = of_mart(
        filled,
        names,
        ("month", "crypto_id"),
        "select date_trunc('month', date)::date, crypto_id, sum(volume), sum(quote_volume) / sum(volume), "
        "(array_agg(close order by date desc))[1], (array_agg(volatility_30d order by date desc))[1] "
        "from marts.fct_daily_summary group by 1, 2",
    )
    found = metricflow.query(names, ("metric_time__month", "asset"))
    assert found == {group: approximately(values) for group, values in expected.items()}
