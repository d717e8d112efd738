"""Settings from the environment, read and validated at start.

Belongs here: every environment variable that ingestion and the runner read, its default, and the error for a bad value.
Does not: anything that opens a file, a socket or a database.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote, unquote, urlsplit

from ingestion import proxies, setting_values
from ingestion.setting_values import SettingsError as SettingsError

Role = Literal["ingest", "transform", "quality_ro", "dashboard_ro", "reader", "dagster"]
ROLES: tuple[Role, ...] = get_args(Role)

# The variable of each source's address and its default: one URL, or several to try in order. This is the list of the
# variables that a process may see (`orchestration.environment`), which must not load the sources' packages.
SOURCE_URLS = {
    "BINANCE_BASE_URL": "https://data-api.binance.vision,https://api.binance.com",
    "BINANCE_ARCHIVE_URL": "https://data.binance.vision",
    "COINGECKO_BASE_URL": "https://api.coingecko.com/api/v3",
    "FEAR_GREED_BASE_URL": "https://api.alternative.me",
    "COINMETRICS_BASE_URL": "https://community-api.coinmetrics.io",
    "BLOCKCHAIN_BASE_URL": "https://api.blockchain.info",
    "OKX_BASE_URL": "https://www.okx.com",
    "GDELT_BASE_URL": "https://api.gdeltproject.org",
    "HN_BASE_URL": "https://hn.algolia.com",
    # Feeds do not stand in for each other: each is requested.
    "NEWS_FEEDS": "https://www.coindesk.com/arc/outboundfeeds/rss,https://cointelegraph.com/rss,https://decrypt.co/feed,"
    "https://www.theblock.co/rss.xml,https://bitcoinmagazine.com/feed,https://cryptoslate.com/feed",
    "X_BASE_URL": "https://api.x.com",
}
MARKET_URLS = ("BINANCE_BASE_URL", "BINANCE_ARCHIVE_URL", "COINGECKO_BASE_URL", "FEAR_GREED_BASE_URL")
BITCOIN_TRANSACTIONS_URL = "s3://aws-public-blockchain/v1.0/btc"
OKX_WS_URL = "wss://ws.okx.com:8443/ws/v5/public"
PACKAGED_UNIVERSE = Path(__file__).with_name("universe.csv")


@dataclass(frozen=True)
class Postgres:
    """Where an external or already started server listens, and as whom its owner connects."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port as URLs and messages have them: an IPv6 address in brackets."""
        return proxies.join(self.host, self.port)

    def connect_kwargs(self, role: Role | None = None, environ: Mapping[str, str] = os.environ) -> dict[str, str | int]:
        """Return psycopg2's keyword arguments for the owner, or for one of tickmart's roles.

        A role with a login of its own (``TICKMART_PG_<ROLE>_USER`` and ``_PASSWORD``) is used as such; otherwise the
        owner connects and the session starts as that role. The role's grants apply either way.
        """
        user, password, options = self.user, self.password, "-c timezone=UTC"
        if role is not None:
            user = environ.get(f"TICKMART_PG_{role.upper()}_USER", user)
            password = environ.get(f"TICKMART_PG_{role.upper()}_PASSWORD", password)
            set_role = environ.get(f"TICKMART_PG_{role.upper()}_ROLE", role if user == self.user else "")
            options += f" -c role={set_role}" if set_role else ""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": user,
            "password": password,
            "options": options,
            "connect_timeout": 10,
            # A server that vanishes silently (power, cable) is noticed within about a minute.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "application_name": f"tickmart {role or 'owner'}",
        }


@dataclass(frozen=True)
class ObjectStore:
    """An S3 endpoint and the bucket of the bronze lake."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str = "bronze"
    secure: bool = False


@dataclass(frozen=True)
class Smtp:
    """A mail server that relays messages."""

    host: str
    port: int
    tls: bool
    """TLS from the first byte (smtps); without it the connection is encrypted by STARTTLS."""
    user: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True)
class Alerting:
    """Where alerts go; a channel that is None or empty is off."""

    slack_webhook_url: str | None = field(default=None, repr=False)
    smtp: Smtp | None = None
    email_to: tuple[str, ...] = ()
    email_from: str = ""
    heartbeat_url: str | None = field(default=None, repr=False)
    rules_path: Path | None = None
    """The file of the price rules; None is alert_rules.yml in TICKMART_HOME, if it exists."""


@dataclass(frozen=True)
class Settings:
    """All settings; ``None`` for a server means the embedded one."""

    home: Path
    backups: Path
    postgres: Postgres | None
    object_store: ObjectStore | None
    universe_path: Path
    source_urls: Mapping[str, tuple[str, ...]]
    coingecko_api_key: str | None = field(repr=False)
    x_bearer_token: str | None = field(repr=False)
    http_deadline_s: float
    postgres_wait_s: float
    keep_servers_s: float | None
    """How long embedded servers run on without a command; None means a minute after commands of a terminal, else 0."""
    coingecko_calls_per_minute: int
    coingecko_calls_per_month: int
    markets_every_minutes: int
    bitcoin_transactions: bool
    bitcoin_transactions_url: str
    live: bool | None
    """Whether live prices are on; None means on in `up`, `demo` and the services, which set it for their runs."""
    okx_ws_url: str
    nats_url: str | None = field(repr=False)
    live_raw_days: int
    live_broker_mb: int
    alerting: Alerting
    warehouse: Path
    """The folder of the tables that Spark and Sail build."""
    engines: tuple[str, ...]
    """The engines whose marts are assets in Dagster."""
    spark_master: str
    spark_memory: str
    spark_options: dict[str, str]
    """Further options of Spark, by name."""

    def is_public(self, name: str) -> bool:
        """Return whether a source's address is its default one."""
        return self.source_urls[name] == setting_values.urls(name, SOURCE_URLS[name])

    def has_other_market(self) -> bool:
        """Return whether every market source has an address of its own: recorded, simulated or in a closed network."""
        return not any(self.is_public(name) for name in MARKET_URLS)


def home_of(environ: Mapping[str, str]) -> Path:
    """Return TICKMART_HOME, by default .tickmart in the working folder."""
    return Path(environ.get("TICKMART_HOME", "").strip() or ".tickmart").expanduser().absolute()


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from ``environ``; raise SettingsError naming the first variable that is malformed."""
    values = {name: value.strip() for name, value in environ.items() if value.strip()}
    try:
        proxies.check(environ)
    except proxies.ProxyError as error:
        raise SettingsError(str(error)) from None
    for name in ("COINGECKO_API_KEY", "X_BEARER_TOKEN"):
        if name in values and not setting_values.plain_text(values[name]):
            raise SettingsError(f"{name}: a key has neither spaces nor special characters; copy it again")
    key = values.get("COINGECKO_API_KEY")
    home = home_of(environ)
    return Settings(
        home=home,
        backups=Path(values.get("TICKMART_BACKUPS", str(home / "backups"))).expanduser().absolute(),
        postgres=_postgres(values),
        object_store=_object_store(values),
        universe_path=Path(values.get("TICKMART_UNIVERSE", str(PACKAGED_UNIVERSE))).expanduser().absolute(),
        source_urls={
            name: setting_values.urls(name, values.get(name, default)) for name, default in SOURCE_URLS.items()
        },
        coingecko_api_key=key,
        x_bearer_token=values.get("X_BEARER_TOKEN"),
        http_deadline_s=setting_values.number(values, "TICKMART_HTTP_DEADLINE_SECONDS", 900, 5, 86_400),
        # A restart with recovery takes seconds, an update of the server a minute.
        postgres_wait_s=setting_values.number(values, "TICKMART_POSTGRES_PATIENCE_SECONDS", 90, 0, 3600),
        keep_servers_s=setting_values.number(values, "TICKMART_KEEP_SERVERS_SECONDS", None, 0, 3600),
        # Keyless calls share one limit per IP (5 to 15 a minute have been reported), a Demo key has 30 to 100.
        coingecko_calls_per_minute=setting_values.whole(
            values, "TICKMART_COINGECKO_CALLS_PER_MINUTE", 25 if key else 10, 1, 10_000
        ),
        coingecko_calls_per_month=setting_values.whole(
            values, "TICKMART_COINGECKO_CALLS_PER_MONTH", 10_000, 1, 100_000_000
        ),
        markets_every_minutes=setting_values.whole(values, "TICKMART_MARKETS_EVERY_MINUTES", 60, 5, 60),
        bitcoin_transactions=setting_values.flag(values, "TICKMART_BITCOIN_TRANSACTIONS", default=False),
        bitcoin_transactions_url=setting_values.bucket_url(
            "BITCOIN_TRANSACTIONS_URL", values.get("BITCOIN_TRANSACTIONS_URL", BITCOIN_TRANSACTIONS_URL)
        ),
        live=setting_values.switch(values, "TICKMART_LIVE"),
        okx_ws_url=setting_values.stream_url("OKX_WS_URL", values.get("OKX_WS_URL", OKX_WS_URL), ("ws", "wss")),
        nats_url=_nats_url(values),
        live_raw_days=setting_values.whole(values, "TICKMART_LIVE_RAW_DAYS", 7, 1, 3650),
        # An hour without Postgres at 2,000 messages a second is 2.5 GB.
        live_broker_mb=setting_values.whole(values, "TICKMART_LIVE_BROKER_MB", 4096, 1, 1_000_000),
        alerting=_alerting(values),
        warehouse=Path(values.get("TICKMART_WAREHOUSE", str(home / "warehouse"))).expanduser().absolute(),
        engines=tuple(
            filter(
                None,
                _matching(
                    values, "TICKMART_ENGINES", "", r"|(spark|sail)(,(spark|sail))*", "such as spark or spark,sail"
                ).split(","),
            )
        ),
        spark_master=_matching(
            values,
            "TICKMART_SPARK_MASTER",
            "local[*]",
            r"local\[(\*|[1-9]\d*)\]|spark://[\w.,:-]+|yarn",
            "such as local[*] or spark://host:7077",
        ),
        spark_memory=_matching(values, "TICKMART_SPARK_MEMORY", "2g", r"[1-9]\d*[mg]", "such as 2g or 1500m"),
        spark_options=_spark_options(values.get("TICKMART_SPARK_OPTIONS", "")),
    )


def _matching(values: Mapping[str, str], name: str, default: str, pattern: str, example: str) -> str:
    value = values.get(name, default)
    if re.fullmatch(pattern, value) is None:
        raise SettingsError(f"{name}: {value!r} is none; write one {example}")
    return value


def _spark_options(text: str) -> dict[str, str]:
    fix = "write name=value, such as spark.sql.shuffle.partitions=64"
    try:
        parts = shlex.split(text)
    except ValueError as error:
        # The text can have a password in it.
        raise SettingsError(f"TICKMART_SPARK_OPTIONS: {error}; {fix}") from None
    if wrong := [part for part in parts if not re.fullmatch(r"spark\.[\w.-]+=.*", part)]:
        raise SettingsError(f"TICKMART_SPARK_OPTIONS: {wrong[0]!r} is none; {fix}")
    return dict(part.split("=", 1) for part in parts)


def _nats_url(values: Mapping[str, str]) -> str | None:
    if "NATS_URL" not in values:
        return None
    return setting_values.stream_url("NATS_URL", values["NATS_URL"], ("tls", "nats"), login=True)


def secrets(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the secret values in ``environ``, longest first, so that a log can remove them."""
    names = (
        "COINGECKO_API_KEY", "X_BEARER_TOKEN", "MINIO_SECRET_KEY", "PGPASSWORD", "SLACK_WEBHOOK_URL", "SMTP_URL",
        "HEARTBEAT_URL", "NATS_PASSWORD",
    )  # fmt: skip
    found = {environ.get(name, "").strip() for name in names}
    found |= {value for name, value in environ.items() if re.fullmatch(r"TICKMART_PG_\w+_PASSWORD", name)}
    found |= {urlsplit(environ.get(name, "")).path for name in ("SLACK_WEBHOOK_URL", "HEARTBEAT_URL")}
    for name in ("SMTP_URL", "DAGSTER_PG_URL", "NATS_URL"):
        password = urlsplit(environ.get(name, "")).password
        found |= {password, unquote(password)} if password else set()
    found |= proxies.logins(environ)
    # A value of a few characters would also remove unrelated words.
    return sorted((value for value in found if len(value) >= 6), key=len, reverse=True)


def without_secrets(text: str) -> str:
    """Replace every secret of the environment in a text, also as a URL has it, and the login of any URL."""
    for secret in secrets():
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return re.sub(r"(?<=://)[^\s/@]+@", "***@", text)


def _alerting(values: Mapping[str, str]) -> Alerting:
    if ("SMTP_URL" in values) != ("ALERT_EMAIL_TO" in values):
        there, missing = ("SMTP_URL", "ALERT_EMAIL_TO") if "SMTP_URL" in values else ("ALERT_EMAIL_TO", "SMTP_URL")
        raise SettingsError(f"{there} is set but {missing} is not: set both to get alerts by e-mail, or unset {there}")
    smtp = _smtp(values["SMTP_URL"]) if "SMTP_URL" in values else None
    sender = values.get("ALERT_EMAIL_FROM") or (
        smtp.user if smtp and setting_values.is_address(smtp.user or "") else None
    )
    webhook, heartbeat = values.get("SLACK_WEBHOOK_URL"), values.get("HEARTBEAT_URL")
    if webhook is not None:
        setting_values.secret_url(
            "SLACK_WEBHOOK_URL", webhook, "copy it again, https://hooks.slack.com/services/..., from Slack"
        )
    if heartbeat is not None:
        setting_values.secret_url(
            "HEARTBEAT_URL", heartbeat, "copy it again: the https:// address that your monitor wants pinged"
        )
    return Alerting(
        slack_webhook_url=webhook,
        smtp=smtp,
        email_to=setting_values.addresses("ALERT_EMAIL_TO", values.get("ALERT_EMAIL_TO", "")),
        email_from=setting_values.addresses("ALERT_EMAIL_FROM", sender)[0] if sender else "tickmart@localhost",
        heartbeat_url=heartbeat,
        rules_path=Path(rules).expanduser().absolute() if (rules := values.get("TICKMART_ALERT_RULES")) else None,
    )


def _smtp(value: str) -> Smtp:
    fix = "write smtp://user:password@host:587 (STARTTLS) or smtps://user:password@host:465, %-encode odd characters"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise SettingsError(f"SMTP_URL: its value is not a URL (not shown: it is secret); {fix}") from None
    if (
        parts.scheme not in ("smtp", "smtps")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or not setting_values.plain_text(value)
    ):
        raise SettingsError(f"SMTP_URL: its value is not a mail server (not shown: it is secret); {fix}")
    if bool(parts.username) != bool(parts.password):
        raise SettingsError(f"SMTP_URL: user and password go together, and one is missing; {fix}")
    tls = parts.scheme == "smtps"
    user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
    return Smtp(parts.hostname, port or (465 if tls else 587), tls, user, password)


def _postgres(values: Mapping[str, str]) -> Postgres | None:
    stray = [n for n in ("PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE") if n in values]
    if "PGHOST" not in values:
        if stray:
            raise SettingsError(
                f"{stray[0]} is set but PGHOST is not: set PGHOST to use your server, "
                f"or unset {', '.join(stray)} for the embedded one"
            )
        return None
    host = values["PGHOST"]
    if host.startswith("/"):
        raise SettingsError(
            f"PGHOST: {host!r} is a socket directory; tickmart needs a TCP host such as 127.0.0.1 "
            "(Great Expectations cannot take a socket path)"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]  # an IPv6 address as in a URL; libpq expects it without brackets
    port = setting_values.whole(values, "PGPORT", 5432, 1, 65_535)
    user = values.get("PGUSER", "postgres")
    return Postgres(host, port, values.get("PGDATABASE", user), user, values.get("PGPASSWORD", ""))


def _object_store(values: Mapping[str, str]) -> ObjectStore | None:
    endpoint = values.get("MINIO_ENDPOINT")
    stray = [n for n in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "MINIO_BUCKET", "MINIO_SECURE") if n in values]
    if endpoint is None:
        if stray:
            raise SettingsError(
                f"{stray[0]} is set but MINIO_ENDPOINT is not: set it to use your S3 store, "
                f"or unset {', '.join(stray)} for the embedded one"
            )
        return None
    if not setting_values.is_endpoint(endpoint):
        raise SettingsError(
            f"MINIO_ENDPOINT: {endpoint!r} must be host or host:port, an IPv6 address in brackets ([::1]:9000), no "
            "scheme, no path; MINIO_SECURE=true means https"
        )
    for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        if name not in values:
            raise SettingsError(f"{name} is missing: MINIO_ENDPOINT={endpoint} needs both keys; there is no default")
        if not setting_values.plain_text(values[name]):
            raise SettingsError(f"{name}: a key has neither spaces nor special characters; copy it again")
    bucket = values.get("MINIO_BUCKET", "bronze")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise SettingsError(f"MINIO_BUCKET: {bucket!r} is not a bucket name (3 to 63 of a-z, 0-9, dot, dash)")
    return ObjectStore(
        endpoint,
        values["MINIO_ACCESS_KEY"],
        values["MINIO_SECRET_KEY"],
        bucket,
        setting_values.flag(values, "MINIO_SECURE", default=False),
    )
