"""Starts an engine in this process: a SparkSession, or Sail's server and a client.

Runs in the environment of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def engine_session(engine: str, options: Mapping[str, str], folder: str) -> Iterator[Callable[[str], Any]]:
    """Yield a function that runs a statement on the engine; dbt finds the same session."""
    if engine == "sail":
        with _sail() as session:
            yield session.sql
    else:
        session = _spark(options, folder)
        try:
            yield session.sql
        finally:
            session.stop()


def _spark(options: Mapping[str, str], folder: str) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("tickmart")
    defaults = {
        "spark.master": "local[*]",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{folder}/catalog",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # A view of the project keeps the order of columns of its query.
        "spark.sql.sources.default": "parquet",
        "spark.log.level": "ERROR",
    }
    if options.get("spark.master", "local").startswith("local"):
        # The workers of a cluster must reach the driver.
        defaults |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    for name, value in {**defaults, **options}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


@contextmanager
def _sail() -> Iterator[Any]:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    try:
        address, port = server.listening_address
        _let_dbt_use(port)
        yield SparkSession.builder.config("spark.remote", f"sc://{address}:{port}").getOrCreate()
    finally:
        server.stop()


def _let_dbt_use(port: int) -> None:
    """Let dbt connect to the server's port. In the profile, each new port would let dbt parse the project again."""
    from dbt.adapters.sail.connections import SailConnectionManager  # type: ignore[import-not-found]

    connect = SailConnectionManager._open_remote.__func__

    def connect_to_port(cls: Any, credentials: Any) -> Any:
        credentials.port = port
        return connect(cls, credentials)

    SailConnectionManager._open_remote = classmethod(connect_to_port)
