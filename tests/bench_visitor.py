"""The visitor's old place, for the dashboard's tests until they import `benchmarks.visitor`."""

from benchmarks.visitor import Run, Visitor

__all__ = ["Run", "Visitor"]
