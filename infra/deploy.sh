#!/bin/bash
# Deploys a release on a server: image, backup, checkout, start, health check; if the health check fails, the release before
# it is started again. Runs as the user tickmart in the checkout.
#
#   infra/deploy.sh RELEASE [IMAGE]    a tag, and its published image; without one it is built here
#   infra/deploy.sh --rollback         the release before the current one
#   infra/deploy.sh --restore NAME     empties database and bucket and restores a backup of the volume `backups`
#   infra/deploy.sh --check            the health check alone
#
# Exit codes: 0 deployed; 1 nothing was changed, or the previous release runs again; 3 neither release is healthy.
# .env remembers the release and the image that run, and those before them.
set -euo pipefail

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export COMPOSE_ANSI=never COMPOSE_PROGRESS=plain
HEALTHY_WITHIN_S=${TICKMART_HEALTHY_WITHIN_S:-900}

say() { echo "deploy: $*"; }
fail() { echo "deploy: $*" >&2; exit 1; }
compose() { docker compose "$@"; }
value() { sed -n "s/^$1=//p" .env | tail -1; }

# In place, since a new file would have another owner or mode.
set_value() {
  local text
  text=$(grep -v "^$1=" .env || true)
  printf '%s\n%s=%s\n' "$text" "$1" "$2" > .env
}

get_image() {
  local image=$1
  if docker image inspect "$image" > /dev/null 2>&1; then return; fi
  docker pull --quiet "$image" > /dev/null || fail "$image could not be pulled: check the name, and docker login for a private one"
}

check_out() {
  if [ "$(git describe --tags --exact-match 2> /dev/null || true)" = "$1" ]; then return; fi
  git fetch --quiet --depth 1 origin "refs/tags/$1:refs/tags/$1" 2> /dev/null || git rev-parse --quiet --verify "refs/tags/$1" > /dev/null ||
    fail "there is no tag $1 at $(git remote get-url origin)"
  git -c advice.detachedHead=false checkout --quiet --force "refs/tags/$1"
}

# Compose's health checks, then the dashboard's own address. --wait fails on the first service that ends or is unhealthy.
start_and_check() {
  compose up -d --no-build --remove-orphans --wait --wait-timeout "$HEALTHY_WITHIN_S" > /dev/null 2> .deploy.log || {
    tail -n 3 .deploy.log >&2
    compose logs --no-color --no-log-prefix --tail 1 init >&2 || true
    return 1
  }
  check
}

check() {
  local unhealthy
  unhealthy=$(compose ps -a --format '{{.Service}} {{.Health}} {{.State}} {{.ExitCode}}' |
    awk '$2 != "healthy" && !($2 == "exited" && $3 == 0) { print $1 }' | tr '\n' ' ')
  if [ -n "$unhealthy" ]; then
    echo "deploy: not healthy: $unhealthy" >&2
    return 1
  fi
  compose exec -T dashboard python /app/docker/health.py http http://127.0.0.1:8501/_stcore/health > /dev/null || {
    echo "deploy: the dashboard does not answer" >&2
    return 1
  }
}

running() { [ -n "$(compose ps -q --status running postgres 2> /dev/null)" ]; }

start_release() {
  local release=$1 image=$2
  check_out "$release"
  make --silent secrets > /dev/null
  set_value TICKMART_IMAGE "$image"
  set_value TICKMART_RELEASE "$release"
  start_and_check
}

# Sets `made` to the name of the backup.
back_up() {
  local output
  say "backup before the change"
  output=$(compose run --rm -T tickmart backup --keep "${BACKUP_KEEP:-2}" 2> .deploy.log) || {
    tail -n 3 .deploy.log >&2
    fail "the backup before the change failed, nothing was changed"
  }
  echo "$output"
  made=$(sed -n 's#^backup /backups/\(tickmart-[^:]*\):.*#\1#p' <<< "$output")
}

# Only images of the same name that neither release uses; an image takes 1.3 GB. By id, since one that was pulled by its
# digest has no tag.
remove_old_images() {
  local name=${1%@*} kept repository id
  case ${name##*/} in *:*) name=${name%:*} ;; esac
  kept=$(docker image inspect -f '{{.Id}}' "$@" 2> /dev/null || true)
  docker image ls --no-trunc --format '{{.Repository}} {{.ID}}' | sort -u | while read -r repository id; do
    if [ "$repository" != "$name" ] || [[ $kept == *"$id"* ]]; then continue; fi
    if docker image rm "$id" > /dev/null 2>&1; then say "removed an unused image of $name"; fi
  done
}

deploy() {
  local release=$1 image=${2:-} built='' made='' old_release old_image
  [[ $release =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]] || fail "'$release' is not a tag such as v0.2.0"
  old_release=$(value TICKMART_RELEASE) old_image=$(value TICKMART_IMAGE)
  if [ -z "$image" ]; then image=tickmart:$release built=yes; fi
  if [ -z "$built" ]; then get_image "$image"; fi
  if running && [ "$old_release $old_image" != "$release $image" ]; then back_up; fi
  if [ -n "$built" ] && ! docker image inspect "$image" > /dev/null 2>&1; then
    say "building $image"
    check_out "$release"
    TICKMART_IMAGE=$image compose build --quiet || {
      if [ -n "$old_release" ]; then check_out "$old_release"; fi
      fail "the image of $release could not be built"
    }
  fi
  say "starting $release, image $image"
  if start_release "$release" "$image"; then
    if [ "$old_release $old_image" != "$release $image" ]; then
      set_value TICKMART_PREVIOUS_RELEASE "$old_release"
      set_value TICKMART_PREVIOUS_IMAGE "$old_image"
      set_value TICKMART_PREVIOUS_BACKUP "$made"
    fi
    remove_old_images "$image" "$(value TICKMART_PREVIOUS_IMAGE)"
    say "$release is healthy"
    return
  fi
  if [ -z "$old_release" ] || [ -z "$old_image" ] || [ "$old_release $old_image" = "$release $image" ]; then
    echo "deploy: $release is not healthy, and there is no release to return to: see docker compose ps and docker compose logs" >&2
    exit 3
  fi
  echo "deploy: $release is not healthy, starting $old_release again" >&2
  return_to "$old_release" "$old_image" "$made"
  exit 1
}

return_to() {
  if start_release "$1" "$2"; then
    say "$1 runs again"
    return
  fi
  echo "deploy: $1 is not healthy either. If the lines above say that the database is of a newer version: infra/deploy.sh --restore ${3:-with a backup from before}" >&2
  exit 3
}

backups() { compose run --rm -T --no-deps --entrypoint "$1" tickmart "${@:2}"; }

roll_back() {
  local release image backup
  release=$(value TICKMART_PREVIOUS_RELEASE) image=$(value TICKMART_PREVIOUS_IMAGE) backup=$(value TICKMART_PREVIOUS_BACKUP)
  if [ -z "$release" ] || [ -z "$image" ]; then fail "no release before $(value TICKMART_RELEASE) is known"; fi
  set_value TICKMART_PREVIOUS_RELEASE "$(value TICKMART_RELEASE)"
  set_value TICKMART_PREVIOUS_IMAGE "$(value TICKMART_IMAGE)"
  return_to "$release" "$image" "$backup"
}

# Verified before anything is deleted. With --rollback before it, an older release gets the data from before its upgrade.
restore() {
  local name=$1 project volume
  [[ $name =~ ^tickmart-[0-9TZ]+$ ]] || fail "'$name' is not the name of a backup; there are: $(backups ls -1 /backups | tr '\n' ' ')"
  backups test -d "/backups/$name" || fail "the volume has no backup $name; there are: $(backups ls -1 /backups | tr '\n' ' ')"
  compose up -d --no-build --wait postgres minio > /dev/null 2>&1 || fail "Postgres and the S3 server do not start: docker compose logs postgres minio"
  compose run --rm -T tickmart restore --check "/backups/$name" || fail "$name cannot be restored, nothing was changed"
  project=$(compose config --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["name"])')
  compose down --timeout 60 > /dev/null 2>&1
  for volume in postgres minio nats; do docker volume rm "${project}_$volume" > /dev/null; done
  say "database, bucket and broker are empty; restoring $name"
  compose up -d --no-build --wait postgres minio > /dev/null 2>&1 || fail "Postgres and the S3 server do not start: docker compose logs postgres minio"
  compose run --rm -T tickmart restore "/backups/$name" || fail "the restore of $name ended early; start it again: docker compose run --rm tickmart restore /backups/$name"
  start_and_check || fail "$name is restored, but the stack is not healthy: docker compose ps"
  say "restored $name, and the stack is healthy"
}

main() {
  cd "$CHECKOUT"
  [ -e .env ] || fail "there is no .env in $CHECKOUT: run infra/bootstrap.sh first"
  exec 9> .deploy.lock
  flock -n 9 || fail "another deployment runs"
  case ${1:-} in
    --rollback) roll_back ;;
    --restore) restore "${2:-}" ;;
    --check) check && say "healthy" ;;
    -* | '') fail "give a release: infra/deploy.sh v0.2.0 [image], --rollback, --restore NAME or --check" ;;
    *) deploy "$@" ;;
  esac
}

# Read as a whole before it runs: a checkout replaces this file.
main "$@"; exit
