"""Checks whether this installation can work: versions, stores, sources, universe. Changes nothing."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from ingestion import proxies
from ingestion.bronze.lake import Lake, LakeError
from ingestion.bronze.merged import current
from ingestion.database import connections
from ingestion.setting_values import SettingsError
from ingestion.settings import Settings
from ingestion.sources.http import SourceError
from ingestion.sources.registry import SOURCES
from ingestion.sources.source import Finding
from ingestion.universe import UniverseError
from orchestration.alerting import channels
from orchestration.alerting.price_rules import read_rules
from orchestration.engines import installed
from orchestration.local import demo

PACKAGES = ("dagster", "dagster-dbt", "dbt-core", "dbt-postgres", "great-expectations", "streamlit", "plotly", "minio")


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each version, store and source, and for each symbol of the universe that is not traded."""
    yield Finding(True, "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _versions()
    yield Finding(True, "home", str(settings.home))
    if (seed := demo.seed_of(settings.home)) is not None:
        yield Finding(True, "sources", f"simulated markets (seed {seed})")
    yield Finding(True, "proxies", proxies_used(settings))
    yield from _stores(settings)
    yield from _sources(settings)
    on = channels.configured(settings.alerting) + ["heartbeat"] * (settings.alerting.heartbeat_url is not None)
    yield Finding(True, "alerts", f"{', '.join(on)}: `tickmart alert test` tests them" if on else "no channel is set")
    yield _price_rules(settings)
    yield from installed.findings(settings.spark_memory)


def _price_rules(settings: Settings) -> Finding:
    try:
        rules = read_rules(settings)
    except (SettingsError, UniverseError) as error:
        return Finding(False, "price rules", str(error))
    return Finding(True, "price rules", f"{len(rules)}: {', '.join(rule.name for rule in rules)}" if rules else "none")


def proxies_used(settings: Settings) -> str:
    """Return one line with the proxy of each source and notifier."""
    alerting = settings.alerting
    urls = {api.name: api.urls(settings)[0] for source in SOURCES for api in source.apis}
    alerts = {"Slack": alerting.slack_webhook_url, "heartbeat": alerting.heartbeat_url}
    names: dict[proxies.Proxy | None, list[str]] = {}
    for name, url in {**urls, **alerts}.items():
        if url:
            names.setdefault(proxies.proxy_of(url), []).append(name)
    if set(names) == {None}:
        return "none"
    return "; ".join(f"{', '.join(found)}: {proxy or 'none'}" for proxy, found in names.items())


def _versions() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(True, name, version(name))
        except PackageNotFoundError:
            yield Finding(False, name, "is not installed; run `make setup`")


def _stores(settings: Settings) -> Iterator[Finding]:
    assert settings.postgres is not None
    assert settings.object_store is not None
    with connections.connected(settings.postgres) as connection:
        [(server_version,)] = connections.fetch(connection, "show server_version")
        yield Finding(True, "Postgres", f"{server_version} at {settings.postgres.address}")
    try:
        lake = Lake(settings.object_store, attempts=1)
        lake.ensure_bucket()
        objects = sum(len(current(lake.list(f"{source.dataset.prefix}/"))) for source in SOURCES)
        where = f"{settings.object_store.endpoint}/{settings.object_store.bucket}"
        yield Finding(True, "object store", f"{where}, {objects:,} objects")
    except LakeError as error:
        yield Finding(False, "object store", str(error))


def _sources(settings: Settings) -> Iterator[Finding]:
    for source in SOURCES:
        if source.probe is not None:
            yield from source.probe(settings)
        for api in source.apis:
            if api.probe is None:
                continue
            try:
                with contextlib.closing(api.client(settings, deadline_s=source.deadline_s or 20)) as client:
                    yield from api.probe(client, settings)
            except SourceError as error:
                problem = str(error).removeprefix(f"{api.name}: ")
                message = f"optional, runs go on without it: {problem}" if source.dataset.optional else problem
                yield Finding(source.dataset.optional, api.name, message)
