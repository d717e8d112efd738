"""Reads what the warehouse contains: column definitions and the tracked coins."""

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(600)
def definitions() -> pd.DataFrame:
    """Return every column of the marts with its definition from the database comments that dbt persisted.

    Columns: relation, column_name (missing for the relation's own description), data_type, definition.
    """
    return fetch_frame(
        """
        select
            c.relname as relation,
            a.attname as column_name,
            format_type(a.atttypid, a.atttypmod) as data_type,
            case when a.attnum is null then obj_description(c.oid, 'pg_class') else col_description(c.oid, a.attnum) end
                as definition
        from pg_catalog.pg_class as c
        inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
        cross join lateral (
            select attnum, attname, atttypid, atttypmod
            from pg_catalog.pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped
            union all
            select null, null, null, null
        ) as a
        where n.nspname = 'marts' and c.relkind in ('r', 'v', 'm', 'p')
        order by c.relname, a.attnum nulls first
        """
    )


@cached_query(60)
def coins() -> pd.DataFrame:
    """Return the tracked assets, largest first: identity, first and last bar, rank."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, category, binance_symbol, first_bar_at, last_bar_at, market_cap_rank
        from marts.dim_crypto
        order by market_cap_rank nulls last, crypto_id
        """
    )
