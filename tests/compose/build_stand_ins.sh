#!/bin/sh
# Builds stand-ins for the pinned images from Debian packages, for engines that cannot reach an image registry. Run it in
# the root of the repository; it needs mmdebstrap. Then: TICKMART_COMPOSE_STAND_INS=1 make test-engine, with
# TICKMART_BUILD_ARGS="--build-arg PYTHON_IMAGE=localhost/tickmart-base:bookworm".
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --variant=minbase --include=python3,python3-venv,ca-certificates,curl bookworm "$work/root.tar"
docker import -c 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' "$work/root.tar" localhost/debian-py:raw
mkdir "$work/base"
cp /etc/ssl/certs/ca-certificates.crt "$work/base/certificates.pem"
docker build -f tests/compose/base.Dockerfile -t localhost/tickmart-base:bookworm "$work/base"
build() {
  name=$1 file=$2
  shift 2
  docker build --build-arg PYTHON_IMAGE=localhost/tickmart-base:bookworm -f "tests/compose/$file.Dockerfile" "$@" -t "localhost/$name" .
}
build tickmart-postgres:18 postgres
build tickmart-s3:local s3
for tool in prometheus caddy adminer; do
  build "tickmart-$tool:debian" tools --target "$tool"
done
