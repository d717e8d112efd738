"""Two real S3 servers for the lake's contract: rclone, and OpenStack Swift with s3api in an environment of its own.

Here: installing, starting, killing and restarting them on loopback. Not here: what is asked of them (`test_lake`).
"""

import getpass
import os
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Protocol

from ingestion.settings import ObjectStore
from orchestration.local.processes import die_with_parent, free_port
from support.environments import locked_environment

TIMEOUT_S = 60


class S3Server(Protocol):
    """A server with data of its own; `kill` is SIGKILL to every process of it."""

    name: str

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def store(self) -> ObjectStore: ...


class Processes:
    """Processes of one server, which end with the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._running = folder, list[subprocess.Popen[bytes]]()

    def spawn(self, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        with (self.folder / f"{Path(argv[0]).name}.log").open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    [str(a) for a in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **(env or {})},
                    preexec_fn=die_with_parent(signal.SIGKILL),
                )
            )

    def await_port(self, port: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for process in self._running:
                if process.poll() is not None:
                    logs = "".join(log.read_text(errors="replace") for log in self.folder.glob("*.log"))
                    raise RuntimeError(f"{process.args} ended with {process.returncode}: {logs[-2000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"nothing listens on port {port}")

    def kill(self) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
        self._running.clear()


class Rclone:
    name = "rclone"

    def __init__(self, folder: Path, key: str = "loader,correct-secret") -> None:
        """Without a key, anybody may read and write."""
        self._processes, self._port = Processes(folder), free_port(0)
        (folder / "data").mkdir()
        self.folder, self._key = folder, key

    def start(self) -> None:
        program = Path(sysconfig.get_path("scripts")) / "rclone"
        self._processes.spawn(
            *(program, "serve", "s3", "--config", "", "--addr", f"127.0.0.1:{self._port}", self.folder / "data"),
            env={"RCLONE_AUTH_KEY": f'"{self._key}"'} if self._key else {},
        )
        self._processes.await_port(self._port)

    def kill(self) -> None:
        self._processes.kill()

    def store(self) -> ObjectStore:
        return ObjectStore(f"127.0.0.1:{self._port}", "loader", "correct-secret", f"lake-{secrets.token_hex(6)}")


class Swift:
    """Four processes on one device; the hierarchy of `swift_dir` and `devices` is as its documentation has it."""

    name = "swift"

    def __init__(self, folder: Path) -> None:
        self._bin = locked_environment("swift") / "bin"
        self._processes, self._folder = Processes(folder), folder
        self._ports = {name: free_port(0) for name in ("account", "container", "object", "proxy")}
        for part in ("etc", "srv/d1"):
            (folder / part).mkdir(parents=True)
        self._configure()

    def _configure(self) -> None:
        etc, user = self._folder / "etc", getpass.getuser()
        (etc / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = test\nswift_hash_path_prefix = test\n"
            "[storage-policy:0]\nname = gold\ndefault = yes\n"
        )
        shared = (
            f"bind_ip = 127.0.0.1\nuser = {user}\nswift_dir = {etc}\nworkers = 0\nlog_level = WARNING\n"
            f"log_address = {self._folder / 'no-syslog'}\n"
        )
        for name in ("account", "container", "object"):
            port, builder = self._ports[name], etc / f"{name}.builder"
            for step in (
                ("create", "4", "1", "1"),
                ("add", f"r1z1-127.0.0.1:{port}/d1", "1"),
                ("rebalance",),
            ):
                subprocess.run(
                    [self._bin / "swift-ring-builder", builder, *step], check=True, stdout=subprocess.DEVNULL
                )
            (etc / f"{name}-server.conf").write_text(
                f"[DEFAULT]\nbind_port = {port}\ndevices = {self._folder / 'srv'}\nmount_check = false\n"
                f"disable_fallocate = true\n{shared}"
                f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
            )
        filters = {
            "catch_errors": "", "gatekeeper": "", "healthcheck": "", "listing_formats": "", "bulk": "",
            "s3api": "location = us-east-1\ns3_acl = false\n",
            "tempauth": "user_bronze_loader = correct-secret .admin\n",
            "copy": "", "slo": "", "dlo": "",
            "versioned_writes": "allow_versioned_writes = true\nallow_object_versioning = true\n",
            "symlink": "",
        }  # fmt: skip
        (etc / "proxy-server.conf").write_text(
            f"[DEFAULT]\nbind_port = {self._ports['proxy']}\n{shared}"
            f"[pipeline:main]\npipeline = {' '.join(filters)} proxy-server\n"
            "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\nallow_account_management = true\n"
            + "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{text}" for name, text in filters.items())
        )

    def start(self) -> None:
        for name, port in self._ports.items():
            self._processes.spawn(self._bin / f"swift-{name}-server", self._folder / "etc" / f"{name}-server.conf")
            self._processes.await_port(port)

    def kill(self) -> None:
        self._processes.kill()

    def store(self) -> ObjectStore:
        endpoint = f"127.0.0.1:{self._ports['proxy']}"
        return ObjectStore(endpoint, "bronze:loader", "correct-secret", f"lake-{secrets.token_hex(6)}")


def keeps_extended_attributes(folder: Path) -> bool:
    """Swift keeps an object's metadata in extended attributes, which not every file system has."""
    probe = folder / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.tickmart", b"1")
    except (OSError, AttributeError):
        return False
    return True
