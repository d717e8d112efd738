"""Combines hourly bars into bars of four hours, which no mart has. Does not belong here: reading."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from tickmart.errors import TickmartError

FOUR_HOURS = timedelta(hours=4)
# The columns of a bar of four hours beside its key, and of the hours that it is made of.
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trade_count", "vwap")
HOURLY = COLUMNS[:-1]
_HOW = [("high", "max"), ("low", "min"), ("volume", "sum"), ("quote_volume", "sum"), ("trade_count", "sum")]


def rounded_up(moment: datetime | None) -> datetime | None:
    """Return the first time at or after a moment when a bar of four hours opens."""
    if moment is None:
        return None
    past = (moment - datetime(1970, 1, 1, tzinfo=UTC)) % FOUR_HOURS
    return moment + FOUR_HOURS - past if past else moment


def four_hours(hours: pa.Table) -> pa.Table:
    """Return bars of four hours, from 00:00 UTC, of hourly bars in the order of coin and time.

    A bar has the hours that are there; vwap is float64 and null when nothing traded.
    """
    if texts := [name for name in HOURLY if pa.types.is_string(hours.schema.field(name).type)]:
        raise TickmartError(f"Bars of 4h cannot be made from the text column {texts[0]}; read 1h")
    opened_at = pc.floor_temporal(hours["opened_at"], 4, "hour")
    bins = hours.set_column(hours.column_names.index("opened_at"), "opened_at", opened_at)
    # Arrow has no first and last of decimals: the row numbers find them.
    numbered = bins.append_column("row", pa.array(range(len(bins)), pa.int64()))
    groups = numbered.group_by(["crypto_id", "opened_at"], use_threads=False).aggregate(
        [*_HOW, ("row", "min"), ("row", "max")]
    )
    groups = groups.sort_by("row_min").rename_columns({f"{name}_{how}": name for name, how in _HOW})
    bars = groups.append_column("open", hours["open"].take(groups["row_min"]))
    bars = bars.append_column("close", hours["close"].take(groups["row_max"]))
    volume, quote_volume = (bars[name].cast(pa.float64()) for name in ("volume", "quote_volume"))
    traded = pc.if_else(pc.equal(volume, 0), pa.scalar(None, pa.float64()), volume)
    return bars.append_column("vwap", pc.divide(quote_volume, traded))
