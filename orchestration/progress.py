"""The resource ``progress``: where a run reports how far its fetch of bars is.

Only ``tickmart`` on a terminal replaces it, with a function that draws a progress bar.
"""

from collections.abc import Callable

from ingestion.bronze.write import Progress

# Called with the state of the fetch and the request weight that it has used.
ProgressListener = Callable[[Progress, int], None]


def ignore_progress(progress: Progress, weight: int) -> None:
    """Accept a report and drop it."""
