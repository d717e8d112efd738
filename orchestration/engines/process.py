"""The process of a build: registers what it reads, runs dbt in the same session, writes what became of each model.

Runs in the environment of an engine: ``python -m orchestration.engines.process CONFIG.json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from orchestration.engines.session import engine_session
from orchestration.engines.sources import register
from orchestration.engines.translation import translate

SCHEMAS = ("raw", "raw_files", "before", "before_files", "staging", "intermediate", "marts")


def main(config_path: str) -> int:
    """Build; the exit code is 0 if every model and test succeeded."""
    config = json.loads(Path(config_path).read_text())
    os.environ["TICKMART_ENGINE_TABLES"] = f"file://{config['tables']}"
    kept = [source["name"] for source in config["sources"] if source["schema"] == "before"]
    os.environ["TICKMART_ENGINE_KEPT"] = ",".join(kept)
    started = time.monotonic()
    with engine_session(config["engine"], config["options"], config["work"]) as run:
        for schema in SCHEMAS:
            run(f"create schema if not exists {schema}")
        for source in config["sources"]:
            register(run, source)
        ready = time.monotonic()
        results = _run_dbt(config)
    seconds = {"start": round(ready - started, 3), "dbt": round(time.monotonic() - ready, 3)}
    Path(config["result"]).write_text(json.dumps({"results": results, "seconds": seconds}))
    return int(any(r["status"] not in ("success", "pass", "warn", "skipped") for r in results))


def _run_dbt(config: dict[str, Any]) -> list[dict[str, Any]]:
    from dbt.cli.main import dbtRunner

    _translate_compiled_sql(config["engine"])
    arguments = [
        *config["command"], "--target", config["engine"], "--project-dir", config["project"],
        "--profiles-dir", config["project"], "--target-path", f"{config['work']}/target",
        "--log-path", f"{config['work']}/logs", "--full-refresh", "--no-use-colors", "--quiet",
    ]  # fmt: skip
    if Path(config["parsed"]).exists():
        arguments += ["--partial-parse-file-path", config["parsed"]]
    done = dbtRunner().invoke(arguments)
    if done.result is None or not hasattr(done.result, "results"):
        raise RuntimeError(f"dbt stopped: {done.exception}")
    return [
        {
            "name": r.node.name, "kind": str(r.node.resource_type), "schema": r.node.schema,
            "unique_id": r.node.unique_id, "status": str(r.status), "seconds": round(r.execution_time, 3),
            "message": r.message, "failures": r.failures,
        }
        for r in done.result.results
    ]  # fmt: skip


def _translate_compiled_sql(engine: str) -> None:
    """Let dbt translate what it compiles, models and tests alike; target/compiled has the engine's SQL."""
    from dbt.compilation import Compiler

    compile_code = Compiler._compile_code

    def compile_translated(self: Any, node: Any, *args: Any, **kwargs: Any) -> Any:
        node = compile_code(self, node, *args, **kwargs)
        if str(node.resource_type) in ("model", "test") and node.compiled_code:
            node.compiled_code = translate(node.compiled_code, node.name, engine)
        return node

    Compiler._compile_code = compile_translated  # type: ignore[method-assign]


if __name__ == "__main__":
    try:
        code = main(sys.argv[1])
    except Exception as error:
        print(f"tickmart: {' '.join(str(error).split())[:600]}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of Sail's server and of dbt outlive the interpreter's end.
    os._exit(code)
