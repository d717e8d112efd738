"""Workflows are valid, pinned and have the fewest rights; the scheduled checks keep one issue."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# The write permissions that a job may have.
WRITES = {
    ("data_quality", "suites"): {"issues"},
    ("deploy", "image"): {"packages", "id-token", "attestations"},
}
by_name = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


@by_name
def test_a_workflow_is_valid_by_githubs_schema(path: Path):
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    done = subprocess.run(checker, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_an_issue_form_is_valid_by_githubs_schema(path: Path):
    schema = "vendor.github-issue-config" if path.stem == "config" else "vendor.github-issue-forms"
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(checker, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@by_name
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(path: Path):
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert [u for u in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", u)] == []


@by_name
def test_a_job_has_only_the_permissions_that_it_needs(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in workflow["jobs"].items():
        writes = {what for what, right in job.get("permissions", {}).items() if right == "write"}
        assert writes == WRITES.get((path.stem, name), set())
        checkouts = [s for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        # GitHub expands expressions before the shell runs, so they could inject code.
        assert not [s for s in job["steps"] if "${{" in s.get("run", "")]


def test_the_image_is_published_with_provenance_and_sbom():
    steps = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]["image"]["steps"]
    [published] = [s for s in steps if s.get("with", {}).get("push") is True]
    assert (published["with"]["provenance"], published["with"]["sbom"]) == ("mode=max", True)


class Forge:
    """A fake `gh` that stores issues in a folder and records its calls."""

    GH = """#!/bin/sh
echo "$@" >> "$FORGE/calls"
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
        """Report a run with exit code `code` and output `text`; return the calls of gh except labels and lists."""
        (self.folder / "calls").unlink(missing_ok=True)
        (self.folder / "report").write_text(text)
        env = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "FORGE": str(self.folder)}
        script = ROOT / ".github" / "data_quality_issue.sh"
        subprocess.run([script, str(code), self.folder / "report"], env=env, check=True, capture_output=True)
        calls = (self.folder / "calls").read_text().splitlines()
        return [" ".join(line.split()[:3]) for line in calls if not line.startswith(("label", "issue list"))]


def test_failures_open_and_update_one_issue_and_success_closes_it(tmp_path: Path):
    forge = Forge(tmp_path)
    assert forge.report(0, "all passed") == []
    assert forge.report(1, "close is above 0: 3 rows\n```\n# $(date)") == ["issue create --title"]
    body = (tmp_path / "body").read_text()
    assert "exit code 1" in body
    assert "    close is above 0: 3 rows\n    ```\n    # $(date)" in body
    assert forge.report(1, "again") == ["issue edit 7", "issue comment 7"]
    assert "    again" in (tmp_path / "body").read_text()
    assert forge.report(3, "again") == ["issue edit 7", "issue comment 7"]
    assert forge.report(0, "all passed") == ["issue close 7"]
    assert forge.report(0, "all passed") == []
