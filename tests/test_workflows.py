"""The workflows: sound, pinned, with no more rights than they use; and the one issue that the quality run keeps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What a job may be allowed beyond reading the code, and why.
WRITES = {
    ("data_quality", "suites"): {"issues"},
    ("deploy", "image"): {"packages", "id-token", "attestations"},
}
by_name = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@by_name
def test_a_workflow_matches_githubs_schema(path: Path):
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(checker, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@by_name
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(path: Path):
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert [u for u in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []


@by_name
def test_a_workflow_has_no_more_rights_than_its_work_needs(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        writes = {what for what, right in job.get("permissions", {}).items() if right == "write"}
        assert writes == WRITES.get((path.stem, name), set())
        checkouts = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        # Expressions in a script would be read as shell.
        assert not [s for s in job["steps"] if "${{" in s.get("run", "")]


def test_the_image_is_published_with_provenance_and_sbom():
    steps = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]["image"]["steps"]
    [published] = [s for s in steps if s.get("with", {}).get("push") is True]
    assert (published["with"]["provenance"], published["with"]["sbom"]) == ("mode=max", True)


class Forge:
    """A `gh` that keeps issues in a folder and writes down what it was asked."""

    GH = """#!/bin/sh
echo "$@" >> "$FORGE/asked"
case "$1 $2" in
  "issue list") cat "$FORGE/open" 2> /dev/null || true ;;
  "issue create") echo 7 > "$FORGE/open" ;;
  "issue close") rm "$FORGE/open" ;;
esac
while [ $# -gt 0 ]; do
  if [ "$1" = --body-file ]; then cp "$2" "$FORGE/body"; fi
  shift
done
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gh").write_text(self.GH)
        (folder / "gh").chmod(0o755)

    def report(self, code: int, text: str) -> list[str]:
        """The run ended with `code` and said `text`; return what gh was asked, without labels and lists."""
        (self.folder / "asked").unlink(missing_ok=True)
        (self.folder / "report").write_text(text)
        env = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "FORGE": str(self.folder)}
        script = ROOT / ".github" / "data_quality_issue.sh"
        subprocess.run([script, str(code), self.folder / "report"], env=env, check=True, capture_output=True)
        asked = (self.folder / "asked").read_text().splitlines()
        return [" ".join(line.split()[:3]) for line in asked if not line.startswith(("label", "issue list"))]


def test_a_failure_opens_one_issue_the_next_update_it_and_success_closes_it(tmp_path: Path):
    forge = Forge(tmp_path)
    assert forge.report(0, "all well") == []
    assert forge.report(1, "close is above 0: 3 rows\n```\n# $(date)") == ["issue create --title"]
    body = (tmp_path / "body").read_text()
    assert "exit code 1" in body
    assert "    close is above 0: 3 rows\n    ```\n    # $(date)" in body
    assert forge.report(1, "again") == ["issue edit 7", "issue comment 7"]
    assert "    again" in (tmp_path / "body").read_text()
    assert forge.report(3, "again") == ["issue edit 7", "issue comment 7"]
    assert forge.report(0, "all well") == ["issue close 7"]
    assert forge.report(0, "all well") == []
