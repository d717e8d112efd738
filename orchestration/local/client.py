"""The client of the local services: requests servers from the supervisor and returns the variables that reach them."""

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

from ingestion.settings import ROLES
from orchestration import environment
from orchestration.local.credentials import BUCKET, DATABASE, SUPERUSER, load_credentials
from orchestration.local.processes import (
    CODE,
    LOOPBACK,
    START_DEADLINE_S,
    STOP_DEADLINE_S,
    WORKING_FOLDER,
    LocalServicesError,
    last_line,
)

# The names of these files must not change: the lock keeps a supervisor of an earlier version and one of this version
# from using the same home.
LOCK_FILE, STATE_FILE, LOG_FILE = "keeper.lock", "keeper.json", "keeper.log"

KEEP_S = 60.0

# Set in a session whose Postgres is the embedded one: another server may be on the same machine.
EMBEDDED = "TICKMART_PG_EMBEDDED"


@contextlib.contextmanager
def local_services(
    home: Path,
    *,
    postgres: bool,
    s3: bool,
    nats: bool = False,
    simulator_seed: int | None = None,
    keep_s: float = 0.0,
) -> Iterator[dict[str, str]]:
    """Run the embedded servers of `home` during the block; yield the environment variables that reach them.

    With `postgres=False`, `s3=False` or `nats=False` that server is the user's or not needed: it is neither started nor
    exported. With a seed, the simulator of that market runs too, and the variables name it as every source.

    All tickmart processes of a home share its servers; when the last of them leaves its block, the servers have
    stopped. With `keep_s`, if its block ends well (not by an exception or a code other than 0), they run on for so many
    seconds without a client instead. Raises LocalServicesError if a server cannot be started.
    """
    home = home.absolute()
    simulated = simulator_seed is not None
    servers = {"postgres": postgres, "s3": s3, "nats": nats, "simulator": simulated}
    needs = [name for name, needed in servers.items() if needed]
    if not needs:
        yield {}
        return
    with SupervisorConnection(home, keep_s) as supervisor:
        ports = supervisor.request({"need": needs, "simulator_seed": simulator_seed})
        credentials = load_credentials(home)
        variables: dict[str, str] = {}
        if postgres:
            variables |= _postgres_environment(ports["postgres"], credentials["postgres"])
        if s3:
            variables |= _s3_environment(ports["s3"], credentials["s3"])
        if nats:
            variables["NATS_URL"] = _nats_url(ports["nats"], credentials["nats"])
        if simulated:
            variables |= simulator_environment(f"http://{LOOPBACK}:{ports['simulator']}")
        yield variables


def keep_seconds(setting: float | None) -> float:
    """Return how long the servers may run on after this command: as set, else a minute for a person at a terminal.

    Scripts, schedules and containers leave nothing running. A container ends with its first process, and a shell that
    is the first process usually ends with its last command.
    """
    if setting is not None:
        return setting
    in_container = 1 in (os.getpid(), os.getppid())
    return KEEP_S if not in_container and (os.isatty(0) or os.isatty(2)) else 0.0


def _postgres_environment(port: int, passwords: Mapping[str, str]) -> dict[str, str]:
    """Return libpq's variables for the superuser and one login per role (with an empty ROLE: the login is the role)."""
    environment = {
        "PGHOST": LOOPBACK,
        "PGPORT": str(port),
        "PGDATABASE": DATABASE,
        "PGUSER": SUPERUSER,
        "PGPASSWORD": passwords[SUPERUSER],
        EMBEDDED: "1",
        "PGSSLMODE": "disable",  # overrides a PGSSLMODE meant for another server
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


def _nats_url(port: int, login: Mapping[str, str]) -> str:
    return f"nats://{login['user']}:{login['password']}@{LOOPBACK}:{port}"


def simulator_environment(url: str) -> dict[str, str]:
    """Return the variables that point every source at a simulator."""
    return {
        "BINANCE_BASE_URL": f"{url}/binance",
        "BINANCE_ARCHIVE_URL": f"{url}/archive",
        "COINGECKO_BASE_URL": f"{url}/coingecko/api/v3",
        "FEAR_GREED_BASE_URL": f"{url}/alternative",
        "COINMETRICS_BASE_URL": f"{url}/coinmetrics",
        "BLOCKCHAIN_BASE_URL": f"{url}/blockchain",
        "BITCOIN_TRANSACTIONS_URL": f"{url}/aws-public-blockchain/v1.0/btc",
        "OKX_BASE_URL": f"{url}/okx",
        "OKX_WS_URL": f"{url.replace('http', 'ws', 1)}/okx/ws/v5/public",
        "GDELT_BASE_URL": f"{url}/gdelt",
        "HN_BASE_URL": f"{url}/hackernews",
        "NEWS_FEEDS": f"{url}/feeds/coinpost.xml,{url}/feeds/ledgernews.atom",
        "X_BASE_URL": f"{url}/x",
        # Off as by default: `backfill --dataset bitcoin_transactions` loads days of the simulated bucket.
        "TICKMART_BITCOIN_TRANSACTIONS": "false",
    }


def prepare_home(home: Path) -> None:
    """Create `home` and its subfolders, and check that it can be written; LocalServicesError if it cannot.

    Under root the embedded Postgres runs as another user, who must be able to enter the folder: mode 0711. Secret files
    have modes of their own. Existing folders keep their mode and owner.
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
            f"TICKMART_HOME {home} cannot be written ({error.strerror}): fix that or set TICKMART_HOME elsewhere"
        ) from error


class SupervisorConnection:
    """A client's connection to the supervisor of a home; its end signals that the client has ended.

    The first client starts the supervisor, which inherits the lock on LOCK_FILE and holds it until it ends. So the lock
    shows whether a supervisor runs, whatever files a killed one left.
    """

    def __init__(self, home: Path, keep_s: float = 0.0) -> None:
        """`keep_s` is how long the servers may run on after a block of this connection that ends well."""
        self._home = home
        self._keep_s = keep_s
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
        ended_well = kind is None or (isinstance(error, SystemExit) and not error.code)
        self.close(self._keep_s if ended_well else 0.0)

    def fileno(self) -> int:
        """Return the socket's descriptor: readable without a pending request means that the supervisor has ended."""
        return self._socket.fileno()

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the supervisor's response; LocalServicesError with its error if it fails."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            line = self._replies.readline()
        except OSError:
            line = b""
        if not line:
            raise LocalServicesError(
                f"the supervisor of the local services ended: see {self._home / 'logs' / LOG_FILE}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise LocalServicesError(reply["error"])
        return reply

    def close(self, keep_s: float = 0.0) -> None:
        """Disconnect; for the last client this returns after the servers have stopped, unless they may run on."""
        with contextlib.suppress(OSError):  # the supervisor was killed
            self._socket.settimeout(STOP_DEADLINE_S)
            if keep_s:
                self._socket.sendall(json.dumps({"keep": keep_s}).encode() + b"\n")
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(4096):
                pass
        self._replies.close()
        self._socket.close()
        if self._process is not None:
            # Reap it if it has ended; it runs on while other clients need it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0 if (self._home / STATE_FILE).exists() else 5)

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline:
            try:
                self._start_supervisor_unless_running()
            except OSError as error:
                raise LocalServicesError(
                    f"the supervisor of the local services cannot be started ({error}): "
                    "fix that or set TICKMART_HOME to a local disk"
                ) from error
            connection = self._authenticate()
            if connection is not None:
                return connection
            time.sleep(0.01)
        raise LocalServicesError(
            f"the supervisor of {self._home} does not answer after {START_DEADLINE_S:.0f} s: "
            f"end its process and see {self._home / 'logs' / LOG_FILE}"
        )

    def _start_supervisor_unless_running(self) -> None:
        log = self._home / "logs" / LOG_FILE
        # Mode 0600: whoever can open the file can lock it.
        with open(self._home / LOCK_FILE, "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # it runs, is being started, or is about to end
            if self._process is not None and self._process.poll() not in (None, 0):
                raise LocalServicesError(
                    f"the supervisor of the local services did not start: {last_line(log)}; log: {log}"
                )
            with log.open("ab") as errors:
                # PYTHONPATH: the supervisor runs the same code as this process.
                search_path = os.pathsep.join([CODE, *filter(None, sys.path)])
                self._process = subprocess.Popen(
                    environment.python("-m", "orchestration.local.supervisor", str(self._home), str(lock.fileno())),
                    env={**environment.system(), "PYTHONPATH": search_path, "PYTHONNOUSERSITE": "1"},
                    pass_fds=[lock.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    cwd=self._home / WORKING_FOLDER,
                    start_new_session=True,  # Ctrl-C in the terminal must not end it
                )

    def _authenticate(self) -> socket.socket | None:
        """Return a connection that the supervisor has accepted, None if none answers yet."""
        try:
            state = json.loads((self._home / STATE_FILE).read_text())
            connection = socket.create_connection((LOOPBACK, state["port"]), timeout=1)
        except (OSError, ValueError):
            return None
        try:
            # The code and the home: a supervisor without other clients makes way for the one of this code, and a copied
            # home has the state of its original.
            greeting = {"token": state["token"], "code": CODE, "lock": (self._home / LOCK_FILE).stat().st_ino}
            connection.sendall(json.dumps(greeting).encode() + b"\n")
            welcome = connection.recv(16) == b'{"welcome": 1}\n'
        except OSError:
            welcome = False  # it is busy or ending, or another program has the port of a killed one
        other = state.get("code", CODE)
        if welcome and other == CODE:
            return connection
        connection.close()
        if welcome:
            raise LocalServicesError(
                f"TICKMART_HOME {self._home} is in use by the tickmart in {other}, and this one is in {CODE}: "
                "stop the commands of that one first, or set TICKMART_HOME elsewhere"
            )
        return None  # the caller retries
