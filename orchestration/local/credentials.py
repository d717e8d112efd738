"""Generated credentials of the embedded servers."""

import json
import os
import secrets
from pathlib import Path

from ingestion.settings import ROLES
from orchestration.local.processes import LocalServicesError

SUPERUSER = "tickmart"
DATABASE = "tickmart"
BUCKET = "bronze"
CREDENTIALS_FILE = "credentials.json"


def load_credentials(home: Path) -> dict[str, dict[str, str]]:
    """Return the passwords of the database logins and the S3 keys of `home`; LocalServicesError if it is damaged."""
    path = home / CREDENTIALS_FILE
    try:
        credentials: dict[str, dict[str, str]] = json.loads(path.read_text())
        logins = {SUPERUSER, *ROLES} - {"reader"}
        complete = logins <= set(credentials["postgres"]) and {"access_key", "secret_key"} <= set(credentials["s3"])
    except OSError as error:
        raise LocalServicesError(f"{path} cannot be read ({error.strerror}): run tickmart as its owner") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise LocalServicesError(f"{path} is damaged: restore it, or move it and {home / 'postgres'} away")
    return credentials


def ensure_credentials(home: Path) -> dict[str, dict[str, str]]:
    """Return the credentials of `home`; write its file first if there is none, or if it lacks a login.

    Earlier versions had no login `reader` and no broker. At its start, the server gives every login the password of the
    file.
    """
    path = home / CREDENTIALS_FILE
    # Hexadecimal: rclone splits keys at commas, and other characters need quoting in shells and URLs. 128 bits each.
    if not path.exists():
        credentials = {
            "postgres": {login: secrets.token_hex(16) for login in (SUPERUSER, *ROLES)},
            "s3": {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(16)},
            "nats": _nats_login(),
        }
        write_private(path, json.dumps(credentials, indent=2) + "\n")
    credentials = load_credentials(home)
    if "reader" not in credentials["postgres"] or "nats" not in credentials:
        credentials["postgres"].setdefault("reader", secrets.token_hex(16))
        credentials.setdefault("nats", _nats_login())
        write_private(path, json.dumps(credentials, indent=2) + "\n")
    return credentials


def _nats_login() -> dict[str, str]:
    return {"user": "tickmart", "password": secrets.token_hex(16)}


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
