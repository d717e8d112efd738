"""The environment of tickmart's processes: an allow-list, applied once when the command starts.

Belongs here: the allowed variables, and the environments of child processes. Does not: the meaning of a variable
(``ingestion.settings``), the variables that a session sets for its tools (``runner``).

Dagster, dbt, Great Expectations, Streamlit, libpq, gRPC and Python read variables of their own, which the user may have
set for other programs. This process and its children see only the variables below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from ingestion.proxies import LOOPBACK_NAMES, VARIABLES
from ingestion.settings import SOURCE_URLS

# Prefixes end in "_". `tests/orchestration/test_environment.py` checks that each setting is listed.
OWN = (
    "TICKMART_", *SOURCE_URLS, "BITCOIN_TRANSACTIONS_URL", "OKX_WS_URL", "NATS_URL", "NATS_PASSWORD",
    "COINGECKO_API_KEY", "X_BEARER_TOKEN",
    "MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_SECURE",
    "SLACK_WEBHOOK_URL", "SMTP_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "HEARTBEAT_URL",
    "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
)  # fmt: skip
# How to log in to the user's own server (PGHOST). None of them selects another server, database or user.
OWN_SERVER = (
    "PGSSLMODE", "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE", "PGSSLCRL",
    "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING",
    "PGREQUIREAUTH", "PGPASSFILE", "PGGSSENCMODE", "PGGSSLIB", "PGGSSDELEGATION", "PGKRBSRVNAME",
)  # fmt: skip
# The operating system's; PSQL_ and the four after it are for `tickmart psql`.
SYSTEM = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_", "TZ", "TZDIR", "TMPDIR", "TERM", "TERMINFO",
    "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "HOSTNAME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "JAVA_HOME", "MALLOC_", "SSL_CERT_FILE", "SSL_CERT_DIR", *VARIABLES,
    # How Python writes output. Not PYTHONDONTWRITEBYTECODE: without bytecode each dbt compiles for two seconds.
    "PYTHONUNBUFFERED",
    "PSQL_", "PAGER", "LESS", "EDITOR", "VISUAL",
)  # fmt: skip
# Made absolute, because children have another working directory.
PATHS = (
    "TICKMART_HOME", "TICKMART_BACKUPS", "TICKMART_WAREHOUSE", "TICKMART_UNIVERSE", "TICKMART_ALERT_RULES",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
    "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGPASSFILE",
)  # fmt: skip
# Files that libpq reads from ~/.postgresql (https://www.postgresql.org/docs/18/libpq-ssl.html).
_LIBPQ_FILES = {
    "PGSSLROOTCERT": "root.crt", "PGSSLCERT": "postgresql.crt", "PGSSLKEY": "postgresql.key", "PGSSLCRL": "root.crl",
}  # fmt: skip


def isolate(environ: MutableMapping[str, str] = os.environ) -> None:
    """Remove all variables but tickmart's and the operating system's, and protect Python from the working directory."""
    own_server = bool(environ.get("PGHOST", "").strip())
    allowed = (*OWN, *SYSTEM, *(OWN_SERVER if own_server else ()))
    for name in list(environ):
        if not _among(name, allowed):
            del environ[name]
    for name in PATHS:
        value = environ.get(name, "").strip()
        # sslrootcert=system is a keyword, not a path.
        if value and (name, value) != ("PGSSLROOTCERT", "system"):
            environ[name] = str(Path(value).expanduser().absolute())
    # For every Python child: no modules from its working directory or the user's site-packages.
    environ.update(PYTHONSAFEPATH="1", PYTHONNOUSERSITE="1")
    if any(environ.get(name) for name in VARIABLES):
        # gRPC uses http_proxy even for 127.0.0.1.
        excluded = [environ.get("no_proxy", environ.get("NO_PROXY", "")), *LOOPBACK_NAMES]
        environ["no_proxy"] = ",".join(filter(None, excluded))


def system(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return only the operating system's variables, for a child that needs no setting and no secret."""
    return {name: value for name, value in environ.items() if _among(name, SYSTEM)}


def database(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a Postgres client; the caller adds server, login and database."""
    return {name: value for name, value in environ.items() if _among(name, (*SYSTEM, *OWN_SERVER))}


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that connects to tickmart's own services only."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def with_home(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment with another HOME where libpq still finds the user's certificates."""
    changed = dict(environ)
    certificates = Path(environ.get("HOME") or "~").expanduser() / ".postgresql"
    for name, file in _LIBPQ_FILES.items():
        if (certificates / file).exists():
            changed.setdefault(name, str(certificates / file))
    return {**changed, "HOME": str(folder)}


def python(*arguments: str) -> list[str]:
    """Return a command line of this Python that imports nothing from its working directory."""
    return [sys.executable, "-P", *arguments]


def _among(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name.startswith(entry) if entry.endswith("_") else name == entry for entry in allowed)
