"""Translates the SQL of a compiled model or test from Postgres' syntax to Spark's, which Sail speaks too.

Belongs here: syntax that differs everywhere (type names, casts, named windows) and the arithmetic of decimals. Does
not: what differs in meaning, which is a macro of ``dbt_project/macros/dialect``. Runs in the environment of an engine,
so it imports sqlglot alone.
"""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp, parse_one
from sqlglot.dialects.postgres import Postgres
from sqlglot.dialects.spark import Spark

from orchestration.engines.errors import EngineError

# Postgres' infinities are values of no other engine. No bar and no block lies outside of these years.
INFINITIES = {"-infinity": "1000-01-01", "infinity": "9999-12-31"}
DATE_FUNCTIONS = {"week": "weekofyear", "doy": "dayofyear", "epoch": "unix_timestamp"}
A_MONDAY = "1970-01-05"
COMPARISONS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
FLOAT_AGGREGATES = (exp.Variance, exp.VariancePop, exp.Stddev, exp.StddevSamp, exp.StddevPop)


def translate(sql: str, name: str, engine: str = "sail") -> str:
    """Return the query of model or test ``name`` in Spark's syntax, for an engine."""
    if not sql.strip():
        return sql
    try:
        tree = parse_one(sql, read=Postgres)
    except Exception as error:
        raise EngineError(
            f"{name}: its SQL cannot be parsed ({str(error).splitlines()[0]}); write it in standard SQL"
        ) from None
    _inline_windows(tree)
    # Inner expressions first: a rule may replace the expression around them.
    for node in reversed(list(tree.walk())):
        translated = _translate_node(node)
        if translated is not node:
            node.replace(translated)
    if engine == "spark":
        for window in [w for w in tree.find_all(exp.Window) if _trails(w)]:
            if (total := _difference_of_totals(window)) is not None:
                window.replace(total)
    return tree.sql(dialect=Spark, pretty=True)


def _inline_windows(tree: exp.Expr) -> None:
    """Replace names of windows by their definitions: Spark has no window that extends another one."""
    for select in tree.find_all(exp.Select):
        named = {window.this.name: window for window in select.args.get("windows") or ()}
        if not named:
            continue
        for window in [w for w in select.find_all(exp.Window) if w.parent_select is select]:
            if window.this.name not in named or window not in named.values():
                _resolve(window, named)
        select.set("windows", None)


def _resolve(window: exp.Window, named: dict[str, exp.Window]) -> None:
    alias = window.args.get("alias")
    base = named.get(alias.name) if isinstance(alias, exp.Expr) else None
    if base is None:
        return
    _resolve(base, named)
    for part in ("partition_by", "order", "spec"):
        if not window.args.get(part) and base.args.get(part):
            found = base.args[part]
            window.set(part, [p.copy() for p in found] if isinstance(found, list) else found.copy())
    window.set("alias", None)


def _trails(window: exp.Window) -> bool:
    """Return whether the frame of a window is the last hours up to its row."""
    spec = window.args.get("spec")
    return (
        spec is not None and str(spec.args.get("kind")).lower() == "range"
        and isinstance(spec.args.get("start"), exp.Interval) and spec.args.get("end") == "CURRENT ROW"
    )  # fmt: skip


def _difference_of_totals(window: exp.Window) -> exp.Expr | None:
    """A sliding aggregate as the difference of two running ones, which are exact for decimals.

    Spark computes an aggregate of a sliding frame again for each row, in rows x window, and that of a frame without a
    lower bound once.
    """
    interval = window.args["spec"].args["start"]
    length = f"{interval.this.name} {interval.args['unit'].name}" if interval.args.get("unit") else interval.this.name
    value = window.this.this

    def over(aggregate: exp.Expr, **spec: Any) -> exp.Expr:
        running = window.copy()
        running.set("this", aggregate)
        running.set("spec", exp.WindowSpec(kind="RANGE", start="UNBOUNDED", start_side="PRECEDING", **spec))
        return running

    def trailing(aggregate: exp.Expr) -> exp.Expr:
        # The frame includes its bound, so what precedes it ends a microsecond earlier.
        before = exp.Interval(this=exp.Literal.string(f"{length} 1 microsecond"))
        until_row = over(aggregate.copy(), end="CURRENT ROW")
        until_frame = over(aggregate.copy(), end=before, end_side="PRECEDING")
        # A zero of one digit leaves the decimal its type.
        zero = exp.Literal.number(0) if isinstance(aggregate, exp.Count) else exp.cast("0", "decimal(1, 0)")
        return exp.paren(exp.Sub(this=until_row, expression=exp.func("coalesce", until_frame, zero)))

    count = trailing(exp.Count(this=value.copy()))
    if isinstance(window.this, exp.Count):
        return count
    total = exp.Case().when(exp.GT(this=count.copy(), expression=exp.Literal.number(0)), trailing(exp.Sum(this=value)))
    if isinstance(window.this, exp.Sum):
        return exp.paren(total)
    if not isinstance(window.this, exp.Variance):
        return None
    squares = exp.cast(trailing(exp.Sum(this=exp.Mul(this=value.copy(), expression=value.copy()))), "double")
    summed = exp.cast(trailing(exp.Sum(this=value.copy())), "double")
    square_of_sum = exp.Div(this=exp.Mul(this=summed, expression=summed.copy()), expression=count.copy())
    deviations = exp.func("greatest", exp.Sub(this=squares, expression=square_of_sum), exp.Literal.number(0))
    fewer = exp.paren(exp.Sub(this=count.copy(), expression=exp.Literal.number(1)))
    return exp.paren(
        exp.Case().when(
            exp.GT(this=count.copy(), expression=exp.Literal.number(1)), exp.Div(this=deviations, expression=fewer)
        )
    )


def _translate_node(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Cast):
        return _cast(node)
    if isinstance(node, COMPARISONS) and any(map(_has_exponent, node.args.values())):
        # Sail would turn the limit into a decimal, which cannot hold it.
        for part, value in list(node.args.items()):
            if isinstance(value, exp.Expr) and not isinstance(value, exp.Literal) and not _has_exponent(value):
                node.set(part, exp.cast(value, "double"))
        return node
    if isinstance(node, exp.Select) and node.args.get("offset") and node.args["offset"].expression.name == "0":
        # Postgres' barrier against merging subqueries.
        node.set("offset", None)
    if isinstance(node, exp.Literal) and node.is_number and _has_exponent(node):
        # A number with an exponent is a decimal in Sail.
        return exp.cast(exp.Literal.string(node.name), "double")
    if isinstance(node, exp.Div):
        # A quotient of decimals has six places in Spark.
        node.set("this", _as_double(node.this))
        node.set("typed", False)
        node.set("safe", False)
        return node
    if _is_mean(node) and not isinstance(node.parent, exp.Window | exp.Filter):
        return _mean(node)
    if isinstance(node, exp.WithinGroup) and isinstance(node.this, exp.PercentileCont):
        return _percentile(node)
    if isinstance(node, FLOAT_AGGREGATES) and isinstance(node.this, exp.Order):
        # The order in which a mean or a deviation is taken changes its last digit only.
        node.set("this", node.this.this)
    if isinstance(node, exp.Extract):
        return _extract(node)
    return node


def _has_exponent(node: object) -> bool:
    node = node.this if isinstance(node, exp.Cast) else node
    return isinstance(node, exp.Literal) and re.fullmatch(r"[\d.]+e[-+]?\d+", node.name.lower()) is not None


def _cast(node: exp.Cast) -> exp.Expr:
    kind, value = node.to, node.this
    if isinstance(value, exp.Literal) and value.name in INFINITIES:
        node.set("this", exp.Literal.string(INFINITIES[value.name]))
    if kind.this == exp.DataType.Type.DECIMAL and not kind.expressions:
        if isinstance(value, exp.Null):
            node.set("to", exp.DataType.build("decimal(28, 8)"))
            return node
        # An exact number stays one, and Spark's decimal without places has none.
        return exp.Paren(this=value)
    if kind.this in (exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.TIMESTAMP):
        node.set("to", exp.DataType.build("timestamp", dialect=Spark))
    if kind.this in (exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR):
        node.set("to", exp.DataType.build("string", dialect=Spark))
    return node


def _as_double(value: exp.Expr) -> exp.Expr:
    if isinstance(value, exp.Paren):
        return exp.Paren(this=_as_double(value.this))
    if isinstance(value, exp.Mul | exp.Div):
        value = value.copy()
        value.set("this", _as_double(value.this))
        value.set("expression", _as_double(value.expression))
        return value
    if isinstance(value, exp.Cast) and value.to.this == exp.DataType.Type.DOUBLE:
        return value
    return exp.cast(value.copy(), "double")


def _mean(node: exp.Expr) -> exp.Expr:
    """A mean of decimals has four places more than they have in Spark; a sum is exact.

    ``node`` is avg(), with or without a filter and a window around it.
    """
    mean = node.find(exp.Avg)
    assert mean is not None
    value = mean.this.this if isinstance(mean.this, exp.Order) else mean.this

    def with_aggregate(aggregate: type[exp.Expr]) -> exp.Expr:
        return node.copy().transform(lambda n: aggregate(this=value.copy()) if isinstance(n, exp.Avg) else n)

    total = exp.cast(with_aggregate(exp.Sum), "double")
    count = exp.func("nullif", with_aggregate(exp.Count), exp.Literal.number(0))
    return exp.Paren(this=exp.Div(this=total, expression=count))


def _is_mean(node: exp.Expr) -> bool:
    if isinstance(node, exp.Window | exp.Filter):
        return _is_mean(node.this)
    return isinstance(node, exp.Avg)


def _percentile(node: exp.WithinGroup) -> exp.Expr:
    ordered = node.expression.expressions[0]
    return exp.func("percentile", ordered.this, node.this.this)


def _extract(node: exp.Extract) -> exp.Expr:
    part, value = node.this.name.lower(), node.expression
    # Sail 0.7 has neither dayofweek_iso nor yearofweek, and its weekday() is wrong for Sundays. A week belongs to the
    # year of its Thursday.
    if part == "isodow":
        return exp.Paren(this=exp.Add(this=_days_since_monday(value), expression=exp.Literal.number(1)))
    if part == "isoyear":
        monday = exp.Anonymous(this="date_sub", expressions=[value.copy(), _days_since_monday(value)])
        return exp.func("year", exp.Anonymous(this="date_add", expressions=[monday, exp.Literal.number(3)]))
    if part in DATE_FUNCTIONS:
        return exp.Anonymous(this=DATE_FUNCTIONS[part], expressions=[value])
    return node


def _days_since_monday(value: exp.Expr) -> exp.Expr:
    days = exp.Anonymous(this="datediff", expressions=[value.copy(), exp.cast(exp.Literal.string(A_MONDAY), "date")])
    return exp.Anonymous(this="pmod", expressions=[days, exp.Literal.number(7)])
