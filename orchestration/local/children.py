"""Child processes that end with their parent, however it ends."""

import contextlib
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestration.local.client import LOG_FILE, SupervisorConnection
from orchestration.local.processes import (
    CHILD_GRACE_S,
    WORKING_FOLDER,
    LocalServicesError,
    die_with_parent,
    group_alive,
    signal_group,
)


class Children:
    """Child processes that end with this process, however it ends.

    Each has a session of its own and is registered with the supervisor, which ends it if this process is killed.

    Use as a context manager from the main thread (Linux ends a child with the *thread* that started it).
    """

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._supervisor = SupervisorConnection(self._home)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()
        self._supervisor.close()

    def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> subprocess.Popen[bytes]:
        """Start `argv` in the home's working folder with the environment `env`, its output appended to `log_path`."""
        log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log_path.open("ab") as log:
                process = subprocess.Popen(
                    argv,
                    env=dict(env),
                    cwd=self._home / WORKING_FOLDER,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=die_with_parent(signal.SIGTERM),
                )
        except OSError as error:
            raise LocalServicesError(
                f"{name} cannot be started ({argv[0]}: {error.strerror}): run make setup"
            ) from error
        self._processes[name] = process
        self._supervisor.request({"watch": process.pid})
        return process

    def wait_any(self, timeout: float | None = None) -> tuple[str, int] | None:
        """Return name and exit code of the first child that ends, None after `timeout` seconds.

        The processes that the child had started have ended, too.

        Raises LocalServicesError if the supervisor, and with it the embedded servers, has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for name, process in self._processes.items():
                code = process.poll()
                if code is not None:
                    self._stop([name], CHILD_GRACE_S)
                    return name, code
            if select.select([self._supervisor], [], [], 0.1)[0]:
                raise LocalServicesError(
                    f"the supervisor of the local services ended: see {self._home / 'logs' / LOG_FILE}"
                )
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def stop_all(self, grace_s: float = CHILD_GRACE_S) -> None:
        """End every child and its process group: SIGTERM, and SIGKILL after `grace_s` seconds."""
        self._stop(list(self._processes), grace_s)

    def _stop(self, names: Sequence[str], grace_s: float) -> None:
        for name in names:
            signal_group(self._processes[name].pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for name in names:
            process = self._processes.pop(name)
            while (process.poll() is None or group_alive(process.pid)) and time.monotonic() < deadline:
                time.sleep(0.05)
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
            with contextlib.suppress(LocalServicesError):  # the supervisor has ended
                self._supervisor.request({"unwatch": process.pid})
