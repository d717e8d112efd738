"""A full disk, on a small file system of its own: one line with the space, nothing half written, and recovery."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ingestion.bronze.lake import Lake, LakeError
from ingestion.settings import load_settings
from orchestration.local.client import local_services
from orchestration.local.processes import LocalServicesError
from orchestration.maintenance import backup, disk
from orchestration.maintenance.errors import BackupError
from orchestration.observability import health


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Any]:
    """Make a folder with a disk of so many megabytes; a second call changes its size."""
    folder = tmp_path / "small"
    folder.mkdir()

    def size(megabytes: int) -> Path:
        options = f"size={megabytes}m,mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.path.ismount(folder):
            command = ["mount", "-o", f"remount,size={megabytes}m", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small file system cannot be mounted here (only root may)")
        return folder

    yield size
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def line(error: BaseException, folder: Path) -> str:
    """What a command shows of an error, with the space there is and the space that is needed."""
    assert isinstance(error, Exception)
    shown = disk.explained(error, folder)
    assert shown is not None, error
    assert "\n" not in shown
    assert "MB are free, about" in shown
    assert str(folder) in shown
    return shown


def test_initdb_on_a_full_disk_is_not_reported_as_damaged_data(small):
    home = small(20) / "home"
    with pytest.raises(LocalServicesError) as failed:
        local_services(home, postgres=True, s3=False).__enter__()
    assert "damaged" not in line(failed.value, home)
    small(300)
    with local_services(home, postgres=True, s3=False) as env:
        assert env["PGPORT"]


def test_a_full_disk_under_postgres_is_one_line_and_leaves_nothing_behind(small):
    home = small(110) / "home"
    with local_services(home, postgres=True, s3=False) as env:
        where = {"host": env["PGHOST"], "port": env["PGPORT"], "user": env["PGUSER"], "dbname": env["PGDATABASE"]}
        cursor = psycopg2.connect(**where, password=env["PGPASSWORD"]).cursor()
        with pytest.raises(psycopg2.Error) as failed:
            cursor.execute("create table big as select md5(n::text) || n from generate_series(1, 2000000) as n")
        line(failed.value, home)
    small(400)
    with local_services(home, postgres=True, s3=False) as env:
        connection = psycopg2.connect(**where | {"port": env["PGPORT"]}, password=env["PGPASSWORD"])
        with connection, connection.cursor() as cursor:
            cursor.execute("select to_regclass('big')")
            assert cursor.fetchone() == (None,)
        connection.close()


def test_a_full_disk_under_the_lake_is_one_error_line_and_the_old_object_stays(small):
    home = small(20) / "home"
    with local_services(home, postgres=False, s3=True) as env:
        store = load_settings(env).object_store
        assert store is not None
        lake = Lake(store, attempts=0)
        lake.ensure_bucket()
        lake.put("a/object", b"old")
        (home / "filler").write_bytes(b"x" * 19_000_000)
        with pytest.raises(LakeError) as failed:
            lake.put("a/object", os.urandom(4_000_000))
        line(failed.value, home)
        assert lake.get("a/object") == b"old"
    with local_services(home, postgres=False, s3=True):
        assert [path.name for path in (home / "lake" / "bronze" / "a").iterdir()] == ["object"]


def test_status_on_a_full_disk_leaves_the_old_file_and_no_partial_one(small):
    folder = small(1)
    settings = load_settings({"TICKMART_HOME": str(folder)})
    health.write_status(settings, {"status": "healthy"})
    with pytest.raises(OSError, match="No space left") as failed:
        health.write_status(settings, {"status": "x" * 2_000_000})
    line(failed.value, folder)
    assert [path.name for path in folder.iterdir()] == ["status.json"]
    assert (folder / "status.json").read_text() == '{"status":"healthy"}'


def test_a_backup_on_a_full_disk_names_its_target_and_the_space_it_needs(chain, small, tmp_path):
    chain.lake.put("binance/klines/one", os.urandom(3_000_000))
    owner, store = chain.postgres, chain.lake.store
    settings = load_settings({
        "TICKMART_HOME": str(tmp_path), "PGHOST": owner.host, "PGPORT": str(owner.port), "PGUSER": owner.user,
        "PGPASSWORD": owner.password, "PGDATABASE": owner.database, "MINIO_ENDPOINT": store.endpoint,
        "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key, "MINIO_BUCKET": store.bucket,
    })  # fmt: skip
    target = small(2)
    with pytest.raises(BackupError, match=f"the disk of {target} is full: .* MB are free, about"):
        backup.make(settings, target, embedded=False, check=False, report=lambda _: None)
    assert [path.name for path in target.iterdir()] == [".lock"]
    small(100)
    assert backup.make(settings, target, embedded=False, check=False, report=lambda _: None)["path"]


def test_any_other_error_is_not_taken_for_a_full_disk(tmp_path):
    assert disk.explained(LocalServicesError("port 3000 is in use"), tmp_path) is None
    assert disk.explained(OSError(13, "Permission denied"), tmp_path) is None
