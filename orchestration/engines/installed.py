"""Whether an engine can run here: its environment, Java, memory. Each problem is one line with the fix."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ingestion.sources.source import Finding
from orchestration.engines.errors import EngineError

ENGINES = ("spark", "sail")
PACKAGES = {"spark": "pyspark", "sail": "pysail"}
# Spark 4 runs on Java 17 and 21 (https://spark.apache.org/docs/latest/).
JAVA = (17, 21)
JAVA_FIX = "install Java 17 or 21 (Debian: apt install openjdk-17-jre-headless) or set JAVA_HOME"
# Beside its heap a JVM takes some 0.7 GB, and Sail builds three years of 50 assets in 1.5 GB.
SPARE_BYTES = {"spark": 1 << 30, "sail": 3 << 29}
UNITS = {"m": 1 << 20, "g": 1 << 30}


def python_of(engine: str) -> Path:
    """Return the Python of an engine's environment; EngineError if it is not installed."""
    folder = Path(sys.prefix) / engine
    python, packages = (
        folder / "bin" / "python",
        folder.glob(f"lib/python*/site-packages/{PACKAGES[engine]}/__init__.py"),
    )
    if not python.exists() or not any(packages):
        raise EngineError(f"{engine}: {PACKAGES[engine]} is not installed in {folder}; run `make setup-{engine}`")
    return python


def java(environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Return the java that Spark will start, and its version; EngineError if Spark cannot run on it."""
    home = environ.get("JAVA_HOME", "").strip()
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java", path=environ.get("PATH"))
    if found is None or not Path(found).exists():
        raise EngineError(f"spark: no Java is found{f' at {found}' if found else ''}; {JAVA_FIX}")
    try:
        done = subprocess.run([found, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"spark: {found} cannot be run ({error}); {JAVA_FIX}") from None
    version = re.search(r'version "(\d+)([^"]*)"', done.stderr + done.stdout)
    if version is None:
        raise EngineError(f"spark: {found} does not tell its version; {JAVA_FIX}")
    if int(version[1]) not in range(JAVA[0], JAVA[1] + 1):
        raise EngineError(f"spark: {found} is Java {version[1]}{version[2]}; {JAVA_FIX}")
    return Path(found), version[1] + version[2]


def check_memory(engine: str, spark_memory: str) -> None:
    """Raise EngineError if less memory is available than the engine needs."""
    needed = SPARE_BYTES[engine]
    if engine == "spark":
        needed += int(spark_memory[:-1]) * UNITS[spark_memory[-1]]
    available = available_bytes()
    if available is not None and available < needed:
        raise EngineError(
            f"{engine}: {available / (1 << 30):.1f} GB of memory are available and a build needs "
            f"{needed / (1 << 30):.1f}; close other programs"
            + (", or set TICKMART_SPARK_MEMORY" if engine == "spark" else "")
        )


def available_bytes() -> int | None:
    """Return the memory that new processes can take; None where the system does not tell."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def versions(engine: str) -> str:
    """Return the versions of an installed engine in one line."""
    package = PACKAGES[engine]
    [folder] = list((python_of(engine).parents[1]).glob(f"lib/python*/site-packages/{package}-*.dist-info"))[:1]
    return folder.name.removesuffix(".dist-info").replace("-", " ")


def findings(spark_memory: str) -> Iterator[Finding]:
    """Yield a finding for each engine: its version and Java, what prevents it, or that it is not installed."""
    for engine in ENGINES:
        try:
            python_of(engine)
        except EngineError:
            yield Finding(True, engine, f"not installed, optional: `make setup-{engine}`")
            continue
        try:
            runtime = f", Java {java()[1]}" if engine == "spark" else ""
            check_memory(engine, spark_memory)
            yield Finding(True, engine, versions(engine) + runtime)
        except EngineError as error:
            yield Finding(False, engine, str(error).removeprefix(f"{engine}: "))
