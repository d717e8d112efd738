"""The result of a fetch, and the one function that merges partial results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ingestion.bronze.objects import Written


@dataclass(frozen=True)
class FetchResult:
    """What one fetch of a dataset did.

    ``failed`` maps what failed alone (a symbol, a coin) to the reason; ``error`` is the reason why the fetch as a whole
    failed or stopped early. ``first_rejection`` is the reason of the first of the ``rejected`` records; ``repeated``
    counts records that a response had more than once; ``shortfall`` says what a complete list lacks.
    """

    dataset: str
    rows: int = 0
    written: tuple[Written, ...] = ()
    rejected: int = 0
    first_rejection: str | None = None
    repeated: int = 0
    shortfall: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    skipped_days: int = 0
    notes: tuple[str, ...] = ()

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
        values = (_merged(getattr(merged, f.name), getattr(other, f.name)) for f in fields(FetchResult))
        merged = FetchResult(*values)
    return merged


def _merged(left: Any, right: Any) -> Any:
    """Add counts and lists; of mappings and reasons the first one wins."""
    if isinstance(left, Mapping):
        return {**right, **left}
    if left is None or isinstance(left, str):
        return right if left is None else left
    return left + right
