#!/bin/sh
# What postgres:18's entrypoint does of what docker-compose.yml asks for.
set -eu
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
mkdir -p "$PGDATA"
chown -R postgres:postgres /var/lib/postgresql
chmod 700 "$PGDATA"
if [ ! -f "$PGDATA/PG_VERSION" ]; then
  umask 077
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  chown postgres /tmp/password
  # shellcheck disable=SC2086 # arguments, as in the image
  $as initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password -E UTF8 --locale=C.UTF-8 $POSTGRES_INITDB_ARGS > /dev/null
  rm /tmp/password
  echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >> "$PGDATA/pg_hba.conf"
  $as pg_ctl -w -D "$PGDATA" -o "-h '' -k /tmp" start > /dev/null
  PGPASSWORD=$POSTGRES_PASSWORD $as createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
  $as pg_ctl -w -D "$PGDATA" stop > /dev/null
fi
exec $as "$@" -D "$PGDATA" -c "listen_addresses=*" -c unix_socket_directories=/var/run/postgresql
