"""A backup comes back as it was, on servers that knew nothing of it; a damaged one and a wrong place are refused."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.bronze.compaction import compact
from ingestion.bronze.lake import Lake
from ingestion.database import connections, migrate
from ingestion.raw import loader
from ingestion.settings import ROLES, Settings, load_settings
from ingestion.simulator.server import Simulator
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.binance.ingest import sync_klines
from ingestion.sources.binance.plan import KlinesRequest
from ingestion.sources.http import HttpClient
from ingestion.universe import Asset
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import backup, backup_files
from orchestration.maintenance import restore as maintenance_restore
from orchestration.maintenance.errors import BackupError
from orchestration.maintenance.postgres_client import postgres_client
from support.cli import TICKMART, TIMEOUT_S, clean_environment
from support.database import bucket_of, fresh_database
from support.pipeline import Chain

BITCOIN = Asset("bitcoin", "BTCUSDT", "Bitcoin", "")


class Source:
    """A warehouse with bars, and how to bring more."""

    def __init__(self, chain: Chain, settings: Settings, client: HttpClient, archive: HttpClient) -> None:
        self.chain = chain
        self.settings = settings
        self._clients = (client, archive)
        self.said: list[str] = []

    def load(self, start: str, end: str) -> None:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
        sync_klines(self.chain.context(), *self._clients, KlinesRequest((BITCOIN,), first, last))
        self.chain.load(KLINES)

    def back_up(self, into: Path, **options: Any) -> Path:
        made = backup.make(self.settings, into, embedded=False, report=self.said.append, **options)
        return Path(made["path"])


@pytest.fixture
def source(
    chain: Chain, stack_env: dict[str, str], simulator: Simulator, client_of: Callable[..., HttpClient], tmp_path: Path
) -> Source:
    settings = replace(load_settings({}), home=tmp_path, postgres=chain.postgres, object_store=chain.lake.store)
    archive = client_of(simulator.archive_url, source="Binance archive")
    made = Source(chain, settings, client_of(simulator.binance_url), archive)
    made.load("2024-05-01", "2024-05-04")
    chain.lake.put("_rejected/binance_klines/date=2024-05-01/abc.parquet", b"refused")
    return made


@pytest.fixture
def elsewhere(source: Source, stack_env: dict[str, str]) -> Iterator[Settings]:
    """An empty database and an empty bucket."""
    with fresh_database(stack_env) as owner:
        yield replace(source.settings, postgres=owner, object_store=bucket_of(stack_env))


def restored(settings: Settings, folder: Path) -> backup_files.Manifest:
    return maintenance_restore.restore(settings, folder, None, report=lambda line: None)


def at(settings: Settings) -> Chain:
    assert settings.postgres
    assert settings.object_store
    return Chain(settings.postgres, Lake(settings.object_store), connections.connect(settings.postgres, "ingest"))


def content(chain: Chain) -> tuple[Any, ...]:
    objects = {o.key: chain.lake.get(o.key) for o in chain.lake.list("")}
    return (
        chain.ask("select * from raw.binance_klines order by symbol, interval, open_time"),
        chain.ask("select * from ops.load_ledger order by object_key"),
        chain.ask("select * from ops.coverage order by symbol, date"),
        objects,
    )


def test_what_is_restored_elsewhere_is_the_same_and_is_worked_on_as_before(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    source.chain.ask("insert into ops.runs values ('cut off', 'refresh', now(), null, 'running')")
    before = content(source.chain)
    folder = source.back_up(tmp_path / "backups")
    assert any("to compare" in line for line in source.said)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["checked_at"]
    assert manifest["tables"]["raw.binance_klines_1h"]["rows"] == 72
    assert len(manifest["objects"]) == 4
    assert restored(elsewhere, folder)["differences"] == []
    there = at(elsewhere)
    assert content(there) == before
    assert there.one("select status from ops.runs") == "failed"  # nobody works on it here
    assert there.load(KLINES) == loader.Loaded()
    # Identities, roles and grants: the next batch goes in, and each role reads its own.
    there.ask("insert into ops.backfills (dataset, source, start_date, end_date) values ('x', 'rest', now(), now())")
    reads = "select has_schema_privilege(%s, 'marts', 'usage'), has_table_privilege(%s, 'raw.fear_greed', 'select')"
    may = {role: there.ask(reads, (role, role))[0] for role in ROLES}
    assert may == {
        "ingest": (False, True), "transform": (True, True), "quality_ro": (True, True), "dashboard_ro": (True, False),
        "reader": (True, False), "dagster": (False, False),
    }  # fmt: skip
    assert migrate.bootstrap(there.postgres) is False
    there.connection.close()


def test_merged_objects_are_backed_up_and_restored_with_what_the_ledger_knows_of_them(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    chain = source.chain
    compact(chain.lake, chain.connection, [KLINES], datetime(2024, 7, 1, tzinfo=UTC), "c", remove_after=timedelta())
    assert [o.key for o in chain.lake.list("binance/")] == ["binance/klines/interval=1h/date=2024-05-01/month.parquet"]
    before = content(chain)
    folder = source.back_up(tmp_path / "backups")
    assert backup_files.verify_files(folder)["missing_objects"] == []
    assert restored(elsewhere, folder)["differences"] == []
    there = at(elsewhere)
    assert content(there) == before
    assert there.load(KLINES) == loader.Loaded()
    there.connection.close()


def test_a_backup_that_is_made_while_rows_and_objects_come_in_is_of_one_moment(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    done = threading.Event()

    def write() -> None:
        at_work, day = at(source.settings), 0
        while not done.is_set():
            day += 1
            key = f"binance/klines/interval=1h/date=2030-01-01/{day}.parquet"
            at_work.lake.put(key, b"day")
            at_work.ask(
                "insert into ops.load_ledger values (%s, 'other', 's', 'e', 1, 1, 0, 0, 'b');"
                "insert into raw.fear_greed values ('2018-02-01'::date + %s, 1, 'x', now(), 'b')",
                (key, day),
            )
        at_work.connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        folder = source.back_up(tmp_path / "backups")
    finally:
        done.set()
        writer.join()
    manifest = backup_files.verify_files(folder)
    assert manifest["missing_objects"] == []
    assert restored(elsewhere, folder)["differences"] == []
    there = at(elsewhere)
    held = {o.key for o in there.lake.list("")}
    assert {key for (key,) in there.ask("select object_key from ops.load_ledger")} <= held
    assert there.one("select count(*) from ops.load_ledger where dataset = 'other'") == there.one(
        "select count(*) from raw.fear_greed"
    )
    there.connection.close()


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def bars(folder: Path) -> Path:
    return sorted(folder.glob("bronze/binance/**/*.parquet"))[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip(folder / "database.dump"), r"database\.dump has other bytes"),
        (lambda folder: (folder / "database.dump").write_bytes(b"PGDMP"), r"database\.dump has 5 bytes instead of"),
        (lambda folder: flip(bars(folder)), r"bars\.parquet has other bytes"),
        (lambda folder: bars(folder).unlink(), r"bars\.parquet is missing"),
        (lambda folder: flip(folder / "manifest.json"), r"manifest\.json is damaged"),
        (lambda folder: (folder / "manifest.json.sha256").unlink(), r"manifest\.json is damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is not a backup"),
    ],
)
def test_a_damaged_backup_is_named_before_anything_is_touched(
    source: Source, elsewhere: Settings, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    folder = source.back_up(tmp_path / "backups", check=False)
    damage(folder)
    with pytest.raises(BackupError, match=message) as refused:
        restored(elsewhere, folder)
    assert "\n" not in str(refused.value)
    there = at(elsewhere)
    assert there.one("select count(*) from raw.binance_klines") == 0
    there.lake.ensure_bucket()
    assert there.lake.list("") == []
    there.connection.close()


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    backup_files.write_manifest(folder, manifest)


def test_rows_that_are_not_those_of_the_manifest_are_named_by_their_table(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    message = "has 72 rows instead of 71"
    folder = source.back_up(tmp_path / "backups", check=False)
    rewritten(folder, lambda m: m["tables"]["raw.binance_klines_1h"].update(rows=71))
    with pytest.raises(BackupError, match=f"does not restore as it was made: raw.binance_klines_1h {message}"):
        maintenance_restore.verify_restore(source.settings, folder, embedded=False, report=source.said.append)
    assert restored(elsewhere, folder)["differences"] == [f"raw.binance_klines_1h {message}"]


def test_restore_rejects_a_target_with_data_and_leaves_it_unchanged(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    folder = source.back_up(tmp_path / "backups", check=False)
    source.load("2024-05-04", "2024-05-05")
    before = content(source.chain)
    with pytest.raises(BackupError, match=r"database test_\w+ on .* is not empty \(ops\.\w+\): restore into a new one"):
        restored(source.settings, folder)
    with pytest.raises(BackupError, match=r"bucket test-\w+ .* is not empty \(1 objects"):
        restored(replace(elsewhere, object_store=source.settings.object_store), folder)
    assert content(source.chain) == before


def test_a_restore_that_was_cut_off_is_started_again(source: Source, elsewhere: Settings, tmp_path: Path) -> None:
    folder = source.back_up(tmp_path / "backups", check=False)
    there = at(elsewhere)
    there.lake.ensure_bucket()
    there.lake.put(bars(folder).relative_to(folder / "bronze").as_posix(), bars(folder).read_bytes())
    assert restored(elsewhere, folder)["differences"] == []
    assert restored(elsewhere, folder)["differences"] == []  # cut off at its very end
    assert content(there) == content(source.chain)
    there.connection.close()


def test_a_backup_of_a_newer_version_is_rejected(source: Source, elsewhere: Settings, tmp_path: Path) -> None:
    folder = source.back_up(tmp_path / "backups", check=False)
    rewritten(folder, lambda manifest: manifest.update(migration=99))
    with pytest.raises(BackupError, match=r"at migration 99, tickmart .* knows \d+: use that version or a newer one"):
        restored(elsewhere, folder)


def test_what_fails_leaves_nothing_that_looks_like_a_backup(source: Source, tmp_path: Path, monkeypatch: Any) -> None:
    into = tmp_path / "backups"
    monkeypatch.setattr(backup, "_copy_objects", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        source.back_up(into)
    monkeypatch.undo()
    assert [path.name for path in into.iterdir()] == [".lock"]
    (into / ".partial-tickmart-20200101T000000Z").mkdir()  # of one that was killed
    folder = source.back_up(into, check=False)
    assert sorted(path.name for path in into.iterdir()) == [".lock", folder.name]


def test_a_warehouse_before_its_first_run_is_backed_up_without_objects(elsewhere: Settings, tmp_path: Path) -> None:
    made = backup.make(elsewhere, tmp_path / "backups", embedded=False, report=lambda line: None)
    assert made["objects"] == made["missing_objects"] == []
    assert "checked_at" in made


def test_a_database_that_was_never_set_up_is_named_with_the_next_step(elsewhere: Settings, tmp_path: Path) -> None:
    assert elsewhere.postgres
    never = replace(elsewhere, postgres=replace(elsewhere.postgres, database="postgres"))
    with pytest.raises(BackupError, match=r"^[^\n]*`tickmart run`[^\n]*$"):
        backup.make(never, tmp_path / "backups", embedded=False, report=lambda line: None)
    assert list((tmp_path / "backups").glob("tickmart-*")) == []


def test_older_backups_are_removed_after_a_newer_one_is_complete(source: Source, tmp_path: Path) -> None:
    into = tmp_path / "backups"
    first = source.back_up(into, check=False)
    for name in ("tickmart-20200101T000000Z", "tickmart-20210101T000000Z"):
        shutil.copytree(first, into / name)
    (into / "mine").mkdir()
    first.rename(into / "tickmart-20220101T000000Z")
    newest = source.back_up(into, check=False, keep=2)
    assert {p.name for p in into.iterdir()} == {".lock", "mine", "tickmart-20220101T000000Z", newest.name}


def test_an_object_that_only_the_ledger_has_is_reported(source: Source, tmp_path: Path) -> None:
    lost = source.chain.lake.list("binance/")[0].key
    source.chain.lake.remove(lost)
    assert backup_files.verify_files(source.back_up(tmp_path / "backups", check=False))["missing_objects"] == [lost]


def test_a_role_of_the_users_own_that_may_read_raw_comes_along(
    source: Source, elsewhere: Settings, tmp_path: Path
) -> None:
    source.chain.ask("create role analyst_of_mine; grant select on raw.fear_greed to analyst_of_mine")
    try:
        folder = source.back_up(tmp_path / "backups", check=False)
        assert backup_files.verify_files(folder)["roles"] == ["analyst_of_mine"]
        source.chain.ask("drop owned by analyst_of_mine; drop role analyst_of_mine")  # as on another server
        restored(elsewhere, folder)
        there = at(elsewhere)
        assert there.one("select has_table_privilege('analyst_of_mine', 'raw.fear_greed', 'select')")
        there.ask("drop owned by analyst_of_mine")
        there.connection.close()
    finally:
        source.chain.ask("drop role if exists analyst_of_mine")


def test_clients_older_than_the_server_are_named_with_the_fix() -> None:
    with pytest.raises(
        LocalServicesError, match=r"no pg_dump for Postgres 99 \(.*pg_dump \(PostgreSQL\) 18.*client-99"
    ):
        postgres_client("pg_dump", 99)


@pytest.mark.slow
def test_the_commands_make_one_and_bring_it_back(source: Source, elsewhere: Settings, tmp_path: Path) -> None:
    def tickmart(of: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
        owner, store = of.postgres, of.object_store
        assert owner
        assert store
        env = clean_environment() | {
            "TICKMART_HOME": str(tmp_path / "home"), "TICKMART_BACKUPS": str(tmp_path / "kept"),
            "PGHOST": owner.host, "PGPORT": str(owner.port), "PGDATABASE": owner.database, "PGUSER": owner.user,
            "PGPASSWORD": owner.password, "MINIO_ENDPOINT": store.endpoint, "MINIO_ACCESS_KEY": store.access_key,
            "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
        }  # fmt: skip
        return subprocess.run([TICKMART, *arguments], env=env, capture_output=True, text=True, timeout=TIMEOUT_S)

    done = tickmart(source.settings, "backup", "--json")
    assert done.returncode == 0, done.stderr
    made = Path(json.loads(done.stdout)["path"])
    assert made.parent == tmp_path / "kept"
    back = tickmart(elsewhere, "restore", str(made))
    assert back.returncode == 0, back.stderr
    assert content(at(elsewhere)) == content(source.chain)
    refused = tickmart(elsewhere, "restore", str(tmp_path / "kept"))
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith(f"the newest is {made}")
