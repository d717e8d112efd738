"""Settings: what is unset has a documented default, and what is malformed is rejected in one line with the fix."""

import pytest

from ingestion.settings import ObjectStore, Postgres, SettingsError, Smtp, load_settings, secrets

STORE = {"MINIO_ENDPOINT": "127.0.0.1:9000", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}
MAIL = {"SMTP_URL": "smtp://mail.example", "ALERT_EMAIL_TO": "a@example.org, b@example.org"}
CANARY = "canary-7f3a"


def test_nothing_set_means_the_public_apis_and_the_embedded_servers() -> None:
    settings = load_settings({})
    assert settings.postgres is None
    assert settings.object_store is None
    assert settings.source_urls["BINANCE_BASE_URL"] == ("https://data-api.binance.vision", "https://api.binance.com")
    assert settings.universe_path.name == "universe.csv"
    assert settings.home.name == ".tickmart"


def test_an_empty_variable_is_an_unset_one() -> None:
    empty = dict.fromkeys(["PGHOST", "PGPORT", "MINIO_ENDPOINT", "BINANCE_BASE_URL", "COINGECKO_API_KEY"], "  ")
    assert load_settings(empty) == load_settings({})


def test_hosts_are_tried_in_the_order_given() -> None:
    urls = load_settings({"BINANCE_BASE_URL": " http://a:1/x/ , https://b ,"}).source_urls["BINANCE_BASE_URL"]
    assert urls == ("http://a:1/x", "https://b")


def test_servers_of_ones_own_are_taken_over() -> None:
    settings = load_settings({**STORE, "MINIO_SECURE": "yes", "PGHOST": "db", "PGUSER": "me"})
    assert settings.postgres == Postgres("db", 5432, "me", "me", "")
    assert settings.object_store == ObjectStore("127.0.0.1:9000", "a", "b", "bronze", True)


def test_no_secret_shows_in_a_repr() -> None:
    secret = {
        **STORE, "MINIO_SECRET_KEY": CANARY, "PGHOST": "db", "PGPASSWORD": CANARY, "COINGECKO_API_KEY": CANARY,
        "SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{CANARY}", "SMTP_URL": f"smtps://me:{CANARY}@host",
        "ALERT_EMAIL_TO": "me@example.org", "HEARTBEAT_URL": f"https://hc.example/{CANARY}",
    }  # fmt: skip
    assert CANARY not in repr(load_settings(secret))


MALFORMED = [
    ("BINANCE_BASE_URL", "data-api.binance.vision"),
    ("BINANCE_BASE_URL", "https://"),
    ("BINANCE_BASE_URL", "https://good.example,ftp://bad.example"),
    ("BINANCE_BASE_URL", ","),
    ("BINANCE_BASE_URL", "http://host:port"),
    ("BINANCE_BASE_URL", "http://host:99999"),
    ("BINANCE_BASE_URL", "http://[::1"),
    ("BINANCE_BASE_URL", "http://host/a b"),
    ("BINANCE_BASE_URL", "http://host/a\nb"),
    ("BINANCE_ARCHIVE_URL", "s3://bucket"),
    ("COINGECKO_BASE_URL", "https://host/#part"),
    ("FEAR_GREED_BASE_URL", "0"),
    ("TICKMART_ENGINES", "spark,duckdb"),
    ("TICKMART_SPARK_MASTER", "host:7077"),
    ("TICKMART_SPARK_MEMORY", "2"),
    ("TICKMART_SPARK_OPTIONS", "shuffle=2"),
    ("TICKMART_SPARK_OPTIONS", "spark.sql.shuffle.partitions"),
    ("TICKMART_KEEP_SERVERS_SECONDS", "a while"),
    ("TICKMART_KEEP_SERVERS_SECONDS", "-1"),
    ("TICKMART_KEEP_SERVERS_SECONDS", "3601"),
    ("TICKMART_HTTP_DEADLINE_SECONDS", "soon"),
    ("TICKMART_HTTP_DEADLINE_SECONDS", "nan"),
    ("TICKMART_HTTP_DEADLINE_SECONDS", "-1"),
    ("TICKMART_HTTP_DEADLINE_SECONDS", "1e99"),
    ("TICKMART_COINGECKO_CALLS_PER_MINUTE", "0"),
    ("TICKMART_COINGECKO_CALLS_PER_MINUTE", "2.5"),
    ("TICKMART_COINGECKO_CALLS_PER_MONTH", "1 0"),
    ("TICKMART_MARKETS_EVERY_MINUTES", "4"),
    ("TICKMART_MARKETS_EVERY_MINUTES", "61"),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_an_invalid_value_is_rejected_with_variable_value_and_fix(name: str, value: str) -> None:
    text = error_of({name: value})
    assert text.startswith(f"{name}: ")
    assert value.rpartition(",")[2].strip() in text or repr(value)[1:-1] in text
    assert any(fix in text for fix in ("write ", "correct "))


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"PGPORT": "5432"}, ["PGPORT", "PGHOST"]),
        ({"PGUSER": "me", "PGPASSWORD": CANARY}, ["PGUSER", "PGHOST"]),
        ({"PGHOST": "/var/run/postgresql"}, ["PGHOST", "/var/run/postgresql", "127.0.0.1"]),
        ({"PGHOST": "db", "PGPORT": "5432.5"}, ["PGPORT", "5432.5"]),
        ({"PGHOST": "db", "PGPORT": "0"}, ["PGPORT", "'0'"]),
        ({"MINIO_ACCESS_KEY": "a"}, ["MINIO_ACCESS_KEY", "MINIO_ENDPOINT"]),
        ({"MINIO_ENDPOINT": "s3.example"}, ["MINIO_ACCESS_KEY", "s3.example"]),
        ({"MINIO_ENDPOINT": "s3.example", "MINIO_ACCESS_KEY": CANARY}, ["MINIO_SECRET_KEY"]),
        ({**STORE, "MINIO_ENDPOINT": "http://s3.example"}, ["MINIO_ENDPOINT", "http://s3.example"]),
        ({**STORE, "MINIO_ENDPOINT": "s3.example/bronze"}, ["MINIO_ENDPOINT", "s3.example/bronze"]),
        ({**STORE, "MINIO_ENDPOINT": "s3.example:port"}, ["MINIO_ENDPOINT", "s3.example:port"]),
        ({**STORE, "MINIO_ENDPOINT": ":9000"}, ["MINIO_ENDPOINT", ":9000"]),
        ({**STORE, "MINIO_ENDPOINT": "::1"}, ["MINIO_ENDPOINT", "[::1]:9000"]),
        ({**STORE, "MINIO_ENDPOINT": "[::1"}, ["MINIO_ENDPOINT", "[::1"]),
        ({**STORE, "MINIO_ENDPOINT": "[::1]:"}, ["MINIO_ENDPOINT", "[::1]:"]),
        ({**STORE, "MINIO_ENDPOINT": "[::1]:0"}, ["MINIO_ENDPOINT", "[::1]:0"]),
        ({**STORE, "MINIO_ENDPOINT": "me@host:9000"}, ["MINIO_ENDPOINT", "me@host:9000"]),
        ({**STORE, "MINIO_BUCKET": "Bronze_"}, ["MINIO_BUCKET", "Bronze_"]),
        ({**STORE, "MINIO_BUCKET": "x"}, ["MINIO_BUCKET", "'x'"]),
        ({**STORE, "MINIO_SECURE": "maybe"}, ["MINIO_SECURE", "maybe", "true"]),
        ({"SMTP_URL": f"smtp://me:{CANARY}@host"}, ["SMTP_URL", "ALERT_EMAIL_TO"]),
        ({"ALERT_EMAIL_TO": "me@example.org"}, ["ALERT_EMAIL_TO", "SMTP_URL"]),
        ({"SMTP_URL": "smtp://host", "ALERT_EMAIL_TO": "me@x.org, you"}, ["ALERT_EMAIL_TO", "'you'"]),
        ({"SMTP_URL": "smtp://host", "ALERT_EMAIL_TO": ","}, ["ALERT_EMAIL_TO", "','"]),
    ],
)
def test_contradicting_settings_are_rejected_with_their_names(environment: dict[str, str], names: list[str]) -> None:
    text = error_of(environment)
    for name in names:
        assert name in text
    assert CANARY not in text


@pytest.mark.parametrize(
    "environment",
    [
        {"COINGECKO_BASE_URL": f"https://api.example/v3?x_cg_demo_api_key={CANARY}"},
        {"BINANCE_BASE_URL": f"https://me:{CANARY}@api.example"},
        {"BINANCE_BASE_URL": f"postgres://me:{CANARY}@db"},
        {"COINGECKO_API_KEY": f"{CANARY}\nX-Other: 1"},
        {"COINGECKO_API_KEY": f"{CANARY} {CANARY}"},
        {**STORE, "MINIO_SECRET_KEY": f"{CANARY} "[:-1] + " x"},
        {"SLACK_WEBHOOK_URL": f"http://hooks.slack.com/services/{CANARY}"},
        {"SLACK_WEBHOOK_URL": f"hooks.slack.com/services/{CANARY}"},
        {"SLACK_WEBHOOK_URL": f"https://hooks.slack.com/services/{CANARY} x"},
        {"SLACK_WEBHOOK_URL": f"https://me:{CANARY}@hooks.slack.com/services/x"},
        {"SLACK_WEBHOOK_URL": f"https://[{CANARY}/services"},
        {"HEARTBEAT_URL": f"ftp://monitor/{CANARY}"},
        {"HEARTBEAT_URL": f"https://monitor:port/{CANARY}"},
        {**MAIL, "SMTP_URL": f"https://me:{CANARY}@host"},
        {**MAIL, "SMTP_URL": f"smtp://:{CANARY}@host"},
        {**MAIL, "SMTP_URL": f"smtp://{CANARY}@host"},
        {**MAIL, "SMTP_URL": f"smtp://me:{CANARY}@host:99999"},
        {**MAIL, "SMTP_URL": f"smtp://me:{CANARY}@host/box"},
    ],
)
def test_an_error_response_never_repeats_the_secret(environment: dict[str, str]) -> None:
    assert CANARY not in error_of(environment)


def test_channels_are_taken_over_and_odd_characters_of_a_password_decoded() -> None:
    alerting = load_settings({**MAIL, "SMTP_URL": "smtp://me%40example.org:p%40ss%2Fword@mail.example"}).alerting
    assert alerting.smtp == Smtp("mail.example", 587, False, "me@example.org", "p@ss/word")
    assert (alerting.email_to, alerting.email_from) == (("a@example.org", "b@example.org"), "me@example.org")
    assert load_settings({**MAIL, "SMTP_URL": "smtps://mail.example"}).alerting.smtp == Smtp(
        "mail.example", 465, True, None, None
    )


def test_every_secret_of_the_environment_is_known_as_one() -> None:
    environment = {
        "COINGECKO_API_KEY": "canary-1", "MINIO_SECRET_KEY": "canary-2", "PGPASSWORD": "canary-3",
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/canary-4", "SMTP_URL": "smtp://me:canary%2D5@host",
        "HEARTBEAT_URL": "https://monitor/canary-6", "TICKMART_PG_INGEST_PASSWORD": "canary-7", "PGHOST": "host",
    }  # fmt: skip
    text = " ".join(environment.values()) + " canary-5"
    for secret in secrets(environment):
        text = text.replace(secret, "***")
    assert "canary" not in text
    assert "host" in text


def error_of(environment: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(environment)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_options_of_spark_are_split_as_a_shell_does() -> None:
    text = "spark.sql.shuffle.partitions=2 'spark.driver.extraJavaOptions=-Xss4m -Da=b'"
    assert load_settings({"TICKMART_SPARK_OPTIONS": text}).spark_options == {
        "spark.sql.shuffle.partitions": "2", "spark.driver.extraJavaOptions": "-Xss4m -Da=b",
    }  # fmt: skip
