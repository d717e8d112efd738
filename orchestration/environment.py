"""What tickmart's processes see of the user's environment: an allow-list, applied once when the command starts.

Belongs here: which variables count, and the environment of child processes. Does not: what a variable means
(``ingestion.settings``), the variables that a session adds for its tools (``launch``).

Dagster, dbt, Great Expectations, Streamlit, libpq, gRPC and Python each obey variables of their own. The user sets
those for other programs, so that only the ones below get through, in this process and in every child.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from ingestion.proxies import LOOPBACK_NAMES, VARIABLES
from ingestion.settings import SOURCE_URLS

# Prefixes end in "_". `tests/orchestration/test_environment.py` checks that each setting that is read stands here.
OWN = (
    "TICKMART_", *SOURCE_URLS, "COINGECKO_API_KEY",
    "MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_SECURE",
    "SLACK_WEBHOOK_URL", "SMTP_URL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "HEARTBEAT_URL",
    "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE",
)  # fmt: skip
# How to log in to the user's own server (PGHOST). None of them names another server, database or user.
OWN_SERVER = (
    "PGSSLMODE", "PGSSLNEGOTIATION", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCERTMODE", "PGSSLCRL",
    "PGSSLCRLDIR", "PGSSLSNI", "PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGCHANNELBINDING",
    "PGREQUIREAUTH", "PGPASSFILE", "PGGSSENCMODE", "PGGSSLIB", "PGGSSDELEGATION", "PGKRBSRVNAME",
)  # fmt: skip
# The operating system's; PSQL_ and the four after it are for the person at `tickmart psql`.
SYSTEM = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_", "TZ", "TZDIR", "TMPDIR", "TERM", "TERMINFO",
    "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "HOSTNAME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "MALLOC_", "SSL_CERT_FILE", "SSL_CERT_DIR", *VARIABLES,
    # How Python writes files and output; nothing that decides which code it runs.
    "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
    "PSQL_", "PAGER", "LESS", "EDITOR", "VISUAL",
)  # fmt: skip
# Children work in a folder of the home: a relative path of the user's means his own folder.
PATHS = (
    "TICKMART_HOME", "TICKMART_BACKUPS", "TICKMART_UNIVERSE", "SSL_CERT_FILE", "SSL_CERT_DIR", "PGSSLROOTCERT",
    "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGSSLCRLDIR", "PGPASSFILE",
)  # fmt: skip
# What libpq looks for in ~/.postgresql (https://www.postgresql.org/docs/18/libpq-ssl.html).
_LIBPQ_FILES = {
    "PGSSLROOTCERT": "root.crt", "PGSSLCERT": "postgresql.crt", "PGSSLKEY": "postgresql.key", "PGSSLCRL": "root.crl",
}  # fmt: skip


def isolate(environ: MutableMapping[str, str] = os.environ) -> None:
    """Reduce an environment to the variables that tickmart and the operating system own."""
    own_server = bool(environ.get("PGHOST", "").strip())
    allowed = (*OWN, *SYSTEM, *(OWN_SERVER if own_server else ()))
    for name in list(environ):
        if not _among(name, allowed):
            del environ[name]
    for name in PATHS:
        value = environ.get(name, "").strip()
        # sslrootcert=system is a word, no file.
        if value and (name, value) != ("PGSSLROOTCERT", "system"):
            environ[name] = str(Path(value).expanduser().absolute())
    # For every Python below this one, whoever starts it: no module of its working folder, none of the user's own.
    environ.update(PYTHONSAFEPATH="1", PYTHONNOUSERSITE="1")
    if any(environ.get(name) for name in VARIABLES):
        # gRPC sends even what is meant for 127.0.0.1 through http_proxy.
        excluded = [environ.get("no_proxy", environ.get("NO_PROXY", "")), *LOOPBACK_NAMES]
        environ["no_proxy"] = ",".join(filter(None, excluded))


def system(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the operating system's variables alone: the environment of a child that needs no setting and no secret."""
    return {name: value for name, value in environ.items() if _among(name, SYSTEM)}


def database(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a Postgres client, whose caller adds the server, the login and the database."""
    return {name: value for name, value in environ.items() if _among(name, (*SYSTEM, *OWN_SERVER))}


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that talks to tickmart's own services and to nobody else."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def with_home(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment with another HOME, in which libpq still finds the user's certificates."""
    changed = dict(environ)
    certificates = Path(environ.get("HOME") or "~").expanduser() / ".postgresql"
    for name, file in _LIBPQ_FILES.items():
        if (certificates / file).exists():
            changed.setdefault(name, str(certificates / file))
    return {**changed, "HOME": str(folder)}


def python(*arguments: str) -> list[str]:
    """Return the command line of this Python, which imports nothing from the folder it works in."""
    return [sys.executable, "-P", *arguments]


def _among(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name.startswith(entry) if entry.endswith("_") else name == entry for entry in allowed)
