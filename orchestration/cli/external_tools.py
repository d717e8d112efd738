"""Runs dbt and psql on the terminal, and builds and serves the page of the dbt docs.

Does not belong here: dbt as a part of a run (``orchestration.assets.dbt``), whose import takes seconds and is therefore
made inside functions.
"""

from __future__ import annotations

import os
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


def run_on_terminal(argv: Sequence[str], env: dict[str, str], folder: Path | None = None) -> int:
    """Run a program on this terminal, in ``folder``, and return its exit code; Ctrl-C goes to the program."""
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


def dbt(target: Path, arguments: Sequence[str]) -> int:
    """Run dbt on the project with its artifacts in ``target``, and return its exit code."""
    from orchestration.assets.dbt import DBT, PROJECT_DIR

    env = {**os.environ, "DBT_TARGET_PATH": str(target), "DBT_PROJECT_DIR": str(PROJECT_DIR)}
    return run_on_terminal([DBT, *arguments], env, PROJECT_DIR)


def write_docs(home: Path) -> Path:
    """Write dbt's documentation as one self-contained page, and return its path."""
    from orchestration.assets.dbt import DIGEST_FILE, PROJECT_DIR, dbt_project_digest

    target, page = home / "dbt" / "cli", home / "docs" / "index.html"
    if code := dbt(target, ["docs", "generate", "--static", "--quiet"]):
        raise LocalServicesError(f"dbt docs generate ended with exit code {code}; see its output above")
    page.parent.mkdir(exist_ok=True)
    shutil.copyfile(target / "static_index.html", page)
    page.with_name(DIGEST_FILE).write_text(dbt_project_digest(PROJECT_DIR))
    return page


def docs_are_current(home: Path) -> bool:
    """Return whether the page of `write_docs` was built from this version of the dbt project."""
    from orchestration.assets.dbt import DIGEST_FILE, PROJECT_DIR, dbt_project_digest

    digest_file = home / "docs" / DIGEST_FILE
    return digest_file.exists() and digest_file.read_text() == dbt_project_digest(PROJECT_DIR)


def serve(page: Path, port: int) -> None:
    """Serve a page on loopback until Ctrl-C."""
    handler = partial(SimpleHTTPRequestHandler, directory=page.parent)
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        click.echo(f"Served  http://127.0.0.1:{server.server_port}\nCtrl-C ends it.")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
