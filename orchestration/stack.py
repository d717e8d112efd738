"""The local stack as its clients see it: embedded servers on loan, child processes that cannot be orphaned, free ports.

Here: HOME's folder and credentials, the connection to the keeper (`orchestration/keeper.py` runs the servers), the
environment the servers are reached by, and the children of `tickmart up`. Not here: starting Postgres or S3, and what
is done with them.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped,unused-ignore]

from orchestration import environment

LOOPBACK = "127.0.0.1"
SUPERUSER = "tickmart"
DATABASE = "tickmart"
BUCKET = "bronze"
ROLES = ("ingest", "transform", "quality_ro", "dashboard_ro", "dagster")
# The checkout or installation whose code runs: the supervisor's and its clients' must be the same.
CODE = str(Path(__file__).resolve().parent.parent)
# In a home: where child processes work. Nothing of the user's lies there that a tool would read.
WORKING_FOLDER = "work"

# The first start includes initdb, a start after a crash the recovery of up to max_wal_size of log; both take seconds on
# a laptop, and nobody waits for ever.
START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 60.0
CHILD_GRACE_S = 10.0

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: loading a library between fork and exec can deadlock.
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StackError(Exception):
    """The local stack cannot do what was asked; the message is one line: what, value, mend."""


@contextlib.contextmanager
def stack(home: Path, *, postgres: bool, s3: bool, simulator_seed: int | None = None) -> Iterator[dict[str, str]]:
    """Lend the embedded servers of `home` for the block and yield the environment variables that reach them.

    `postgres=False` or `s3=False` means that the user brings that server: nothing of it is started or exported. With a
    seed, the simulator of that market is one of the servers, and the variables name it as every source. The
    servers are shared with every other tickmart process of the same home; when the last of them has gone, they have
    stopped before this block is left. Raises StackError when a server cannot be started.
    """
    home = home.absolute()
    simulated = simulator_seed is not None
    needs = [name for name, needed in (("postgres", postgres), ("s3", s3), ("simulator", simulated)) if needed]
    if not needs:
        yield {}
        return
    with KeeperConnection(home) as keeper:
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
    """Create `home` and its log folder if missing, and prove that it can be written; StackError if not.

    As root the embedded Postgres runs as another user who must be able to pass through the folder, hence 0711; what is
    secret in it has its own mode. Folders that exist keep their mode and owner.
    """
    try:
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            home.mkdir(exist_ok=True)
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not home.is_dir():
            raise StackError(f"TICKMART_HOME {home} is a file, not a folder: remove it or set TICKMART_HOME elsewhere")
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        (home / WORKING_FOLDER).mkdir(mode=0o700, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"\0" * 4096)  # an empty file can still be created on a full disk
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise StackError(
            f"TICKMART_HOME {home} cannot be written ({error.strerror}): mend that or set TICKMART_HOME elsewhere"
        ) from error


def load_credentials(home: Path) -> dict[str, dict[str, str]]:
    """Return the passwords of the database's logins and the S3 keys of `home`; StackError if the file is damaged."""
    path = home / "credentials.json"
    try:
        credentials: dict[str, dict[str, str]] = json.loads(path.read_text())
        complete = {SUPERUSER, *ROLES} <= set(credentials["postgres"]) and {"access_key", "secret_key"} <= set(
            credentials["s3"]
        )
    except OSError as error:
        raise StackError(f"{path} cannot be read ({error.strerror}): run tickmart as its owner") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise StackError(f"{path} is damaged: restore it, or move it and {home / 'postgres'} away")
    return credentials


def create_credentials(home: Path) -> None:
    """Write HOME/credentials.json with generated secrets, whole or not at all, readable by its owner alone."""
    # Hexadecimal: rclone splits keys at commas, shells and URLs trip over other characters. 128 bits each.
    credentials = {
        "postgres": {login: secrets.token_hex(16) for login in (SUPERUSER, *ROLES)},
        "s3": {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(16)},
    }
    write_private(home / "credentials.json", json.dumps(credentials, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` atomically and durably, with mode 0600 from its first instant."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class KeeperConnection:
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
        """Send one request and return the keeper's answer; StackError carries the keeper's own error."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            line = self._replies.readline()
        except OSError:
            line = b""
        if not line:
            raise StackError(f"the keeper of the embedded servers ended: see {self._home / 'logs' / 'keeper.log'}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise StackError(reply["error"])
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
                raise StackError(
                    f"the keeper of the embedded servers cannot be started ({error}): "
                    "mend that or set TICKMART_HOME to a local disk"
                ) from error
            connection = self._greet()
            if connection is not None:
                return connection
            time.sleep(0.01)
        raise StackError(
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
                raise StackError(f"the keeper of the embedded servers did not start: {last_line(log)}; log: {log}")
            with log.open("ab") as errors:
                # PYTHONPATH: the supervisor runs this very code, whatever Python finds elsewhere.
                search_path = os.pathsep.join([CODE, *filter(None, sys.path)])
                self._process = subprocess.Popen(
                    environment.python("-m", "orchestration.keeper", str(self._home), str(lock.fileno())),
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
            raise StackError(
                f"TICKMART_HOME {self._home} is in use by the tickmart in {other}, and this one is in {CODE}: "
                "stop the commands of that one first, or set TICKMART_HOME elsewhere"
            )
        return None  # ask again


class Children:
    """Child processes that end with this process, however it ends: each in a session of its own, known to the keeper.

    Use as a context manager from the main thread (Linux ends a child with the *thread* that started it).
    """

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._keeper = KeeperConnection(self._home)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()
        self._keeper.close()

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
            raise StackError(f"{name} cannot be started ({argv[0]}: {error.strerror}): run make setup") from error
        self._processes[name] = process
        self._keeper.request({"watch": process.pid})
        return process

    def wait_any(self, timeout: float | None = None) -> tuple[str, int] | None:
        """Return name and exit code of the first child that ends, None after `timeout` seconds.

        What the child itself had started has ended, too, when this returns.

        Raises StackError when the keeper, and with it the embedded servers, is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for name, process in self._processes.items():
                code = process.poll()
                if code is not None:
                    self._stop([name], CHILD_GRACE_S)
                    return name, code
            if select.select([self._keeper], [], [], 0.1)[0]:
                raise StackError(f"the keeper of the embedded servers ended: see {self._home / 'logs' / 'keeper.log'}")
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def stop_all(self, grace_s: float = CHILD_GRACE_S) -> None:
        """End every child and what it started: SIGTERM, and SIGKILL after `grace_s` seconds."""
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
            with contextlib.suppress(StackError):  # a keeper that is gone watches nothing any more
                self._keeper.request({"unwatch": process.pid})


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """Return a preexec_fn after which Linux sends `signal_number` to the child when its parent dies."""
    parent = os.getpid()

    def prepare() -> None:
        if LIBC is not None:
            LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
            if os.getppid() != parent:  # it died before the call above
                os._exit(1)

    return prepare


def signal_group(group: int, signal_number: int) -> None:
    """Send a signal to every process of a group that may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter from macOS, for zombies
        os.killpg(group, signal_number)


def group_alive(group: int) -> bool:
    """Tell whether a process group still has a process that runs.

    Zombies do not count: who inherits them may never reap them, as the first process of many a container.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def free_port(preferred: int) -> int:
    """Return `preferred` if nothing listens on it on loopback, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no owner
            try:
                probe.bind((LOOPBACK, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise StackError(f"no free TCP port on {LOOPBACK}: close programs that listen there")


def port_owner_message(port: int, variable: str = "") -> str:
    """Return one line that says who listens on `port` and, given the setting that chose the port, what to change."""
    owner = "another program"
    with contextlib.suppress(psutil.Error, OSError):  # macOS tells only root
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                owner = f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
                break
    mend = f"stop it or set {variable} to a free port" if variable else "stop it or choose another port"
    return f"port {port} on {LOOPBACK} is in use by {owner}: {mend}"


def last_line(log: Path, offset: int = 0) -> str:
    """Return the last line that a log got after byte `offset`, for an error message."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[offset:].decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1].strip()
    return "no message"
