"""Simulated markets in the place of the public APIs: what is set then, and that a database never holds both.

Belongs here: where the sources are looked for in a demo, the mark of a database that holds one. Does not: the simulator
itself (``ingestion.simulator``), starting it (``up``, ``docker-compose.yml``).

Compose does not tell a container which profiles were asked for, and goes on without an optional service that does not
start. So the profile demo asks by a file, before anything else, and from then on the database says what it holds: a
simulator that is away is an error, never a reason to ask the real APIs.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping

from ingestion import books, warehouse
from ingestion.settings import Settings, SettingsError
from ingestion.warehouse import Connection
from orchestration.stack import StackError

# The service `demo` of docker-compose.yml leaves this in the home; its service `simulator` listens there.
WANTED = "demo-wanted"
SERVICE = "http://simulator:8600"
URLS = {
    "BINANCE_BASE_URL": f"{SERVICE}/binance",
    "BINANCE_ARCHIVE_URL": f"{SERVICE}/archive",
    "COINGECKO_BASE_URL": f"{SERVICE}/coingecko/api/v3",
    "FEAR_GREED_BASE_URL": f"{SERVICE}/alternative",
}
# In ops.versions, among what else stands in this database.
_NAME, _MARK = "markets", "simulated"


def point_at(urls: Mapping[str, str]) -> None:
    """Set this process's environment to a simulator's addresses, and leave nobody to tell of an invented market."""
    os.environ.update(
        urls,
        # The simulator has no monthly plan to spare.
        TICKMART_COINGECKO_CALLS_PER_MINUTE="1000",
        TICKMART_COINGECKO_CALLS_PER_MONTH="1000000",
    )
    for variable in ("COINGECKO_API_KEY", "TICKMART_UNIVERSE", "SLACK_WEBHOOK_URL", "SMTP_URL", "ALERT_EMAIL_TO",
                     "HEARTBEAT_URL"):  # fmt: skip
        os.environ.pop(variable, None)


def follow(connection: Connection) -> None:
    """Look for the sources where the markets of this database come from."""
    if books.version(connection, _NAME) == _MARK:
        point_at(URLS)


def settle(settings: Settings) -> None:
    """Mark a new database as simulated if the demo was asked for, and follow the mark.

    SettingsError when anything was asked of real markets for it, StackError when the simulator does not answer.
    """
    wanted = settings.home / WANTED
    asked = wanted.exists()
    wanted.unlink(missing_ok=True)
    assert settings.postgres is not None
    with warehouse.closing(warehouse.connect(settings.postgres, "ingest")) as connection:
        simulated = books.version(connection, _NAME) == _MARK
        if asked and not simulated:
            # Not only its data: a code server that goes on asking the real markets may be alive.
            if _has_run(connection):
                raise SettingsError(
                    "the demo was asked for, but this project's warehouse is one of real markets: give the demo a "
                    "project of its own (docker compose -p tickmart-demo --profile demo up), and take the simulator "
                    "away from this one (docker compose rm -sf simulator demo)"
                )
            books.set_version(connection, _NAME, _MARK)
        follow(connection)
    if (simulated or asked) and not _answers(f"{SERVICE}/_stats"):
        raise StackError(
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
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - an address of our own
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
