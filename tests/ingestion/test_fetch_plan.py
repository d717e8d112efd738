"""The plan of a klines fetch is a pure function: each day is planned in the right way, skipped or unlisted."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.datasets import ONE_DAY
from ingestion.sources.binance.plan import (
    FILE_DAYS_PER_RUN,
    DayRange,
    FetchPlan,
    KlinesRequest,
    Known,
    Reason,
    days_between,
    plan_fetch,
    plan_follow_up,
)
from ingestion.sources.binance.symbols import SymbolFacts
from ingestion.universe import Asset

NOW = datetime(2024, 6, 15, 10, tzinfo=UTC)
TODAY = NOW.date()
ASSET = Asset("bitcoin", "BTCUSDT", "Bitcoin", "")
LISTED = SymbolFacts({}, frozenset(), frozenset())
REST, FILES = ("rest",), ("monthly_file", "daily_files", "rest")
Days = dict[tuple[str, date], tuple[tuple[str, ...], Reason]]


def plan_of(
    start: str, end: str, symbols: SymbolFacts = LISTED, answered: set[date] = frozenset(), **options
) -> FetchPlan:  # type: ignore[assignment]
    request = KlinesRequest([ASSET], date.fromisoformat(start), date.fromisoformat(end), **options)
    return plan_fetch(request, Known(NOW, symbols, {"BTCUSDT": answered}))


def planned_days(plan: FetchPlan) -> Days:
    days: Days = {}
    for planned in plan.ranges:
        for day in days_between(planned.first, planned.last):
            assert (planned.symbol, day) not in days, "a symbol-day is planned twice"
            days[planned.symbol, day] = (planned.ways, planned.reason)
    return days


def test_a_range_that_was_never_answered_is_one_request_by_rest():
    [planned] = plan_of("2024-01-01", "2024-03-01").ranges
    assert planned == DayRange("BTCUSDT", date(2024, 1, 1), date(2024, 3, 1), REST, Reason.NEW)


def test_answered_days_are_requested_again_by_a_backfill_and_skipped_by_a_refresh():
    answered = {date(2024, 1, 2), TODAY - ONE_DAY, TODAY}
    assert planned_days(plan_of("2024-01-02", "2024-01-03", answered=answered)).popitem()[1] == (REST, Reason.REPEAT)
    refresh = plan_of("2024-01-01", "2024-06-30", answered=answered, skip_covered=True)
    reasons = {day: reason for (_, day), (_, reason) in planned_days(refresh).items()}
    assert date(2024, 1, 2) not in reasons
    assert refresh.skipped_days == 1
    assert [day for day, reason in reasons.items() if reason is Reason.OPEN] == [TODAY - ONE_DAY, TODAY]
    assert max(reasons) == TODAY


def test_days_before_the_listing_are_unlisted_and_gone_symbols_are_not_planned():
    listed = SymbolFacts({"BTCUSDT": datetime(2024, 1, 3, 5, tzinfo=UTC)}, frozenset(), frozenset())
    plan = plan_of("2024-01-01", "2024-01-05", listed)
    assert plan.unlisted == (("BTCUSDT", date(2024, 1, 1)), ("BTCUSDT", date(2024, 1, 2)))
    assert [day for _, day in planned_days(plan)] == [date(2024, 1, 3), date(2024, 1, 4)]
    for gone in (
        SymbolFacts({}, frozenset({"BTCUSDT"}), frozenset()),
        SymbolFacts({}, frozenset(), frozenset({"BTCUSDT"})),
    ):
        assert plan_of("2024-01-01", "2024-01-05", gone).ranges == ()


def test_a_resumed_backfill_leaves_out_what_it_has_answered_since_it_began():
    request = KlinesRequest([ASSET], date(2024, 1, 1), date(2024, 1, 4), resume=True)
    known = Known(NOW, LISTED, {"BTCUSDT": {date(2024, 1, 2), date(2024, 1, 3)}}, {"BTCUSDT": {date(2024, 1, 2)}})
    assert [day for _, day in planned_days(plan_fetch(request, known))] == [date(2024, 1, 1), date(2024, 1, 3)]


@pytest.mark.parametrize(
    ("source", "interval", "first", "ways"),
    [
        ("archive", "1h", "2024-05-31", FILES), ("archive", "1h", "2024-06-01", ("daily_files", "rest")),
        ("auto", "1h", "2024-05-01", REST), ("auto", "1m", "2024-05-01", ("monthly_file", "rest")),
        ("auto", "1m", "2024-05-02", REST), ("rest", "1m", "2024-05-01", REST),
    ],
)  # fmt: skip
def test_files_come_first_for_published_months_where_they_are_wanted_or_cheaper(source, interval, first, ways):
    plan = plan_of(first, "2024-06-10", source=source, interval=interval)
    assert planned_days(plan)["BTCUSDT", date.fromisoformat(first)][0] == ways


def test_a_follow_up_asks_the_way_that_has_not_answered_and_both_for_a_due_gap():
    day, gap, lost, short = (date(2024, 5, n) for n in (1, 2, 3, 4))
    request, known = KlinesRequest([ASSET], day, day), Known(NOW, LISTED, {})
    follow_up = plan_follow_up(
        request, known, {"BTCUSDT": {gap}}, {"BTCUSDT": {lost}},
        {("BTCUSDT", short): ["archive"], ("BTCUSDT", day): ["rest"], ("BTCUSDT", TODAY): ["rest"]},
    )  # fmt: skip
    by_rest = {day: reason for (_, day), (_, reason) in planned_days(follow_up.by_rest).items()}
    by_files = {day: reason for (_, day), (_, reason) in planned_days(follow_up.by_files).items()}
    assert by_rest == {gap: Reason.GAP, lost: Reason.LOST, short: Reason.SHORT}
    assert by_files == {day: Reason.SHORT, gap: Reason.GAP}
    assert {ways for ways, _ in planned_days(follow_up.by_files).values()} == {("daily_files", "monthly_file")}


def test_a_run_reads_a_bounded_number_of_confirming_files_the_oldest_first():
    days = {date(2020, 1, 1) + timedelta(days=n) for n in range(FILE_DAYS_PER_RUN + 9)}
    request, known = KlinesRequest([ASSET], TODAY, TODAY), Known(NOW, LISTED, {})
    plan = plan_follow_up(request, known, {"BTCUSDT": days}, {}, {}).by_files
    assert sorted(day for _, day in planned_days(plan)) == sorted(days)[:FILE_DAYS_PER_RUN]


@st.composite
def cases(draw: st.DrawFn) -> tuple[KlinesRequest, Known]:
    day = st.dates(date(2024, 1, 1), date(2024, 6, 20))
    start, end = sorted((draw(day), draw(day)))
    split = draw(day)
    assets = [
        Asset("a", "AUSDT", "A", "", valid_to=split), Asset("a", "BUSDT", "A", "", valid_from=split),
        Asset("c", "CUSDT", "C", ""),
    ]  # fmt: skip
    listed = {"CUSDT": datetime.combine(draw(day), datetime.min.time(), UTC)}
    gone = draw(st.sets(st.sampled_from(["AUSDT", "CUSDT"])))
    answered = {symbol: draw(st.sets(day, max_size=40)) for symbol in ("AUSDT", "BUSDT", "CUSDT")}
    interval, source = draw(st.sampled_from(["1m", "1h", "1d"])), draw(st.sampled_from(["rest", "archive", "auto"]))
    request = KlinesRequest(assets, start, end, interval, source, skip_covered=draw(st.booleans()))
    return request, Known(NOW, SymbolFacts(listed, frozenset(gone), frozenset()), answered)


@given(cases())
def test_every_valid_day_is_either_planned_or_unlisted_or_answered(case: tuple[KlinesRequest, Known]):
    request, known = case
    plan = plan_fetch(request, known)
    planned = planned_days(plan)
    valid = {
        (asset.binance_symbol, day)
        for asset in request.assets
        if asset.binance_symbol not in known.symbols.delisted
        for day in days_between(request.start, min(request.end, TODAY + ONE_DAY))
        if asset.trades_in(day, day + ONE_DAY)
    }
    assert planned.keys() | set(plan.unlisted) <= valid
    assert not planned.keys() & set(plan.unlisted)
    left_out = valid - planned.keys() - set(plan.unlisted)
    assert all(request.skip_covered and day in known.answered[symbol] for symbol, day in left_out)
    assert list(plan.ranges) == sorted(plan.ranges, key=lambda r: (r.symbol, r.first))


@given(cases())
def test_a_refresh_after_all_answers_asks_only_for_yesterday_and_today(case: tuple[KlinesRequest, Known]):
    request, known = case
    answered = {symbol: set(days_between(request.start, request.end)) for symbol in ("AUSDT", "BUSDT", "CUSDT")}
    again = plan_fetch(
        KlinesRequest(request.assets, request.start, request.end, request.interval, request.source, skip_covered=True),
        Known(NOW, known.symbols, answered),
    )
    assert all(
        day >= TODAY - ONE_DAY and reason is Reason.OPEN for (_, day), (_, reason) in planned_days(again).items()
    )
