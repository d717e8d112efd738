"""Risk metrics of a range and the two drawdowns against independent calculations and the marts."""

import empyrical
import numpy as np
import pandas as pd
import pytest

from dashboard.analysis.comparison import range_metrics
from dashboard.analysis.returns import drawdown_from_ath, risk_metrics, sortino
from dashboard.queries import prices
from tests.dashboard.frames import days
from tests.dashboard.page_tools import figures, numbers


def by_coin(**coins: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame.assign(crypto_id=name) for name, frame in coins.items()])


def test_range_metrics_equal_empyrical():
    coin, bitcoin = days(200, seed=2), days(200, seed=3)
    found = range_metrics(by_coin(solana=coin, bitcoin=bitcoin), bitcoin, ["solana", "bitcoin"]).loc["solana"]
    returns, market = (frame["close"].pct_change().iloc[1:] for frame in (coin, bitcoin))
    assert found["n"] == 199
    assert found["return_pct"] == pytest.approx(empyrical.cum_returns_final(returns) * 100)
    assert found["sharpe"] == pytest.approx(empyrical.sharpe_ratio(returns, annualization=365))
    assert found["sortino"] == pytest.approx(empyrical.sortino_ratio(returns, annualization=365))
    assert found["max_drawdown_pct"] == pytest.approx(empyrical.max_drawdown(returns) * 100)
    assert found["beta_btc"] == pytest.approx(empyrical.beta(returns, market))
    logs = np.log1p(returns)
    assert found["volatility_pct"] == pytest.approx(logs.std() * np.sqrt(365) * 100)
    assert found["correlation_btc"] == pytest.approx(logs.corr(np.log1p(market)))


def test_range_metrics_use_the_days_that_all_coins_have():
    long, short = days(100), days(100, seed=2).tail(40)
    found = range_metrics(by_coin(a=long, b=short), long, ["a", "b"])
    assert found["n"].tolist() == [39, 39]
    assert found["first_day"].nunique() == 1
    assert found["return_pct"]["a"] == pytest.approx((long["close"].iloc[-1] / long["close"].iloc[60] - 1) * 100)


def test_range_metrics_without_a_common_day_are_missing():
    found = range_metrics(by_coin(a=days(5), b=days(10).tail(5)), days(10), ["a", "b"])
    assert found["n"].tolist() == [0, 0]
    assert found["sharpe"].isna().all()


def test_range_metrics_of_90_days_equal_the_mart(use, marts):
    use(marts)
    daily, bitcoin = prices.daily("solana"), prices.daily("bitcoin")
    found = range_metrics(by_coin(solana=daily.tail(91)), bitcoin, ["solana"]).loc["solana"]
    last = daily.iloc[-1]
    assert found["sharpe"] == pytest.approx(last["sharpe_90d"])
    assert found["volatility_pct"] == pytest.approx(last["volatility_90d"] * 100)
    assert found["beta_btc"] == pytest.approx(last["beta_btc_90d"])


def test_sortino_is_unknown_without_a_loss():
    assert sortino(pd.Series([0.01, 0.02])) is None


def test_risk_metrics_of_no_day_are_unknown():
    assert set(risk_metrics(days(10), days(10), 0).values()) == {None}


def test_drawdown_from_the_all_time_high_starts_on_its_day_and_is_at_most_zero():
    daily = days(10).assign(close=[50.0, 100.0, *[80.0] * 7, 120.0])
    found = drawdown_from_ath(daily, 100.0, pd.Timestamp("2025-01-02 13:00", tz="UTC"))
    assert found.isna().tolist() == [True] + [False] * 9
    assert found.iloc[1:].tolist() == pytest.approx([0, *[-20] * 7, 0])


def test_price_shows_both_drawdowns_with_the_start_of_the_history(rendered, server):
    app = rendered("marts", "price", coin="ethereum", range="All")
    loaded, from_ath = figures(app)["drawdown"]["data"]
    ((first,),) = server.query("tickmart", "select min(date) from marts.fct_daily_summary where crypto_id = 'ethereum'")
    ((ath,),) = server.query(
        "tickmart",
        "select ath_usd from marts.fct_market_snapshots where crypto_id = 'ethereum' order by snapshot_at desc limit 1",
    )
    daily = prices.daily("ethereum")
    assert str(first) in loaded["name"]
    assert numbers(loaded["y"]) == pytest.approx(daily["drawdown_pct"].to_numpy(), nan_ok=True)
    expected = min(daily["close"].iloc[-1] / float(ath) - 1, 0) * 100
    assert numbers(from_ath["y"])[-1] == pytest.approx(expected)


def test_compare_metrics_are_one_row_per_coin(rendered):
    app = rendered("marts", "compare", coins=["bitcoin", "solana"], range="3M")
    (table,) = [table.value for table in app.dataframe if "Sharpe ratio" in table.value]
    assert len(table) == 2
    assert table["Beta to BTC"].iloc[0] == "1.00"


def test_compare_of_one_coin_names_its_return_alone(rendered):
    app = rendered("marts", "compare", coins=["solana"])
    assert not app.exception
    assert "worst" not in app.title[0].value
