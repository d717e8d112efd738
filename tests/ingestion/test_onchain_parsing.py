"""Answers of the on-chain providers as they are really sent: text numbers, nine-digit stamps, days without a value."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ingestion.ops.series import Answers
from ingestion.sources.onchain import parse, plan
from ingestion.sources.onchain.dataset import FIRST_DAY

URL = "https://host.example/v4/timeseries/asset-metrics"
DAY = date(2024, 12, 31)
STAMP = "2024-12-31T00:00:00.000000000Z"


def coinmetrics(**record: Any) -> parse.Page:
    body = {"data": [{"asset": "btc", "time": STAMP, "TxCnt": "315699"} | record]}
    return parse.coinmetrics_page(json.dumps(body).encode(), URL, "TxCnt")


def blockchain(text: str, **head: Any) -> parse.Page:
    body = f'{json.dumps({"status": "ok", **head})[:-1]}, "values": [{text}]}}'
    return parse.blockchain_page(body.encode(), URL, "output-volume")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("315699", "315699"),
        ("703991256.009830571133586831256566886456", "703991256.009830571133586831256566886456"),
        ("1.5E+9", "1500000000"),
        (Decimal("1e-8"), "0.00000001"),
        (0, "0"),
        ("0." + "3" * 45, "0." + "3" * 38),
    ],
)
def test_a_number_is_exact_in_any_form(sent: Any, stored: str) -> None:
    assert parse.number(sent) == stored


@pytest.mark.parametrize("sent", ["NaN", "Infinity", "", "1_000", "12,5", "٣", True, None, [1], "9" * 39, "1e400", 1.5])
def test_what_is_no_number_is_rejected(sent: Any) -> None:
    with pytest.raises(ValueError, match=r"number|digits"):
        parse.number(sent)


def test_a_stamp_of_nine_digits_is_its_utc_day() -> None:
    [row] = coinmetrics().rows
    assert (row["date"], row["value"]) == (DAY, "315699")
    assert json.loads(row["payload"]) == {"asset": "btc", "time": STAMP, "TxCnt": "315699"}


@pytest.mark.parametrize("absent", [{"TxCnt": None}, {"TxCnt": ""}])
def test_a_day_without_a_value_is_no_data(absent: dict[str, Any]) -> None:
    assert coinmetrics(**absent) == parse.Page([], [])
    assert blockchain('{"x": 1735603200, "y": null}') == parse.Page([], [])


@pytest.mark.parametrize(
    "record",
    [{"asset": "eth"}, {"time": "2024-12-31T01:00:00Z"}, {"time": "2024-12-31"}, {"time": 1735603200}, {"TxCnt": "?"}],
)
def test_a_record_that_breaks_the_form_is_rejected_with_its_series(record: dict[str, Any]) -> None:
    page = coinmetrics(**record)
    assert page.rows == []
    assert json.loads(page.rejected[0].record)["metric"] == "TxCnt"


@pytest.mark.parametrize(
    "point",
    [
        '{"x": 1735603201, "y": 1}',
        '{"x": 1735603200000, "y": 1}',
        '{"x": "1735603200", "y": 1}',
        '{"x": true, "y": 1}',
        '{"x": 1735603200, "y": "?"}',
        '{"y": 1}',
        "[1735603200, 1]",
    ],
)
def test_a_point_that_breaks_the_form_is_rejected(point: str) -> None:
    page = blockchain(f'{point}, {{"x": 1735603200, "y": 3.1256566E+5}}')
    assert [(row["date"], row["value"]) for row in page.rows] == [(DAY, "312565.66")]
    assert len(page.rejected) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"data": {}}', b'{"values": 1}', b'{"status": "error", "values": []}'])
def test_a_body_of_another_form_is_an_error(body: bytes) -> None:
    for read in (parse.coinmetrics_page, parse.blockchain_page):
        with pytest.raises(ValueError, match=r".+"):
            read(body, URL, "TxCnt")


def next_token(**body: Any) -> str | None:
    return parse.coinmetrics_page(json.dumps({"data": [], **body}).encode(), URL, "TxCnt").next_token


def test_a_next_page_is_followed_on_the_same_host_only() -> None:
    assert next_token() is None
    assert next_token(next_page_token="a", next_page_url="https://elsewhere.example/?next_page_token=b") == "a"
    assert next_token(next_page_url=f"{URL}?page_size=2&next_page_token=c") == "c"
    with pytest.raises(ValueError, match="another host"):
        next_token(next_page_url="https://elsewhere.example/v4?next_page_token=b")


def test_a_day_with_two_values_is_rejected_and_one_that_comes_twice_counts_once() -> None:
    rows = [row for value in ("5", "5.0", "6") for row in coinmetrics(TxCnt=value).rows]
    assert parse.settle(rows[:2]) == (rows[:1], [], 1)
    kept, rejected, repeated = parse.settle(rows)
    assert (kept, len(rejected), repeated) == ([], 3, 0)


@pytest.mark.parametrize(
    ("offsets", "sampled"),
    [
        (range(0, 40, 2), True),
        (range(0, 80, 4), True),
        (range(40), False),
        ([*range(20), *range(30, 50)], False),
        ([0, 2, 4], False),
        ([], False),
    ],
)
def test_a_sampled_answer_shows_in_its_steps(offsets: Sequence[int], sampled: bool) -> None:
    assert parse.is_sampled([DAY + timedelta(days=n) for n in offsets]) is sampled


NOW = datetime(2025, 1, 2, 12, tzinfo=UTC)
YESTERDAY = date(2025, 1, 1)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


@pytest.mark.parametrize(
    ("newest", "answers", "first"),
    [
        (None, None, FIRST_DAY),
        (YESTERDAY, Answers(ago(hours=1), None), FIRST_DAY),
        (YESTERDAY, Answers(ago(hours=1), ago(days=6)), None),
        (YESTERDAY, Answers(ago(hours=1), ago(days=7)), FIRST_DAY),
        (YESTERDAY, Answers(ago(hours=24), ago(days=6)), date(2024, 12, 2)),
        (DAY, Answers(ago(minutes=20), ago(days=6)), None),
        (DAY, Answers(ago(hours=1), ago(days=6)), date(2024, 12, 1)),
        (date(2022, 4, 29), Answers(ago(hours=1), ago(days=6)), date(2022, 3, 30)),
        (None, Answers(ago(hours=1), ago(days=6)), FIRST_DAY),
        (YESTERDAY, Answers(ago(hours=-5), ago(days=6)), date(2024, 12, 2)),
    ],
)
def test_a_series_is_requested_when_a_day_can_be_new_or_restated(
    newest: date | None, answers: Answers | None, first: date | None
) -> None:
    assert plan.first_day(newest, answers, NOW) == first
