"""What a source declares: its APIs, its datasets, and how they are fetched and checked.

Everything generic (clients, assets, load, status, doctor) reads these declarations; ``registry`` lists them. A source
is one package under ``ingestion/sources/``: it is declared in its ``source.py`` and described in its README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from ingestion.bronze.results import FetchResult
from ingestion.database.connections import Connection
from ingestion.datasets import Dataset
from ingestion.raw.loader import Loaded, load_pending
from ingestion.settings import Settings
from ingestion.sources.conventions import PLAIN_HTTP, Conventions
from ingestion.sources.http import Deadline, HttpClient, Transport
from ingestion.sources.rate_limit import Limits, RateLimiter
from ingestion.universe import Asset


@dataclass(frozen=True)
class Finding:
    """One line of ``tickmart doctor``: whether it is good, what it is about, and the message."""

    ok: bool
    subject: str
    message: str


Probe = Callable[[HttpClient, Settings], Iterator[Finding]]
# The longest time without an answer that a run spends on one API of an optional source: two of them cost 15 s.
OPTIONAL_DEADLINE_S = 7.0


def probe_of(path: str, access: Callable[[Settings], str], params: Mapping[str, str | int] | None = None) -> Probe:
    """Return a probe that requests a path; ``access`` says by which key."""

    def probe(client: HttpClient, settings: Settings) -> Iterator[Finding]:
        client.get(path, params)
        yield Finding(True, client.source, f"answers, {access(settings)}")

    return probe


@dataclass(frozen=True)
class Api:
    """An HTTP API: its name in messages, ``ops.source_requests`` and shared limits, and how clients reach it.

    ``setting`` is the environment variable of its address (``settings.SOURCE_URLS``). Without ``limits`` requests are
    not limited. ``probe`` makes a cheap request for ``tickmart doctor``, or raises SourceError.
    """

    name: str
    setting: str
    headers: Callable[[Settings], Mapping[str, str]] = lambda settings: {}
    limits: Callable[[Settings], Limits] | None = None
    conventions: Conventions = PLAIN_HTTP
    probe: Probe | None = None

    def urls(self, settings: Settings) -> tuple[str, ...]:
        """Return the addresses of its hosts, which are tried in order."""
        return settings.source_urls[self.setting]

    def client(
        self, settings: Settings, *, deadline_s: float | None = None, limiter: RateLimiter | None = None
    ) -> HttpClient:
        """Return a client; the caller closes it. ``deadline_s`` is the longest time without an answer."""
        usual = Transport()
        most_s = deadline_s or settings.http_deadline_s
        return HttpClient(
            self.name,
            self.urls(settings),
            setting=self.setting,
            conventions=self.conventions,
            limiter=limiter,
            deadline=Deadline(min(most_s, settings.http_deadline_s)),
            transport=Transport(
                headers=self.headers(settings),
                # A host has several addresses, and each is tried for so long.
                connect_s=min(usual.connect_s, most_s / 4),
                read_s=min(usual.read_s, most_s),
            ),
        )


@dataclass(frozen=True)
class FetchRequest:
    """What a run asks of a source.

    ``days`` is the run's half-open range of UTC days, given to sources that are fetched by day; ``options`` is a value
    of the dataclass that the source declares as its options; ``settings`` are those of the process.
    """

    universe: Sequence[Asset]
    at: datetime
    days: tuple[date, date] | None = None
    options: Any = None
    settings: Settings | None = None


@dataclass(frozen=True)
class LoadedRun:
    """What a check after a load reads: the connection, the run's id and days, and the universe."""

    connection: Connection
    run_id: str
    days: tuple[date, date] | None
    universe: Callable[[], Sequence[Asset]]


@dataclass(frozen=True)
class Observation:
    """What a check observed: the problems, one text each, how many rows they are about, and counts to show."""

    problems: Sequence[str] = ()
    failed_rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadCheck:
    """A check that runs after each load of a dataset; it warns.

    With ``maintains`` it also writes that table of ``ops`` (a name below ``ops/`` and a description), which becomes an
    asset of its own; otherwise the check belongs to the raw table.
    """

    name: str
    description: str
    expected: str
    run: Callable[[LoadedRun], Observation]
    maintains: tuple[str, str] | None = None


@dataclass(frozen=True)
class Source:
    """A source of one dataset. ``name`` is an identifier, unique among the sources: in the asset ``source/<name>_api``.

    ``fetch(context, request, *clients)`` fetches into bronze, with one client for each of ``apis`` in their order; it
    returns what it did, or raises SourceError. ``options`` is a frozen dataclass of the run configuration. A source
    that is fetched ``by_day`` gets a range of UTC days in each run. ``completeness_check`` is the check (name,
    description, expected) of ``FetchResult.shortfall``. ``attribution`` is the text that the source's terms require.
    ``load`` loads what is pending into raw; ``probe`` is what doctor reports of a source without an HTTP API.

    A refresh of all sources does not need that of an ``optional`` dataset: without an answer its checks warn, the run
    is complete, and the dataset alone becomes late by its SLA. For an answer of each of its APIs it waits
    ``OPTIONAL_DEADLINE_S``.
    """

    name: str
    dataset: Dataset
    apis: tuple[Api, ...]
    fetch: Callable[..., FetchResult]
    description: str
    bronze_description: str
    raw_description: str
    attribution: str = ""
    options: type | None = None
    by_day: bool = False
    completeness_check: tuple[str, str, str] | None = None
    load_checks: tuple[LoadCheck, ...] = ()
    load: Callable[..., tuple[Loaded, list[str]]] = load_pending
    probe: Callable[[Settings], Iterator[Finding]] | None = None

    @property
    def deadline_s(self) -> float | None:
        """The longest time without an answer of an API in a refresh of all sources; None for that of the settings."""
        return OPTIONAL_DEADLINE_S if self.dataset.optional else None
