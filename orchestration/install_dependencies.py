"""Installs a lock file into the virtual environment that runs this script: by uv where possible, else by pip.

The Makefile calls it as ``.venv/bin/python -I orchestration/install_dependencies.py LOCK`` before any dependency is
there, so it imports the standard library alone. uv installs the same files in a fraction of the time (the runtime lock
on two cores: 6.4 s against 105 s). Both refuse a file whose hash is not in the lock.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# The first version with every option and variable that is used below.
MINIMUM_UV = (0, 5, 0)
# A lock names all that it needs. The one of Sail leaves out what one of its packages asks for and does not use.
COMPLETE = ("--require-hashes", "--no-deps")
PIP = [sys.executable, "-I", "-m", "pip"]


class UvUnavailable(Exception):
    """uv cannot be used; the message is the reason, on one line."""


def pip_settings(listing: str) -> dict[str, str]:
    """Return the settings that hold for ``pip install`` from the output of ``pip config list``.

    A variable (PIP_*) wins over the section [install], that over [global], as in pip itself.
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if separator and section in found:
            try:
                found[section][option] = str(ast.literal_eval(value)).strip()
            except (ValueError, SyntaxError):
                found[section][option] = value.strip()
    merged = found["global"] | found["install"] | found[":env:"]
    return {option: value for option, value in merged.items() if value}


def uv_environment(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which uv obeys pip's settings; a UV_* variable that is set already wins."""
    many = re.compile(r"\s+")
    wanted = {
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": many.sub(" ", settings.get("extra-index-url", "")),
        "UV_FIND_LINKS": many.sub(",", settings.get("find-links", "")),
        "UV_INSECURE_HOST": many.sub(" ", settings.get("trusted-host", "")),
        "UV_HTTP_TIMEOUT": settings.get("timeout") or settings.get("default-timeout"),
        # pip looks for packages in all of its indexes; the lock's hashes decide which file is accepted.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        # Python compiles a module when it is first imported; compiling all of them here takes longer than that.
        "UV_COMPILE_BYTECODE": "0",
    }
    own = {name: value for name, value in wanted.items() if value and not environ.get(name)}
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        own["UV_NO_INDEX"] = "1"
    certificates = settings.get("cert") or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    if certificates:
        own["SSL_CERT_FILE"] = certificates
    if settings.get("client-cert"):
        own["SSL_CLIENT_CERT"] = settings["client-cert"]
    if settings.get("proxy"):
        own |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), settings["proxy"])
    return {**environ, **own}


def find_uv(lock: Path) -> str:
    """Return a uv that starts and is new enough: the one on PATH, else the locked one, installed here by pip."""
    on_path = shutil.which("uv")
    if on_path is not None and (version_of(on_path) or (0,)) >= MINIMUM_UV:
        return on_path
    own = str(Path(sys.executable).with_name("uv"))
    if version_of(own) is None:
        pinned = re.search(r"^uv==.*\n(?:[ \t]+.*\n?)*", lock.read_text(encoding="utf-8"), re.MULTILINE)
        if pinned is None:
            raise UvUnavailable("the lock file does not pin it")
        with tempfile.TemporaryDirectory() as folder:
            requirement = Path(folder) / "uv.txt"
            requirement.write_text(pinned[0], encoding="utf-8")
            _run([*PIP, "install", "--no-deps", "--require-hashes", "-r", str(requirement)], os.environ)
    if version_of(own) is None:
        raise UvUnavailable(f"{own} does not start")
    return own


def version_of(uv: str) -> tuple[int, ...] | None:
    """Return the version of a uv program, or None when it does not start."""
    try:
        said = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else None


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command, its output to this script's; UvUnavailable with the last line it wrote when it fails."""
    last = ""
    try:
        with subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                sys.stdout.write(line)
                last = line.strip() or last
    except OSError as error:
        raise UvUnavailable(f"{command[0]}: {error.strerror}") from None
    if process.returncode:
        raise UvUnavailable(last or f"exit code {process.returncode}")


def main(lock: Path) -> int:
    """Install the lock; print why pip does it where uv could not (the Makefile shows that line)."""
    try:
        uv = find_uv(lock)
        listing = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=False).stdout
        environment = uv_environment(pip_settings(listing), os.environ)
        _run([uv, "pip", "install", "--python", sys.executable, *COMPLETE, "-r", str(lock)], environment)
        return 0
    except UvUnavailable as reason:
        print(f"uv cannot be used ({str(reason)[:200]}): pip installs instead, which takes longer", flush=True)
    return subprocess.run([*PIP, "install", *COMPLETE, "-r", str(lock)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
