"""The simulator as an embedded server."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from orchestration import environment
from orchestration.local.privileges import run_as
from orchestration.local.processes import LOOPBACK, WORKING_FOLDER, LocalServicesError
from orchestration.local.server import end_process, failure_reason, log_size, log_text


class Simulator:
    """The simulated sources of a demo home (``ingestion.simulator``), on loopback."""

    def __init__(self, home: Path, seed: int) -> None:
        self._home, self._seed = home, seed
        self._log = home / "logs" / "simulator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it and read its address from its first line of output. After a crash it gets the same port."""
        offset = log_size(self._log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                environment.python("-m", "ingestion.simulator", "--port", str(self.port), "--seed", str(self._seed)),
                preexec_fn=run_as(None, self._home / WORKING_FOLDER, signal.SIGTERM),
                env={**environment.system(), "PYTHONPATH": os.environ["PYTHONPATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := re.search(rf'"url": "http://{re.escape(LOOPBACK)}:(\d+)"', log_text(self._log, offset)):
                self.port = int(found[1])
                return
            time.sleep(0.01)
        self.stop()
        self.port = 0
        raise LocalServicesError(f"the simulator does not start: {failure_reason(self._log, offset)}; log: {self._log}")

    def dead(self) -> bool:
        """Return whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Terminate it; it stores nothing."""
        if self._process is not None:
            end_process(self._process, (signal.SIGTERM, 5), (signal.SIGKILL, 5))
            self._process = None
