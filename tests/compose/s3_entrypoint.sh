#!/bin/sh
# rclone reads the pair as a line of CSV, hence the inner quotes.
RCLONE_AUTH_KEY="\"$MINIO_ROOT_USER,$MINIO_ROOT_PASSWORD\"" exec /opt/s3/bin/rclone serve s3 --config '' --addr :9000 /data
