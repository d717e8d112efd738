#!/bin/bash
# The nightly backup of a server: makes one, uploads it, compares it with what was uploaded, and tests a restore from the
# bucket. Runs as root, since the volume of the backups belongs to a user of the container.
#
#   infra/backup.sh           what the timer runs; the restore test on the day of BACKUP_RESTORE_TEST
#   infra/backup.sh --test    with the restore test
#   infra/backup.sh --list    backups in the bucket
#   infra/backup.sh --fetch NAME   from the bucket to this server, for infra/deploy.sh --restore NAME
#
# Settings: /etc/tickmart/backup.env (infra/backup.env.example has them all).
set -euo pipefail

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETTINGS=${TICKMART_BACKUP_ENV:-/etc/tickmart/backup.env}
SCRATCH=${TICKMART_RESTORE_TEST_DIR:-/var/tmp/tickmart-restore-test}

say() { echo "backup: $*"; }
fail() { echo "backup: $*" >&2; exit 1; }
compose() { docker compose "$@"; }
# Run a command without its output; if it fails, show the last line, which names the cause after rclone's three attempts.
quietly() {
  local output
  output=$("$@" 2>&1) || { tail -n 1 <<< "$output" | cut -c 1-400 >&2; return 1; }
}
target() { echo "target:$BACKUP_S3_BUCKET/${BACKUP_S3_PREFIX:-backups}"; }

read_settings() {
  [ -e "$SETTINGS" ] || return 0
  [ "$(stat -c %a "$SETTINGS")" = 600 ] || fail "$SETTINGS can be read by others: chmod 600 $SETTINGS"
  set -a
  # shellcheck source=/dev/null
  . "$SETTINGS"
  set +a
  [ -n "${BACKUP_S3_BUCKET:-}" ] || fail "BACKUP_S3_BUCKET in $SETTINGS is empty: name the bucket, or remove the file"
  # rclone reads the remote "target" from these; no key is on a command line or in a file of its own.
  export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_TARGET_TYPE=s3 RCLONE_CONFIG_TARGET_NO_CHECK_BUCKET=true
  export RCLONE_CONFIG_TARGET_REGION=${BACKUP_S3_REGION:-} RCLONE_CONFIG_TARGET_ENDPOINT=${BACKUP_S3_ENDPOINT:-}
  export RCLONE_CONFIG_TARGET_PROVIDER=AWS
  export RCLONE_CONFIG_TARGET_SERVER_SIDE_ENCRYPTION=${BACKUP_S3_ENCRYPTION:-}
  if [ -n "${BACKUP_S3_ENDPOINT:-}" ]; then RCLONE_CONFIG_TARGET_PROVIDER=Other; fi
  if [ -n "${BACKUP_S3_ACCESS_KEY:-}" ]; then
    export RCLONE_CONFIG_TARGET_ACCESS_KEY_ID=$BACKUP_S3_ACCESS_KEY RCLONE_CONFIG_TARGET_SECRET_ACCESS_KEY=${BACKUP_S3_SECRET_KEY:-}
  else
    export RCLONE_CONFIG_TARGET_ENV_AUTH=true
  fi
}

# The folder on this machine that is /backups in the container.
local_folder() {
  local volume
  volume=$(compose --profile tools config --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["volumes"]["backups"]["name"])')
  docker volume inspect -f '{{.Mountpoint}}' "$volume"
}

upload() {
  local folder=$1 name=$2
  quietly rclone copy --transfers 8 "$folder/$name" "$(target)/$name" || fail "the upload to $(target) failed: see the line above"
  quietly rclone check --one-way "$folder/$name" "$(target)/$name" || fail "the uploaded $name differs from the backup on this disk"
  say "uploaded $name to $(target)"
  quietly rclone delete --min-age "${BACKUP_S3_DAYS:-35}d" "$(target)" || fail "old backups in $(target) could not be removed"
  quietly rclone rmdirs --leave-root "$(target)" || say "empty folders in $(target) stay"
}

# From the bucket, as after the loss of the server. `restore --check` restores into a scratch database and compares it.
restore_test() {
  local name=$1 needed free
  needed=$(rclone size --json "$(target)/$name" | python3 -c 'import json, sys; print(json.load(sys.stdin)["bytes"] // 1024)')
  install -d -m 755 "$SCRATCH"
  free=$(df --output=avail -k "$SCRATCH" | tail -1)
  [ "$free" -gt $((needed * 3)) ] || fail "the restore test of $name needs $((needed * 3 / 1024)) MiB on the disk of $SCRATCH, $((free / 1024)) are free"
  trap 'rm -rf --one-file-system "$SCRATCH"' EXIT
  quietly rclone copy --transfers 8 "$(target)/$name" "$SCRATCH/$name" || fail "$name could not be downloaded from $(target)"
  chown -R 10001:10001 "$SCRATCH"
  compose run --rm -T -v "$SCRATCH:/restore-test:ro" tickmart restore --check "/restore-test/$name" ||
    fail "the restore test of $name failed: this backup cannot be relied on"
  say "restore test of $name passed"
}

fetch() {
  local name=$1
  [[ $name =~ ^tickmart-[0-9TZ]+$ ]] || fail "'$name' is not the name of a backup: infra/backup.sh --list"
  local folder
  folder=$(local_folder)
  quietly rclone copy --transfers 8 "$(target)/$name" "$folder/$name" || fail "$name could not be downloaded from $(target)"
  [ -n "$(ls -A "$folder/$name" 2> /dev/null)" ] || fail "$(target) has no backup $name: infra/backup.sh --list"
  chown -R 10001:10001 "$folder/$name"
  say "fetched $name; infra/deploy.sh --restore $name restores it"
}

back_up() {
  local test=$1 made name folder
  made=$(compose run --rm -T tickmart backup --keep "${BACKUP_KEEP:-2}" --json) || fail "tickmart backup failed: see the lines above"
  name=$(printf '%s' "$made" | python3 -c 'import json, os, sys; print(os.path.basename(json.load(sys.stdin)["path"]))')
  say "made $name"
  if [ -z "${BACKUP_S3_BUCKET:-}" ]; then
    say "$SETTINGS does not exist: the backup stays on this disk only"
    return
  fi
  folder=$(local_folder)
  upload "$folder" "$name"
  case ${BACKUP_RESTORE_TEST:-7} in
    daily | "$(date -u +%u)") test=yes ;;
  esac
  if [ "$test" = yes ]; then restore_test "$name"; fi
  if [ -n "${BACKUP_HEARTBEAT_URL:-}" ]; then
    curl -fsS -m 20 --retry 3 -o /dev/null "$BACKUP_HEARTBEAT_URL" || fail "the heartbeat could not be sent"
  fi
}

main() {
  cd "$CHECKOUT"
  read_settings
  case ${1:-} in
    '') back_up no ;;
    --test) back_up yes ;;
    --list) rclone lsf --dirs-only "$(target)" ;;
    --fetch) fetch "${2:-}" ;;
    *) fail "unknown argument '$1': --test, --list, --fetch NAME" ;;
  esac
}

main "$@"; exit
