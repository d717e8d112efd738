"""Read-only connections to a real Postgres: restarts, limits, permissions, types."""

import threading

import pytest

from dashboard import database
from dashboard.database import MartsError, fetch_frame


def test_query_reconnects_after_its_connection_was_terminated(use, marts, server):
    use(marts)
    assert len(fetch_frame("select 1 as one")) == 1
    server.execute(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tickmart dashboard'",
    )
    assert fetch_frame("select 2 as two")["two"].tolist() == [2]


def test_forty_threads_share_the_connection_pool(use, marts, server):
    use(marts)
    seen, answers = [], []

    def read() -> None:
        answers.append(
            fetch_frame("select pg_sleep(0.05), count(*) as n from pg_stat_activity where usename = current_user")
        )

    readers = [threading.Thread(target=read) for _ in range(40)]
    for reader in readers:
        reader.start()
    seen = server.query(
        "postgres", "select count(*) from pg_stat_activity where application_name = 'tickmart dashboard'"
    )
    for reader in readers:
        reader.join()
    assert len(answers) == 40
    assert seen[0][0] <= database.MAX_CONNECTIONS
    assert max(answer["n"].iloc[0] for answer in answers) <= database.MAX_CONNECTIONS


def test_slow_query_is_canceled_and_the_connection_reused(use, marts, monkeypatch):
    use(marts)
    database.ENGINE.dispose()
    monkeypatch.setattr(database, "STATEMENT_TIMEOUT_MS", 100)
    with pytest.raises(MartsError) as caught:
        fetch_frame("select pg_sleep(30)")
    assert caught.value.reason == "slow"
    assert fetch_frame("select 1 as one")["one"].tolist() == [1]
    database.ENGINE.dispose()  # connections with the short timeout


def test_exhausted_pool_is_reported_as_busy(use, marts, monkeypatch):
    use(marts)
    monkeypatch.setattr(database.ENGINE.pool, "_timeout", 0.1)
    held = [database.ENGINE.raw_connection() for _ in range(database.MAX_CONNECTIONS)]
    try:
        with pytest.raises(MartsError) as caught:
            fetch_frame("select 1")
    finally:
        for connection in held:
            connection.close()
    assert caught.value.reason == "busy"
    assert fetch_frame("select 1 as one")["one"].tolist() == [1]


@pytest.mark.parametrize(
    "statement",
    [
        "select * from raw.binance_klines",
        "select * from ops.runs",
        "select * from staging.stg_binance__ohlcv",
        "select * from marts.no_such",
    ],
)
def test_role_can_read_only_the_marts(use, marts, statement):
    use(marts)
    with pytest.raises(MartsError) as caught:
        fetch_frame(statement)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize(
    "statement", ["delete from marts.fct_prices", "create table marts.mine (a int)", "create temp table mine (a int)"]
)
def test_role_cannot_write(use, marts, statement):
    use(marts)
    with pytest.raises(Exception, match=r"read-only|no such table|permission"):
        fetch_frame(
            f"set default_transaction_read_only = off; {statement} returning 1" if "delete" in statement else statement
        )


def test_unreachable_server_error_has_no_secrets(use, no_database):
    use(no_database)
    with pytest.raises(MartsError) as caught:
        fetch_frame("select 1")
    assert caught.value.reason == "down"
    assert "canary-secret" not in str(caught.value)


def test_fetch_frame_returns_floats_integers_and_utc_datetimes(use, marts):
    use(marts)
    frame = fetch_frame(
        "select 1.5::numeric as price, 2::bigint as n, date '2026-01-02' as day, timestamptz '2026-01-02 03:00+02' "
        "as at, "
        "null::numeric as nothing, array[1.5::float8, 2] as line"
    )
    assert frame.dtypes.astype(str).to_dict() | {"line": ""} == {
        "price": "float64",
        "n": "int64",
        "day": frame["day"].dtype.name,
        "at": frame["at"].dtype.name,
        "nothing": "float64",
        "line": "",
    }
    assert frame["at"].iloc[0].isoformat() == "2026-01-02T01:00:00+00:00"
    assert frame["day"].iloc[0].isoformat() == "2026-01-02T00:00:00"
    assert frame["line"].iloc[0] == [1.5, 2.0]


def test_pgoptions_of_the_environment_apply(use, server, monkeypatch):
    given = server.environment
    use(
        {
            "PGHOST": given["PGHOST"],
            "PGPORT": given["PGPORT"],
            "PGDATABASE": "tickmart",
            "PGUSER": given["PGUSER"],
            "PGPASSWORD": given["PGPASSWORD"],
        }
    )
    monkeypatch.setenv("PGOPTIONS", "-c role=dashboard_ro")
    assert fetch_frame("select current_user as me")["me"].tolist() == ["dashboard_ro"]
