"""The Prometheus endpoint over HTTP: its metrics, with and without a database, and the rules that use them."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ingestion.settings import Postgres, load_settings
from orchestration.observability import metrics
from support.cli import ROOT
from support.pipeline import Chain
from support.tcp_proxy import TcpProxy, Toxics

ENDED = datetime(2026, 3, 1, 10, 1, tzinfo=UTC)
MONITORING = ROOT / "docker" / "monitoring"


@contextmanager
def endpoint(postgres: Postgres) -> Iterator[str]:
    settings = load_settings(
        {
            "PGHOST": postgres.host, "PGPORT": str(postgres.port), "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password, "PGDATABASE": postgres.database,
        }
    )  # fmt: skip
    server, thread = metrics.serve(settings, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {
            f"{s.name}{{{','.join(s.labels.values())}}}" if s.labels else s.name: s.value
            for family in families
            for s in family.samples
        }


def test_the_endpoint_reports_what_ops_records(chain: Chain):
    chain.ask(
        """
        insert into ops.runs (run_id, job, started_at, ended_at, status) values
            ('1', 'market_refresh', '2026-03-01 10:00Z', '2026-03-01 10:01Z', 'ok'),
            ('2', 'market_refresh', '2026-03-01 11:00Z', '2026-03-01 11:02Z', 'failed');
        insert into ops.run_stages (run_id, stage, dataset, status, detail) values
            ('1', 'raw', 'binance_klines', 'ok', '{"inserted": 40, "updated": 2}'),
            ('2', 'raw', 'binance_klines', 'ok', '{"inserted": 5}');
        insert into ops.source_requests
            (source, endpoint, host, requested_at, http_status, latency_ms, bytes, attempt, weight)
        select 'Binance', '/x', 'h', now(), status, 1, 1, 1, 1 from unnest(array[200, 200, 429, null]) as s (status);
        insert into ops.api_budget (host, minute, used, weight_limit, banned_until) values
            ('Binance h', date_trunc('minute', now() + interval '1 minute', 'UTC'), 70, 6000, now() + interval '1 day'),
            ('CoinGecko g', date_trunc('minute', now(), 'UTC') - interval '1 hour', 9, 10, null);
        insert into ops.gaps values ('A', '1h', now(), now(), 1, 'missing_locally'),
            ('B', '1h', now(), now(), 1, 'exchange_halt');
        insert into ops.check_results (run_id, asset, check_name, source, severity, status, checked_at) values
            ('1', 'a', 'c', 'dbt', 'error', 'failed', now() - interval '1 hour'),
            ('2', 'a', 'c', 'dbt', 'error', 'passed', now()),
            ('2', 'b', 'c', 'dbt', 'warn', 'failed', now()), ('2', 'c', 'c', 'dbt', 'error', 'error', now());
        insert into ops.alerts (channel, event, dedup_key, message, created_at, sent_at, refused_at) values
            ('slack', 'digest', '1', '{}', now() - interval '10 minutes', null, null),
            ('slack', 'digest', '2', '{}', now(), now(), null), ('email', 'digest', '3', '{}', now(), null, now());
        insert into ops.heartbeats values ('daemon', now() - interval '90 seconds');
        insert into raw.fear_greed (date, value, classification, batch_id) values
            ((now() at time zone 'UTC')::date - 1, 5, 'Fear', 'b')
        """
    )  # fmt: skip
    with endpoint(chain.postgres) as url:
        found = scrape(url)
    expected = {
        "tickmart_up": 1,
        "tickmart_metrics_missing": 0,
        "tickmart_run_last_success_timestamp_seconds{market_refresh}": ENDED.timestamp(),
        "tickmart_run_failed{market_refresh}": 1,
        "tickmart_run_seconds{market_refresh}": 120,
        "tickmart_rows_loaded_24h{inserted,binance_klines}": 45,
        "tickmart_rows_loaded_24h{updated,binance_klines}": 2,
        "tickmart_requests_24h{Binance,200}": 2,
        "tickmart_requests_24h{Binance,none}": 1,
        "tickmart_requests_429_24h{Binance}": 1,
        "tickmart_api_weight_used{Binance h}": 70,
        "tickmart_api_weight_used{CoinGecko g}": 0,
        "tickmart_api_banned{Binance h}": 1,
        "tickmart_api_banned{CoinGecko g}": 0,
        "tickmart_gaps_open": 1,
        "tickmart_checks_failed{error}": 1,
        "tickmart_checks_failed{warn}": 1,
        "tickmart_outbox_depth{slack}": 1,
        "tickmart_outbox_depth{email}": 0,
        "tickmart_alerts_refused{email}": 1,
        "tickmart_dataset_sla_seconds{binance_klines}": 7200,
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert found["tickmart_outbox_oldest_seconds{slack}"] == pytest.approx(600, abs=60)
    assert found["tickmart_sign_of_life_age_seconds{daemon}"] == pytest.approx(90, abs=60)
    assert found["tickmart_dataset_age_seconds{fear_greed}"] > 86_400
    assert "tickmart_dataset_age_seconds{binance_klines}" not in found


def test_without_a_database_only_tickmart_up_0_is_reported_in_time(chain: Chain, monkeypatch):
    monkeypatch.setattr(metrics, "DEADLINE_S", 0.5)
    with endpoint(replace(chain.postgres, port=9)) as url:
        assert scrape(url) == {"tickmart_up": 0}
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        endpoint(replace(chain.postgres, port=deaf.getsockname()[1])) as url,
    ):
        assert [scrape(url), scrape(url)] == [{"tickmart_up": 0}] * 2


def test_an_unresponsive_database_is_reported_and_read_again_after_it_recovers(chain: Chain, monkeypatch):
    monkeypatch.setattr(metrics, "DEADLINE_S", 1.0)
    proxy = TcpProxy(chain.postgres.host, chain.postgres.port)
    try:
        with endpoint(replace(chain.postgres, port=proxy.port)) as url:
            assert scrape(url)["tickmart_up"] == 1
            proxy.toxics = Toxics(silence_after_sent=900)
            assert scrape(url) == {"tickmart_up": 0}
    finally:
        proxy.close()
    with endpoint(chain.postgres) as url:
        assert scrape(url)["tickmart_up"] == 1


def test_a_missing_table_is_counted_and_hides_no_other_metric(chain: Chain):
    chain.ask("alter table ops.gaps rename to gaps_away")
    try:
        with endpoint(chain.postgres) as url:
            found = scrape(url)
    finally:
        chain.ask("alter table ops.gaps_away rename to gaps")
    assert (found["tickmart_up"], found["tickmart_metrics_missing"]) == (1, 1)
    assert "tickmart_gaps_open" not in found
    assert "tickmart_outbox_depth{slack}" in found


def test_the_command_serves_without_a_database_until_it_is_stopped(tmp_path):
    env = {**os.environ, "TICKMART_HOME": str(tmp_path), "PGHOST": "127.0.0.1", "PGPORT": "9", "PGPASSWORD": "canary"}
    command = [Path(sys.executable).with_name("tickmart"), "metrics", "--port", "0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    try:
        url = process.stdout.readline().split()[1]
        assert scrape(url) == {"tickmart_up": 0}
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "canary" not in output


LABELS: dict[str, set[str]] = {name: set(labels) for name, _, labels, _ in metrics.QUERIES} | {
    "tickmart_up": set(), "tickmart_metrics_missing": set(),
    "tickmart_dataset_age_seconds": {"dataset"}, "tickmart_dataset_sla_seconds": {"dataset"},
}  # fmt: skip


def used_expressions() -> list[tuple[str, str]]:
    """Each expression of the rules and of Grafana's dashboards, with the text that its labels fill."""
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"][0]["rules"]
    dashboards = [json.loads(p.read_text()) for p in (MONITORING / "grafana" / "dashboards").glob("*.json")]
    targets = [t for d in dashboards for p in d["panels"] for t in p["targets"]]
    return [(r["expr"], r["annotations"]["summary"]) for r in rules] + [
        (t["expr"], t.get("legendFormat", "")) for t in targets
    ]


def test_the_endpoint_has_exactly_the_declared_metrics_and_labels(chain: Chain):
    with endpoint(chain.postgres) as url, urllib.request.urlopen(url, timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert {family.name for family in families} == set(LABELS)
    assert [s for family in families for s in family.samples if set(s.labels) != LABELS[family.name]] == []


def test_rules_and_dashboards_use_only_metrics_of_the_endpoint():
    used = {name for expression, _ in used_expressions() for name in re.findall(r"tickmart_\w+", expression)}
    assert used - set(LABELS) == set()
    assert set(LABELS) - used == {
        "tickmart_metrics_missing", "tickmart_dataset_last_load_timestamp_seconds", "tickmart_run_failed",
        "tickmart_api_banned",
    }  # fmt: skip


def test_rules_and_dashboards_use_only_labels_of_their_metrics():
    for expression, text in used_expressions():
        names = re.findall(r"tickmart_\w+", expression)
        labels = set().union(*(LABELS[name] for name in names))
        for name, selector in re.findall(r"(tickmart_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= LABELS[name], expression
        for shared in re.findall(r"\bon \((\w+)\)", expression):
            assert all(shared in LABELS[name] for name in names), expression
        assert set(re.findall(r"(?:\$labels\.|\{\{)(\w+)", text)) <= labels, text


def test_no_label_is_one_that_prometheus_sets_itself():
    # It renames ours to exported_job at the scrape: a rule that selects job="market_refresh" would never fire.
    assert set().union(*LABELS.values()) & {"job", "instance"} == set()


def test_every_rule_has_a_severity_and_a_summary():
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"][0]["rules"]
    assert len({r["alert"] for r in rules}) == len(rules)
    assert all(r["labels"]["severity"] in ("warning", "critical") and r["annotations"]["summary"] for r in rules)


def test_prometheus_scrapes_the_commands_port_and_grafana_reads_prometheus():
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    from orchestration.cli.serve import metrics as command

    [port] = [p.default for p in command.params if p.name == "port"]
    assert config["scrape_configs"][0]["static_configs"][0]["targets"] == [f"metrics:{port}"]
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    dashboard = json.loads((MONITORING / "grafana" / "dashboards" / "tickmart.json").read_text())
    assert {p["datasource"]["uid"] for p in dashboard["panels"]} == {sources["datasources"][0]["uid"]}
