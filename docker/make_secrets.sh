#!/bin/sh
# Writes random passwords for docker-compose.yml to .env (mode 0600). Existing values are kept; missing names are added.
set -eu
umask 077
file=${1:-.env}
[ -e "$file" ] || { : > "$file"; echo "created $file"; }
[ "$(tail -c 1 "$file" | wc -l)" -eq 1 ] || [ ! -s "$file" ] || echo >> "$file"
added=0
for name in POSTGRES_PASSWORD TICKMART_PG_INGEST_PASSWORD TICKMART_PG_TRANSFORM_PASSWORD \
  TICKMART_PG_QUALITY_RO_PASSWORD TICKMART_PG_DASHBOARD_RO_PASSWORD TICKMART_PG_READER_PASSWORD TICKMART_PG_DAGSTER_PASSWORD \
  MINIO_ROOT_USER MINIO_ROOT_PASSWORD NATS_PASSWORD GRAFANA_ADMIN_PASSWORD; do
  grep -q "^$name=" "$file" && continue
  # Hexadecimal, because Compose, URLs and S3 servers each reject different special characters.
  value=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  [ ${#value} -eq 40 ] || { echo "/dev/urandom gave no random bytes" >&2; exit 1; }
  echo "$name=$value" >> "$file"
  added=$((added + 1))
done
chmod 600 "$file"
echo "$file: $added passwords added, existing values kept"
