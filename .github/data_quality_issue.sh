#!/bin/sh
# Keeps one issue open while data checks fail: opens it at the first failure, updates it at the next ones and closes it
# when all checks pass. Arguments: the exit code of `tickmart check` and the file with its output. Needs gh and GH_TOKEN.
set -eu
code=$1
report=$2
label=data-quality
run="${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-}/actions/runs/${GITHUB_RUN_ID:-}"
gh label create "$label" --color B60205 --description "The scheduled data checks fail" --force
number=$(gh issue list --label "$label" --state open --limit 1 --json number --jq '.[0].number // empty')
if [ "$code" -eq 0 ]; then
  [ -z "$number" ] || gh issue close "$number" --comment "All checks pass again: $run"
  exit 0
fi
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
  echo "\`tickmart check\` ended with exit code $code on $(date -u '+%Y-%m-%d %H:%M UTC'): $run"
  echo
  # Indented rather than fenced, because no line of a report can end an indented block.
  tail -c 50000 "$report" | sed 's/^/    /'
} > "$body"
if [ -n "$number" ]; then
  gh issue edit "$number" --body-file "$body"
  gh issue comment "$number" --body "Still failing: $run"
else
  gh issue create --title "Data quality checks fail" --label "$label" --body-file "$body"
fi
