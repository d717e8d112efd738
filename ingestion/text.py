"""Data as text: how a value is written before an output adds its own escaping (HTML, JSON, a terminal's table)."""

import unicodedata
from decimal import Decimal
from typing import Any

# Cc moves the cursor or starts an escape sequence, Cf reverses or hides text, the rest breaks lines or encoders.
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # part of Persian and Indic words, and of emoji


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with its control, direction and line characters written out (\x1b, \u202e), but for ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in _INVISIBLE and char not in _JOINERS + keep
        else char
        for char in text
    )


def plain(value: Any) -> str:
    """Return a value as text: a number in positional notation with its digits (0.00000001), null as the empty text."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return positional(repr(float(value)))  # numpy's repr names its type
    return str(value)


def positional(number: str) -> str:
    """Return the text of a number without an exponent: 1e-08 is 0.00000001; NaN and infinities stay as they are."""
    return format(Decimal(number), "f") if "e" in number.lower() else number
