"""Merging the results of partial fetches loses no field and keeps the first reason."""

from dataclasses import fields

import pytest

from ingestion.bronze.lake import Written
from ingestion.bronze.results import FetchResult, merge_results

FULL = FetchResult(
    "d", rows=1, written=(Written("k", "created", 1, 1),), rejected=2, first_rejection="r", repeated=3, shortfall="s",
    failed={"A": "why"}, error="e", skipped_days=4, notes=("n",),
)  # fmt: skip


@pytest.mark.parametrize("field", fields(FetchResult)[1:], ids=lambda f: f.name)
def test_no_field_of_either_result_is_lost(field):
    empty, value = FetchResult("d"), getattr(FULL, field.name)
    assert getattr(merge_results(empty, FULL), field.name) == value
    assert getattr(merge_results(FULL, empty, empty), field.name) == value


def test_counts_add_up_and_the_first_reason_wins():
    other = FetchResult("d", rows=5, failed={"A": "later", "B": "b"}, error="later", notes=("m",))
    merged = merge_results(FULL, other)
    assert (merged.rows, merged.notes, merged.error) == (6, ("n", "m"), "e")
    assert merged.failed == {"A": "why", "B": "b"}


def test_results_of_two_datasets_are_not_merged():
    with pytest.raises(ValueError, match="cannot be merged"):
        merge_results(FULL, FetchResult("other"))
