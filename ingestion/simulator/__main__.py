"""`python -m ingestion.simulator`: serve until interrupted; one JSON line with the base URLs says that it listens."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from .faults import read_rules
from .server import Simulator


def main(arguments: list[str] | None = None) -> int:
    """Serve; exit code 2 with one line on stderr when a setting is wrong or the port is taken."""
    parser = argparse.ArgumentParser(prog="simulator", description="A deterministic stand-in for the market-data APIs.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=3, help="another seed is another market")
    parser.add_argument("--universe", type=Path, help="CSV with crypto_id, binance_symbol, name (default: packaged)")
    parser.add_argument("--now", help="fixed moment of the clock, ISO 8601, UTC (default: the real time)")
    parser.add_argument("--now-moves", action="store_true", help="let the clock run on from --now")
    parser.add_argument("--weight-limit", type=int, default=6000, help="Binance request weight a minute")
    parser.add_argument("--coingecko-limit", type=int, help="CoinGecko requests a minute (default: no limit)")
    parser.add_argument("--live-rate", type=float, default=40, help="OKX messages a second")
    parser.add_argument("--faults", type=Path, help="JSON list of rules; see simulator/faults.py")
    options = parser.parse_args(arguments)
    try:
        rules = read_rules(options.faults) if options.faults else []
        server = Simulator(
            options.host, options.port, options.seed, options.universe, options.now, options.now_moves,
            options.weight_limit, options.live_rate,
        )  # fmt: skip
    except (ValueError, OverflowError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"simulator: cannot listen on {options.host}:{options.port} ({error.strerror}); choose another --port",
            file=sys.stderr,
        )
        return 2

    server.coingecko_limiter.limit = options.coingecko_limit
    server.faults.set(rules)

    def stop(*_: object) -> None:
        # shutdown() waits for serve_forever, which this signal has just interrupted: it needs a thread of its own.
        threading.Thread(target=server.shutdown).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(json.dumps({"url": server.base_url, **server.urls()}), flush=True)
    server.serve_forever(poll_interval=0.1)
    server.exchange.stop()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
