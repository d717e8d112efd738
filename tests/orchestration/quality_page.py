"""A row of the benchmark's table: a check with the seconds that it took alone."""

from orchestration.quality.suites import Rule, Suite


def row(suite: Suite, rule: Rule, seconds: float | None) -> str:
    """Return the Markdown row of a check; None for seconds means that the check was not measured."""
    blocking = "blocks" if suite.blocking and rule.severity == "error" else "no"
    shown = "-" if seconds is None else f"{seconds:.1f}"
    cells = (f"`{suite.name}`", f"`{rule.id}`", rule.kind, rule.guards, rule.severity, blocking, shown)
    return f"| {' | '.join(cells)} |"
