"""`make notebooks`: executes every notebook on simulated markets and writes it as a page to notebooks/build.

Runs in tickmart's own environment; the notebooks run in theirs (.venv/notebooks). Needs no network. Ends with 1 if a
cell of any notebook fails.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ingestion.simulator.server import simulator
from orchestration import environment
from orchestration.session import session

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
BUILD = FOLDER / "build"
TOOLS = ROOT / ".venv" / "notebooks" / "bin"
DAYS = 400
# A kernel takes a minute to start on a busy machine.
STARTUP = "--ExecutePreprocessor.startup_timeout=300"
UNIVERSE = """crypto_id,binance_symbol,name,category
bitcoin,BTCUSDT,Bitcoin,store of value
ethereum,ETHUSDT,Ethereum,smart contracts
ripple,XRPUSDT,XRP,payments
solana,SOLUSDT,Solana,smart contracts
"""


@contextmanager
def simulated_home(folder: Path) -> Iterator[dict[str, str]]:
    """Load simulated markets into a new home and yield the environment of a user of it, while its database runs."""
    universe = folder / "universe.csv"
    universe.write_text(UNIVERSE)
    env = {
        **environment.system(os.environ),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TICKMART_HOME": str(folder / "home"),
        "TICKMART_UNIVERSE": str(universe),
    }
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    with simulator(universe=universe) as sources:
        command = ["tickmart", "backfill", "--start", start.isoformat()]
        subprocess.run(command, env={**env, **sources.urls()}, cwd=ROOT, check=True)
    os.environ.clear()
    os.environ.update(env)
    with session(s3=False):
        connect = ["tickmart", "connect", "--format", "url"]
        url = subprocess.run(connect, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        yield {**env, "TICKMART_URL": url}


def execute(notebook: Path, env: Mapping[str, str]) -> str:
    """Execute a notebook and write it as a page; return what went wrong, empty if nothing did."""
    began = time.monotonic()
    source = BUILD / f"{notebook.stem}.ipynb"
    for command in (
        [TOOLS / "jupytext", "--quiet", "--to", "ipynb", "--output", source, notebook],
        [TOOLS / "jupyter-nbconvert", "--to", "html", "--execute", STARTUP, source],
    ):
        done = subprocess.run(command, env=env, cwd=FOLDER, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{notebook.name} failed:\n{done.stderr}"
    print(f"{source.with_suffix('.html').relative_to(ROOT)}: {time.monotonic() - began:.0f} s", flush=True)
    return ""


def main() -> int:
    """Execute the notebooks, two at a time."""
    began = time.monotonic()
    notebooks = sorted(path for path in FOLDER.glob("*.py") if path != Path(__file__).resolve())
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tickmart-notebooks-") as name:
        # The embedded Postgres runs as another user when root starts it: the way to it must be open.
        Path(name).chmod(0o711)
        with simulated_home(Path(name)) as env:
            env |= {
                "PYTHONPATH": str(ROOT),  # the client in the checkout
                "PLOTLY_RENDERER": "notebook",  # charts that need no network
                "JUPYTER_CONFIG_DIR": name,
                "JUPYTER_RUNTIME_DIR": name,
                "IPYTHONDIR": name,
            }
            with ThreadPoolExecutor(2) as pool:
                failures = [text for text in pool.map(lambda notebook: execute(notebook, env), notebooks) if text]
    for text in failures:
        print(text, file=sys.stderr)
    print(f"{len(notebooks) - len(failures)} of {len(notebooks)} notebooks in {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
