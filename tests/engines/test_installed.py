"""An engine that cannot run is reported in one line that says what to install."""

import sys
from pathlib import Path

import pytest

from orchestration.engines import installed
from orchestration.engines.errors import EngineError


def fake_java(folder: Path, said: str) -> dict[str, str]:
    """Make a program `java` that prints what a JVM says of itself."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    return {"JAVA_HOME": str(folder)}


def test_no_java_says_what_to_install(tmp_path: Path) -> None:
    for environ in ({"PATH": str(tmp_path)}, {"JAVA_HOME": str(tmp_path)}):
        with pytest.raises(EngineError, match=r"no Java.*openjdk-17") as caught:
            installed.java(environ)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", ['openjdk version "11.0.22" 2024-01-16', 'java version "1.8.0_401"', "no version"])
def test_a_java_that_spark_does_not_support_is_named(tmp_path: Path, said: str) -> None:
    with pytest.raises(EngineError, match=str(tmp_path)):
        installed.java(fake_java(tmp_path, said))


@pytest.mark.parametrize("version", ["17.0.15", "21.0.2"])
def test_a_supported_java_is_found(tmp_path: Path, version: str) -> None:
    found = installed.java(fake_java(tmp_path, f'openjdk version "{version}" 2025-01-01'))
    assert found == (tmp_path / "bin" / "java", version)


def test_an_engine_that_is_not_installed_names_the_target_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for engine in installed.ENGINES:
        with pytest.raises(EngineError, match=f"make setup-{engine}"):
            installed.python_of(engine)


def test_too_little_memory_says_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "available_bytes", lambda: 1 << 30)
    with pytest.raises(EngineError, match=r"1\.0 GB.*3\.0"):
        installed.check_memory("spark", "2g")
    monkeypatch.setattr(installed, "available_bytes", lambda: 8 << 30)
    installed.check_memory("spark", "2g")
