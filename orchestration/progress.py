"""The resource ``progress``: where a run reports what it does and how far it is.

The run itself reports each step of the job, a step that takes long its parts. ``tickmart`` shows the reports as a
progress bar on a terminal and as lines elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a phase of a run is: ``done`` of ``total`` in a unit, and a detail such as rows, rate or name."""

    phase: str
    done: int
    total: int
    unit: str = ""
    detail: str = ""


ProgressListener = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """Accept a report and drop it."""
