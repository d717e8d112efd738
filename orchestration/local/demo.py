"""Demo mode: simulated markets in place of the public APIs.

Belongs here: the mark of a demo home or database, and the environment that follows from it. Does not: the simulator
(``ingestion.simulator``), starting it (``supervisor``, ``docker-compose.yml``).

`tickmart demo` marks its home with a file: every command in that home uses the embedded servers and the simulator.
Compose does not tell a container which profiles are active, and ignores an optional service that does not start. So the
profile demo first writes a request file, and `tickmart init` then marks the database: from then on a missing simulator
is an error, and the real APIs are never asked.
"""

from __future__ import annotations

import os
import shlex
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

# The service `demo` of docker-compose.yml writes REQUEST_FILE to the home; its service `simulator` listens at SERVICE.
REQUEST_FILE = "demo-wanted"
SERVICE = "http://simulator:8600"
URLS = simulator_environment(SERVICE)
# In a demo home: a JSON file with the seed of its market.
MARK_FILE = "demo.json"
SERVERS = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "MINIO_ENDPOINT", "MINIO_ACCESS_KEY",
           "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_SECURE", "NATS_URL")  # fmt: skip
# Name and value in ops.versions that mark a database.
_NAME, _MARK = "markets", "simulated"


def seed_of(home: Path) -> int | None:
    """Return the seed of a demo home's market; None for a home with real markets."""
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
    """Mark a home as a demo; LocalServicesError if it is the demo of another seed."""
    known = seed_of(home)
    if known not in (None, seed):
        raise LocalServicesError(
            f"{home} is the demo of --seed {known}: remove that folder for a demo of --seed {seed}"
        )
    write_private(home / MARK_FILE, orjson.dumps({"seed": seed}).decode() + "\n")


def mark_restored(settings: Settings, seed: int, *, embedded: bool) -> None:
    """Mark the target of a restored demo backup, so that it is never refreshed from the real APIs."""
    if embedded:
        make_demo(settings.home, seed)
        return
    with connections.connected(settings.postgres, "ingest") as connection:
        runs.set_version(connection, _NAME, _MARK)


def enter_demo() -> list[str]:
    """Remove the user's own servers from this process's environment; return the variables that were set."""
    for name in environment.OWN_SERVER:
        os.environ.pop(name, None)
    dropped = [name for name in SERVERS if os.environ.pop(name, "").strip()]
    _disable_outside_contact()
    return dropped


def hint(arguments: str) -> str:
    """Return a command for the user to type: with TICKMART_HOME in a demo home, in services by Docker Compose."""
    if command := os.environ.get("TICKMART_COMMAND"):
        return "`docker compose up -d`" if arguments == "up" else f"`{command} {arguments}`"
    home = Path(os.environ.get("TICKMART_HOME", ".tickmart")).absolute()
    demo = f"TICKMART_HOME={shlex.quote(str(home))} " if (home / MARK_FILE).exists() else ""
    return f"`{demo}tickmart {arguments}`"


def use_simulator_urls(urls: Mapping[str, str]) -> None:
    """Point this process's environment at a simulator, and turn the alert channels off."""
    hosts = {urlsplit(url).hostname or "" for url in urls.values()}
    excluded = filter(None, os.environ.get("no_proxy", "").split(","))
    os.environ.update(urls, no_proxy=",".join(dict.fromkeys([*excluded, *hosts])))
    _disable_outside_contact()


def _disable_outside_contact() -> None:
    """Unset keys, alert channels and the user's universe; lift the limits of a monthly CoinGecko plan."""
    os.environ.update(TICKMART_COINGECKO_CALLS_PER_MINUTE="1000", TICKMART_COINGECKO_CALLS_PER_MONTH="1000000")
    for variable in ("COINGECKO_API_KEY", "X_BEARER_TOKEN", "TICKMART_UNIVERSE", "SLACK_WEBHOOK_URL", "SMTP_URL",
                     "ALERT_EMAIL_TO", "HEARTBEAT_URL"):  # fmt: skip
        os.environ.pop(variable, None)


def apply_source_mode(connection: Connection) -> None:
    """Use the simulator if the database has simulated markets."""
    if runs.version(connection, _NAME) == _MARK:
        use_simulator_urls(URLS)


def validate_source_mode(settings: Settings) -> None:
    """Mark a new database as simulated if the demo was requested, and apply the mark.

    SettingsError if the database has real markets, LocalServicesError if the simulator does not answer.
    """
    request = settings.home / REQUEST_FILE
    requested = request.exists()
    request.unlink(missing_ok=True)
    with connections.connected(settings.postgres, "ingest") as connection:
        simulated = runs.version(connection, _NAME) == _MARK
        if requested and not simulated:
            # Any run counts, even without data: a code server that still asks the real APIs may be running.
            if connections.fetch(connection, "select 1 from ops.runs limit 1"):
                raise SettingsError(
                    "the demo was requested, but this project's warehouse is one of real markets: run the demo as a "
                    "project of its own (docker compose --env-file .env --env-file docker/demo.env up -d), and remove "
                    "the simulator from this one (docker compose rm -sf simulator demo)"
                )
            runs.set_version(connection, _NAME, _MARK)
        apply_source_mode(connection)
    if (simulated or requested) and not proxies.answers(f"{SERVICE}/_stats", 10):
        raise LocalServicesError(
            f"this project's warehouse has simulated markets, and the simulator does not answer at {SERVICE}: start "
            "with --profile demo (see docker compose logs simulator), or remove the demo "
            "(docker compose --profile demo down -v)"
        )
