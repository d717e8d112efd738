"""Virtual environments of programs that tests run beside tickmart: each has a lock file in this folder."""

import fcntl
import os
import subprocess
import sys
import tempfile
import venv
from hashlib import sha256
from pathlib import Path


def locked_environment(name: str, *, without_wheel: str = ":none:") -> Path:
    """A virtual environment with the packages of NAME-requirements.lock, kept for later runs of this user.

    `without_wheel` names the packages that are published as source alone.
    """
    lock_file = Path(__file__).with_name(f"{name}-requirements.lock")
    digest = sha256(lock_file.read_bytes() + sys.version.encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path(tempfile.gettempdir()) / f"tickmart-tests-{os.getuid()}")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = base / f"{name}-{digest}"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            venv.create(folder, clear=True, with_pip=True)
            options = (
                "-q",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--no-binary",
                without_wheel,
                "-r",
                lock_file,
            )
            subprocess.run([folder / "bin" / "pip", "install", *options], check=True)
            (folder / "complete").touch()
    return folder
