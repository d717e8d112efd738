"""The live stream alone (stream)."""

from __future__ import annotations

import os

import click

from ingestion.settings import SettingsError, load_settings
from orchestration import environment
from orchestration.cli.errors import clear_errors
from orchestration.cli.up import only_one
from orchestration.local.children import Children
from orchestration.local.processes import LocalServicesError
from orchestration.session import session


@click.command()
@clear_errors
def stream() -> None:
    """Collect live prices alone, until Ctrl-C.

    The collector reads OKX's WebSocket into the broker, the sink writes bronze and raw. `tickmart up` does it too.
    """
    if load_settings().live is False:
        raise SettingsError("TICKMART_LIVE: 'off' switches live prices off; unset it to collect them")
    os.environ["TICKMART_LIVE"] = "on"
    with (
        session(nats=True, keep=False) as settings,
        only_one(settings.home, "stream"),
        Children(settings.home) as children,
    ):
        log = settings.home / "logs" / "stream.log"
        children.spawn("stream", environment.python("-m", "ingestion.stream"), os.environ, log)
        click.echo(f"Live prices from {settings.okx_ws_url}; log: {log}. Ctrl-C stops.", err=True)
        try:
            ended = children.wait_any()
        except (KeyboardInterrupt, SystemExit):
            click.echo("stopping", err=True)
            return
        if ended:
            raise LocalServicesError(f"the stream ended by itself (exit code {ended[1]}); log: {log}")
