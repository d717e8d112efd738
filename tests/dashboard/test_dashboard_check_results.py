"""Check results for people on call: readable expectations, history, filters, links, completeness of each coin."""

import pandas as pd
import pytest

from dashboard.analysis.checks import NO_FAILED_ROW, history_symbols, matching, readable_expectation
from tests.dashboard.page_tools import page_text

METHOD = "expect_column_values_to_be"


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (None, None),
        (f"{METHOD}_between {{'column': 'missing_bars', 'min_value': 0.0, 'max_value': 0.0}}", "missing bars is 0"),
        (f"{METHOD}_between {{'column': 'x', 'min_value': -20.0, 'max_value': 20.0}}", "x is between -20 and 20"),
        (f"{METHOD}_between {{'column': 'x', 'min_value': 1}}", "x is at least 1"),
        ("expect_table_row_count_to_be_between {'min_value': 1}", "row count is at least 1"),
        (f"{METHOD}_null {{'column': 'contract_violation'}}", "contract violation is empty"),
        ("expect_column_values_to_not_be_null {'column': 'close'}", "close has a value"),
        (f"{METHOD}_in_set {{'column': 'kind', 'value_set': ['a', 'b']}}", "kind is one of a, b"),
        (f"{METHOD}_in_set {{'column': 'has_data'}}", "has data is true"),
        (f"{METHOD}_unique {{'column': 'key'}}", "key is unique"),
        ("expect_compound_columns_to_be_unique {'column_list': ['a', 'b']}", "a, b is unique"),
        ("expect_column_to_exist {'column': 'x', 'index': 2}", "column to exist x index 2"),
        (f"{METHOD}_between {{'column': 'cut o", f"{METHOD}_between {{'column': 'cut o"),
        ("unique_grain_dim_crypto_crypto_id", NO_FAILED_ROW),
        ("Every day of the index is valid.", "Every day of the index is valid."),
    ],
)
def test_expectation_in_words(expected, words):
    assert readable_expectation(expected) == words


def test_history_has_a_distinct_symbol_per_status():
    assert len(set(history_symbols(["passed", "failed", "error", "unknown"]))) == 4


CHECKS = pd.DataFrame(
    {
        "asset": ["raw/a", "raw/b", "marts/c"],
        "title": ["No bar is missing", "Unique", None],
        "check_name": ["no_missing_bars", "unique", "grain"],
        "source": ["great_expectations", "dbt", "dbt"],
        "status": ["passed", "error", "failed"],
    }
)


@pytest.mark.parametrize(
    ("search", "status", "expected"),
    [
        ("", "all", ["raw/a", "raw/b", "marts/c"]),
        ("", "failed", ["raw/b", "marts/c"]),
        ("", "passed", ["raw/a"]),
        ("MISSING raw", "all", ["raw/a"]),
        ("dbt", "failed", ["raw/b", "marts/c"]),
        ("nothing", "all", []),
    ],
)
def test_checks_are_filtered_by_status_and_words(search, status, expected):
    assert matching(CHECKS, search, status)["asset"].tolist() == expected


def table_with(app, column: str) -> pd.DataFrame:
    (found,) = [table.value for table in app.dataframe if column in table.value]
    return found


def test_check_table_has_every_check_with_its_history(rendered, server):
    shown = table_with(rendered("marts", "data_quality"), "History")
    expected = server.query(
        "tickmart",
        "select asset, count(*)::int from (select asset, row_number() over (partition by asset, check_name) n from "
        "marts.fct_check_results) as results where n <= 10 group by asset order by asset",
    )
    assert expected
    assert sorted(zip(shown["Asset"], shown["History"].map(len), strict=True)) == expected


def test_link_to_failed_checks_shows_only_them(rendered):
    shown = table_with(rendered("marts", "data_quality", status="failed"), "History")
    assert len(shown)
    assert not shown["Status"].str.contains("passed").any()


def test_failed_check_comes_before_freshness_and_runs(rendered):
    titles = [title.value for title in rendered("marts", "data_quality").header]
    assert titles[0].startswith("Failed checks")


def test_checks_link_to_dagster_and_data_docs(open_page, marts, monkeypatch):
    monkeypatch.setenv("TICKMART_DAGSTER_URL", "http://127.0.0.1:3000")
    monkeypatch.setenv("TICKMART_DATA_DOCS_URL", "http://127.0.0.1:3001")
    app = open_page(marts, "data_quality")
    shown = table_with(app, "History")
    for row in shown.itertuples():
        assert row.Dagster == f"http://127.0.0.1:3000/assets/{row.Asset}?view=checks"
    assert shown["Data Docs"].str.startswith("http://127.0.0.1:3001/#").all()
    assert "http://127.0.0.1:3000/locations/tickmart/jobs/market_refresh" in page_text(app)


def test_completeness_equals_v_coin_completeness(rendered, server):
    shown = table_with(rendered("marts", "data_quality"), "Expected hours")
    [(coins, expected, present, missing)] = server.query(
        "tickmart",
        "select count(*)::int, sum(expected_hours)::int, sum(present_hours)::int, sum(missing_hours)::int "
        "from marts.v_coin_completeness",
    )
    assert (len(shown), shown["Expected hours"].sum(), shown["Present"].sum()) == (coins, expected, present)
    assert shown["Missing"].sum() == missing > 0


def test_present_hours_are_the_bars_of_fct_prices(server):
    different = server.query(
        "tickmart",
        "select c.crypto_id from marts.v_coin_completeness as c left join (select crypto_id, count(*) as bars from "
        "marts.fct_prices group by crypto_id) as p using (crypto_id) where c.present_hours is distinct from p.bars",
    )
    assert different == []
