"""The result of a fetch, and the one function that merges partial results."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ingestion.bronze.objects import Written


def _merged_by(merge: Callable[[Any, Any], Any]) -> dict[str, Any]:
    return {"merge": merge}


def _first(left: Any, right: Any) -> Any:
    return left if left is not None else right


@dataclass(frozen=True)
class FetchResult:
    """What one fetch of a dataset did.

    ``failed`` maps what failed alone (a symbol, a coin) to the reason; ``error`` is the reason why the fetch as a whole
    failed or stopped early. ``first_rejection`` is the reason of the first of the ``rejected`` records; ``repeated``
    counts records that a response had more than once; ``shortfall`` says what a complete list lacks. Each field states
    how two results are merged: a field without that rule fails in ``merge_results``.
    """

    dataset: str
    rows: int = field(default=0, metadata=_merged_by(operator.add))
    written: tuple[Written, ...] = field(default=(), metadata=_merged_by(operator.add))
    rejected: int = field(default=0, metadata=_merged_by(operator.add))
    first_rejection: str | None = field(default=None, metadata=_merged_by(_first))
    repeated: int = field(default=0, metadata=_merged_by(operator.add))
    shortfall: str | None = field(default=None, metadata=_merged_by(_first))
    failed: Mapping[str, str] = field(default_factory=dict, metadata=_merged_by(lambda a, b: {**b, **a}))
    error: str | None = field(default=None, metadata=_merged_by(_first))
    skipped_days: int = field(default=0, metadata=_merged_by(operator.add))
    notes: tuple[str, ...] = field(default=(), metadata=_merged_by(operator.add))

    @property
    def files(self) -> int:
        """Return how many objects were created or replaced."""
        return sum(1 for w in self.written if w.outcome != "unchanged")


def merge_results(*results: FetchResult) -> FetchResult:
    """Merge partial results of one dataset, in the order in which they happened, field by field."""
    merged, *others = results
    for other in others:
        if other.dataset != merged.dataset:
            raise ValueError(f"results of {merged.dataset} and {other.dataset} cannot be merged")
        merged = FetchResult(
            merged.dataset,
            *(f.metadata["merge"](getattr(merged, f.name), getattr(other, f.name)) for f in fields(FetchResult)[1:]),
        )
    return merged
