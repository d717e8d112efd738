"""Check results in words: what a check expects, the history of its last runs, and filters."""

import ast
import re

import pandas as pd

SYMBOLS = {"passed": "●", "failed": "✕", "error": "!"}
NO_FAILED_ROW = "No failed row"


def readable_expectation(expected: object) -> str | None:
    """Return what a check expects as words; None for a missing value.

    Great Expectations names a method with its arguments (`expect_column_values_to_be_between {...}`), dbt the test.
    """
    if not isinstance(expected, str):
        return None
    method, _, arguments = expected.partition(" ")
    if not method.startswith("expect_"):
        return NO_FAILED_ROW if re.fullmatch(r"\w+", expected) else expected
    try:
        given = ast.literal_eval(arguments) if arguments else {}
    except (ValueError, SyntaxError):
        return expected  # the arguments are cut off
    columns = [given.pop(name) for name in ("column", "column_list", "column_set") if name in given]
    column = ", ".join(str(name) for value in columns for name in (value if isinstance(value, list) else [value]))
    column = column.replace("_", " ")
    low, high = given.get("min_value"), given.get("max_value")
    if method.endswith("_to_be_between"):
        subject = "row count" if "row_count" in method else column
        return f"{subject} {_range(low, high)}"
    if method.endswith("_to_not_be_null"):
        return f"{column} has a value"
    if method.endswith("_to_be_null"):
        return f"{column} is empty"
    if method.endswith("_unique"):
        return f"{column or 'the key'} is unique"
    if method.endswith("_to_be_in_set"):
        values = given.get("value_set")
        return f"{column} is one of {', '.join(map(str, values))}" if values else f"{column} is true"
    words = method.removeprefix("expect_").replace("_", " ")
    return " ".join(filter(None, [words, column, ", ".join(f"{name} {value}" for name, value in given.items())]))


def _range(low: float | None, high: float | None) -> str:
    if low is not None and low == high:
        return f"is {low:g}"
    if high is None:
        return f"is at least {low:g}" if low is not None else "has any value"
    return f"is at most {high:g}" if low is None else f"is between {low:g} and {high:g}"


def history_symbols(statuses: list[str]) -> str:
    """Return one symbol per result, oldest first: ● passed, ✕ failed, ! could not run."""
    return "".join(SYMBOLS.get(status, "?") for status in statuses)


def matching(checks: pd.DataFrame, search: str, status: str) -> pd.DataFrame:
    """Return the checks with every word in asset, title, name or source; `status` is all, passed or failed."""
    kept = pd.Series(True, index=checks.index)
    if status != "all":
        kept &= (checks["status"] == "passed") == (status == "passed")
    texts = checks[["asset", "title", "check_name", "source"]].fillna("").agg(" ".join, axis=1).str.lower()
    for word in search.lower().split():
        kept &= texts.str.contains(word, regex=False)
    return checks[kept]
