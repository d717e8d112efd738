"""The client of the local services: asks the supervisor for servers and returns their environment."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestration import environment
from orchestration.local.credentials import BUCKET, DATABASE, ROLES, SUPERUSER, load_credentials
from orchestration.local.processes import CODE, LOOPBACK, STOP_DEADLINE_S, WORKING_FOLDER, LocalServicesError, last_line

# The first start includes initdb, a start after a crash the recovery of up to max_wal_size of log; both take seconds on
# a laptop, and nobody waits for ever.
START_DEADLINE_S = 180.0


@contextlib.contextmanager
def stack(home: Path, *, postgres: bool, s3: bool, simulator_seed: int | None = None) -> Iterator[dict[str, str]]:
    """Lend the embedded servers of `home` for the block and yield the environment variables that reach them.

    `postgres=False` or `s3=False` means that the user brings that server: nothing of it is started or exported. With a
    seed, the simulator of that market is one of the servers, and the variables name it as every source. The
    servers are shared with every other tickmart process of the same home; when the last of them has gone, they have
    stopped before this block is left. Raises LocalServicesError when a server cannot be started.
    """
    home = home.absolute()
    simulated = simulator_seed is not None
    needs = [name for name, needed in (("postgres", postgres), ("s3", s3), ("simulator", simulated)) if needed]
    if not needs:
        yield {}
        return
    with SupervisorConnection(home) as keeper:
        ports = keeper.request({"need": needs, "simulator_seed": simulator_seed})
        credentials = load_credentials(home)
        variables: dict[str, str] = {}
        if postgres:
            variables |= _postgres_environment(ports["postgres"], credentials["postgres"])
        if s3:
            variables |= _s3_environment(ports["s3"], credentials["s3"])
        if simulated:
            variables |= simulator_environment(f"http://{LOOPBACK}:{ports['simulator']}")
        yield variables


def _postgres_environment(port: int, passwords: Mapping[str, str]) -> dict[str, str]:
    """Return libpq's variables for the superuser and one login per role (its ROLE is empty: it is that login)."""
    environment = {
        "PGHOST": LOOPBACK,
        "PGPORT": str(port),
        "PGDATABASE": DATABASE,
        "PGUSER": SUPERUSER,
        "PGPASSWORD": passwords[SUPERUSER],
        "PGSSLMODE": "disable",  # loopback; a PGSSLMODE that is set for other servers would forbid it
    }
    for role in ROLES:
        prefix = f"TICKMART_PG_{role.upper()}"
        environment |= {f"{prefix}_USER": role, f"{prefix}_PASSWORD": passwords[role], f"{prefix}_ROLE": ""}
    return environment


def _s3_environment(port: int, keys: Mapping[str, str]) -> dict[str, str]:
    """Return the MINIO_* variables of the embedded S3 server."""
    return {
        "MINIO_ENDPOINT": f"{LOOPBACK}:{port}",
        "MINIO_ACCESS_KEY": keys["access_key"],
        "MINIO_SECRET_KEY": keys["secret_key"],
        "MINIO_BUCKET": BUCKET,
        "MINIO_SECURE": "false",
    }


def simulator_environment(url: str) -> dict[str, str]:
    """Return the variables that name a simulator as every source."""
    return {
        "BINANCE_BASE_URL": f"{url}/binance",
        "BINANCE_ARCHIVE_URL": f"{url}/archive",
        "COINGECKO_BASE_URL": f"{url}/coingecko/api/v3",
        "FEAR_GREED_BASE_URL": f"{url}/alternative",
    }


def prepare_home(home: Path) -> None:
    """Create `home` and its log folder if missing, and prove that it can be written; LocalServicesError if not.

    As root the embedded Postgres runs as another user who must be able to pass through the folder, hence 0711; what is
    secret in it has its own mode. Folders that exist keep their mode and owner.
    """
    try:
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            home.mkdir(exist_ok=True)
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not home.is_dir():
            raise LocalServicesError(
                f"TICKMART_HOME {home} is a file, not a folder: remove it or set TICKMART_HOME elsewhere"
            )
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        (home / WORKING_FOLDER).mkdir(mode=0o700, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"\0" * 4096)  # an empty file can still be created on a full disk
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise LocalServicesError(
            f"TICKMART_HOME {home} cannot be written ({error.strerror}): mend that or set TICKMART_HOME elsewhere"
        ) from error


class SupervisorConnection:
    """A client's connection to the keeper of a home; the keeper takes its end for the client's end.

    The first client starts the keeper. Who may is decided by a lock on HOME/keeper.lock that the keeper inherits and
    holds for its life, so the kernel itself tells whether one lives, whatever files a killed one left behind.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        prepare_home(home)
        self._socket = self._connect()
        self._socket.settimeout(START_DEADLINE_S)
        self._replies = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the socket's descriptor: readable without a request pending means that the keeper is gone."""
        return self._socket.fileno()

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the keeper's answer; LocalServicesError carries the keeper's own error."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            line = self._replies.readline()
        except OSError:
            line = b""
        if not line:
            raise LocalServicesError(
                f"the keeper of the embedded servers ended: see {self._home / 'logs' / 'keeper.log'}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise LocalServicesError(reply["error"])
        return reply

    def close(self) -> None:
        """Leave; returns when the keeper has let go, which for the last client is after the servers have stopped."""
        with contextlib.suppress(OSError):  # the keeper was killed: nothing to wait for
            self._socket.settimeout(STOP_DEADLINE_S)
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(4096):
                pass
        self._replies.close()
        self._socket.close()
        if self._process is not None:
            # Reaped when it has ended, if it has; it lives on while others need it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0 if (self._home / "keeper.json").exists() else 5)

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            try:
                self._start_keeper_unless_running()
            except OSError as error:
                raise LocalServicesError(
                    f"the keeper of the embedded servers cannot be started ({error}): "
                    "mend that or set TICKMART_HOME to a local disk"
                ) from error
            connection = self._greet()
            if connection is not None:
                return connection
            time.sleep(0.01)
        raise LocalServicesError(
            f"the keeper of {self._home} does not answer after {START_DEADLINE_S:.0f} s: "
            f"end its process and see {self._home / 'logs' / 'keeper.log'}"
        )

    def _start_keeper_unless_running(self) -> None:
        log = self._home / "logs" / "keeper.log"
        # Private, because whoever can open it can lock it.
        with open(self._home / "keeper.lock", "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # it runs, is being started, or is about to end
            if self._process is not None and self._process.poll() not in (None, 0):
                raise LocalServicesError(
                    f"the keeper of the embedded servers did not start: {last_line(log)}; log: {log}"
                )
            with log.open("ab") as errors:
                # PYTHONPATH: the supervisor runs this very code, whatever Python finds elsewhere.
                search_path = os.pathsep.join([CODE, *filter(None, sys.path)])
                self._process = subprocess.Popen(
                    environment.python("-m", "orchestration.local.supervisor", str(self._home), str(lock.fileno())),
                    env={**environment.system(), "PYTHONPATH": search_path, "PYTHONNOUSERSITE": "1"},
                    pass_fds=[lock.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    cwd=self._home / WORKING_FOLDER,
                    start_new_session=True,  # the terminal's Ctrl-C is not meant for it
                )

    def _greet(self) -> socket.socket | None:
        """Return a connection that the keeper answered, or None if there is no keeper to talk to yet."""
        try:
            state = json.loads((self._home / "keeper.json").read_text())
            connection = socket.create_connection((LOOPBACK, state["port"]), timeout=1)
        except (OSError, ValueError):
            return None
        try:
            connection.sendall(json.dumps({"token": state["token"]}).encode() + b"\n")
            welcome = connection.recv(16) == b'{"welcome": 1}\n'
        except OSError:
            welcome = False  # a keeper that is busy or ending, or a stranger on the port of one that was killed
        other = state.get("code", CODE)
        if welcome and other == CODE:
            return connection
        connection.close()
        if welcome:
            raise LocalServicesError(
                f"TICKMART_HOME {self._home} is in use by the tickmart in {other}, and this one is in {CODE}: "
                "stop the commands of that one first, or set TICKMART_HOME elsewhere"
            )
        return None  # ask again
