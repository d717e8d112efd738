"""Untrusted text is escaped in Markdown, chart labels and CSV."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dashboard import text

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def read(markdown: str) -> str:
    """The text of Markdown that has no markup; fails on any other element."""
    tokens = [child for token in GITHUB.parse(markdown) for child in token.children or [token]]
    kinds = {token.type for token in tokens}
    assert kinds <= {"paragraph_open", "paragraph_close", "text", "text_special", "hardbreak", "softbreak"}, kinds
    return "".join("\n" if token.type.endswith("break") else token.content for token in tokens)


@given(st.text(min_size=1) | st.text("*_`~[]()<>!#+-=|&$:. 1a\n", min_size=1))
def test_markdown_renders_any_text_as_itself(value):
    escaped = text.markdown(" ".join(value.split()) or "x")
    assert read(escaped).replace("\u2060", "") == text.visible(" ".join(value.split()) or "x")


@pytest.mark.parametrize(
    "value",
    [":smile:", ":100:", ":material/home:", ":streamlit:", "http://x.y", "www.x.y", "a@b.cd", "a -> b", "a -- b"],
)
def test_markdown_breaks_patterns_that_streamlit_replaces(value):
    shown = text.markdown(value)
    assert "\u2060" in shown
    assert shown.replace("\u2060", "").replace("\\", "") == value
    assert text.markdown("14:05:00 and 14:05") == "14:05:00 and 14:05"


@pytest.mark.parametrize("value", [":red[x]", "$x$", ":id", "<b>", "`x`"])
def test_markdown_escapes_streamlit_markup(value):
    assert text.markdown(value).startswith("\\")


def test_visible_escapes_control_and_direction_characters_only():
    assert text.visible("a\x1b[31mb\u202ec\x00\n") == "a\\x1b[31mb\\u202ec\\x00\\n"
    for word in ("Ωmega", "币安人生", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩‍🚀", "10\u00a0h"):
        assert text.visible(word) == word


def test_label_escapes_tags_and_entities():
    assert text.label("<a href='http://x'>&amp;</a>\u202e") == "&lt;a href='http://x'&gt;&amp;amp;&lt;/a&gt;\\u202e"


def test_csv_keeps_digits_null_and_empty_text_and_escapes_formulas():
    frame = pd.DataFrame(
        {
            "price": [1e-8, 0.0, float("nan")],
            "exact": ["-0.00000001", "+5", None],
            "name": ['=HYPERLINK("http://x")', "", "a,\nb"],
            "count": [1, 2, 3],
        }
    )
    written = text.csv(frame)
    assert written.splitlines()[1:3] == ['0.00000001,-0.00000001,"\'=HYPERLINK(""http://x"")",1', '0.0,+5,"",2']
    rows = list(csv.reader(io.StringIO(written)))
    assert rows[3] == ["", "", "a,\nb", "3"]


def test_decimals_shows_the_smallest_value_in_full():
    assert text.decimals(pd.Series([67000.0, 9.41e-6, None])) == 8
    assert text.decimals(pd.Series([1.0, 2.0])) == 0
