"""The supervisor: one small background process per TICKMART_HOME that owns its embedded servers.

Belongs here: the clients of the servers, restarting a server that died, stopping all servers after the last client has
left or a short time later, ending the children of killed clients. Does not: how a server is started.

Run as `python -m orchestration.local.supervisor HOME LOCK_FD`, where LOCK_FD is the inherited, locked LOCK_FILE. One
thread starts the servers synchronously, because Linux ends a server with the thread that forked it.
"""

import contextlib
import hmac
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.local.client import LOCK_FILE, STATE_FILE
from orchestration.local.credentials import CREDENTIALS_FILE, ensure_credentials, write_private
from orchestration.local.nats import Nats
from orchestration.local.postgres import Postgres
from orchestration.local.processes import CHILD_GRACE_S, CODE, LOOPBACK, LocalServicesError, group_alive, signal_group
from orchestration.local.s3 import S3
from orchestration.local.server import Server
from orchestration.local.simulator import Simulator

TICK_S = 1.0
FIRST_CLIENT_DEADLINE_S = 10.0
DATA_FOLDERS = ("postgres", "lake", "nats")
LOG_LIMIT_BYTES = 10_000_000
# A server that dies is restarted; if it keeps dying, the next client reports the error.
MAX_RESTARTS, RESTART_WINDOW_S = 3, 60.0


@dataclass
class Client:
    """A connected tickmart process, and the process groups that must end with it."""

    connection: socket.socket
    received: bytes = b""
    authenticated: bool = False
    groups: set[int] = field(default_factory=set)
    keep_s: float = 0.0
    """How long the servers may run on after it, if it is the last one."""


class Supervisor:
    """Serves the clients of one home, one request at a time."""

    def __init__(self, home: Path, lock: int) -> None:
        self._home = home
        self._lock = lock
        self._state_file = home / STATE_FILE
        self._token = secrets.token_hex(16)
        self._servers: dict[str, Server] = {}
        self._clients: list[Client] = []
        self._disconnected: list[Client] = []
        self._ending: dict[int, float] = {}  # process group -> when to kill it
        self._restarts: list[float] = []
        self._stop_requested = False
        self._first_client_until = time.monotonic() + FIRST_CLIENT_DEADLINE_S
        self._keep_until = 0.0
        self._code = _stamps(_code_files())
        self._data = self._data_now()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the last client has left, then stop the servers.

        The last client waits for that, unless it has said that the servers may run on for a time.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stop_requested", True))
        self._publish()
        try:
            while self._is_needed():
                for key, _ in self._selector.select(0.1 if self._ending else TICK_S):
                    if key.data is None:
                        self._accept()
                    else:
                        self._receive(key.data)
                self._tick()
        finally:
            self._listener.close()
            if self._owns_home():
                self._state_file.unlink(missing_ok=True)
            for server in self._servers.values():
                server.stop()

    def _publish(self) -> None:
        """Write port and token for the clients; other users can connect to loopback, but do not know the token."""
        state = {"pid": os.getpid(), "port": self._listener.getsockname()[1], "token": self._token, "code": CODE}
        write_private(self._state_file, json.dumps(state) + "\n")

    def _owns_home(self) -> bool:
        """Return whether HOME is still the folder of our lock: it may have been deleted and created again."""
        try:
            return os.path.samestat(os.fstat(self._lock), (self._home / LOCK_FILE).stat())
        except OSError:
            return False

    def _is_needed(self) -> bool:
        if self._stop_requested:
            return False
        now = time.monotonic()
        return bool(self._clients or self._ending) or now < max(self._first_client_until, self._keep_until)

    def _makes_way(self, message: dict[str, Any]) -> bool:
        """Return whether servers that run on without a client are not those that the one of ``message`` expects."""
        if self._clients or time.monotonic() >= self._keep_until:
            return False
        return message.get("code", CODE) != CODE or self._changed()

    def _changed(self) -> bool:
        """Return whether the code or the data that the servers were started with were replaced."""
        return not self._owns_home() or _stamps(self._code) != self._code or self._data_now() != self._data

    def _data_now(self) -> list[Any]:
        """Return what changes when the home's data are moved, replaced or restored from a copy."""
        folders = [stamp and stamp[0] for stamp in _stamps(self._home / name for name in DATA_FOLDERS).values()]
        return [*folders, *_stamps([self._home / CREDENTIALS_FILE]).values()]

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(5)  # for sending: a client that does not read its responses is dropped
        self._selector.register(connection, selectors.EVENT_READ, Client(connection))

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        *lines, client.received = (client.received + data).split(b"\n")
        for line in lines:
            reply = self._reply(client, line)
            try:
                if reply is not None:
                    client.connection.sendall(json.dumps(reply).encode() + b"\n")
                    continue
            except OSError:
                pass  # it left meanwhile
            self._drop(client)
            return

    def _reply(self, client: Client, line: bytes) -> dict[str, Any] | None:
        """Return the response to one line, None for an unauthenticated or invalid one."""
        try:
            return self._handle(client, json.loads(line))
        except LocalServicesError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"the embedded servers cannot be started: {error}"}
        except (ValueError, KeyError, TypeError):
            return None

    def _drop(self, client: Client) -> None:
        """Remove a client, and end the process groups that it had not unregistered."""
        self._selector.unregister(client.connection)
        if not client.authenticated:
            client.connection.close()
            return
        self._clients.remove(client)
        self._keep_until = time.monotonic() + client.keep_s
        if client.keep_s:
            self._data = self._data_now()
            client.connection.close()
        else:
            self._disconnected.append(client)
        for group in client.groups:
            signal_group(group, signal.SIGTERM)
            self._ending[group] = time.monotonic() + CHILD_GRACE_S

    def _handle(self, client: Client, message: dict[str, Any]) -> dict[str, Any] | None:
        """Handle one request; the first one of a client must have the token of STATE_FILE."""
        if not client.authenticated:
            own = os.fstat(self._lock).st_ino
            if not hmac.compare_digest(str(message["token"]), self._token) or message.get("lock", own) != own:
                return None
            if self._makes_way(message):
                self._stop_requested = True
                return None
            client.authenticated = True
            self._clients.append(client)
            self._first_client_until = 0.0
            return {"welcome": 1}
        if "need" in message:
            return {name: self._provide(name, message) for name in message["need"]}
        if "keep" in message:
            client.keep_s = max(0.0, float(message["keep"]))
            return {}
        if "watch" in message:
            client.groups.add(int(message["watch"]))
            return {}
        client.groups.discard(int(message["unwatch"]))
        return {}

    def _provide(self, name: str, message: dict[str, Any]) -> int:
        """Start a server unless it runs, and return its port."""
        server = self._servers.get(name)
        if server is None:
            credentials = ensure_credentials(self._home)
            if name == "postgres":
                server = Postgres(self._home, credentials["postgres"])
            elif name == "simulator":
                server = Simulator(self._home, int(message["simulator_seed"]))
            elif name == "nats":
                server = Nats(self._home, credentials["nats"])
            else:
                server = S3(self._home, credentials["s3"])
            server.start()
            self._servers[name] = server
        elif server.dead():
            server.start()
        return server.port

    def _tick(self) -> None:
        if not self._owns_home():
            _log(f"{self._home} was removed or replaced: stopping its servers")
            self._stop_requested = True
            return
        if self._makes_way({}):
            _log("the code or the data was replaced while no command ran: stopping the servers")
            self._stop_requested = True
            return
        if not self._state_file.exists():
            with contextlib.suppress(OSError):  # a full disk: the next tick tries again
                self._publish()
        if self._clients:
            for client in self._disconnected:
                client.connection.close()
            self._disconnected.clear()
        for group, kill_at in list(self._ending.items()):
            if not group_alive(group):
                del self._ending[group]
            elif time.monotonic() > kill_at:
                signal_group(group, signal.SIGKILL)
                del self._ending[group]
        for name, server in self._servers.items():
            if server.dead():
                self._restart(name, server)
        self._rotate_logs()

    def _restart(self, name: str, server: Server) -> None:
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if moment > now - RESTART_WINDOW_S]
        if len(self._restarts) < MAX_RESTARTS:
            self._restarts.append(now)
            _log(f"{name} died, restarting it")
            try:
                server.start()
            except (LocalServicesError, OSError) as error:
                _log(str(error))

    def _rotate_logs(self) -> None:
        """Rotate large logs in HOME/logs, keeping one old file; writers append, so a log can be truncated in place."""
        for log in (self._home / "logs").glob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > LOG_LIMIT_BYTES:
                    with contextlib.suppress(OSError):  # on a full disk the log is truncated all the same
                        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                    os.truncate(log, 0)


def _code_files() -> set[Path]:
    """Return the files of the code that runs, and the folder that changes when a package is installed or removed."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {Path(name) for name in (*files, sysconfig.get_path("purelib")) if name}


def _stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int] | None]:
    """Return inode and time of change of each path, None for one that is missing."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path in paths:
        try:
            status = path.stat()
            found[path] = status.st_ino, status.st_mtime_ns
        except OSError:
            found[path] = None
    return found


def _log(message: str) -> None:
    """Write a line to the supervisor's log, if the disk is not full."""
    with contextlib.suppress(OSError):
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), message, file=sys.stderr, flush=True)


def main() -> None:
    """Run the supervisor of the home in the first argument, with the lock in the second."""
    home, lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(lock, False)  # the servers must not inherit it
    Supervisor(home, lock).serve()


if __name__ == "__main__":
    main()
