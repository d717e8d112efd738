"""The universe file: four columns are enough, and what is malformed is rejected, naming file, line and value."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.settings import PACKAGED_UNIVERSE
from ingestion.universe import Asset, UniverseError, read_universe

HEADER = "crypto_id,binance_symbol,name,category"
DATED = f"{HEADER},valid_from,valid_to"
BITCOIN = "bitcoin,BTCUSDT,Bitcoin,store of value"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "assets.csv"
    path.write_bytes("\n".join(lines).encode() + b"\n")
    return path


def test_the_packaged_file_has_fifty_assets() -> None:
    assets = read_universe(PACKAGED_UNIVERSE)
    assert len({a.crypto_id for a in assets}) == 50
    assert len({a.binance_symbol for a in assets}) == len(assets)


def test_four_columns_are_enough(tmp_path: Path) -> None:
    assert read_universe(write(tmp_path, HEADER, BITCOIN)) == [Asset(*BITCOIN.split(","))]


def test_order_of_columns_byte_order_mark_blank_lines_and_quotes_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "assets.csv"
    lines = ["\ufeffname,category,crypto_id,binance_symbol", "", '"Bitcoin, the first",,bitcoin, BTCUSDT', ",,,", ""]
    path.write_bytes("\r\n".join(lines).encode())
    assert read_universe(path) == [Asset("bitcoin", "BTCUSDT", "Bitcoin, the first", "")]


@pytest.mark.parametrize("symbol", ["币安人生USDT", "1000SATSUSDT", "1INCHUSDT", "ÄUSDT", ""])
def test_symbols_in_any_script_are_taken(tmp_path: Path, symbol: str) -> None:
    assert read_universe(write(tmp_path, HEADER, f"a-coin,{symbol},A,"))[0].binance_symbol == symbol


def test_a_renamed_coin_has_two_rows_that_do_not_overlap(tmp_path: Path) -> None:
    path = write(tmp_path, DATED, "pol,MATICUSDT,Matic,l2,,2024-09-10", "pol,POLUSDT,Pol,l2,2024-09-13,")
    old, new = read_universe(path)
    assert old.trades_in(date(2024, 9, 9), date(2024, 9, 10))
    assert not old.trades_in(date(2024, 9, 10), date(2024, 9, 11))
    assert not new.trades_in(date(2024, 9, 12), date(2024, 9, 13))
    assert new.trades_in(date(2024, 9, 13), date(2024, 9, 14))


@pytest.mark.parametrize(
    ("lines", "line", "value"),
    [
        (["crypto_id,binance_symbol,name", "bitcoin,BTCUSDT,Bitcoin"], 1, "'category' is missing"),
        (["", BITCOIN], 1, "'crypto_id' is missing"),
        ([f"{HEADER},shade", f"{BITCOIN},red"], 1, "'shade' is not known"),
        ([f"{HEADER},name", f"{BITCOIN},x"], 1, "'name'"),
        ([HEADER, "bitcoin,BTCUSDT,Bitcoin"], 2, "3 cells"),
        ([HEADER, BITCOIN, "", f"{BITCOIN},x"], 4, "5 cells"),
        ([HEADER, ",BTCUSDT,Bitcoin,"], 2, "crypto_id ''"),
        ([HEADER, "Bitcoin,BTCUSDT,Bitcoin,"], 2, "'Bitcoin'"),
        ([HEADER, "bit coin,BTCUSDT,Bitcoin,"], 2, "'bit coin'"),
        ([HEADER, "bit/coin,BTCUSDT,Bitcoin,"], 2, "'bit/coin'"),
        ([HEADER, "bitcoin,btcusdt,Bitcoin,"], 2, "'btcusdt'"),
        ([HEADER, "bitcoin,BTC USDT,Bitcoin,"], 2, "'BTC USDT'"),
        ([HEADER, "bitcoin,../../BTC,Bitcoin,"], 2, "'../../BTC'"),
        ([HEADER, "bitcoin,BTC&limit=1,Bitcoin,"], 2, "'BTC&limit=1'"),
        ([HEADER, "bitcoin,BTC\0USDT,Bitcoin,"], 2, r"'BTC\x00USDT'"),
        ([HEADER, "bitcoin,BTCUSDT,,"], 2, "name ''"),
        ([HEADER, "bitcoin,BTCUSDT,B\0,"], 2, r"'B\x00'"),
        ([HEADER, BITCOIN, "btc,BTCUSDT,Other,"], 3, "'BTCUSDT' appears twice"),
        ([HEADER, BITCOIN, "bitcoin,BTCFDUSD,Bitcoin,"], 3, "'bitcoin' appears twice"),
        ([HEADER, BITCOIN, '"bitcoin,BTC,Bit'], 3, "quotation mark"),
        ([DATED, f"{BITCOIN},yesterday,"], 2, "'yesterday'"),
        ([DATED, f"{BITCOIN},2024-02-30,"], 2, "'2024-02-30'"),
        ([DATED, f"{BITCOIN},2024-02-02,2024-02-02"], 2, "2024-02-02"),
        ([DATED, "a,AUSDT,A,,,2024-06-02", "a,AAUSDT,A,,2024-06-01,"], 3, "'a' appears twice"),
    ],
)
def test_an_invalid_file_is_rejected_with_line_and_value(
    tmp_path: Path, lines: list[str], line: int, value: str
) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(UniverseError) as raised:
        read_universe(path)
    text = str(raised.value)
    assert text.startswith(f"{path}:{line}: ")
    assert value in text
    assert "\n" not in text


def test_a_file_without_rows_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UniverseError, match="lists no assets"):
        read_universe(write(tmp_path, HEADER))


@pytest.mark.parametrize("what", ["nothing", "a folder", "bytes", "a path with a NUL"])
def test_a_file_that_is_not_text_is_rejected(tmp_path: Path, what: str) -> None:
    path = tmp_path / ("a\0b" if "NUL" in what else "assets.csv")
    if what == "a folder":
        path.mkdir()
    elif what == "bytes":
        path.write_bytes(HEADER.encode("utf-16"))
    with pytest.raises(UniverseError) as raised:
        read_universe(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_rejected_in_one_line(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(HEADER.encode() + b"\n" + body)
    try:
        read_universe(path)
    except UniverseError as raised:
        text = str(raised)
    else:
        text = str(path)
    assert text.startswith(str(path))
    assert "\n" not in text
