"""Escaping of untrusted text (universe file, API responses, URLs) for Markdown, Plotly labels and CSV files.

No such text becomes markup, an emoji, a link, an HTML tag or a spreadsheet formula; invisible characters are written
as escape sequences. Number formats are in `formats`.
"""

import html
import math
import re
import unicodedata
from datetime import date, datetime

import numpy as np
import pandas as pd

# Cc moves the cursor or starts an escape sequence, Cf reverses or hides text, the others break lines or encoders.
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # part of Persian and Indic words, and of emoji
MARKDOWN = re.compile(
    r"[\\`*_{}\[\]<>$~|&]"  # emphasis, code, links, tags, formulas, tables, entities
    r"|:(?=[^\W\d])"  # colors and icons
    r"|(?m:^[#+=-])"
)
NUMBERED = re.compile(r"(?m)^(\d+)([.)])")
# Patterns that Streamlit replaces even after a backslash.
PATTERNS = re.compile(
    r"(?<!\S)(?:<->|<-|->|--|>=|<=|~=)(?!\S)"  # arrows and dashes
    r"|:(?!\d\d:\d\d)(?=[\w+-]+:|material/)"  # emoji, icons and Streamlit's logo, but not 14:05:00
    r"|:(?=//)|(?i:www)(?=\.)|@"  # web and mail addresses
)
WORD_JOINER = "\u2060"  # has no width
NO_BREAK = "\u00a0"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with control, direction and line characters as escape sequences (\x1b, \u202e), except `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in INVISIBLE and char not in JOINERS + keep
        else char
        for char in text
    )


def markdown(text: object) -> str:
    """Escape a text for Markdown; line breaks stay."""
    shown = visible(str(text), keep="\n")
    shown = PATTERNS.sub(lambda found: found[0][0] + WORD_JOINER + found[0][1:], shown)
    return NUMBERED.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", shown)).replace("\n", "  \n")


def escaped(text: object) -> str:
    """Escape a text for Markdown and join numbers with their units of time."""
    return nbsp_units(markdown(text))


def inline_code(value: str) -> str:
    """Return user input as inline code of at most 60 characters, so that nothing in it is Markdown."""
    shown = visible(" ".join(value.replace("`", "'").split()))
    return f"`{shown[:60]}{'…' if len(shown) > 60 else ''}`"


def nbsp_units(text: str) -> str:
    """Put a no-break space between a number and its unit of time: 24 h, 7 d, 5 min."""
    return re.sub(r"(?<=\d) (?=(?:h|d|s|min|days?)\b)", NO_BREAK, text)


def label(text: object) -> str:
    """Escape a text for Plotly, which interprets tags and entities in labels and tooltips."""
    return html.escape(visible(str(text)), quote=False)


def positional(value: float) -> str:
    """Format a number with all its digits and without an exponent: 0.00000001, 67000.0."""
    return np.format_float_positional(value, trim="0") if math.isfinite(value) else str(value)


def decimals(values: pd.Series, limit: int = 15) -> int:
    """Return the number of decimals that shows every value in full, at most `limit`."""
    known = (value for value in values.dropna().astype(float).unique() if math.isfinite(value))
    written = (np.format_float_positional(value, trim="-", precision=limit).partition(".")[2] for value in known)
    return max(map(len, written), default=0)


def csv(frame: pd.DataFrame) -> str:
    """Return a table as CSV: null is an empty cell, the empty text is "", and text never becomes a formula."""
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
    # A spreadsheet would evaluate a coin named =HYPERLINK(...); -0.5 is a number and stays.
    text = f"'{value}" if value.startswith(FORMULA) and not _is_number(value) else value
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if text == "" or any(c in text for c in ',"\r\n') else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text) is not None


def truncated(text: str, length: int = 40) -> str:
    """Cut a text to `length` characters, with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def comparison_key(text: str) -> str:
    """Return a key that is equal for texts that look alike: without case, width and invisible characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char for char in folded if char.isprintable()).split())
