"""Price rules: the format of the YAML file that names them, and its validation.

Does not belong here: when a rule fires (``price_crossings``), reading marts and notifying (``price_alerts``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from ingestion.setting_values import SettingsError
from ingestion.settings import Settings
from ingestion.universe import read_universe

DEFAULT_FILE = "alert_rules.yml"
ALL = "all"


@dataclass(frozen=True)
class Rows:
    """A table of marts with one row per asset and ``time``; a row is known ``known_after`` that time."""

    table: str
    time: str
    known_after: timedelta


@dataclass(frozen=True)
class Mart:
    """What rules read: the newest rows, and the history for `tickmart alert simulate`."""

    newest: Rows
    history: Rows
    step: timedelta
    """Two rows farther apart have a gap between them: the time of ``for`` starts again after it."""
    metrics: frozenset[str]


# The numeric columns of each mart that a threshold makes sense for (a test compares them with the contracts).
_LIVE = frozenset({"last", "spread_bps", "change_24h_pct"})
_HOURS = Rows("fct_prices", "opened_at", timedelta(hours=1))
MARTS = {
    "fct_prices": Mart(
        _HOURS, _HOURS, timedelta(hours=1),
        frozenset({
            "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "taker_buy_volume", "vwap_1h",
            "vwap_session", "vwap_24h", "return_1h_pct", "log_return_1h", "change_24h_pct", "change_7d_pct", "ma_7d",
            "ma_30d", "ma_90d", "volatility_24h", "volatility_7d", "volatility_30d",
        }),
    ),
    "v_live_latest": Mart(
        Rows("v_live_latest", "ts", timedelta(0)), Rows("fct_live_1m", "minute", timedelta(minutes=1)),
        timedelta(minutes=5), _LIVE,
    ),
}  # fmt: skip
COMPARISONS = ("above", "below")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_KEYS = ("name", "mart", "metric", "asset", "comparison", "threshold", "for", "cooldown")
_REQUIRED = ("name", "metric", "comparison", "threshold")


@dataclass(frozen=True)
class Rule:
    """One rule: notify when a metric of an asset has been above or below a threshold for some time."""

    name: str
    mart: str
    metric: str
    crypto_ids: tuple[str, ...]
    comparison: str
    threshold: float
    hold: timedelta
    cooldown: timedelta

    def is_met(self, value: float) -> bool:
        """Return whether a value is on the side of the threshold that the rule is about."""
        return value > self.threshold if self.comparison == "above" else value < self.threshold

    @property
    def definition(self) -> str:
        """A digest of what the rule evaluates; a rule that was changed starts again."""
        parts = (self.mart, self.metric, self.comparison, self.threshold, self.hold, self.cooldown)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def read_rules(settings: Settings, path: Path | None = None) -> tuple[Rule, ...]:
    """Return the rules of ``path``, of TICKMART_ALERT_RULES, or of alert_rules.yml in TICKMART_HOME if it exists.

    Raises SettingsError with file, rule, value and fix.
    """
    named = path or settings.alerting.rules_path
    file = named or settings.home / DEFAULT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named is None:
            return ()
        raise SettingsError(
            f"{file}: no such file; TICKMART_ALERT_RULES must name a YAML file of price rules"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: cannot be read ({error}); it must be a UTF-8 YAML file") from None
    return parse_rules(text, str(file), {asset.crypto_id for asset in read_universe(settings.universe_path)})


def parse_rules(text: str, file: str, universe: Collection[str]) -> tuple[Rule, ...]:
    """Return the rules of a YAML text; raise SettingsError with file, rule, value and fix."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise SettingsError(f"{file}{where}: no YAML ({problem}); look at indentation and quotation marks") from None
    if content is None:
        return ()
    entries = content.get("rules") if isinstance(content, dict) and set(content) == {"rules"} else None
    if not isinstance(entries, list):
        raise SettingsError(
            f"{file}: has no list of rules; write `rules:` and below it one `- name: ...` for each rule"
        )
    rules: list[Rule] = []
    for number, entry in enumerate(entries, start=1):
        rule = _rule(entry, file, number, universe)
        if any(rule.name == other.name for other in rules):
            raise SettingsError(f"{file}: rule {rule.name!r} is there twice; give each rule a name of its own")
        rules.append(rule)
    return tuple(rules)


def _rule(entry: Any, file: str, number: int, universe: Collection[str]) -> Rule:
    if not isinstance(entry, dict):
        raise SettingsError(f"{file}: rule {number}: {entry!r} is no mapping; write `- name: ...` and its keys below")
    name = entry.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", name):
        raise SettingsError(
            f"{file}: rule {number}: name {name!r} is not snake_case of at most 60 characters, such as bitcoin_drop"
        )
    where = f"{file}: rule {name!r}"
    for key in entry:
        if key not in _KEYS:
            raise SettingsError(f"{where}: key {key!r} is not known; the keys are {', '.join(_KEYS)}")
    for key in _REQUIRED:
        if key not in entry:
            raise SettingsError(f"{where}: {key} is missing; add it")
    mart = entry.get("mart", "fct_prices")
    if not isinstance(mart, str) or mart not in MARTS:
        raise SettingsError(f"{where}: mart {mart!r} is not one that rules read; write {' or '.join(MARTS)}")
    metric = entry["metric"]
    if not isinstance(metric, str) or metric not in MARTS[mart].metrics:
        raise SettingsError(
            f"{where}: metric {metric!r} is no number of {mart}; write one of {', '.join(sorted(MARTS[mart].metrics))}"
        )
    if entry["comparison"] not in COMPARISONS:
        raise SettingsError(
            f"{where}: comparison {entry['comparison']!r} is neither above nor below; write one of them"
        )
    return Rule(
        name,
        mart,
        metric,
        _assets(entry.get("asset", ALL), where, universe),
        entry["comparison"],
        _threshold(entry["threshold"], where),
        _duration(entry, "for", where),
        _duration(entry, "cooldown", where),
    )


def _assets(value: Any, where: str, universe: Collection[str]) -> tuple[str, ...]:
    if value == ALL:
        return tuple(sorted(universe))
    values = value if isinstance(value, list) and value else [value]
    for crypto_id in values:
        if not isinstance(crypto_id, str) or crypto_id not in universe:
            raise SettingsError(
                f"{where}: asset {crypto_id!r} is not in the universe; write all, or CoinGecko ids such as bitcoin"
            )
    return tuple(dict.fromkeys(values))


def _threshold(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SettingsError(f"{where}: threshold {value!r} is not a number; write it like -5 or 0.8")
    return float(value)


def _duration(entry: Mapping[str, Any], key: str, where: str) -> timedelta:
    value = entry.get(key, "0m")
    matched = re.fullmatch(r"(\d{1,5})([mhd])", value) if isinstance(value, str) else None
    found = timedelta(**{_UNITS[matched[2]]: int(matched[1])}) if matched else None
    if found is None or found > timedelta(days=365):
        raise SettingsError(f"{where}: {key} {value!r} is not a duration up to 365d; write it like 30m, 2h or 1d")
    return found
