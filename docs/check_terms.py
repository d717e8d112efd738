"""Fails on terms that the glossary says to avoid, in every text file of the repository; `make lint` runs it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
# Released migrations, dumps and recordings cannot change; locks and the license are not ours; the changelog is history.
EXCLUDED = re.compile(
    r"migrations/\d+|tests/ingestion/released/|tests/fixtures/|docs/(glossary|changelog)\.md|LICENSE|\.(lock|svg|png|csv)$"
)


def read_terms(glossary: str) -> tuple[dict[str, str], re.Pattern[str]]:
    """Return the replacement of each pattern to avoid, and a pattern of what is exempt."""
    terms, exempt = {}, []
    for line in glossary.partition("## Terms to avoid")[2].splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) == 5 and (patterns := re.findall(r"`([^`]+)`", cells[1])):
            terms |= {pattern.replace("\\|", "|"): cells[2].strip() for pattern in patterns}
            exempt += re.findall(r"`([^`]+)`", cells[3])
    return terms, re.compile("|".join(exempt))


def find_terms(text: str, terms: dict[str, str], exempt: re.Pattern[str]) -> list[tuple[int, str, str]]:
    """Return line number, term and replacement of each hit; `camelCase` and `snake_case` are split into words."""
    any_term = "|".join(f"(?P<t{n}>{pattern})" for n, pattern in enumerate(terms))
    alternatives = re.compile(rf"(?<![A-Za-z])(?:{any_term})(?![A-Za-z])", re.IGNORECASE)
    replacements = list(terms.values())
    hits = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", exempt.sub("", line))
        for found in alternatives.finditer(words):
            hits.append((number, found.group(), replacements[int(str(found.lastgroup)[1:])]))
    return hits


def main() -> int:
    """Print every hit as path:line and return 1 when there is one."""
    terms, exempt = read_terms(GLOSSARY.read_text())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    count = 0
    for name in (n for n in listed.splitlines() if not EXCLUDED.search(n) and (ROOT / n).is_file()):
        for line, term, replacement in find_terms((ROOT / name).read_text(errors="replace"), terms, exempt):
            print(f"{name}:{line}: write {replacement} instead of {term!r}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
