"""The sentiment index as it is really sent: text, gaps, repeated days, errors behind a 200, values changed later."""

import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from ingestion.bronze.results import FetchResult
from ingestion.sources.fear_greed import ingest as fear_greed_ingest
from ingestion.sources.fear_greed.dataset import FEAR_GREED, fear_greed_key
from ingestion.sources.http import HttpClient, SourceError
from support.pipeline import Chain
from support.scripted_server import Reply, scripted
from support.source_rows import index_of, moment, ms, sentiment

TODAY = date(2026, 1, 5)
Client = Callable[..., HttpClient]


def days_back(n: int) -> date:
    return TODAY - timedelta(days=n)


def ingest(chain: Chain, client_of: Client, body: bytes, today: date = TODAY) -> FetchResult:
    with scripted([Reply(body=body)]) as server:
        client = client_of(server.url, source="Fear & Greed", setting="FEAR_GREED_BASE_URL")
        return fear_greed_ingest.ingest_fear_greed(chain.context(), client, today)


def stored(chain: Chain) -> list[tuple[Any, ...]]:
    chain.load(FEAR_GREED)
    return chain.ask("select date, value, classification from raw.fear_greed order by date desc")


def test_the_history_is_typed_and_loaded_once(chain: Chain, client_of: Client) -> None:
    newest = sentiment("12", days_back(0), "Extreme Fear", time_until_update="36278")
    body = index_of([newest, sentiment("48", days_back(1), "Neutral")])
    assert ingest(chain, client_of, body).files == 1
    # The countdown differs with each request and is no part of the record.
    newest["time_until_update"] = "1"
    assert ingest(chain, client_of, index_of([newest, sentiment("48", days_back(1), "Neutral")])).files == 0
    assert stored(chain) == [(days_back(0), 12, "Extreme Fear"), (days_back(1), 48, "Neutral")]


@pytest.mark.parametrize(
    ("invalid", "reason"),
    [
        (sentiment("N/A"), "value is 'N/A'"),
        (sentiment(""), "value is ''"),
        (sentiment(41), "value is '41', not the text"),
        (sentiment("41.5"), "value is '41.5'"),
        (sentiment("-1"), "value is '-1'"),
        (sentiment("101"), "value is not from 0 to 100"),
        (sentiment("9" * 30), "value is"),
        (sentiment("²"), "value is '²'"),
        (sentiment(None), "value is 'None'"),
        (sentiment(name=None), "value_classification is None"),
        (sentiment(timestamp="01-02-2026"), "timestamp is '01-02-2026'"),
        (sentiment(timestamp=1767312000), "timestamp is"),
        (sentiment(timestamp="99999999999"), "date is before 2018-02-01 or in the future"),
        (sentiment(timestamp="9" * 20), "timestamp is"),
        (sentiment(timestamp="0"), "date is before 2018-02-01"),
        ({"value": "41"}, "timestamp is missing"),
        (["41"], "a list instead of an object"),
        (None, "a NoneType instead of an object"),
    ],
)
def test_an_invalid_day_is_rejected_once_and_the_others_are_loaded(
    chain: Chain, client_of: Client, invalid: Any, reason: str
) -> None:
    body = index_of([sentiment("40", TODAY), invalid, sentiment("42", days_back(1))])
    for at in range(2):
        report = ingest(chain, client_of, body, TODAY + timedelta(days=at))
        assert (report.rows, report.rejected, report.error) == (2, 1, None)
    assert [row[1] for row in stored(chain)] == [40, 42]
    [(why,)] = chain.ask("select reason from ops.rejected_records")
    assert reason in why


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (index_of([]), "its data is empty"),
        (b'{"name": "x"}', "its data is empty"),
        (b'{"data": {"value": "1"}}', "its data is empty"),
        (index_of([sentiment()], error="maintenance"), "maintenance"),
        (b'{"data": [], "metadata": "odd"}', "its data is empty"),
        (b"[]", "its data is empty"),
        (b"<html>", "cannot be read"),
    ],
)
def test_a_200_without_data_is_a_failure_that_is_named_and_changes_nothing(
    chain: Chain, client_of: Client, body: bytes, words: str
) -> None:
    ingest(chain, client_of, index_of([sentiment("40", TODAY)]))
    before = stored(chain)
    with pytest.raises(SourceError, match=words) as caught:
        ingest(chain, client_of, body)
    assert "\n" not in str(caught.value)
    assert stored(chain) == before


def test_of_a_day_that_comes_twice_the_newer_statement_counts(chain: Chain, client_of: Client) -> None:
    ingest(chain, client_of, index_of([sentiment("44", TODAY), sentiment("40", TODAY), sentiment("42", days_back(1))]))
    assert [row[:2] for row in stored(chain)] == [(TODAY, 44), (days_back(1), 42)]


def test_a_changed_past_value_is_a_restatement_with_the_old_value(chain: Chain, client_of: Client) -> None:
    ingest(chain, client_of, index_of([sentiment("40", TODAY), sentiment("42", days_back(1))]))
    stored(chain)
    ingest(chain, client_of, index_of([sentiment("40", TODAY), sentiment("43", days_back(1))]))
    assert [row[1] for row in stored(chain)] == [40, 43]
    assert chain.ask("select record_key, old_record ->> 'value', new_record ->> 'value' from ops.restatements") == [
        ({"date": str(days_back(1))}, "42", "43")
    ]


def test_a_value_that_changes_and_changes_back_ends_where_the_source_is(chain: Chain, client_of: Client) -> None:
    for at, value in enumerate(("40", "45", "40")):
        ingest(chain, client_of, index_of([sentiment(value, days_back(9))]), TODAY + timedelta(days=at))
        assert [row[1] for row in stored(chain)] == [int(value)]
    assert chain.one("select count(*) from ops.restatements") == 2


@pytest.mark.parametrize("kept", [slice(0, 3), slice(2, None)], ids=["old days cut", "new days cut"])
def test_a_cut_history_is_reported_and_takes_no_known_day_away(chain: Chain, client_of: Client, kept: slice) -> None:
    days = [sentiment(str(40 + n), days_back(n)) for n in range(6)]
    ingest(chain, client_of, index_of(days), days_back(1))
    *same, last = days[kept]
    report = ingest(chain, client_of, index_of([*same, {**last, "value": "77"}]))
    assert len(report.notes) == 1
    newest = chain.lake.read(fear_greed_key(TODAY))
    assert newest is not None
    assert sorted(newest[0]["date"].to_pylist()) == sorted(days_back(n) for n in range(6))
    values = [value for _, value, _ in stored(chain)]
    assert values == [77 if day is last else 40 + n for n, day in enumerate(days)]


def test_a_missing_day_stays_missing(chain: Chain, client_of: Client) -> None:
    ingest(chain, client_of, index_of([sentiment("40", TODAY), sentiment("42", days_back(2))]))
    assert [row[0] for row in stored(chain)] == [TODAY, days_back(2)]


def test_a_damaged_newest_object_is_reported_and_the_history_written_again(chain: Chain, client_of: Client) -> None:
    body = index_of([sentiment("40", TODAY), sentiment("42", days_back(1))])
    ingest(chain, client_of, body)
    key = fear_greed_key(TODAY)
    chain.lake._client.put_object(chain.lake.store.bucket, key, io.BytesIO(b"PAR1 damaged"), 12)
    report = ingest(chain, client_of, body)
    assert any(key in note for note in report.notes)
    assert [row[1] for row in stored(chain)] == [40, 42]


def test_a_timestamp_within_the_day_belongs_to_that_utc_day(chain: Chain, client_of: Client) -> None:
    late = str(ms(moment(TODAY, 23, 59)) // 1000)
    ingest(chain, client_of, index_of([sentiment("40", timestamp=late)]))
    assert stored(chain)[0][0] == TODAY
