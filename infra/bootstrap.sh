#!/bin/bash
# Makes a Debian or Ubuntu server run tickmart, and may be run again at any time: what is there is kept.
#
#   on a new server      infra/cloud-init.yaml runs it
#   on an existing one   ssh root@host 'TICKMART_REPOSITORY=https://github.com/you/tickmart TICKMART_RELEASE=v0.2.0 \
#                          PUBLIC_HOST=markets.example.org bash -s' < infra/bootstrap.sh
#
# TICKMART_REPOSITORY, TICKMART_RELEASE   what to clone, and its tag
# TICKMART_IMAGE                          the published image of the tag; empty: it is built here
# PUBLIC_HOST                             host name of the dashboard; empty: it listens on 127.0.0.1 only
# SWAP_MB                                 swap in MiB, 2048 by default; 0: none
# COMPOSE_PROFILES, COMPOSE_FILE          written to .env at the first run, if set
#
# The values are kept in /etc/tickmart/bootstrap.env, so that a later run needs none. Passwords are made here and stay in
# /opt/tickmart/.env.
set -euo pipefail

SETTINGS=/etc/tickmart/bootstrap.env
CHECKOUT=/opt/tickmart
NAMES=(TICKMART_REPOSITORY TICKMART_RELEASE TICKMART_IMAGE PUBLIC_HOST SWAP_MB)

say() { echo "bootstrap: $*"; }
fail() { echo "bootstrap: $*" >&2; exit 1; }
systemd() { [ -d /run/systemd/system ]; }
as_tickmart() { runuser -u tickmart -- "$@"; }

# Write a file only if its text differs, and return whether it did.
write() {
  local path=$1 mode=$2 text
  text=$(cat)
  if [ -e "$path" ] && [ "$(cat "$path")" = "$text" ]; then return 1; fi
  install -D -m "$mode" /dev/null "$path"
  printf '%s\n' "$text" > "$path"
  say "wrote $path"
}

# Values of the environment win over those of earlier runs.
read_settings() {
  local name value line
  if [ -e "$SETTINGS" ]; then
    while IFS= read -r line; do
      name=${line%%=*} value=${line#*=}
      [[ " ${NAMES[*]} " == *" $name "* ]] || continue
      [ -n "${!name+set}" ] || printf -v "$name" '%s' "$value"
    done < "$SETTINGS"
  fi
  TICKMART_IMAGE=${TICKMART_IMAGE:-} PUBLIC_HOST=${PUBLIC_HOST:-} SWAP_MB=${SWAP_MB:-2048}
  [ -n "${TICKMART_REPOSITORY:-}" ] || fail "TICKMART_REPOSITORY is not set: the address to clone tickmart from"
  [ -n "${TICKMART_RELEASE:-}" ] || fail "TICKMART_RELEASE is not set: a tag such as v0.2.0"
  [[ $TICKMART_RELEASE =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]] || fail "TICKMART_RELEASE is '$TICKMART_RELEASE', not a tag such as v0.2.0"
  [[ $PUBLIC_HOST =~ ^[a-z0-9.-]*$ ]] || fail "PUBLIC_HOST is '$PUBLIC_HOST', not a host name in lower case"
  [[ $SWAP_MB =~ ^[0-9]+$ ]] || fail "SWAP_MB is '$SWAP_MB', not a whole number of MiB"
  for name in "${NAMES[@]}"; do echo "$name=${!name}"; done | write "$SETTINGS" 600 || true
}

# Debian 12 has no plugin of Compose 2; Debian 13's is one static program and runs there.
plugins_of_debian_13() {
  local mirror key=/usr/share/keyrings/debian-archive-keyring.gpg
  # The mirror of this machine has every release.
  # shellcheck disable=SC2016 # apt replaces these
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk '$2 == "bookworm" && $3 == "main" && !found {print $1; found = 1}')
  [ -n "$mirror" ] || fail "apt has no source of Debian 12 (bookworm main): add one to /etc/apt/sources.list"
  write /etc/apt/preferences.d/tickmart-trixie 644 <<'END' || true
Package: *
Pin: release n=trixie
Pin-Priority: -1

Package: docker-compose docker-buildx
Pin: release n=trixie
Pin-Priority: 990
END
  echo "deb [signed-by=$key] $mirror trixie main" | write /etc/apt/sources.list.d/tickmart-trixie.list 644 || true
}

install_packages() {
  local id version plugins=(docker-compose docker-buildx)
  # shellcheck source=/dev/null
  id=$(. /etc/os-release && echo "$ID") version=$(. /etc/os-release && echo "${VERSION_ID:-}")
  case $id:${version%%.*} in
    debian:12) plugins_of_debian_13 ;;
    debian:1[3-9]) ;;
    ubuntu:2[4-9]) plugins=(docker-compose-v2 docker-buildx) ;;
    *) fail "this is $id $version; supported are Debian 12 and 13 and Ubuntu 24.04" ;;
  esac
  export DEBIAN_FRONTEND=noninteractive
  # The rotation of the containers' logs is in docker-compose.yml; this is for containers of other projects. live-restore keeps
  # containers running while an update replaces the engine. It is written before the engine's first start.
  [ -e /etc/docker/daemon.json ] || write /etc/docker/daemon.json 644 <<'END' || true
{"live-restore": true, "log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}
END
  apt-get -q update > /dev/null
  apt-get -q -y install --no-install-recommends ca-certificates curl git make python3 rclone unattended-upgrades docker.io "${plugins[@]}" > /dev/null
  if systemd; then systemctl enable --quiet --now docker; fi
  docker info > /dev/null 2>&1 || fail "the Docker engine does not answer: see journalctl -u docker"
  docker compose version > /dev/null 2>&1 || fail "docker compose does not work: apt-get install ${plugins[*]}"
  say "Docker $(docker version -f '{{.Server.Version}}'), Compose $(docker compose version --short)"
}

# Security updates every day; the machine restarts at night if one needs it, and the stack starts with it.
configure_updates_and_logs() {
  write /etc/apt/apt.conf.d/20auto-upgrades 644 <<'END' || true
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
END
  write /etc/apt/apt.conf.d/52tickmart 644 <<'END' || true
Unattended-Upgrade::Automatic-Reboot "true";
Unattended-Upgrade::Automatic-Reboot-Time "03:30";
Unattended-Upgrade::Remove-Unused-Dependencies "true";
END
  if printf '[Journal]\nSystemMaxUse=500M\n' | write /etc/systemd/journald.conf.d/tickmart.conf 644 && systemd; then
    systemctl restart systemd-journald
  fi
}

add_swap() {
  if [ "$SWAP_MB" -eq 0 ]; then say "no swap, since SWAP_MB is 0"; return; fi
  if [ -n "$(swapon --noheadings --show)" ]; then return; fi
  if [ ! -e /swapfile ]; then
    fallocate -l "${SWAP_MB}M" /swapfile
    chmod 600 /swapfile
    mkswap -q /swapfile
  fi
  swapon /swapfile || fail "swap could not be switched on (containers cannot have any): set SWAP_MB=0"
  grep -q '^/swapfile ' /etc/fstab || echo '/swapfile none swap sw 0 0' >> /etc/fstab
  say "added $SWAP_MB MiB of swap"
}

# Membership in the group docker equals root's rights; the user exists so that files and logins are not root's.
add_user() {
  id tickmart > /dev/null 2>&1 || useradd --create-home --shell /bin/bash tickmart
  usermod --append --groups docker,adm tickmart
  local keys=/home/tickmart/.ssh/authorized_keys
  if [ ! -e "$keys" ] && [ -s /root/.ssh/authorized_keys ]; then
    install -d -o tickmart -g tickmart -m 700 /home/tickmart/.ssh
    install -o tickmart -g tickmart -m 600 /root/.ssh/authorized_keys "$keys"
    say "the keys of root may log in as tickmart"
  fi
}

clone() {
  if [ ! -e "$CHECKOUT/.git" ]; then
    install -d -o tickmart -g tickmart "$CHECKOUT"
    as_tickmart git clone --quiet --depth 1 --branch "$TICKMART_RELEASE" "$TICKMART_REPOSITORY" "$CHECKOUT" ||
      fail "$TICKMART_RELEASE of $TICKMART_REPOSITORY could not be cloned: check both"
  fi
  # cloud-init clones as root.
  chown -R tickmart:tickmart "$CHECKOUT"
  as_tickmart git -C "$CHECKOUT" remote set-url origin "$TICKMART_REPOSITORY"
}

# Add a setting to .env unless the user has set it.
setting() { grep -q "^$1=" "$CHECKOUT/.env" || echo "$1=$2" >> "$CHECKOUT/.env"; }

write_settings() {
  as_tickmart make --silent -C "$CHECKOUT" secrets
  local name
  for name in COMPOSE_PROFILES COMPOSE_FILE; do
    if [ -n "${!name:-}" ]; then setting "$name" "${!name}"; fi
  done
  setting DASHBOARD_ADDRESS 127.0.0.1
  # A visitor cannot reach these.
  setting TICKMART_DAGSTER_URL ''
  setting TICKMART_DATA_DOCS_URL ''
  setting TICKMART_DBT_DOCS_URL ''
  if [ -n "$PUBLIC_HOST" ]; then
    setting COMPOSE_PROFILES public,monitoring
    sed -i '/^PUBLIC_HOST=/d' "$CHECKOUT/.env"
    setting PUBLIC_HOST "$PUBLIC_HOST"
  else
    setting COMPOSE_PROFILES monitoring
  fi
}

write_units() {
  local changed=''
  write /etc/systemd/system/tickmart.service 644 <<END && changed=1
[Unit]
Description=tickmart: the Compose stack
Wants=docker.service network-online.target
After=docker.service network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
User=tickmart
WorkingDirectory=$CHECKOUT
ExecStart=/usr/bin/docker compose up -d --no-build
ExecStop=/usr/bin/docker compose stop
TimeoutStartSec=1800
TimeoutStopSec=180

[Install]
WantedBy=multi-user.target
END
  write /etc/systemd/system/tickmart-backup.service 644 <<END && changed=1
[Unit]
Description=tickmart: backup and restore test
Wants=network-online.target
After=tickmart.service network-online.target

[Service]
Type=oneshot
ExecStart=$CHECKOUT/infra/backup.sh
TimeoutStartSec=6h
Nice=10
END
  write /etc/systemd/system/tickmart-backup.timer 644 <<'END' && changed=1
[Unit]
Description=tickmart: a backup each night

[Timer]
OnCalendar=*-*-* 02:10:00 UTC
RandomizedDelaySec=20m
Persistent=true

[Install]
WantedBy=timers.target
END
  write /etc/tickmart/backup.env.example 644 < "$CHECKOUT/infra/backup.env.example" || true
  systemctl enable --quiet tickmart.service tickmart-backup.timer
  if systemd; then
    if [ -n "$changed" ]; then systemctl daemon-reload; fi
    systemctl start tickmart-backup.timer
  fi
}

main() {
  [ "$(id -u)" -eq 0 ] || fail "run it as root: sudo bash infra/bootstrap.sh"
  read_settings
  install_packages
  configure_updates_and_logs
  add_swap
  add_user
  clone
  write_settings
  (cd "$CHECKOUT" && as_tickmart infra/deploy.sh "$TICKMART_RELEASE" ${TICKMART_IMAGE:+"$TICKMART_IMAGE"})
  write_units
  # It is up already; this is for systemd, so that a shutdown stops it in order.
  if systemd; then systemctl start tickmart.service; fi
  if [ -n "$PUBLIC_HOST" ]; then
    say "ready: https://$PUBLIC_HOST (its DNS record must point here)"
  else
    say "ready: ssh -L 8501:127.0.0.1:8501 tickmart@this-server, then http://127.0.0.1:8501"
  fi
  [ -e /etc/tickmart/backup.env ] || say "backups stay on this disk until /etc/tickmart/backup.env names a bucket (docs/deployment.md)"
}

# Read as a whole before it runs: it may come from a pipe, and a deployment replaces the file.
main "$@"; exit
