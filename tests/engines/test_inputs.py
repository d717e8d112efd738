"""What engines read has a table for each source of the models, whatever bronze has."""

from pathlib import Path

import pyarrow.parquet as pq

from ingestion.bronze.lake import Lake
from orchestration.engines import inputs


def test_bronze_without_objects_gives_tables_without_rows(lake: Lake, tmp_path: Path) -> None:
    found = inputs.prepare(lake, [], tmp_path / "objects", tmp_path / "inputs", "sail")
    assert {table.name for table in found} >= {"binance_klines", "coingecko_markets", "bitcoin_blocks", "universe"}
    for table in found:
        assert len(table.folders) == len(table.schemas) == 1
        [file] = Path(table.folders[0]).glob("*.parquet")
        assert pq.read_metadata(file).num_rows == 0
        # The columns of the files are stated in full.
        assert [name for name, _ in table.schemas[0]] == pq.read_schema(file).names
