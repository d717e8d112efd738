"""dbt as a process that is started early: it imports dbt while a run does other work, then waits for its command line.

Belongs here: the process, which also runs this file. Does not: what dbt builds (``assets.dbt``).

dbt imports for two to five seconds, a quarter of a refresh without new bars. Its arguments and its environment are
known only when the servers run and the raw tables are loaded.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

# For each open block of `prepared_dbt` its process, if no command has taken it.
_waiting: list[list[subprocess.Popen[bytes]]] = []


@contextmanager
def prepared_dbt() -> Iterator[None]:
    """Start a dbt for the next command of this block, and end it at the end of the block if none took it.

    Use it from the main thread: Linux ends a child with the *thread* that started it.
    """
    _waiting.append([])
    try:
        prepare_next()
        yield
    finally:
        for process in _waiting.pop():
            with process:
                process.kill()


def prepare_next() -> None:
    """Within a block of `prepared_dbt`, start a dbt for the next command, unless one waits already."""
    # Here, because the child runs this file without the package.
    from orchestration import environment
    from orchestration.local.processes import die_with_parent

    if _waiting and not _waiting[-1]:
        process = subprocess.Popen(
            environment.python("-u", "-W", "ignore", __file__),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd="/", preexec_fn=die_with_parent(signal.SIGTERM),
        )  # fmt: skip
        _waiting[-1].append(process)


def start_dbt(command: Sequence[str], env: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start dbt with a command line, an environment and a working folder: in the prepared process, if there is one."""
    while _waiting and _waiting[-1]:
        process = _waiting[-1].pop()
        assert process.stdin is not None
        with suppress(OSError), process.stdin as request:  # it has ended
            request.write(json.dumps([list(command), dict(env), str(folder)]).encode() + b"\n")
            request.flush()
            process.args, process.stdin = list(command), None
            return process
        with process:
            process.kill()
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(env), cwd=folder)


def main() -> None:
    """Import dbt, read the command line, the environment and the working folder from stdin, and run dbt."""
    gc.set_threshold(50_000)  # imports make no garbage; the default is 700
    import dbt.adapters.postgres  # noqa: F401
    from dbt.cli.main import cli

    gc.freeze()
    request = sys.stdin.buffer.readline()
    if not request:  # the run has ended without a build
        return
    sys.argv, env, folder = json.loads(request)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    cli()


if __name__ == "__main__":
    main()
