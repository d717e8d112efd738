"""Declared datasets in the ``ops`` schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from psycopg2.extras import execute_values

from ingestion.database.connections import Connection
from ingestion.datasets import Dataset
from ingestion.settings import Settings


def record_datasets(
    connection: Connection,
    settings: Settings,
    datasets: Sequence[Dataset],
    assets: Mapping[str, Iterable[str]],
    optional: Collection[str] = (),
) -> None:
    """Write the declared datasets, with the limits of these settings, to ``ops.datasets`` and ``ops.dataset_assets``.

    ``assets`` are for each dataset the assets whose failed checks count for it, ``optional`` the names of the datasets
    that a run does not need. A dataset that is off is not written.
    """
    datasets = [dataset for dataset in datasets if dataset.is_on(settings)]
    rows = [
        (d.name, d.source, d.sla_seconds(settings), d.degraded_after_seconds(settings), d.name in optional)
        for d in datasets
    ]
    pairs = [(dataset.name, asset) for dataset in datasets for asset in sorted(assets.get(dataset.name, ()))]
    with connection, connection.cursor() as cursor:
        cursor.execute("delete from ops.datasets where dataset <> all(%s)", ([d.name for d in datasets],))
        execute_values(
            cursor,
            """
            insert into ops.datasets as known (dataset, source, sla_seconds, degraded_after_seconds, optional)
            values %s
            on conflict (dataset) do update set
                source = excluded.source, sla_seconds = excluded.sla_seconds,
                degraded_after_seconds = excluded.degraded_after_seconds,
                optional = excluded.optional, declared_at = clock_timestamp()
            where
                (known.source, known.sla_seconds, known.degraded_after_seconds, known.optional)
                <> (excluded.source, excluded.sla_seconds, excluded.degraded_after_seconds, excluded.optional)
            """,
            rows,
        )
        cursor.execute("delete from ops.dataset_assets")
        execute_values(cursor, "insert into ops.dataset_assets (dataset, asset) values %s", pairs, page_size=1000)
