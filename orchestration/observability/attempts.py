"""Failures that ``ops`` cannot record because the database is unusable: one small file per kind in ``TICKMART_HOME``.

Belongs here: the newest failed run, and the newest failed evaluation of the scheduler. Does not: their effect on the
status (``health``) and on alerts (``incidents``).
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from orchestration.local.credentials import write_private

Kind = Literal["run", "scheduler"]


def record_failure(home: Path, kind: Kind, job: str, error: BaseException | str, run_id: str | None = None) -> None:
    """Record the newest failure of a kind; a home that cannot be written records none."""
    failure = {
        "job": job, "run_id": run_id, "failed_at": datetime.now(UTC).isoformat(),
        "error": " ".join(str(error).split())[:500],
    }  # fmt: skip
    with contextlib.suppress(OSError):
        write_private(_path(home, kind), json.dumps(failure) + "\n")


def newest_failure(home: Path, kind: Kind) -> dict[str, Any] | None:
    """Return the newest failure of a kind, None if there is no readable one."""
    try:
        failure: dict[str, Any] = json.loads(_path(home, kind).read_text())
        failure["failed_at"] = datetime.fromisoformat(failure["failed_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return failure


def _path(home: Path, kind: Kind) -> Path:
    return home / f"failed-{kind}.json"
