"""Data as text: one function for each way in which a page shows what an exchange or a user wrote.

Belongs here: escaping for Markdown, Plotly's labels and CSV files. Does not: how numbers are written (`formats`). What
is typed in a universe file or sent by a source is never markup: no color, emoji, formula, link, tag or spreadsheet
formula comes from it, and what cannot be seen is written out.
"""

import html
import math
import re
import unicodedata
from datetime import date, datetime

import numpy as np
import pandas as pd

# Cc moves the cursor or starts an escape sequence, Cf reverses or hides text, the rest breaks lines or encoders.
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # part of Persian and Indic words, and of emoji
MARKDOWN = re.compile(
    r"[\\`*_{}\[\]<>$~|&]"  # emphasis, code, links, tags, formulas, tables, entities
    r"|:(?=[^\W\d])"  # colors and icons
    r"|(?m:^[#+=-])"
)
NUMBERED = re.compile(r"(?m)^(\d+)([.)])")
# What Streamlit and its Markdown look for in the text itself, behind any backslash.
PATTERNS = re.compile(
    r"(?<!\S)(?:<->|<-|->|--|>=|<=|~=)(?!\S)"  # arrows and dashes
    r"|:(?!\d\d:\d\d)(?=[\w+-]+:|material/)"  # emoji, icons and Streamlit's logo, but not 14:05:00
    r"|:(?=//)|(?i:www)(?=\.)|@"  # web and mail addresses
)
WORD_JOINER = "\u2060"  # has no width
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with its control, direction and line characters written out (\x1b, \u202e), but for `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in INVISIBLE and char not in JOINERS + keep
        else char
        for char in text
    )


def markdown(text: object) -> str:
    """Return a text as Markdown that shows it as it is, its line ends as line ends."""
    shown = visible(str(text), keep="\n")
    shown = PATTERNS.sub(lambda found: found[0][0] + WORD_JOINER + found[0][1:], shown)
    return NUMBERED.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", shown)).replace("\n", "  \n")


def label(text: object) -> str:
    """Return a text as Plotly shows it as it is: in its labels and tooltips tags and entities count."""
    return html.escape(visible(str(text)), quote=False)


def positional(value: float) -> str:
    """Write a number with all its digits and without an exponent: 0.00000001, 67000.0."""
    return np.format_float_positional(value, trim="0") if math.isfinite(value) else str(value)


def decimals(values: pd.Series, most: int = 15) -> int:
    """Return how many decimals write each of these numbers in full, `most` at most."""
    known = (value for value in values.dropna().astype(float).unique() if math.isfinite(value))
    written = (np.format_float_positional(value, trim="-", precision=most).partition(".")[2] for value in known)
    return max(map(len, written), default=0)


def csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: null is nothing, the empty text is "", and no text is a spreadsheet's formula."""
    lines = [",".join(map(_csv_cell, frame.columns))]
    lines += [",".join(map(_csv_cell, row)) for row in frame.astype(object).itertuples(index=False, name=None)]
    return "\n".join(lines) + "\n"


def _csv_cell(value: object) -> str:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return positional(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if not isinstance(value, str):
        return value.isoformat() if isinstance(value, date) else str(value)
    # A spreadsheet would compute =HYPERLINK(...) of a coin's name; -0.5, which it also begins with, is a number.
    text = f"'{value}" if value.startswith(FORMULA) and not _is_number(value) else value
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if text == "" or any(c in text for c in ',"\r\n') else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text) is not None


def shortened(text: str, most: int = 40) -> str:
    """Return a text in so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def same_to_a_reader(text: str) -> str:
    """Return what two texts share that cannot be told apart: without case, width and invisible characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char for char in folded if char.isprintable()).split())
