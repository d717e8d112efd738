"""Price alerts: which rules a file may have, when a rule fires, and that each crossing is notified once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings

from ingestion.database import connections
from ingestion.settings import Settings, SettingsError
from orchestration.alerting import outbox, price_alerts
from orchestration.alerting.price_crossings import Point, State, advance
from orchestration.alerting.price_rules import MARTS, Rule, parse_rules
from orchestration.cli.main import main
from support.alerting import deliver, settings_of, slack_settings
from support.cli import ROOT
from support.pipeline import Chain
from support.scripted_server import Reply, scripted

START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNIVERSE = {"bitcoin", "ethereum"}
DROP = {"name": "drop", "metric": "change_24h_pct", "comparison": "below", "threshold": -5}


def rules_of(*entries: dict) -> tuple[Rule, ...]:
    return parse_rules(yaml.safe_dump({"rules": list(entries)}), "rules.yml", UNIVERSE)


def fired(values: list[float | None], **keys) -> list[int]:
    """The hours after START at which a rule `below -5` fires on hourly values; None is a missing bar."""
    [rule] = rules_of({**DROP, **keys})
    points = [Point(START + at * HOUR, value) for at, value in enumerate(values) if value is not None]
    return [int((found.at - START) / HOUR) for found in advance(rule, "bitcoin", State(), points)[1]]


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_rule_has_defaults_for_all_but_its_name_metric_and_threshold():
    [rule] = rules_of(DROP)
    assert rule.mart == "fct_prices"
    assert set(rule.crypto_ids) == UNIVERSE
    assert (rule.hold, rule.cooldown) == (timedelta(0), timedelta(0))


BAD = {
    "not yaml": ("rules: [", "rules.yml"),
    "no list": ("rules: 5", "rules:"),
    "another top": ("alerts: []", "rules:"),
    "a text for a rule": ("rules: [btc]", "'btc'"),
    "a name with spaces": (dict(DROP, name="BTC drop"), "'BTC drop'"),
    "no metric": ({"name": "drop", "comparison": "below", "threshold": 1}, "metric"),
    "a metric that is no column": (dict(DROP, metric="price"), "'price'"),
    "a list for a metric": (dict(DROP, metric=["close"]), "close"),
    "a key that does not exist": (dict(DROP, treshold=3), "'treshold'"),
    "another mart": (dict(DROP, mart="raw.binance_klines"), "'raw.binance_klines'"),
    "an asset beyond the universe": (dict(DROP, asset="bitcoinn"), "'bitcoinn'"),
    "an empty list of assets": (dict(DROP, asset=[]), "[]"),
    "a symbol for a comparison": (dict(DROP, comparison="<"), "'<'"),
    "a text for a threshold": (dict(DROP, threshold="5%"), "'5%'"),
    "infinity": (dict(DROP, threshold=float("inf")), "inf"),
    "true for a threshold": (dict(DROP, threshold=True), "True"),
    "a duration without unit": (dict(DROP, cooldown=5), "5"),
    "a duration of years": ({**DROP, "for": "99999d"}, "'99999d'"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_rule_is_one_line_that_names_file_rule_and_value(what: str):
    content, named = BAD[what]
    text = content if isinstance(content, str) else yaml.safe_dump({"rules": [content]})
    with pytest.raises(SettingsError) as caught:
        parse_rules(text, "rules.yml", UNIVERSE)
    message = str(caught.value)
    assert "\n" not in message
    assert "rules.yml" in message
    assert named in message
    assert isinstance(content, str) or content["name"] in message


def test_two_rules_of_one_name_are_an_error_and_an_empty_file_has_none():
    with pytest.raises(SettingsError, match="drop"):
        rules_of(DROP, DROP)
    assert parse_rules("# nothing yet\n", "rules.yml", UNIVERSE) == ()


def test_the_metrics_of_rules_are_numbers_of_the_contracts():
    declared = {}
    for path in (ROOT / "dbt_project" / "models").rglob("*.yml"):
        for model in (yaml.safe_load(path.read_text()) or {}).get("models", []):
            declared[model["name"]] = {
                column["name"]
                for column in model.get("columns", [])
                if column.get("data_type") in ("numeric", "double precision", "bigint")
            }
    for mart in MARTS.values():
        for rows in (mart.newest, mart.history):
            assert mart.metrics <= declared[rows.table], rows.table
    assert MARTS["fct_prices"].metrics == declared["fct_prices"]


# -- when a rule fires ------------------------------------------------------------------------------------------------


def test_a_crossing_fires_once_and_again_only_after_the_condition_ended():
    assert fired([0, -6, -7, -8, 0, -6]) == [1, 5]
    assert fired([-6, -6]) == [0]
    assert fired([-5, 0]) == []


def test_a_rule_with_for_fires_when_the_condition_has_lasted_that_long():
    assert fired([-6, -6, 0, -6, -6, -6, -6], **{"for": "2h"}) == [5]


def test_a_missing_bar_starts_the_time_of_for_again():
    assert fired([-6, -6, None, -6, -6, -6], **{"for": "2h"}) == [5]
    assert fired([-6, None, -6]) == [0]


def test_a_crossing_within_the_cool_down_fires_at_its_end_if_it_is_still_met():
    assert fired([-6, 0, -6, 0, 0, -6], cooldown="4h") == [0, 5]
    assert fired([-6, 0, -6, -6, -6], cooldown="4h") == [0, 4]


# -- notifications ----------------------------------------------------------------------------------------------------


@pytest.fixture
def market(chain: Chain, tmp_path: Path, monkeypatch):
    """A warehouse whose fct_prices has only what rules read, and a file for the rules."""
    monkeypatch.setenv("TICKMART_HOME", str(tmp_path))
    chain.ask(
        """
        set role transform;
        drop table if exists marts.fct_prices;
        create table marts.fct_prices (
            crypto_id text, opened_at timestamptz, close numeric, change_24h_pct double precision,
            primary key (crypto_id, opened_at)
        )
        """
    )
    yield Market(chain, tmp_path / "rules.yml")
    chain.ask("drop table marts.fct_prices")


class Market:
    def __init__(self, chain: Chain, file: Path) -> None:
        self.chain, self.file = chain, file

    def write(self, *entries: dict) -> None:
        self.file.write_text(yaml.safe_dump({"rules": list(entries)}))

    def settings(self, **env: str) -> Settings:
        return settings_of(self.chain, TICKMART_ALERT_RULES=str(self.file), **env)

    def add(self, hour: int, crypto_id: str, value: float | None) -> None:
        self.chain.ask("insert into marts.fct_prices values (%s, %s, 1, %s)", (crypto_id, START + hour * HOUR, value))

    def evaluate(self, hour: float, settings: Settings | None = None) -> None:
        """Evaluate as the sensor does when the bar that opened at `hour` is closed."""
        settings, now = settings or self.settings(), START + (hour + 1) * HOUR
        observed = price_alerts.observe(settings, now)
        outbox.evaluate(self.chain.connection, settings, now, observed=observed)

    def notified(self) -> list[str]:
        return [
            row[0]
            for row in self.chain.ask("select fingerprint from ops.incidents where kind = 'price_alert' order by 1")
        ]

    def simulated(self) -> list[str]:
        with connections.closing(connections.connect(self.chain.postgres, "quality_ro")) as connection:
            found = price_alerts.simulate(connection, price_alerts.read_rules(self.settings()), START)
        return sorted(price_alerts.finding(crossing).fingerprint for crossing in found)


VALUES = st.lists(st.one_of(st.none(), st.sampled_from([-9.0, -6.0, -5.0, 0.0, 4.0])), min_size=1, max_size=30)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bitcoin=VALUES,
    ethereum=VALUES,
    hold=st.integers(0, 3),
    cooldown=st.integers(0, 6),
    late=st.sets(st.integers(0, 29), max_size=8),
)
@example(bitcoin=[-6, 0, -6, -6], ethereum=[None, -6, None, -6], hold=1, cooldown=3, late={2})
def test_a_simulation_over_history_notifies_what_a_live_evaluation_hour_by_hour_notified(
    market, bitcoin, ethereum, hold: int, cooldown: int, late: set[int]
):
    market.chain.clear_records()
    market.chain.ask("delete from marts.fct_prices")
    market.write(
        {**DROP, "for": f"{hold}h", "cooldown": f"{cooldown}h"},
        {"name": "rise", "metric": "change_24h_pct", "comparison": "above", "threshold": 1, "asset": "bitcoin"},
    )
    for hour in range(max(len(bitcoin), len(ethereum))):
        for crypto_id, values in (("bitcoin", bitcoin), ("ethereum", ethereum)):
            if hour < len(values):
                market.add(hour, crypto_id, values[hour])
        # After an hour without an evaluation the next one evaluates both; a repeated one changes nothing. A rule
        # without a state starts at the newest value, so each asset's first value is evaluated in its hour.
        is_new = any(
            values[hour : hour + 1] not in ([], [None]) and set(values[:hour]) <= {None}
            for values in (bitcoin, ethereum)
        )
        if is_new or hour not in late:
            market.evaluate(hour)
            market.evaluate(hour + 0.5)
    market.evaluate(hour)
    assert market.notified() == market.simulated()


def test_a_crossing_is_sent_once_through_the_channels_and_stays_a_single_event(market):
    market.write(dict(DROP, asset="bitcoin"))
    with scripted([Reply(body=b"ok")]) as slack:
        settings = slack_settings(market.chain, slack.url)
        settings = market.settings(SLACK_WEBHOOK_URL=settings.alerting.slack_webhook_url)
        for hour, value in enumerate([0, -6.25, -7, 0]):
            market.add(hour, "bitcoin", value)
            market.evaluate(hour, settings)
            deliver(market.chain, settings)
    assert len(slack.asked) == 1
    sent = json.dumps(json.loads(slack.asked[0].body))
    assert "drop: change_24h_pct of bitcoin is -6.25" in sent
    assert market.chain.ask("select event from ops.alerts") == [("opened",)]


def test_a_new_rule_starts_at_the_newest_value_and_a_changed_one_starts_again(market):
    for hour, value in enumerate([-9, 0, -9, -9]):
        market.add(hour, "bitcoin", value)
    market.write(dict(DROP, asset="bitcoin"))
    market.evaluate(3)
    assert market.notified() == ["price_alert:drop:bitcoin:2026-03-02T04:00:00"]
    market.add(4, "bitcoin", -9)
    market.write(dict(DROP, asset="bitcoin", threshold=-8))
    market.evaluate(4)
    assert len(market.notified()) == 2


def test_after_an_outage_of_days_only_the_newest_two_days_are_notified(market):
    market.write(dict(DROP, asset="bitcoin"))
    market.add(0, "bitcoin", 0)
    market.evaluate(0)
    for hour in range(1, 200):
        market.add(hour, "bitcoin", -9 if hour in (20, 180) else 0)
    market.evaluate(199)
    assert market.notified() == ["price_alert:drop:bitcoin:2026-03-09T13:00:00"]


def test_bad_rules_are_an_incident_that_ends_when_they_are_fixed_and_other_alerts_go_on(market):
    market.write(dict(DROP, threshold="much"))
    market.chain.ask(
        "insert into ops.runs (run_id, job, started_at, ended_at, status) values ('1', 'j', %s, %s, 'failed')",
        (START, START),
    )
    market.evaluate(0)
    assert market.chain.ask("select kind, severity from ops.incidents order by kind") == [
        ("price_rules", "error"),
        ("run_failed", "error"),
    ]
    assert "'much'" in market.chain.one("select detail from ops.incidents where kind = 'price_rules'")
    market.write(DROP)
    market.evaluate(1)
    assert market.chain.one("select recovered_at is not null from ops.incidents where kind = 'price_rules'")


def test_marts_that_are_not_built_or_lack_the_column_stop_no_other_alert(market):
    market.write(dict(DROP, metric="volatility_7d"))
    market.evaluate(0)
    assert market.chain.ask("select kind from ops.incidents") == [("price_rules",)]
    market.chain.ask("alter table marts.fct_prices rename to elsewhere")
    try:
        market.evaluate(1)
        assert market.chain.one("select recovered_at is not null from ops.incidents")
    finally:
        market.chain.ask("alter table marts.elsewhere rename to fct_prices")


def test_concurrent_evaluations_notify_a_crossing_once(market):
    market.write(dict(DROP, asset="bitcoin"))
    market.add(0, "bitcoin", -9)
    settings, now = market.settings(), START + HOUR
    both = [price_alerts.observe(settings, now) for _ in range(2)]
    for observed in both:
        outbox.evaluate(market.chain.connection, settings, now, observed=observed)
    assert len(market.notified()) == 1


def test_a_rule_on_live_prices_fires_as_its_simulation_over_the_minutes(market):
    market.chain.ask(
        """
        set role transform;
        create table marts.v_live_latest (crypto_id text primary key, ts timestamptz, last numeric);
        create table marts.fct_live_1m (
            crypto_id text, minute timestamptz, last numeric, primary key (crypto_id, minute)
        )
        """
    )
    try:
        live = {"mart": "v_live_latest", "metric": "last", "asset": "bitcoin", "comparison": "above", "threshold": 100}
        market.write(dict(live, name="high"), {**live, "name": "long", "for": "2m"})
        for at, price in enumerate([99, 101, 102, 99, 101, 101, 101]):
            minute = START + at * timedelta(minutes=1)
            closed = minute + timedelta(minutes=1)
            market.chain.ask("insert into marts.fct_live_1m values ('bitcoin', %s, %s)", (minute, price))
            market.chain.ask(
                "insert into marts.v_live_latest values ('bitcoin', %s, %s)"
                " on conflict (crypto_id) do update set ts = excluded.ts, last = excluded.last", (closed, price)
            )  # fmt: skip
            market.evaluate((closed - START) / HOUR - 1)
        assert market.notified() == market.simulated()
        assert [name.split(":")[1] for name in market.notified()] == ["high", "high", "long"]
    finally:
        market.chain.ask("drop table marts.v_live_latest, marts.fct_live_1m")


# -- the command ------------------------------------------------------------------------------------------------------


def command(market, *arguments: str):
    owner = market.chain.postgres
    env = {
        "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user, "PGPASSWORD": owner.password,
        "PGDATABASE": owner.database, "MINIO_ENDPOINT": "", "TICKMART_ALERT_RULES": str(market.file),
    }  # fmt: skip
    return CliRunner().invoke(main, ["alert", "simulate", *arguments], env=env)


def test_alert_simulate_prints_each_crossing_since_the_day_and_sends_nothing(market):
    market.write(dict(DROP, asset="bitcoin"))
    for hour, value in enumerate([-6, 0, -6, 0]):
        market.add(hour, "bitcoin", value)
    done = command(market, "--since", "2026-03-02", "--json")
    assert done.exit_code == 0, done.output
    assert [row["at"] for row in json.loads(done.output)] == ["2026-03-02T01:00:00+00:00", "2026-03-02T03:00:00+00:00"]
    assert "bitcoin" in command(market, "--since", "2026-03-02").output
    assert json.loads(command(market, "--since", "2026-03-03", "--json").output) == []
    assert market.chain.one("select count(*) from ops.incidents") == 0


def test_alert_simulate_names_what_is_wrong_with_the_file(market):
    assert command(market, "--since", "2026-03-02").exit_code == 2
    market.write(dict(DROP, metric="price"))
    done = command(market, "--since", "2026-03-02")
    assert done.exit_code == 2
    assert str(market.file) in done.output
    assert "'price'" in done.output
