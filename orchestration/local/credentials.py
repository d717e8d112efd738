"""Generated credentials of the embedded servers."""

import json
import os
import secrets
from pathlib import Path

from orchestration.local.processes import LocalServicesError

SUPERUSER = "tickmart"
DATABASE = "tickmart"
BUCKET = "bronze"
ROLES = ("ingest", "transform", "quality_ro", "dashboard_ro", "dagster")


def load_credentials(home: Path) -> dict[str, dict[str, str]]:
    """Return the passwords of the database logins and the S3 keys of `home`; LocalServicesError if it is damaged."""
    path = home / "credentials.json"
    try:
        credentials: dict[str, dict[str, str]] = json.loads(path.read_text())
        complete = {SUPERUSER, *ROLES} <= set(credentials["postgres"]) and {"access_key", "secret_key"} <= set(
            credentials["s3"]
        )
    except OSError as error:
        raise LocalServicesError(f"{path} cannot be read ({error.strerror}): run tickmart as its owner") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise LocalServicesError(f"{path} is damaged: restore it, or move it and {home / 'postgres'} away")
    return credentials


def create_credentials(home: Path) -> None:
    """Write HOME/credentials.json with generated secrets, atomically, readable by its owner only."""
    # Hexadecimal: rclone splits keys at commas, and other characters need quoting in shells and URLs. 128 bits each.
    credentials = {
        "postgres": {login: secrets.token_hex(16) for login in (SUPERUSER, *ROLES)},
        "s3": {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(16)},
    }
    write_private(home / "credentials.json", json.dumps(credentials, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` atomically and durably; the file has mode 0600 from the start."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
