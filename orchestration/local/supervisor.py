"""The supervisor: one small background process per TICKMART_HOME that owns its embedded servers.

Belongs here: which clients need the servers, restarting a server that died, stopping all servers after the last client,
ending the children of killed clients. Does not: how a server is started.

Run as `python -m orchestration.local.supervisor HOME LOCK_FD`; LOCK_FD is the locked HOME/keeper.lock, inherited. One
thread starts servers synchronously, because Linux ends a server with the thread that forked it.
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
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestration.local.credentials import create_credentials, load_credentials, write_private
from orchestration.local.postgres import Postgres
from orchestration.local.processes import CHILD_GRACE_S, CODE, LOOPBACK, LocalServicesError, group_alive, signal_group
from orchestration.local.s3 import S3
from orchestration.local.server import Server
from orchestration.local.simulator import Simulator

TICK_S = 1.0
FIRST_CLIENT_DEADLINE_S = 10.0
LOG_LIMIT_BYTES = 10_000_000
# A server that dies is started again; one that dies at once and again is left for the next client to report.
MOST_RESTARTS, RESTART_WINDOW_S = 3, 60.0


@dataclass
class Client:
    """One connected tickmart process: what it sent, and the process groups that must not outlive it."""

    connection: socket.socket
    received: bytes = b""
    welcome: bool = False
    groups: set[int] = field(default_factory=set)


class Supervisor:
    """Serves the clients of one home, one request at a time."""

    def __init__(self, home: Path, lock: int) -> None:
        self._home = home
        self._lock = lock
        self._state_file = home / "keeper.json"
        self._token = secrets.token_hex(16)
        self._servers: dict[str, Server] = {}
        self._clients: list[Client] = []
        self._leaving: list[Client] = []
        self._ending: dict[int, float] = {}  # process group -> when to kill it
        self._restarts: list[float] = []
        self._stop_asked = False
        self._lonely_until = time.monotonic() + FIRST_CLIENT_DEADLINE_S
        self._listener = socket.create_server((LOOPBACK, 0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the last client has gone, then stop the servers; only then does that client see us go."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "_stop_asked", True))
        self._publish()
        try:
            while self._wanted():
                for key, _ in self._selector.select(0.1 if self._ending else TICK_S):
                    if key.data is None:
                        self._accept()
                    else:
                        self._receive(key.data)
                self._tick()
        finally:
            self._listener.close()
            if self._home_is_ours():
                self._state_file.unlink(missing_ok=True)
            for server in self._servers.values():
                server.stop()

    def _publish(self) -> None:
        """Tell clients where to connect, and with which token: other users may connect to loopback, too."""
        state = {"pid": os.getpid(), "port": self._listener.getsockname()[1], "token": self._token, "code": CODE}
        write_private(self._state_file, json.dumps(state) + "\n")

    def _home_is_ours(self) -> bool:
        """Tell whether HOME is the folder we were started for; it may have been deleted, and made anew by others."""
        try:
            return os.path.samestat(os.fstat(self._lock), (self._home / "keeper.lock").stat())
        except OSError:
            return False

    def _wanted(self) -> bool:
        if self._stop_asked:
            return False
        return bool(self._clients or self._ending) or time.monotonic() < self._lonely_until

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(5)  # for sending: who does not read its answers is not waited for
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
                pass  # it went while we worked for it
            self._drop(client)
            return

    def _reply(self, client: Client, line: bytes) -> dict[str, Any] | None:
        """Return the answer to one line, or None for a stranger, who gets none."""
        try:
            return self._answer(client, json.loads(line))
        except LocalServicesError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"the embedded servers cannot be started: {error}"}
        except (ValueError, KeyError, TypeError):
            return None

    def _drop(self, client: Client) -> None:
        """Let a client go, and end the process groups that it did not take back."""
        self._selector.unregister(client.connection)
        if not client.welcome:
            client.connection.close()
            return
        self._clients.remove(client)
        self._leaving.append(client)
        for group in client.groups:
            signal_group(group, signal.SIGTERM)
            self._ending[group] = time.monotonic() + CHILD_GRACE_S

    def _answer(self, client: Client, message: dict[str, Any]) -> dict[str, Any] | None:
        """Do what a client asks; the first message must carry the token of HOME/keeper.json."""
        if not client.welcome:
            if not hmac.compare_digest(str(message["token"]), self._token):
                return None
            client.welcome = True
            self._clients.append(client)
            self._lonely_until = 0.0
            return {"welcome": 1}
        if "need" in message:
            return {name: self._provide(name, message) for name in message["need"]}
        if "watch" in message:
            client.groups.add(int(message["watch"]))
            return {}
        client.groups.discard(int(message["unwatch"]))
        return {}

    def _provide(self, name: str, message: dict[str, Any]) -> int:
        """Start a server unless it runs, and return its port."""
        server = self._servers.get(name)
        if server is None:
            if not (self._home / "credentials.json").exists():
                create_credentials(self._home)
            credentials = load_credentials(self._home)
            if name == "postgres":
                server = Postgres(self._home, credentials["postgres"])
            elif name == "simulator":
                server = Simulator(self._home, int(message["simulator_seed"]))
            else:
                server = S3(self._home, credentials["s3"])
            server.start()
            self._servers[name] = server
        elif server.dead():
            server.start()
        return server.port

    def _tick(self) -> None:
        if not self._home_is_ours():
            _note(f"{self._home} was removed or replaced: stopping its servers")
            self._stop_asked = True
            return
        if not self._state_file.exists():
            with contextlib.suppress(OSError):  # a full disk: at the next tick, then
                self._publish()
        if self._clients:
            for client in self._leaving:
                client.connection.close()
            self._leaving.clear()
        for group, kill_at in list(self._ending.items()):
            if not group_alive(group):
                del self._ending[group]
            elif time.monotonic() > kill_at:
                signal_group(group, signal.SIGKILL)
                del self._ending[group]
        for name, server in self._servers.items():
            if server.dead():
                self._restart(name, server)
        self._bound_logs()

    def _restart(self, name: str, server: Server) -> None:
        now = time.monotonic()
        self._restarts = [moment for moment in self._restarts if moment > now - RESTART_WINDOW_S]
        if len(self._restarts) < MOST_RESTARTS:
            self._restarts.append(now)
            _note(f"{name} died, starting it again")
            try:
                server.start()
            except (LocalServicesError, OSError) as error:
                _note(str(error))

    def _bound_logs(self) -> None:
        """Keep one older part of every log in HOME/logs; its writers append, so it can be cut under them."""
        for log in (self._home / "logs").glob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                if log.stat().st_size > LOG_LIMIT_BYTES:
                    with contextlib.suppress(OSError):  # a full disk is no reason to let it grow on
                        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                    os.truncate(log, 0)


def _note(message: str) -> None:
    """Write a line to the keeper's log, if the disk has room for it."""
    with contextlib.suppress(OSError):
        print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), message, file=sys.stderr, flush=True)


def main() -> None:
    """Run the keeper of the home given as the first argument, holding the lock given as the second."""
    home, lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(lock, False)  # the servers must not hold it
    Supervisor(home, lock).serve()


if __name__ == "__main__":
    main()
