"""dbt as a process that is started early: it imports dbt while a run does other work, then waits for its command line.

Belongs here: the process, which also runs this file. Does not: what dbt builds (``assets.dbt``).

dbt imports for two to five seconds, a quarter of a refresh without new bars. Its arguments and its environment are
known only when the servers run and the raw tables are loaded. Until then it also reads what dbt parsed in the home
(0.8 s).
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What dbt parses of the project, for its next invocation: a full parse takes 8 s of CPU, a partial one 0.3 s.
PARTIAL_PARSE = "partial_parse.msgpack"
# In the target folder of a build: what dbt has parsed of a project that did not change since. dbt reads its own file of
# this kind too, but compares it with the project's files and writes the manifest again (1.5 s of CPU).
PARSED = "parsed.msgpack"

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
    if _waiting and not _waiting[-1]:
        _waiting[-1].append(_spawn())


def _spawn() -> subprocess.Popen[bytes]:
    # Here, because the child runs this file without the package.
    from ingestion.settings import home_of
    from orchestration import environment
    from orchestration.local.processes import die_with_parent

    parsed = home_of(os.environ) / "dbt" / PARTIAL_PARSE
    return subprocess.Popen(
        environment.python("-u", "-W", "ignore", __file__, str(parsed)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd="/", preexec_fn=die_with_parent(signal.SIGTERM),
    )  # fmt: skip


def start_dbt(command: Sequence[str], env: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start dbt with a command line, an environment and a working folder: in the prepared process, if there is one."""
    while True:
        waits = bool(_waiting and _waiting[-1])
        process = _waiting[-1].pop() if waits else _spawn()
        assert process.stdin is not None
        try:
            with process.stdin as request:
                request.write(json.dumps([list(command), dict(env), str(folder)]).encode() + b"\n")
        except OSError:  # the prepared process has ended
            with process:
                process.kill()
            if not waits:
                raise
            continue
        process.args, process.stdin = list(command), None
        return process


def main() -> None:
    """Import dbt, read the command line, the environment and the working folder from stdin, and run dbt.

    The argument is a file that a build may bring as its PARSED. It is read early, and used if the build's is the same.
    """
    gc.set_threshold(50_000)  # imports make no garbage; the default is 700
    import dbt.adapters.postgres  # noqa: F401
    from dbt.cli.main import cli, dbtRunner
    from dbt.task import runnable

    expected = _expected(Path(sys.argv[1]))
    gc.freeze()
    request = sys.stdin.buffer.readline()
    if not request:  # the run has ended without a build
        return
    sys.argv, env, folder = json.loads(request)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    parsed = Path(os.environ.get("DBT_TARGET_PATH", folder), PARSED)
    content = parsed.read_bytes() if parsed.exists() else b""
    manifest = expected[content] if content in expected else _manifest(content)
    if manifest is None:
        cli()
    # Nothing reads the manifest.json of such a build; the one beside what was parsed is the same.
    runnable.write_manifest = lambda *_: None  # type: ignore[attr-defined]
    # As dbt's own command line does.
    done = dbtRunner(manifest=manifest).invoke(sys.argv[1:])
    sys.exit(0 if done.success else 2 if done.exception else 1)


def _expected(path: Path) -> dict[bytes, Any]:
    """Return a file's content and its manifest; nothing of a file that cannot be read."""
    from dbt.adapters.postgres.connections import PostgresCredentials
    from dbt.contracts.project import Configuration, PackageConfig, Project, ProjectFlags

    # dbt checks the project and the profile with these schemas, and makes each of them once (0.4 s).
    for contract in (Configuration, Project, ProjectFlags, PackageConfig, PostgresCredentials):
        contract.json_schema()
    try:
        content = path.read_bytes()
        manifest = _manifest(content)
        if manifest is not None:
            _compile_macros(manifest)
        return {content: manifest}
    except Exception:  # it may be written meanwhile; what a build brings is another file, which must be readable
        return {}


def _compile_macros(manifest: Any) -> None:
    """Compile the macros that the nodes need, a third of all, into dbt's cache: 0.4 s."""
    from dbt_common.clients.jinja import template_cache

    nodes = [node for node in manifest.nodes.values() if node.resource_type in ("model", "test")]
    materializations = tuple(f"materialization_{kind}_" for kind in {node.config.materialized for node in nodes})
    waiting = [name for node in nodes for name in node.depends_on.macros]
    waiting += [name for name, macro in manifest.macros.items() if macro.name.startswith(materializations)]
    compiled: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in manifest.macros and name not in compiled:
            compiled.add(name)
            template_cache.get_node_template(manifest.macros[name])
            waiting += manifest.macros[name].depends_on.macros


def _manifest(content: bytes) -> Any:
    """Return the manifest in what dbt has parsed of a project; None if it is empty or of another dbt."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.version import __version__

    if not content:
        return None
    manifest: Any = Manifest.from_msgpack(content)
    if manifest.metadata.dbt_version != __version__:
        return None
    manifest.build_parent_and_child_maps()
    manifest.build_flat_graph()
    return manifest


if __name__ == "__main__":
    main()
