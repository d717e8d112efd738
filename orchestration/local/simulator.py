"""The simulator as an embedded server."""

import os
import re
from pathlib import Path

from orchestration import environment
from orchestration.local.processes import LOOPBACK, WORKING_FOLDER
from orchestration.local.server import LoggedServer


class Simulator(LoggedServer):
    """The simulated sources of a demo home (``ingestion.simulator``), on loopback."""

    def __init__(self, home: Path, seed: int) -> None:
        super().__init__(
            "the simulator", home / "logs" / "simulator.log", rf'"url": "http://{re.escape(LOOPBACK)}:(\d+)"'
        )
        self._home, self._seed = home, seed

    def start(self) -> None:
        """Start it."""
        command = ("-m", "ingestion.simulator", "--port", str(self.port), "--seed", str(self._seed))
        variables = {**environment.system(), "PYTHONPATH": os.environ["PYTHONPATH"]}
        self.launch(environment.python(*command), variables, self._home / WORKING_FOLDER)
