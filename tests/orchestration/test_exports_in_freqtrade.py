"""freqtrade, in an environment of its own, reads what `tickmart export --format freqtrade` writes."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from orchestration.exports.bars import Coin
from orchestration.exports.formats import FORMATS
from support.environments import locked_environment

pytestmark = pytest.mark.freqtrade
LOAD = """
import json, sys
from pathlib import Path
from freqtrade.data.history import load_pair_history
from freqtrade.enums import CandleType
frame = load_pair_history("BTC/USDT", "1h", Path(sys.argv[1]), data_format="feather", candle_type=CandleType.SPOT)
print(json.dumps([[str(row[0]), *row[1:]] for row in frame.itertuples(index=False)]))
"""


def test_freqtrade_loads_the_bars_and_fills_the_missing_hour(tmp_path: Path) -> None:
    hours = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 3)]
    prices = {name: [1.5, 2.5, 0.00000844] for name in ("open", "high", "low", "close", "volume")}
    coin = Coin("bitcoin", "BTC", "Bitcoin", "BTCUSDT", hours[0], hours[-1])
    form = FORMATS["freqtrade"]
    bars = pa.table({"opened_at": pa.array(hours, pa.timestamp("us", "UTC"))} | prices)
    form.writer(tmp_path).add(form.file_name(coin, "1h"), coin, bars)
    python = locked_environment("freqtrade", without_wheel="sdnotify") / "bin" / "python"
    done = subprocess.run([python, "-c", LOAD, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert [row[0][11:13] for row in rows] == ["00", "01", "02", "03"]
    assert rows[1][1:] == [2.5] * 5
    assert rows[2][1:] == [2.5] * 4 + [0]
    assert rows[3][1:] == [0.00000844] * 5
