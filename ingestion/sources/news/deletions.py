"""Deletes posts that are gone at X from raw and bronze, as its terms require: asked for by id, oldest check first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.database.connections import Connection, execute, fetch, locked, write_rows
from ingestion.sources.http import HttpClient
from ingestion.sources.news.client import X_LOOKUP, x_deleted
from ingestion.sources.news.dataset import X_HEADLINES

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

# Each post that is asked for is billed: at most 2,000 in one call of prune.
MOST_REQUESTS = 20

_TO_CHECK = """
    select h.external_id
    from raw.headlines_x as h
    left join ops.post_checks as c using (external_id)
    where c.checked_at is null or c.checked_at < %s - interval '1 day'
    order by c.checked_at nulls first, h.external_id
    limit %s
"""
_DELETE = (
    "delete from raw.headlines_x where external_id = any(%s)",
    "delete from raw.headline_scores where source = 'x' and external_id = any(%s)",
    "delete from ops.post_checks where external_id = any(%s)",
    "delete from ops.restatements where dataset = 'headlines_x' and record_key ->> 'external_id' = any(%s)",
)


def delete_gone_posts(
    lake: Lake, connection: Connection, client: HttpClient, now: datetime, *, dry_run: bool = False
) -> tuple[int, int]:
    """Ask for stored posts and delete those that are gone; return how many were asked for and how many are gone."""
    ids = [own_id for (own_id,) in fetch(connection, _TO_CHECK, (now, X_LOOKUP * MOST_REQUESTS))]
    gone: list[str] = []
    for at in range(0, len(ids), X_LOOKUP):
        asked = ids[at : at + X_LOOKUP]
        found = x_deleted(client, asked)
        gone += found
        if not dry_run:
            # Bronze first: what is deleted in raw alone would be loaded again.
            _delete_from_bronze(lake, connection, found)
            for statement in _DELETE if found else ():
                execute(connection, statement, (found,))
            _record_checks(connection, sorted(set(asked) - set(found)), now)
    return len(ids), len(gone)


def _delete_from_bronze(lake: Lake, connection: Connection, gone: list[str]) -> None:
    """Write the objects of posts again without those that are gone."""
    if not gone:
        return
    with locked(connection, f"bronze {X_HEADLINES.name}"):
        for info in lake.list(f"{X_HEADLINES.prefix}/"):
            found = lake.read(info.key)
            if found is None:
                continue
            table = found[0]
            kept = table.filter(pc.invert(pc.is_in(table["external_id"], pa.array(gone, pa.string()))))
            if len(kept) == 0:
                lake.remove(info.key)
            elif len(kept) < len(table):
                lake.write(info.key, kept.combine_chunks())


def _record_checks(connection: Connection, ids: list[str], now: datetime) -> None:
    statement = """
        insert into ops.post_checks (external_id, checked_at) values %s
        on conflict (external_id) do update set checked_at = excluded.checked_at
    """
    if ids:
        write_rows(connection, statement, [(own_id, now) for own_id in ids])
