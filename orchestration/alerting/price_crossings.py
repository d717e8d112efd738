"""When a price rule fires: the state of one rule and asset, advanced value by value.

Pure: the live evaluation and `tickmart alert simulate` call the same function. Does not belong here: reading marts and
storing states (``price_alerts``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestration.alerting.price_rules import MARTS, Rule


@dataclass(frozen=True)
class Point:
    """A value of a rule's metric, and the moment since which it is known."""

    at: datetime
    value: float


@dataclass(frozen=True)
class State:
    """What a rule has seen of an asset."""

    observed_at: datetime | None = None
    met_since: datetime | None = None
    """Since when the condition has been met without a gap; None while it is not met."""
    is_notified: bool = False
    """Whether the present crossing has been notified."""
    notified_at: datetime | None = None


@dataclass(frozen=True)
class Crossing:
    """A moment at which a rule notifies."""

    rule: Rule
    crypto_id: str
    at: datetime
    value: float
    met_since: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the crossing as `tickmart alert simulate --json` prints it."""
        rule = self.rule
        return {
            "at": self.at,
            "rule": rule.name,
            "crypto_id": self.crypto_id,
            "mart": rule.mart,
            "metric": rule.metric,
            "value": self.value,
            "comparison": rule.comparison,
            "threshold": rule.threshold,
            "met_since": self.met_since,
        }


def advance(rule: Rule, crypto_id: str, state: State, points: Iterable[Point]) -> tuple[State, list[Crossing]]:
    """Return the state after ``points``, in their order, and the crossings to notify.

    A crossing is notified once: when the condition has been met for the rule's ``for``, and not within its cool-down
    after the last notification (then at its end, if the condition is still met). It ends when the condition is not met.
    """
    crossings = []
    for point in points:
        if state.observed_at is not None and point.at <= state.observed_at:
            continue
        if not rule.is_met(point.value):
            state = State(point.at, notified_at=state.notified_at)
            continue
        is_first = state.met_since is None or state.observed_at is None
        has_gap = state.observed_at is not None and point.at - state.observed_at > MARTS[rule.mart].step
        since = point.at if is_first or has_gap or state.met_since is None else state.met_since
        is_cool = state.notified_at is None or point.at - state.notified_at >= rule.cooldown
        is_due = not state.is_notified and is_cool and point.at - since >= rule.hold
        if is_due:
            crossings.append(Crossing(rule, crypto_id, point.at, point.value, since))
        state = State(point.at, since, state.is_notified or is_due, point.at if is_due else state.notified_at)
    return state, crossings
