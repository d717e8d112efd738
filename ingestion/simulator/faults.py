"""What goes wrong, on request: rules that match requests, and the damage they do to rows.

Here belongs the reading and checking of rules, the decision which rules a request meets, and the pure functions that
corrupt rows. How a damaged response is sent is in `server`, how history is restated in `market`.

A rule is a JSON object: {"kind": …} and, all optional, "match" (part of the path), "contains" (part of the full URL,
unquoted), "since" (moment of the simulator's clock), "after" (let so many matching requests pass first), "times" (how
often at most), "probability" (0 to 1, decided by the seed); without these it strikes always. And the fields of KINDS.
"""

import copy
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .market import HOUR_MS, Edit

Rule = dict[str, Any]
COMMON = {"kind", "match", "contains", "since", "after", "times", "probability"}
# The fields that each kind understands; "!" marks a field that it cannot do without.
KINDS: dict[str, set[str]] = {
    # In place of the answer:
    "status": {"status!", "headers", "body"},  # any HTTP status; the body is the service's own unless given
    "html": {"status"},  # a page of a firewall, 403 by default
    "empty": set(),  # 200 with []
    "garbage": set(),  # 200 with half a JSON text
    "reset": set(),  # the connection is torn down without a byte
    # The answer, sent badly:
    "delay": {"seconds!"},  # before the first byte
    "slow": {"bytes", "seconds"},  # so many bytes (256) every so many seconds (0.02)
    "cut": {"bytes"},  # the connection closes after so many bytes (half) of the length announced
    "truncate": {"bytes"},  # a shorter answer, its length announced as such: only the JSON is broken
    # Another history, wherever "match" reaches: klines of every interval, ticker and archives agree with each other.
    "gap": {"from!", "to!", "symbol"},  # hours in [from, to) are absent, of one symbol or of all
    "correction": {"open_time!", "symbol!", "close", "volume"},  # one hour restated; an archive is thereby re-published
    # Rows of klines, coins/markets and fng:
    "duplicate": {"rows"},  # the last rows (2) come twice
    "reorder": set(),  # shuffled
    "repeat_coin": set(),  # each page of coins/markets begins with the last coin of the page before
    "drift": {"add", "remove", "retype"},  # new {name: value}, lost fields, numbers as texts and texts as numbers
    "impossible": {"what!", "row"},  # one row (the first) corrupted in one of the ways of IMPOSSIBLE
    # On-chain series only:
    "silent": {"last_day"},  # no day after this one (YYYY-MM-DD), or none at all, with status ok
    "sampled": set(),  # every second day of a chart of blockchain.com, also with sampled=false
    # The bucket of Bitcoin's blocks only, for the day that "contains" names ("date=2026-01-31"):
    "missing_day": set(),  # no file
    "republished": set(),  # the files have other blocks; "duplicate" leaves the files of single blocks beside them
    # Archives only:
    "checksum": set(),  # the .CHECKSUM is of another file
    "header": set(),  # the CSV begins with column names
}
INSTEAD = {"status", "html", "empty", "garbage", "reset"}
TRANSPORT = {"slow", "cut", "truncate"}
ROWS = {"duplicate", "reorder", "drift", "impossible"}
IMPOSSIBLE = ("negative_price", "high_below_low", "nan", "timestamp")
NUMBERS = {"times", "after", "seconds", "bytes", "rows", "status", "probability", "close", "volume"}
# Which values are right in which fields, and what to do about others.
VALUES: tuple[tuple[set[str], Callable[[Any], bool], str], ...] = (
    (NUMBERS, lambda v: type(v) in (int, float) and v >= 0, "give a number, not negative"),
    ({"probability"}, lambda v: v <= 1, "give a number from 0 to 1"),
    ({"status"}, lambda v: 100 <= v <= 599, "give an HTTP status from 100 to 599"),
    ({"row"}, lambda v: type(v) is int, "give an integer, negative from the end"),
    ({"match", "contains", "symbol", "last_day"}, lambda v: isinstance(v, str), "give a text"),
    ({"headers", "add"}, lambda v: isinstance(v, dict), "give an object of names and values"),
    ({"remove", "retype"}, lambda v: isinstance(v, list) and all(isinstance(f, str) for f in v), "list names"),
    ({"what"}, lambda v: v in IMPOSSIBLE, f"use one of {', '.join(IMPOSSIBLE)}"),
)
KLINE_FIELDS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trade_count",
    "taker_buy_base_volume",
    "taker_buy_quote_volume",
    "ignore",
)


def moment_ms(value: object) -> int:
    """Milliseconds since 1970 of an ISO text (UTC unless it says otherwise) or of a number of milliseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is no moment; write ISO 8601 such as 2026-01-31T13:00:00Z, or milliseconds")
    if isinstance(value, int):
        return value
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no moment; write ISO 8601 such as 2026-01-31T13:00:00Z") from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def _check(rule: object) -> None:
    """Raise ValueError, with the fix, for an invalid rule."""
    if not isinstance(rule, dict):
        raise ValueError(f'{rule!r} is no rule; write an object such as {{"kind": "delay", "seconds": 1}}')
    kind = rule.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; use one of {', '.join(KINDS)}")
    fields = {f.rstrip("!") for f in KINDS[kind]}
    if unknown := sorted(set(rule) - COMMON - fields):
        raise ValueError(f"{kind} has no field {unknown[0]!r}; it knows {', '.join(sorted(COMMON | fields))}")
    if absent := sorted(f.rstrip("!") for f in KINDS[kind] if f.endswith("!") and f.rstrip("!") not in rule):
        raise ValueError(f"{kind} needs the field {absent[0]!r}; add it")
    for names, right, fix in VALUES:
        for field in names & set(rule):
            if not right(rule[field]):
                raise ValueError(f"{field} is {rule[field]!r}; {fix}")
    for field in {"since", "from", "to", "open_time"} & set(rule):
        if moment_ms(rule[field]) % HOUR_MS and field != "since":
            raise ValueError(f"{field} is {rule[field]!r}; history changes by the hour, give a full hour")
    if kind == "gap" and moment_ms(rule["from"]) >= moment_ms(rule["to"]):
        raise ValueError(f"from {rule['from']!r} is not before to {rule['to']!r}; exchange them")
    if kind == "correction" and not {"close", "volume"} & set(rule):
        raise ValueError("correction restates nothing; add close or volume")


def parse_rules(text: str | bytes, source: str) -> list[Rule]:
    """The rules of a JSON text; ValueError is one line with the source, the rule's number and the fix."""
    try:
        rules = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source}: not JSON ({error}); write a list of rules") from None
    if not isinstance(rules, list):
        raise ValueError(f"{source}: contains {type(rules).__name__}; write a list of rules")
    for number, rule in enumerate(rules, 1):
        try:
            _check(rule)
        except ValueError as error:
            raise ValueError(f"{source}: rule {number}: {error}") from None
    return rules


def read_rules(path: Path) -> list[Rule]:
    """The rules of a file; ValueError is one line."""
    try:
        return parse_rules(path.read_bytes(), str(path))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); name a JSON file of rules") from None


class Faults:
    """The rules in force, and how often each was met; safe to change while requests run."""

    def __init__(self, seed: int) -> None:
        self._seed, self._lock = seed, threading.Lock()
        self.set([])

    def set(self, rules: list[Rule]) -> None:
        """Replace all rules and reset their counts; ValueError when one is malformed."""
        checked = parse_rules(json.dumps(rules), "faults")
        with self._lock:
            self.rules, self.served = checked, Counter[str]()
            self._matched = [0] * len(checked)

    def clear(self) -> None:
        """No more faults."""
        self.set([])

    def meet(self, path: str, url: str, now_ms: int) -> list[Rule]:
        """The rules that strike this request, in order; none after the first that replaces the answer."""
        struck = []
        with self._lock:
            for number, rule in enumerate(self.rules):
                if rule.get("match", "") not in path or rule.get("contains", "") not in url:
                    continue
                if "since" in rule and now_ms < moment_ms(rule["since"]):
                    continue
                turn = self._matched[number] - int(rule.get("after", 0))
                self._matched[number] += 1
                chance = random.Random(f"{self._seed}/{number}/{turn}").random()
                if turn < 0 or turn >= rule.get("times", turn + 1) or chance >= rule.get("probability", 1):
                    continue
                self.served[rule["kind"]] += 1
                struck.append(rule)
                if rule["kind"] in INSTEAD:
                    break
        return struck


def edits_of(rules: list[Rule]) -> tuple[Edit, ...]:
    """The changes of history among the rules."""
    edits = []
    for rule in rules:
        if rule["kind"] == "gap":
            edits.append(Edit(moment_ms(rule["from"]), moment_ms(rule["to"]), rule.get("symbol")))
        elif rule["kind"] == "correction":
            at = moment_ms(rule["open_time"])
            edits.append(Edit(at, at + HOUR_MS, rule["symbol"], rule.get("close"), rule.get("volume")))
    return tuple(edits)


def _names(row: Any) -> dict[str, Any]:
    """How the fields that faults speak of are called in this kind of row: index, or key."""
    if isinstance(row, list):
        return {name: n for n, name in enumerate(KLINE_FIELDS)}
    if "current_price" in row:
        return {
            **{k: k for k in row},
            "close": "current_price",
            "high": "high_24h",
            "low": "low_24h",
            "open_time": "last_updated",
        }
    if "x" in row:
        return {**{k: k for k in row}, "close": "y", "open_time": "x"}
    if "asset" in row:
        metric = next(name for name in row if name not in ("asset", "time"))
        return {**{k: k for k in row}, "close": metric, "open_time": "time"}
    return {**{k: k for k in row}, "close": "value", "open_time": "timestamp"}


def _retyped(value: Any) -> Any:
    """A number as text, a text as number where it is one, else as a list of it; null stays."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return [value]
    return str(value)


def _corrupt(row: Any, what: str, names: dict[str, Any]) -> None:
    """Make one row say what cannot be."""
    close, high, low, opened = (names.get(k) for k in ("close", "high", "low", "open_time"))
    if what == "negative_price":
        row[close] = f"-{row[close]}" if isinstance(row[close], str) else -row[close]
    elif what == "nan":
        row[close] = "NaN"
    elif what == "timestamp":
        row[opened] = -62135596800000 if isinstance(row[opened], int) else "0001-01-01T00:00:00Z"
    elif high in (row if isinstance(row, dict) else range(len(row))):
        row[high], row[low] = row[low], row[high]
        if row[high] == row[low]:
            row[low] = f"9{row[low]}" if isinstance(row[low], str) else row[low] + 1


def corrupt_rows(rows: list[Any], rules: list[Rule]) -> list[Any]:
    """Klines, markets or fng rows after the row faults among the rules; the argument is left alone."""
    rows = copy.deepcopy(rows)
    for rule in rules:
        if not rows:
            return rows
        names = _names(rows[0])
        match rule["kind"]:
            case "duplicate":
                rows += copy.deepcopy(rows[-max(int(rule.get("rows", 2)), 1) :])
            case "reorder":
                random.Random(len(rows)).shuffle(rows)
            case "impossible":
                _corrupt(rows[int(rule.get("row", 0)) % len(rows)], rule["what"], names)
            case "drift":
                for row in rows:
                    for at in (names[f] for f in rule.get("retype", ()) if f in names):
                        row[at] = _retyped(row[at])
                    for at in sorted((names[f] for f in rule.get("remove", ()) if f in names), reverse=True):
                        del row[at]
                    if isinstance(row, list):
                        row += rule.get("add", {}).values()
                    else:
                        row.update(rule.get("add", {}))
    return rows
