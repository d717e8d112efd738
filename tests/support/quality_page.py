"""The table of docs/quality.md: a row per rule, as the suites have it; seconds are what a measurement found."""

from orchestration.quality.suites import Rule, Suite


def row(suite: Suite, rule: Rule, seconds: float | None) -> str:
    """A rule's row; seconds alone over the bars, or a dash where none are judged."""
    blocking = "blocks" if suite.blocking and rule.severity == "error" else "no"
    told = "-" if seconds is None else f"{seconds:.1f}"
    cells = (f"`{suite.name}`", rule.check, rule.kind, rule.guards, rule.severity, blocking, told)
    return f"| {' | '.join(cells)} |"
