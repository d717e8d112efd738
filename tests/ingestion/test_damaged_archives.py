"""A damaged archive file costs itself alone: it is named, its bars come another way, the other symbols load."""

import io
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.sources.binance import archive
from ingestion.sources.http import HttpClient
from support.market import Market, asset
from support.pipeline import Chain
from support.scripted_server import Reply, scripted
from support.small_exchange import SmallExchange, csv_of, zip_of

ODD, SOUND = "ODDUSDT", "BTCUSDT"
MONTH = f"{ODD}-1h-2024-03.zip"
# The market opens the day before, so that each of these days is whole.
FIRST, END = "2024-03-25", "2024-04-01"
HOURS = 7 * 24
Damage = Callable[[bytes], bytes]


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> SmallExchange:
    monkeypatch.setattr(archive, "CSV_LIMIT_BYTES", 1 << 20)
    return SmallExchange(SOUND, ODD, since=date(2024, 3, 24))


@pytest.fixture
def market(chain: Chain, exchange: SmallExchange, client_of: Callable[..., HttpClient]) -> Iterator[Market]:
    with scripted(exchange) as server:
        made = Market(chain, None, client_of, (asset(SOUND), asset(ODD)))  # type: ignore[arg-type]
        made.rest_url = made.archive_url = server.url
        yield made


def text_of(body: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(body)) as opened:
        return opened.read(opened.namelist()[0])


def text(change: Damage) -> Damage:
    """A change of the CSV, packed again as a sound zip."""
    return lambda body: zip_of((MONTH.replace(".zip", ".csv"), change(text_of(body))))


def in_the_middle(csv: bytes, old: bytes, new: bytes) -> bytes:
    at = csv.index(old, len(csv) // 2)
    return csv[:at] + new + csv[at + len(old) :]


def patched(body: bytes, local: int, central: int, value: int) -> bytes:
    """The zip with two bytes replaced in the local and the central header of its first member."""
    data = bytearray(body)
    data[local : local + 2] = struct.pack("<H", value)
    at = data.rindex(b"PK\x01\x02") + central
    data[at : at + 2] = struct.pack("<H", value)
    return bytes(data)


def flipped(body: bytes) -> bytes:
    data = bytearray(body)
    for at in range(len(data) // 3, len(data) // 3 + 200):
        data[at] ^= 0xFF
    return bytes(data)


UNUSABLE: dict[str, Damage] = {
    "truncated": lambda body: body[: len(body) // 2],
    "flipped bytes": flipped,
    "unknown method": lambda body: patched(body, 8, 10, 9),
    "encrypted": lambda body: patched(body, 6, 8, 1),
    "no zip": lambda body: b"<html>moved</html>",
    "nothing": lambda body: b"",
    "empty CSV": text(lambda csv: b""),
    "header alone": text(lambda csv: b"open_time,open,high,low\n"),
    "no line is a bar": text(lambda csv: csv.replace(b",", b";")),
    "no bar is possible": text(lambda csv: csv.replace(b",90.0", b",190.0")),
    "UTF-16": text(lambda csv: csv.decode().encode("utf-16")),
    "another month": text(lambda csv: re.sub(rb"(^|,)17(\d{11})", rb"\g<1>16\2", csv, flags=re.MULTILINE)),
    "another interval": text(lambda csv: csv + csv.replace(b"00000,100.", b"00001,100.")),
    "folder alone": lambda body: zip_of(("folder/", b"")),
    "two other files": lambda body: zip_of(("a.csv", text_of(body)), ("b.csv", text_of(body))),
    "unpacks to too much": text(lambda csv: b"0" * (2 << 20)),
}
USABLE: dict[str, Damage] = {
    "folder first": lambda body: zip_of(("folder/", b""), ("x.csv", text_of(body))),
    "a readme beside it": lambda body: zip_of(("README", b"hello"), (MONTH.replace(".zip", ".csv"), text_of(body))),
    "header": text(lambda csv: b"open_time,open,high,low,close\n" + csv),
    "BOM": text(lambda csv: b"\xef\xbb\xbf" + csv),
    "CRLF": text(lambda csv: csv.replace(b"\n", b"\r\n")),
    "blank lines": text(lambda csv: csv.replace(b"\n", b"\n\n")),
    "reordered": text(lambda csv: b"".join(reversed(csv.splitlines(keepends=True)))),
    "a stray quote": text(lambda csv: in_the_middle(csv, b",100.0", b',"100.0')),
    "lines twice": text(lambda csv: csv + csv),
    "quoted": text(lambda csv: b'"' + csv.rstrip().replace(b",", b'","').replace(b"\n", b'"\n"') + b'"\n'),
}
PARTLY: dict[str, Damage] = {
    "first line damaged": text(lambda csv: b"x" + csv),
    "not UTF-8": text(lambda csv: in_the_middle(csv, b",100.0", b",\xff00.0")),
    "a line cut": text(lambda csv: in_the_middle(csv, b",101.5", b"\n")),
    "a bar of another day": text(lambda csv: csv + csv.partition(b"\n")[0].replace(b"1711", b"1611") + b"\n"),
    "digits of another script": text(lambda csv: csv + "²,٣\n".encode()),
    "a bar of a day": text(lambda csv: re.sub(rb",1711583999999,", b",1711670399999,", csv)),
    "a day missing": text(lambda csv: b"".join(csv.splitlines(keepends=True)[: 5 * 24])),
}


def bring(market: Market, exchange: SmallExchange, damage: Damage, name: str = MONTH) -> tuple[str, dict[str, int]]:
    """Read a month with a damaged file; return the report's notes and how many bars each symbol has."""
    exchange.files = lambda file, body: damage(body) if file == name else body
    report = market.bring(FIRST, END, source="archive")
    assert (report.error, report.failed) == (None, {})
    return "\n".join(report.notes), dict(market.chain.ask("select symbol, count(*) from raw.binance_klines group by 1"))


@pytest.mark.parametrize("damage", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_that_cannot_be_used_is_named_and_its_days_come_from_daily_files(
    market: Market, exchange: SmallExchange, damage: Damage
) -> None:
    notes, bars = bring(market, exchange, damage)
    assert MONTH in notes
    assert SOUND not in notes
    assert bars == {SOUND: HOURS, ODD: HOURS}
    assert market.ways() == {"archive": 14}
    assert market.gaps() == []
    recorded = [url.rpartition("/")[2] for (url,) in market.chain.ask("select url from ops.archive_files")]
    assert MONTH not in recorded
    assert f"{ODD}-1h-2024-03-27.zip" in recorded


@pytest.mark.parametrize("damage", USABLE.values(), ids=USABLE)
def test_an_unusual_file_with_every_bar_is_read(market: Market, exchange: SmallExchange, damage: Damage) -> None:
    notes, bars = bring(market, exchange, damage)
    assert MONTH not in notes
    assert bars == {SOUND: HOURS, ODD: HOURS}
    assert market.chain.one("select count(*) from ops.rejected_records") == 0
    assert market.chain.one("select count(*) from ops.archive_files") == 2


@pytest.mark.parametrize("damage", PARTLY.values(), ids=PARTLY)
def test_bars_that_a_readable_file_lacks_come_from_another_source(
    market: Market, exchange: SmallExchange, damage: Damage
) -> None:
    notes, bars = bring(market, exchange, damage)
    assert (MONTH in notes) == (damage is not PARTLY["a day missing"])
    assert bars == {SOUND: HOURS, ODD: HOURS}
    assert market.gaps() == []


def test_without_daily_files_rest_gives_what_a_damaged_month_lacks(market: Market, exchange: SmallExchange) -> None:
    exchange.files = lambda file, body: body[:100] if ODD in file else body
    report = market.bring(FIRST, END, source="archive")
    assert any(MONTH in note for note in report.notes)
    assert market.ways() == {"archive": 7, "rest": 7}
    assert len(market.rows()) == 2 * HOURS


@pytest.mark.parametrize("body", [b"", b"<html>moved</html>", b"\x00" * 64], ids=["empty", "HTML", "binary"])
def test_a_damaged_checksum_costs_its_file_alone(market: Market, exchange: SmallExchange, body: bytes) -> None:
    exchange.answer_instead = lambda asked: Reply(body=body) if asked.path.endswith(f"{MONTH}.CHECKSUM") else None
    notes, bars = bring(market, exchange, lambda zipped: zipped)
    assert MONTH in notes
    assert bars == {SOUND: HOURS, ODD: HOURS}


def test_every_damaged_file_is_named(market: Market, exchange: SmallExchange) -> None:
    exchange.files = lambda file, body: b"" if len(file) == len(MONTH) else body
    exchange.until = date(2024, 4, 3)
    report = market.bring(FIRST, "2024-04-03", source="archive")
    notes = "\n".join(report.notes)
    assert all(f"{symbol}-1h-2024-0{month}.zip" in notes for month in (3, 4) for symbol in (SOUND, ODD))
    assert len(market.rows()) == 2 * (HOURS + 48)


# -- files that end early ----------------------------------------------------------------------------------------------


def short_months(exchange: SmallExchange, *ways: str) -> None:
    exchange.hours = lambda way, symbol, opened: way not in ways or opened.day <= 27


def test_a_month_that_ends_early_is_completed_by_daily_files(market: Market, exchange: SmallExchange) -> None:
    short_months(exchange, "monthly")
    market.bring(FIRST, END, source="archive")
    assert len(market.rows()) == 2 * HOURS
    assert market.gaps() == []
    assert exchange.counts["klines"] == 2  # the probes of two listings


def test_a_month_that_ends_early_is_completed_by_rest_when_there_are_no_daily_files(
    market: Market, exchange: SmallExchange
) -> None:
    short_months(exchange, "monthly", "daily")
    market.bring(FIRST, END, source="archive")
    assert len(market.rows()) == 2 * HOURS
    assert market.gaps() == []


def test_a_month_that_every_way_ends_early_is_named_and_no_halt(market: Market, exchange: SmallExchange) -> None:
    short_months(exchange, "monthly", "daily", "rest")
    report = market.bring(FIRST, END, source="archive")
    [note] = [note for note in report.notes if MONTH in note]
    assert "2024-03-28" in note
    assert {kind for *_, kind in market.gaps()} == {"missing_locally"}


def test_when_rest_fails_under_archives_the_run_says_so_and_the_backfill_stays_open(
    market: Market, exchange: SmallExchange
) -> None:
    short_months(exchange, "monthly", "daily")
    banned = Reply(418, {"code": -1003, "msg": "Way too many requests; IP banned until 1717300000000."})
    exchange.answer_instead = lambda asked: banned if asked.query.get("interval") == "1h" else None
    report = market.bring(FIRST, END, source="archive", resume=True)
    assert "418" in (report.error or "")
    assert market.chain.ask("select finished_at from ops.backfills") == [(None,)]
    exchange.answer_instead = lambda asked: None
    assert market.bring(FIRST, END, source="archive", resume=True).error is None
    assert len(market.rows()) == 2 * HOURS


# -- any mutation ------------------------------------------------------------------------------------------------------


@st.composite
def mutations(draw: st.DrawFn) -> Damage:
    """A few changes of a zip's bytes or of its lines."""
    changes = [draw(st.sampled_from(sorted(_MUTATIONS))) for _ in range(draw(st.integers(1, 3)))]
    numbers = [draw(st.floats(0, 1, exclude_max=True)) for _ in changes]

    def damage(body: bytes) -> bytes:
        for change, number in zip(changes, numbers, strict=True):
            body = _MUTATIONS[change](body, number)
        return body

    return damage


def _lines(change: Callable[[list[bytes], float], list[bytes]]) -> Callable[[bytes, float], bytes]:
    def mutate(body: bytes, number: float) -> bytes:
        try:
            lines = text_of(body).splitlines(keepends=True)
        except Exception:  # it has been damaged already
            return body
        return zip_of((MONTH.replace(".zip", ".csv"), b"".join(change(lines, number))))

    return mutate


def _flip(body: bytes, number: float) -> bytes:
    at = int(number * len(body))
    return body[:at] + bytes(255 - b for b in body[at : at + 3]) + body[at + 3 :]


_MUTATIONS: dict[str, Callable[[bytes, float], bytes]] = {
    "truncate": lambda body, number: body[: int(number * len(body))],
    "flip": _flip,
    "method": lambda body, number: patched(body, 8, 10, int(number * 100)) if b"PK\x01\x02" in body else body,
    "encrypt": lambda body, number: patched(body, 6, 8, 1) if b"PK\x01\x02" in body else body,
    "drop lines": _lines(lambda lines, number: lines[: int(number * len(lines))]),
    "drop one line": _lines(lambda lines, number: [x for n, x in enumerate(lines) if n != int(number * len(lines))]),
    "cut a line": _lines(lambda lines, number: [x[: int(number * 80)] + b"\n" if x == lines[-1] else x for x in lines]),
    "rotate": _lines(lambda lines, number: lines[int(number * len(lines)) :] + lines[: int(number * len(lines))]),
    "repeat": _lines(lambda lines, number: lines + lines[: int(number * len(lines))]),
    "folder": _lines(lambda lines, number: lines),
}  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=mutations())
def test_whatever_befalls_a_file_sound_symbols_load_and_no_wrong_bar_enters(
    market: Market, exchange: SmallExchange, damage: Damage
) -> None:
    market.chain.clear_records()
    for info in market.chain.lake.list(""):
        market.chain.lake.remove(info.key)
    notes, bars = bring(market, exchange, damage)
    assert bars == {SOUND: HOURS, ODD: HOURS}
    rows = exchange.rows("rest", ODD, 0, 2**62)
    sent = {(r[0], r[1], r[4], r[8]) for r in rows}
    loaded = market.chain.ask(
        "select extract(epoch from open_time)::bigint * 1000, open::text, close::text, trade_count "
        "from raw.binance_klines where symbol = %s",
        (ODD,),
    )
    assert set(loaded) <= sent
    recorded = {url.rpartition("/")[2] for (url,) in market.chain.ask("select url from ops.archive_files")}
    assert MONTH in recorded or MONTH in notes
    assert market.gaps() == []


@settings(max_examples=100, deadline=None)
@given(damage=mutations())
def test_a_file_is_read_or_found_damaged_and_nothing_else(damage: Damage) -> None:
    rows = SmallExchange(ODD).rows("monthly", ODD, 1709251200000, 1709251200000 + 72 * 3_600_000 - 1)
    body = damage(zip_of((MONTH.replace(".zip", ".csv"), csv_of(rows))))
    try:
        page = archive.parse_zip(body, ODD, "1h", f"http://host/{MONTH}", datetime.now(UTC))
        archive.bars_of_days(page.rows, "1h", date(2024, 3, 1), date(2024, 4, 1))
    except archive.DamagedArchive as error:
        found = str(error)
    else:
        found = ""
    assert "\n" not in found
