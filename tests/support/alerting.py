"""What tests of alerts share: a failed run, a failed check, evaluation and delivery with given settings."""

import json
from datetime import UTC, datetime, timedelta

from ingestion.settings import Settings, load_settings
from orchestration.alerting import outbox as alerting_outbox
from support.pipeline import Chain

# Before the hour of the daily summary, so that only its own test creates one.
NOW = datetime.now(UTC).replace(hour=3, minute=30, second=0, microsecond=0)
HOUR = timedelta(hours=1)


def settings_of(chain: Chain, **env: str) -> Settings:
    owner = chain.postgres
    return load_settings(
        {
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
            "PGDATABASE": owner.database, **env,
        }
    )  # fmt: skip


def evaluate(chain: Chain, settings: Settings, now: datetime = NOW, since: datetime | None = None) -> None:
    alerting_outbox.evaluate(chain.connection, settings, now, since)


def fail_a_run(chain: Chain, run_id: str = "run-1", status: str = "failed", at: datetime = NOW) -> None:
    chain.ask(
        "insert into ops.runs (run_id, job, started_at, ended_at, status, summary) values (%s, 'job', %s, %s, %s, %s)",
        (run_id, at - HOUR, at, status, json.dumps({"error": "the disk is full"})),
    )


def check(chain: Chain, status: str, severity: str = "error", at: datetime = NOW) -> None:
    chain.ask(
        """
        insert into ops.check_results (run_id, asset, check_name, source, severity, status, observed, checked_at)
        values ('run-1', 'marts/fct_prices', 'unique', 'dbt', %s, %s, '3 rows failed', %s)
        """,
        (severity, status, at),
    )


def outbox(chain: Chain) -> list[tuple[str, str]]:
    return [tuple(row) for row in chain.ask("select channel, event from ops.alerts order by alert_id")]


def slack_settings(chain: Chain, url: str) -> Settings:
    return settings_of(chain, SLACK_WEBHOOK_URL=f"{url}/services/T0/B0/secret")


def deliver(chain: Chain, settings: Settings) -> dict[str, int]:
    return alerting_outbox.deliver(chain.connection, settings.alerting)
