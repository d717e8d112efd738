"""The translation of models to Spark's syntax keeps what they mean."""

import pytest

from orchestration.engines.errors import EngineError
from orchestration.engines.translation import translate


def translated(sql: str) -> str:
    return " ".join(translate(sql, "model").split())


def test_a_window_that_extends_another_one_is_written_out() -> None:
    sql = """
        select sum(x) over (series rows between 6 preceding and current row) as total, lag(x) over series as previous
        from bars window series as (partition by asset order by day)
    """
    done = translated(sql).lower()
    assert "window series" not in done
    assert done.count("partition by asset order by day") == 2
    assert "rows between 6 preceding and current row" in done


def test_a_quotient_is_taken_in_double_precision_and_the_difference_before_it_exactly() -> None:
    done = translated("select (close - base) / base as change from bars")
    assert "CAST(close - base AS DOUBLE)" in done


def test_a_mean_is_the_exact_sum_by_the_count_with_its_filter_and_window() -> None:
    done = translated("select avg(x) filter (where y) over (order by d) as m from t")
    assert done.count("FILTER(WHERE y)") == done.count("OVER (ORDER BY d") == 2
    assert "AVG" not in done


def test_spark_has_running_totals_instead_of_sliding_windows() -> None:
    frame = "range between interval '1 hours' preceding and current row"
    sql = f"select sum(x) over (order by t {frame}) as total, max(x) over (order by t {frame}) as highest from bars"
    spark, sail = (" ".join(translate(sql, "model", engine).split()) for engine in ("spark", "sail"))
    assert spark.count("UNBOUNDED PRECEDING") == 4
    assert "BETWEEN UNBOUNDED PRECEDING AND INTERVAL '1 HOURS 1 MICROSECOND' PRECEDING" in spark.upper()
    # A largest value is not the difference of two.
    assert spark.upper().count("BETWEEN INTERVAL") == 1
    assert "UNBOUNDED" not in sail


def test_a_limit_with_an_exponent_is_compared_in_double_precision() -> None:
    assert "CAST(low AS DOUBLE) >= CAST('1e-38' AS DOUBLE)" in translated("select low >= 1e-38 as valid from bars")


@pytest.mark.parametrize(
    ("postgres", "spark"),
    [
        ("'-infinity'::timestamptz", "CAST('1000-01-01' AS TIMESTAMP)"),
        ("x::numeric(18, 15)", "CAST(x AS DECIMAL(18, 15))"),
        ("x::numeric", "(x)"),
        ("percentile_cont(0.5) within group (order by x)", "PERCENTILE(x, 0.5)"),
    ],
)
def test_types_and_functions_of_postgres_become_sparks(postgres: str, spark: str) -> None:
    assert spark in translated(f"select {postgres} as value from t").replace("( ", "(").replace(" )", ")")


def test_sql_that_cannot_be_parsed_names_the_model() -> None:
    with pytest.raises(EngineError, match=r"^broken: "):
        translate("select from where (", "broken")
