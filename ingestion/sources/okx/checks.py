"""Checks of the streamed records in raw: each looks at the minutes of the last two hours that are over.

Belongs here: what a record says about its neighbors. Does not: a single record's contract (``dataset``).
"""

from __future__ import annotations

from ingestion.database.connections import fetch
from ingestion.datasets import HOUR_S
from ingestion.sources.source import LoadCheck, LoadedRun, Observation

WINDOW_S = 2 * HOUR_S
# A price that moves by more than this share within a minute is worth a look: the largest since 2020 were about 10 %.
BAND = 0.2
MOST_DUPLICATES = 0.01
SHOWN = 5

_WINDOW = "ts >= date_trunc('minute', now()) - make_interval(secs => %s) and ts < date_trunc('minute', now())"
# A gap that is being filled, or that REST lacked, is recorded: it is no news.
_IDS = f"""
    with trades as (
        select inst_id, ts, trade_id - coalesce(fills, 1) + 1 as first_id,
            lag(trade_id) over (partition by inst_id order by trade_id) as before_id
        from raw.okx_trades where {_WINDOW}
    )
    select date_trunc('minute', ts), inst_id, count(*) from trades as t
    where first_id <> before_id + 1 and not exists (
        select 1 from ops.stream_gaps as g
        where g.inst_id = t.inst_id and g.after_trade_id < t.first_id and g.before_trade_id > t.before_id
    )
    group by 1, 2 order by 1, 2
"""  # noqa: S608 - the window is this module's
_TIMES = f"""
    with trades as (
        select inst_id, ts, lag(ts) over (partition by inst_id order by trade_id) as before
        from raw.okx_trades where {_WINDOW}
    )
    select date_trunc('minute', ts), inst_id, count(*) from trades where ts < before group by 1, 2 order by 1, 2
"""  # noqa: S608
_PRICES = f"""
    select date_trunc('minute', ts), inst_id, count(*) from raw.okx_trades where {_WINDOW}
    group by 1, 2 having max(price) > (1 + {BAND}) * min(price) order by 1, 2
"""  # noqa: S608
_DUPLICATES = f"""
    select minute, stream, duplicates from ops.stream_minutes
    where minute >= now() - make_interval(secs => %s) and duplicates > {MOST_DUPLICATES} * messages order by 1
"""  # noqa: S608
_AGE = """
    select minute, 'all', 1
    from generate_series(
        date_trunc('minute', now()) - make_interval(secs => %s),
        date_trunc('minute', now()) - interval '1 minute', interval '1 minute'
    ) as minute
    where not exists (select 1 from ops.stream_minutes as m where m.minute = minute.minute)
    and exists (
        select 1 from ops.stream_connections as c
        where c.connected_at <= minute.minute and coalesce(c.ended_at, now()) >= minute.minute + interval '1 minute'
    )
    order by 1
"""


def _observe(run: LoadedRun, query: str, what: str) -> Observation:
    """Return a problem for each minute and instrument that a query finds."""
    found = fetch(run.connection, query, (WINDOW_S,))
    problems = [f"{minute:%Y-%m-%d %H:%M} {name}: {count} {what}" for minute, name, count in found[:SHOWN]]
    if len(found) > SHOWN:
        problems.append(f"and {len(found) - SHOWN} more minutes")
    return Observation(problems, sum(int(count) for _, _, count in found), {"minutes": len(found)})


def _check(name: str, description: str, expected: str, query: str, what: str) -> LoadCheck:
    return LoadCheck(name, description, expected, lambda run: _observe(run, query, what))


TRADE_CHECKS = (
    _check(
        "trade_ids_are_contiguous",
        "Between two trades of an instrument no id is missing, or the gap is recorded.",
        "contiguous ids or a recorded gap in every minute", _IDS, "gaps that are not recorded",
    ),
    _check(
        "trade_times_are_monotone",
        "A trade with a higher id is not older than the one before.",
        "times that grow with the ids in every minute", _TIMES, "trades older than the one before",
    ),
    _check(
        "prices_are_in_band",
        f"Prices of an instrument differ by at most {BAND:.0%} within a minute.",
        f"at most {BAND:.0%} within a minute", _PRICES, "trades in a minute with prices too far apart",
    ),
    _check(
        "messages_come_once",
        f"At most {MOST_DUPLICATES:.0%} of a minute's messages were in raw before.",
        f"at most {MOST_DUPLICATES:.0%} of a minute", _DUPLICATES, "messages that raw had before",
    ),
    _check(
        "every_minute_has_messages",
        "In every minute with a connection, messages were loaded.",
        "messages in every minute with a connection", _AGE, "minute without messages",
    ),
)  # fmt: skip
