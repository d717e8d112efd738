"""`tickmart sql` and the other tables of the terminal: every value as it is in the database, whatever it looks like."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ingestion.text import plain, positional, visible
from orchestration.cli.main import main
from orchestration.observability import logs
from support.pipeline import Chain

FORMS = ("table", "csv", "json")
MARKUP = ("[a-z]+", "[usd] coin", "[/b]", "key:id:1", ":smile:", "http://x.y", "C:\\new", "a | b", "{x} %s $y")
NUMBERS = ("0.00000001", "0.00000000", "-0.00000012", "NaN", "Infinity", "123456789012345678901234567890.5")


@pytest.fixture
def sql(chain: Chain, tmp_path: Path, monkeypatch):
    """Run `tickmart sql` on the database in one form, and return what it printed."""
    owner = chain.postgres
    for name, value in {
        "TICKMART_HOME": str(tmp_path), "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user,
        "PGPASSWORD": owner.password, "PGDATABASE": owner.database,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def ask(query: str, form: str = "table", code: int = 0) -> str:
        done = CliRunner().invoke(main, ["sql", query, *([f"--{form}"] if form != "table" else [])])
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.output

    return ask


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_looks_like_markup_is_printed_as_it_is(sql, form):
    quoted = ", ".join(f"'{value}' as c{at}" for at, value in enumerate(MARKUP))
    said = sql(f"select {quoted}", form)
    if form == "json":
        assert list(json.loads(said)[0].values()) == list(MARKUP)
    elif form == "csv":
        assert list(csv.reader(io.StringIO(said)))[1] == list(MARKUP)
    else:
        assert all(value in said for value in MARKUP)


def test_a_column_that_looks_like_markup_has_its_name(sql):
    assert sql('select 1 as "[bold]x[/bold]"').split()[0] == "[bold]x[/bold]"


@pytest.mark.parametrize("form", FORMS)
def test_a_number_is_printed_with_its_digits_and_without_an_exponent(sql, form):
    values = ", ".join(f"'{number}'::numeric as n{at}" for at, number in enumerate(NUMBERS))
    said = sql(f"select {values}, 1e-8::float8 as f, 1e-5::float4 as g, 'NaN'::float8 as h", form)
    for number in (*NUMBERS, "0.00000001", "0.00001"):
        assert number in said
    assert not [word for word in said.replace('"', " ").split() if word.lower().startswith(("0e", "1e"))]


def test_csv_distinguishes_null_from_empty_text_and_preserves_quotes_and_lines(sql):
    said = sql(
        "select null as a, '' as b, E'x\"y\\nz' as c, true as d, array[1.5, null] as e, '\\x00ff'::bytea as f", "csv"
    )
    assert said == 'a,b,c,d,e,f\n,"","x""y\nz",true,"{1.5,NULL}",\\x00ff\n'


def test_json_has_numbers_as_numbers_and_json_as_json(sql):
    query = """select 0.00000001::numeric as n, 7 as i, false as b, null as z, '{"k": 0.10}'::jsonb as j, 'x' as t,
        interval '1 day' as d, 'NaN'::numeric as nan"""
    said = sql(query, "json")
    assert '"n": 0.00000001' in said
    assert "0.10" in said
    assert json.loads(said) == [
        {"n": 1e-8, "i": 7, "b": False, "z": None, "j": {"k": 0.1}, "t": "x", "d": "1 day", "nan": "NaN"}
    ]


def test_two_columns_of_one_name_are_no_json(sql):
    assert "two columns are named a" in sql("select 1 as a, 2 as a", "json", code=1)


def test_a_control_or_direction_character_moves_no_cursor_and_starts_no_line(sql):
    said = sql("select E'a\\x1b[2Jb\\u202ec\\nd' as t")
    assert "a\\x1b[2Jb\\u202ec\\nd" in said
    assert len(said.splitlines()) == 2


def test_a_rejected_record_is_listed_with_its_digits_and_brackets(chain, sql):
    chain.ask(
        """
        insert into ops.rejected_records (dataset, batch_id, reason, record, record_sha256, object_key)
        values ('coingecko_markets', 'b', '[red]no[/red] :x:', '{"p": 0.00000001, "n": "[/b]"}', 'x', 'k')
        """
    )
    said = CliRunner().invoke(main, ["rejected", "list"]).stdout
    assert "[red]no[/red] :x:" in said
    assert '"p": 0.00000001' in said
    assert json.loads(CliRunner().invoke(main, ["rejected", "list", "--json"]).stdout)[0]["record"]["n"] == "[/b]"


def test_a_line_of_the_log_is_one_line_whatever_it_is_about(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    logs.unit("loaded", symbol="A\nfake line\x1b[31m[bold]:x:", price=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "A\\nfake line\\x1b[31m[bold]:x:" in line
    (kept,) = (tmp_path / "logs" / logs.FILE).read_text().splitlines()
    assert json.loads(kept)["symbol"] == "A\nfake line\x1b[31m[bold]:x:"


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_written_without_an_exponent_and_read_as_itself(value):
    text = plain(value)
    assert "e" not in text.lower()
    assert type(value)(text) == value
    assert positional(text) == text


@given(st.text())
def test_a_visible_text_has_no_character_that_cannot_be_seen_and_stays_so(text):
    shown = visible(text)
    assert not {"\x1b", "\n", "\r", "\0", "\u202e", "\u2028", "\u0085"} & set(shown)
    assert visible(shown) == shown
    shown.encode()
