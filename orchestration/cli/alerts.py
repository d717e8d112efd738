"""Commands about alerts: test the channels, list incidents, send alerts again, simulate price rules."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click

from ingestion.settings import SettingsError, load_settings
from orchestration.alerting import channels, outbox, price_alerts
from orchestration.alerting.heartbeat import ping
from orchestration.alerting.messages import Message, PermanentFailure, Unavailable
from orchestration.alerting.price_rules import DEFAULT_FILE, read_rules
from orchestration.cli.errors import clear_errors
from orchestration.cli.output import print_crossings, print_incidents, print_json
from orchestration.cli.queries import json_option, warehouse
from orchestration.cli.terminal import console


@click.group()
def alert() -> None:
    """Show incidents and their alerts, or test the channels."""


@alert.command("test")
@clear_errors
def alert_test() -> None:
    """Send a test message through each configured channel, and ping the heartbeat URL."""
    alerting = load_settings().alerting
    names = channels.configured(alerting)
    if not names and alerting.heartbeat_url is None:
        raise SettingsError("no channel is on: set SLACK_WEBHOOK_URL, SMTP_URL with ALERT_EMAIL_TO, or HEARTBEAT_URL")
    message = Message(f"test {uuid4()}", "test", "warn", "this channel works", "Sent by `tickmart alert test`.")
    failed = False
    for name in names:
        try:
            channels.send(name, alerting, [message])
            click.echo(f"{name}: sent")
        except (Unavailable, PermanentFailure) as error:
            failed = True
            click.echo(f"{name}: NOT sent: {error}")
    if alerting.heartbeat_url is not None:
        problem = ping(alerting.heartbeat_url)
        failed = failed or problem is not None
        click.echo(f"heartbeat: {f'NOT answered: {problem}' if problem else 'answered'}")
    sys.exit(1 if failed else 0)


@alert.command("list")
@click.option("--limit", default=20, show_default=True, help="Maximum number of incidents, open ones first.")
@json_option
@clear_errors
def alert_list(limit: int, as_json: bool) -> None:
    """List the incidents and the state of each of their alerts."""
    with warehouse("quality_ro") as (_, connection):
        found = outbox.listed(connection, limit)
    if as_json:
        print_json(found)
    else:
        print_incidents(found, console())


@alert.command("retry")
@clear_errors
def alert_retry() -> None:
    """Send the alerts again that a channel has rejected."""
    with warehouse("ingest") as (settings, connection):
        count = outbox.retry(connection)
        sent = outbox.deliver(connection, settings.alerting)
    click.echo(f"{count:,} to send again; sent: {', '.join(f'{n} by {name}' for name, n in sent.items()) or 'none'}")


@alert.command("simulate")
@click.option("--since", required=True, type=click.DateTime(["%Y-%m-%d"]), help="First UTC day of the history.")
@click.option(
    "--rules", "path", type=click.Path(path_type=Path), help="File of price rules; default: TICKMART_ALERT_RULES."
)
@json_option
@clear_errors
def alert_simulate(since: datetime, path: Path | None, as_json: bool) -> None:
    """Show what the price rules would have notified since a day; nothing is sent."""
    with warehouse("quality_ro") as (settings, connection):
        rules = read_rules(settings, path.absolute() if path else None)
        if not rules:
            raise SettingsError(
                f"there are no price rules: write {settings.home / DEFAULT_FILE}, or set TICKMART_ALERT_RULES"
            )
        found = price_alerts.simulate(connection, rules, since.replace(tzinfo=UTC))
    if as_json:
        print_json([crossing.as_json() for crossing in found])
    else:
        print_crossings(rules, found, console())
