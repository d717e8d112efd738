"""Simulated markets in place of the public APIs: which homes and databases hold them, and the settings that follow.

Belongs here: the mark of a demo home or of a demo database, and what the environment is then. Does not: the simulator
itself (``ingestion.simulator``), starting it (``stack``, ``docker-compose.yml``).

A home that `tickmart demo` made says so in a file: every command in it uses the embedded servers and the simulator.
Compose does not tell a container which profiles were requested, and goes on without an optional service that does not
start. So the profile demo asks by a file, before anything else, and from then on the database says what it holds: a
simulator that is away is an error, never a reason to ask the real APIs.
"""

from __future__ import annotations

import os
import shlex
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from ingestion import proxies
from ingestion.database import connections
from ingestion.database.connections import Connection
from ingestion.ops import runs
from ingestion.settings import Settings, SettingsError
from orchestration import environment
from orchestration.local.client import simulator_environment
from orchestration.local.credentials import write_private
from orchestration.local.processes import LocalServicesError

# The service `demo` of docker-compose.yml leaves this in the home; its service `simulator` listens there.
WANTED = "demo-wanted"
SERVICE = "http://simulator:8600"
URLS = simulator_environment(SERVICE)
# In a demo home: the seed of its market.
MARK_FILE = "demo.json"
SERVERS = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "MINIO_ENDPOINT", "MINIO_ACCESS_KEY",
           "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_SECURE")  # fmt: skip
# In ops.versions, among what else stands in this database.
_NAME, _MARK = "markets", "simulated"


def seed_of(home: Path) -> int | None:
    """Return the seed of a demo home's market; None for a home of real markets."""
    path = home / MARK_FILE
    try:
        return int(orjson.loads(path.read_bytes())["seed"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise LocalServicesError(
            f'{path} cannot be read: write {{"seed": 3}} into it, or remove the demo home'
        ) from None


def make_demo(home: Path, seed: int) -> None:
    """Mark a home as a demo; LocalServicesError when it is the demo of another market."""
    known = seed_of(home)
    if known not in (None, seed):
        raise LocalServicesError(
            f"{home} holds the demo of --seed {known}: remove that folder for a demo of --seed {seed}"
        )
    write_private(home / MARK_FILE, orjson.dumps({"seed": seed}).decode() + "\n")


def mark_restored(settings: Settings, seed: int, *, embedded: bool) -> None:
    """Mark what the backup of a demo was restored into, so that it is never refreshed from the real APIs."""
    if embedded:
        make_demo(settings.home, seed)
        return
    assert settings.postgres is not None
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        runs.set_version(connection, _NAME, _MARK)


def enter_demo() -> list[str]:
    """Take the user's own servers out of this process's environment; return the names of those that were set."""
    for name in environment.OWN_SERVER:
        os.environ.pop(name, None)
    dropped = [name for name in SERVERS if os.environ.pop(name, "").strip()]
    _reach_nobody()
    return dropped


def hint(arguments: str) -> str:
    """Return a command to type next, which addresses the demo home that this process works in."""
    home = Path(os.environ.get("TICKMART_HOME", ".tickmart")).absolute()
    demo = f"TICKMART_HOME={shlex.quote(str(home))} " if (home / MARK_FILE).exists() else ""
    return f"`{demo}tickmart {arguments}`"


def use_simulator_urls(urls: Mapping[str, str]) -> None:
    """Set this process's environment to a simulator's addresses, and leave nobody to notify of an invented market."""
    hosts = {urlsplit(url).hostname or "" for url in urls.values()}
    excluded = filter(None, os.environ.get("no_proxy", "").split(","))
    os.environ.update(urls, no_proxy=",".join(dict.fromkeys([*excluded, *hosts])))
    _reach_nobody()


def _reach_nobody() -> None:
    # The simulator has no monthly plan to spare.
    os.environ.update(TICKMART_COINGECKO_CALLS_PER_MINUTE="1000", TICKMART_COINGECKO_CALLS_PER_MONTH="1000000")
    for variable in ("COINGECKO_API_KEY", "TICKMART_UNIVERSE", "SLACK_WEBHOOK_URL", "SMTP_URL", "ALERT_EMAIL_TO",
                     "HEARTBEAT_URL"):  # fmt: skip
        os.environ.pop(variable, None)


def follow(connection: Connection) -> None:
    """Look for the sources where the markets of this database come from."""
    if runs.version(connection, _NAME) == _MARK:
        use_simulator_urls(URLS)


def settle(settings: Settings) -> None:
    """Mark a new database as simulated if the demo was asked for, and follow the mark.

    SettingsError when anything was asked of real markets for it, LocalServicesError when the simulator does not answer.
    """
    wanted = settings.home / WANTED
    asked = wanted.exists()
    wanted.unlink(missing_ok=True)
    assert settings.postgres is not None
    with connections.closing(connections.connect(settings.postgres, "ingest")) as connection:
        simulated = runs.version(connection, _NAME) == _MARK
        if asked and not simulated:
            # Not only its data: a code server that goes on asking the real markets may be alive.
            if _has_run(connection):
                raise SettingsError(
                    "the demo was asked for, but this project's warehouse is one of real markets: give the demo a "
                    "project of its own (docker compose -p tickmart-demo --profile demo up), and take the simulator "
                    "away from this one (docker compose rm -sf simulator demo)"
                )
            runs.set_version(connection, _NAME, _MARK)
        follow(connection)
    if (simulated or asked) and not _answers(f"{SERVICE}/_stats"):
        raise LocalServicesError(
            f"this project's warehouse holds simulated markets, and the simulator does not answer at {SERVICE}: start "
            "with --profile demo (docker compose logs simulator tells what is wrong with it), or throw the demo away "
            "(docker compose --profile demo down -v)"
        )


def _has_run(connection: Connection) -> bool:
    with connection, connection.cursor() as cursor:
        cursor.execute("select exists (select from ops.runs)")
        return cursor.fetchone() == (True,)


def _answers(url: str) -> bool:
    try:
        with proxies.open_directly(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
