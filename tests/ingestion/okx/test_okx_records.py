"""OKX's frames and records: what each is, exact numbers, and records that are rejected alone."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.settings import SettingsError, load_settings
from ingestion.sources.okx.client import instruments_of
from ingestion.sources.okx.dataset import OKX_TICKERS, OKX_TRADES, tabulate, ticker_row, trade_row
from ingestion.sources.okx.messages import parse_frame, rejected_instrument, subscriptions
from ingestion.stream.batches import Message, to_batch
from ingestion.stream.envelope import EVENTS, event, pack, subject_of, unpack
from ingestion.universe import Asset

TRADE = {
    "instId": "BTC-USDT",
    "tradeId": "338476307",
    "px": "30236",
    "sz": "0.0002",
    "side": "buy",
    "ts": "1652459224818",
}
TICKER = {
    "instId": "BTC-USDT",
    "last": "30236",
    "lastSz": "0.0002",
    "askPx": "",
    "bidPx": "30228.6",
    "ts": "1652459224956",
}
URLS = {"w": "ws://okx", "r": "http://okx"}


def frame_of(channel: str, *records: dict[str, str]) -> bytes:
    return orjson.dumps({"arg": {"channel": channel, "instId": "BTC-USDT"}, "data": list(records)})


@pytest.mark.parametrize(
    ("received", "kind"),
    [
        ("pong", "pong"),
        (frame_of("trades", TRADE).decode(), "data"),
        ('{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}', "subscribed"),
        ('{"event":"notice","code":"64008","msg":"closing"}', "notice"),
        ('{"event":"error","code":"60012","msg":"Invalid request"}', "error"),
        ('{"event":"channel-conn-count","channel":"trades"}', "ignored"),
        ("{not json", "garbage"),
        ("[]", "garbage"),
        ('{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[1]}', "garbage"),
        ('{"arg":"trades","data":[]}', "garbage"),
        (b"\x00\x01", "garbage"),
    ],
)
def test_every_frame_has_one_kind(received, kind):
    assert parse_frame(received).kind == kind


@given(st.text() | st.binary())
def test_no_frame_raises(received):
    parse_frame(received)


def test_an_error_names_its_instrument_in_its_text():
    frame = parse_frame(
        '{"event":"error","code":"60018","msg":"Wrong URL or channel:trades,instId:ABC-USDT doesn\'t exist."}'
    )
    assert rejected_instrument(frame, ["BTC-USDT", "ABC-USDT"]) == "ABC-USDT"


def test_subscriptions_come_in_batches_of_both_channels():
    requests = [orjson.loads(text) for text in subscriptions([f"C{n}-USDT" for n in range(120)])]
    assert [len(request["args"]) for request in requests] == [100, 100, 40]


def test_numbers_are_exact_and_empty_ones_are_null():
    row = ticker_row(TICKER | {"last": "0.000000000123456789"}) | {"payload": "{}", "source_url": "u", "received_at": 1}
    table, rejected = tabulate(OKX_TICKERS, [row])
    assert rejected == []
    assert table["last"].to_pylist() == [Decimal("0.000000000123456789")]
    assert table["ask"].to_pylist() == [None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": "hold"},
        {"px": 1.5},
        {"tradeId": "-1"},
        {"ts": "soon"},
        {"ts": "9" * 16},
        {"instId": ""},
        {"count": "0"},
    ],
)
def test_a_trade_that_cannot_be_is_rejected(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        trade_row(TRADE | wrong)


def test_one_record_that_cannot_be_read_keeps_no_other_one_out():
    good, bad = TRADE, TRADE | {"px": "many", "tradeId": "338476308"}
    messages = [
        Message(1, subject_of("trades", "BTC-USDT"), pack(1_652_459_224_900_000, "w", frame_of("trades", good, bad))),
        Message(2, subject_of("trades", "BTC-USDT"), b"garbage"),
        Message(3, EVENTS, event("status", received_us=None, missing=[], duplicates=0, problem=None)),
    ]
    batch = to_batch(messages, URLS)
    assert len(batch.tables[OKX_TRADES.name]) == 1
    assert len(batch.rejected[OKX_TRADES.name]) == 2
    assert (batch.first, batch.last, batch.data_messages) == (1, 3, 2)


@given(st.integers(0, 2**53), st.sampled_from(["w", "r"]), st.binary())
def test_a_message_is_unpacked_as_it_was_packed(received, origin, frame):
    assert unpack(pack(received, origin, frame)) == unpack(pack(received, origin, frame))
    assert (unpack(pack(received, origin, frame)).frame, unpack(pack(received, origin, frame)).origin) == (
        frame,
        origin,
    )


def test_assets_that_okx_lacks_are_named():
    universe = [
        Asset("bitcoin", "BTCUSDT", "Bitcoin", "a"),
        Asset("rare", "RAREUSDT", "Rare", "a"),
        Asset("x", "", "X", "a"),
    ]
    found, missing = instruments_of(universe, {"BTC-USDT"})
    assert list(found) == ["BTC-USDT"]
    assert [asset.crypto_id for asset in missing] == ["rare"]


@pytest.mark.parametrize(
    "bad",
    [
        {"OKX_WS_URL": "https://ws.okx.com"}, {"OKX_WS_URL": "wss://me:secret@ws.okx.com"},
        {"NATS_URL": "me:secret@localhost:4222"},
        {"TICKMART_LIVE": "maybe"}, {"TICKMART_LIVE_RAW_DAYS": "0"}, {"TICKMART_LIVE_BROKER_MB": "much"},
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named_and_a_password_is_not_shown(bad):
    with pytest.raises(SettingsError) as raised:
        load_settings(bad)
    assert str(raised.value).startswith(next(iter(bad)))
    assert "secret" not in str(raised.value)
