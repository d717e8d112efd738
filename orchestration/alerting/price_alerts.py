"""Price alerts: reads the values of the rules from the marts, keeps their states, and turns crossings into findings.

Does not belong here: the rules file (``price_rules``), when a rule fires (``price_crossings``), sending (``outbox``).
The marts are read as ``quality_ro``, which cannot write; the states are written by the outbox's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg2
from psycopg2.extras import execute_values

from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.setting_values import SettingsError
from ingestion.settings import Settings
from ingestion.universe import UniverseError
from orchestration.alerting.incidents import Finding
from orchestration.alerting.price_crossings import Crossing, Point, State, advance
from orchestration.alerting.price_rules import MARTS, Rule, read_rules
from orchestration.observability.text import span

KIND, RULES_KIND = "price_alert", "price_rules"
# After an outage, what crossed longer ago is no news; the state goes on as after a gap.
NOTIFIED_WITHIN = timedelta(days=2)


@dataclass(frozen=True)
class Observed:
    """The rules, and what the marts have for each rule and asset since its state; or why the rules cannot be read."""

    rules: tuple[Rule, ...] = ()
    points: Mapping[tuple[str, str], Sequence[Point]] = field(default_factory=dict)
    problem: str | None = None


def observe(settings: Settings, now: datetime) -> Observed:
    """Read the rules, and the values that they have not seen; what prevents it becomes an incident of its own."""
    try:
        rules = read_rules(settings)
        return Observed(rules, _unseen(settings, rules, now)) if rules else Observed()
    except (SettingsError, UniverseError) as error:
        return Observed(problem=str(error))
    except psycopg2.ProgrammingError as error:
        # For example a column that marts of an older version lack. Other alerts go on.
        return Observed(
            problem=f"the marts cannot be read: {' '.join(str(error).split())[:200]}; see `tickmart status`"
        )


def _unseen(settings: Settings, rules: Iterable[Rule], now: datetime) -> dict[tuple[str, str], list[Point]]:
    """Return the values by rule and asset since the state of each, or the newest one if there is no state."""
    points: dict[tuple[str, str], list[Point]] = {}
    with connections.connected(settings.postgres, "quality_ro") as connection:
        with connection, connection.cursor() as cursor:
            states = _states(cursor, rules)
        for rule in rules:
            since: dict[str, datetime | None] = dict.fromkeys(rule.crypto_ids)
            for crypto_id in rule.crypto_ids:
                observed_at = states.get((rule.name, crypto_id), State()).observed_at
                since[crypto_id] = max(observed_at, now - NOTIFIED_WITHIN) if observed_at else None
            points |= {(rule.name, crypto_id): found for crypto_id, found in read_points(connection, rule, since)}
    return points


def read_points(
    connection: Connection, rule: Rule, since: Mapping[str, datetime | None], *, history: bool = False
) -> Iterator[tuple[str, list[Point]]]:
    """Yield for each asset the values of a rule's metric that are known at ``since`` or later, or the newest for None.

    A mart that is not built yet has no values.
    """
    rows = MARTS[rule.mart].history if history else MARTS[rule.mart].newest
    if connections.fetch(connection, "select to_regclass(%s) is null", (f"marts.{rows.table}",)) == [(True,)]:
        return
    # Names are from MARTS. An index leads to each asset's rows: (crypto_id, time).
    query = f"""
        select asset.crypto_id, mart.{rows.time} + %(known_after)s, mart.{rule.metric}::double precision
        from unnest(%(assets)s::text[], %(since)s::timestamptz[]) as asset (crypto_id, since)
        cross join lateral (
            select *
            from marts.{rows.table} as row
            where
                row.crypto_id = asset.crypto_id
                and row.{rows.time} >= coalesce(
                    asset.since - %(known_after)s,
                    (select max({rows.time}) from marts.{rows.table} as other where other.crypto_id = asset.crypto_id)
                )
        ) as mart
        where mart.{rule.metric} is not null
        order by asset.crypto_id, mart.{rows.time}
    """  # noqa: S608
    values = {"assets": list(since), "since": list(since.values()), "known_after": rows.known_after}
    found: dict[str, list[Point]] = {}
    for crypto_id, at, value in connections.fetch(connection, query, values):
        found.setdefault(crypto_id, []).append(Point(at, value))
    yield from found.items()


def update(cursor: Any, observed: Observed) -> Iterator[Finding]:
    """Advance the states by what was observed, and yield a finding for each crossing.

    The caller holds the lock of the evaluation. Values that another process has evaluated meanwhile are skipped.
    """
    if observed.problem is not None:
        title = "The price rules cannot be used; no price alert is sent"
        yield Finding(f"{RULES_KIND}:file", RULES_KIND, "error", title, observed.problem)
    states, changed = _states(cursor, observed.rules), []
    for rule in observed.rules:
        for crypto_id in rule.crypto_ids:
            points = observed.points.get((rule.name, crypto_id), ())
            before = states.get((rule.name, crypto_id), State())
            after, crossings = advance(rule, crypto_id, before, points)
            if after != before:
                changed.append((rule.name, crypto_id, rule.definition, *vars(after).values()))
            yield from map(finding, crossings)
    execute_values(
        cursor,
        """
        insert into ops.price_rule_states as s
            (rule, crypto_id, definition, observed_at, met_since, is_notified, notified_at)
        values %s
        on conflict (rule, crypto_id) do update set
            definition = excluded.definition, observed_at = excluded.observed_at, met_since = excluded.met_since,
            is_notified = excluded.is_notified, notified_at = excluded.notified_at
        """,
        changed,
    )


def _states(cursor: Any, rules: Iterable[Rule]) -> dict[tuple[str, str], State]:
    """Return the states of the rules as they are defined now."""
    definitions = {rule.name: rule.definition for rule in rules}
    cursor.execute(
        """
        select rule, crypto_id, definition, observed_at, met_since, is_notified, notified_at
        from ops.price_rule_states where rule = any(%s)
        """,
        (list(definitions),),
    )
    return {(row[0], row[1]): State(*row[3:]) for row in cursor.fetchall() if row[2] == definitions[row[0]]}


def finding(crossing: Crossing) -> Finding:
    """Return a crossing as an incident that is a single event."""
    rule = crossing.rule
    held = (crossing.at - crossing.met_since).total_seconds()
    title = (
        f"{rule.name}: {rule.metric} of {crossing.crypto_id} is {crossing.value:.10g}, "
        f"{rule.comparison} {rule.threshold:.10g}"
    )
    detail = (
        f"Known at {crossing.at:%Y-%m-%d %H:%M} UTC from {rule.mart}"
        + (f"; {rule.comparison} for {span(held)}" if held else "")
        + ". The next notification follows when the threshold is crossed again."
    )
    fingerprint = f"{KIND}:{rule.name}:{crossing.crypto_id}:{crossing.at:%Y-%m-%dT%H:%M:%S}"
    return Finding(fingerprint, KIND, "warn", title, detail, is_event=True)


def simulate(connection: Connection, rules: Iterable[Rule], since: datetime) -> list[Crossing]:
    """Return what the rules would have notified on the history since a moment, in order of time."""
    crossings = []
    for rule in rules:
        for crypto_id, points in read_points(connection, rule, dict.fromkeys(rule.crypto_ids, since), history=True):
            crossings += advance(rule, crypto_id, State(), points)[1]
    return sorted(crossings, key=lambda crossing: (crossing.at, crossing.rule.name, crossing.crypto_id))
