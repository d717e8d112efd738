"""infra/backup.sh with rclone and a real S3 server; a fake `docker` makes the backup and checks the restored folder."""

import os
import subprocess
from pathlib import Path

import pytest

from orchestration.local.client import local_services

ROOT = Path(__file__).resolve().parents[2]
NAME = "tickmart-20261129T021000Z"
# `tickmart backup` writes a folder of the volume; `tickmart restore --check` compares the mounted folder with it.
DOCKER = f"""#!/bin/sh
case "$*" in
  *" config "*) echo '{{"volumes": {{"backups": {{"name": "tickmart_backups"}}}}}}' ;;
  "volume inspect"*) echo "$VOLUME" ;;
  *"tickmart backup"*)
    mkdir -p "$VOLUME/{NAME}/bronze"
    echo rows > "$VOLUME/{NAME}/database"
    echo bars > "$VOLUME/{NAME}/bronze/a.parquet"
    echo '{{"path": "/backups/{NAME}"}}' ;;
  *"restore --check"*)
    mounted=$(echo "$*" | sed 's#.*-v \\([^:]*\\):.*#\\1#')
    diff -r "$mounted/{NAME}" "$VOLUME/{NAME}" && [ ! -e "$VOLUME/damaged" ] && touch "$VOLUME/tested" ;;
esac
"""


class Server:
    """A server with a volume of backups, a bucket and the settings of backup.sh."""

    def __init__(self, folder: Path, s3: dict[str, str]) -> None:
        self.folder, self.volume = folder, folder / "volume"
        (folder / "bin").mkdir()
        self.volume.mkdir()
        for name, text in (("docker", DOCKER), ("chown", "#!/bin/sh\n")):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.settings = folder / "backup.env"
        self.write(s3["MINIO_ENDPOINT"], s3["MINIO_BUCKET"], s3["MINIO_ACCESS_KEY"], s3["MINIO_SECRET_KEY"])

    def write(self, endpoint: str, bucket: str, access_key: str, secret_key: str) -> None:
        self.settings.write_text(
            f"BACKUP_S3_ENDPOINT=http://{endpoint}\nBACKUP_S3_BUCKET={bucket}\nBACKUP_S3_REGION=us-east-1\n"
            f"BACKUP_S3_ACCESS_KEY={access_key}\nBACKUP_S3_SECRET_KEY='{secret_key}'\nBACKUP_RESTORE_TEST=never\n"
        )
        self.settings.chmod(0o600)

    def backup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
            "VOLUME": str(self.volume),
            "TICKMART_BACKUP_ENV": str(self.settings),
            "TICKMART_RESTORE_TEST_DIR": str(self.folder / "scratch"),
        }
        return subprocess.run([ROOT / "infra" / "backup.sh", *arguments], env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    home = tmp_path_factory.mktemp("s3") / "home"
    with local_services(home, postgres=False, s3=True) as env:
        (home / "lake" / env["MINIO_BUCKET"]).mkdir()
        yield env


@pytest.fixture
def server(tmp_path, s3):
    return Server(tmp_path, s3)


def test_a_backup_is_uploaded_and_comes_back_as_it_was(server):
    done = server.backup()
    assert done.returncode == 0, done.stderr
    assert server.backup("--list").stdout == f"{NAME}/\n"
    assert not (server.volume / "tested").exists()
    for file in ("database", "bronze/a.parquet"):
        (server.volume / NAME / file).unlink()
    assert server.backup("--fetch", NAME).returncode == 0
    assert (server.volume / NAME / "database").read_text() == "rows\n"
    assert (server.volume / NAME / "bronze" / "a.parquet").read_text() == "bars\n"


def test_the_restore_test_downloads_the_backup_restores_it_and_leaves_nothing(server):
    done = server.backup("--test")
    assert done.returncode == 0, done.stderr
    assert (server.volume / "tested").exists()
    assert not (server.folder / "scratch").exists()


def test_a_restore_test_that_fails_fails_the_backup(server):
    (server.volume / "damaged").touch()
    assert server.backup("--test").returncode == 1
    assert not (server.folder / "scratch").exists()


def test_wrong_keys_fail_without_a_secret_in_the_output(server, s3):
    server.write(s3["MINIO_ENDPOINT"], s3["MINIO_BUCKET"], s3["MINIO_ACCESS_KEY"], "canary-of-this-test")
    done = server.backup()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("backup: ")
    assert len(done.stderr.splitlines()) == 2
    assert "canary-of-this-test" not in done.stdout + done.stderr


def test_settings_that_others_can_read_are_rejected(server):
    server.settings.chmod(0o644)
    assert server.backup().returncode == 1


def test_without_a_bucket_the_backup_stays_on_the_disk_and_says_so(server):
    server.settings.unlink()
    done = server.backup()
    assert done.returncode == 0
    assert str(server.settings) in done.stdout
    assert (server.volume / NAME / "database").exists()


@pytest.mark.parametrize("name", ["", "../etc", "tickmart-20000101T000000Z"])
def test_a_backup_that_does_not_exist_cannot_be_fetched(server, name):
    assert server.backup("--fetch", name).returncode == 1
