#!/bin/sh
# Keeps one open issue while the quality suites fail: opened at the first failure, updated by the next ones, closed when
# they hold again. Arguments: the exit code of `tickmart check`, and the file with what it printed. Needs gh and GH_TOKEN.
set -eu
code=$1
report=$2
label=data-quality
run="${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-}/actions/runs/${GITHUB_RUN_ID:-}"
gh label create "$label" --color B60205 --description "The scheduled quality suites do not hold" --force
number=$(gh issue list --label "$label" --state open --limit 1 --json number --jq '.[0].number // empty')
if [ "$code" -eq 0 ]; then
  [ -z "$number" ] || gh issue close "$number" --comment "The suites hold again: $run"
  exit 0
fi
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
  echo "\`tickmart check\` ended with exit code $code on $(date -u '+%Y-%m-%d %H:%M UTC'): $run"
  echo
  # Indented rather than fenced: nothing that a report contains can end the block.
  tail -c 50000 "$report" | sed 's/^/    /'
} > "$body"
if [ -n "$number" ]; then
  gh issue edit "$number" --body-file "$body"
  gh issue comment "$number" --body "Still failing: $run"
else
  gh issue create --title "The data quality suites do not hold" --label "$label" --body-file "$body"
fi
