"""infra/deploy.sh on a clone with releases, with a fake `docker`: what runs afterwards, and in which order.

The same script on a real engine, with data: docs/deployment.md, "What is tested".
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKUP = "compose run --rm -T tickmart backup --keep 2"
# Answers as an engine on which the images of $ENGINE/healthy become healthy, and of $ENGINE/images exist.
DOCKER = """#!/bin/sh
echo "$@" >> "$ENGINE/calls"
image=$(sed -n 's/^TICKMART_IMAGE=//p' .env)
case "$*" in
  "image inspect"*) for last; do :; done; grep -qx "$last" "$ENGINE/images" ;;
  pull*) exit 1 ;;
  "compose up"*)
    if grep -qx "$image" "$ENGINE/healthy"; then echo "$image" > "$ENGINE/running"; exit 0; fi
    echo "init: the database is of a newer version" >&2; exit 1 ;;
  "compose ps -q"*) cat "$ENGINE/running" 2> /dev/null || true ;;
  "compose ps -a"*) echo "dashboard healthy running 0"; echo "init exited 0" ;;
  *" backup "*)
    [ ! -e "$ENGINE/backup_fails" ] || { echo "no space left" >&2; exit 1; }
    echo "backup /backups/tickmart-20260101T000000Z: 3 rows" ;;
esac
"""


class Server:
    """A checkout with the releases v0.1.0 to v0.1.2 and an engine that a test controls."""

    def __init__(self, folder: Path) -> None:
        self.engine, self.checkout, origin = folder / "engine", folder / "tickmart", folder / "origin"
        (self.engine / "bin").mkdir(parents=True)
        docker = self.engine / "bin" / "docker"
        docker.write_text(DOCKER)
        docker.chmod(0o755)
        for name in ("images", "healthy", "calls"):
            (self.engine / name).touch()
        (origin / "infra").mkdir(parents=True)
        shutil.copy(ROOT / "infra" / "deploy.sh", origin / "infra")
        (origin / "Makefile").write_text("secrets:\n\t@true\n")
        self.git(origin, "init", "-q")
        for release in ("v0.1.0", "v0.1.1", "v0.1.2"):
            (origin / "release").write_text(release)
            self.git(origin, "add", ".")
            self.git(origin, "commit", "-q", "-m", release)
            self.git(origin, "tag", release)
        subprocess.run(["git", "clone", "-q", origin, self.checkout], check=True)
        (self.checkout / ".env").write_text("POSTGRES_PASSWORD=of-this-test\n")

    def git(self, folder: Path, *arguments: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *who, "-C", folder, *arguments], check=True)

    def images(self, *names: str, healthy: bool = True) -> None:
        for file in ("images", *(["healthy"] if healthy else [])):
            with (self.engine / file).open("a") as lines:
                lines.writelines(f"{name}\n" for name in names)

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.engine / "calls").write_text("")
        env = {**os.environ, "PATH": f"{self.engine / 'bin'}:{os.environ['PATH']}", "ENGINE": str(self.engine)}
        return subprocess.run(
            [self.checkout / "infra" / "deploy.sh", *arguments], env=env, capture_output=True, text=True
        )

    @property
    def settings(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.checkout / ".env").read_text().splitlines())

    @property
    def state(self) -> tuple[str, str]:
        """The release that is checked out, and the image that runs."""
        return (self.checkout / "release").read_text(), (self.engine / "running").read_text().strip()

    @property
    def calls(self) -> list[str]:
        return (self.engine / "calls").read_text().splitlines()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.images("registry.test/tickmart:0.1.0")
    assert server.deploy("v0.1.0", "registry.test/tickmart:0.1.0").returncode == 0
    return server


def test_the_first_release_starts_without_a_backup_and_keeps_the_passwords(server):
    assert server.state == ("v0.1.0", "registry.test/tickmart:0.1.0")
    assert server.settings["POSTGRES_PASSWORD"] == "of-this-test"
    assert server.settings["TICKMART_RELEASE"] == "v0.1.0"


def test_a_release_is_deployed_after_a_backup_and_can_be_taken_back(server):
    server.images("registry.test/tickmart:0.1.1")
    assert server.deploy("v0.1.1", "registry.test/tickmart:0.1.1").returncode == 0
    assert server.state == ("v0.1.1", "registry.test/tickmart:0.1.1")
    assert server.settings["TICKMART_PREVIOUS_BACKUP"] == "tickmart-20260101T000000Z"
    order = [call.split(" --wait")[0] for call in server.calls]
    assert order.index(BACKUP) < order.index("compose up -d --no-build --remove-orphans")
    assert server.deploy("--rollback").returncode == 0
    assert server.state == ("v0.1.0", "registry.test/tickmart:0.1.0")


def test_a_release_that_is_not_healthy_is_replaced_by_the_one_before(server):
    server.images("registry.test/tickmart:0.1.2", healthy=False)
    done = server.deploy("v0.1.2", "registry.test/tickmart:0.1.2")
    assert done.returncode == 1
    assert server.state == ("v0.1.0", "registry.test/tickmart:0.1.0")
    assert server.settings["TICKMART_RELEASE"] == "v0.1.0"


def test_when_no_release_is_healthy_the_code_is_another_one_and_the_backup_is_named(server):
    server.images("registry.test/tickmart:0.1.2", healthy=False)
    (server.engine / "healthy").write_text("")
    done = server.deploy("v0.1.2", "registry.test/tickmart:0.1.2")
    assert done.returncode == 3
    assert done.stderr.endswith("--restore tickmart-20260101T000000Z\n")


@pytest.mark.parametrize(
    "arguments", [("main",), ("v0.1.9",), ("v0.1.1", "registry.test/tickmart:0.1.9"), ("--what",), ()]
)
def test_what_cannot_be_deployed_changes_nothing(server, arguments):
    before = server.settings
    done = server.deploy(*arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("deploy: ")
    assert server.settings == before
    assert server.state == ("v0.1.0", "registry.test/tickmart:0.1.0")


def test_without_a_backup_nothing_is_changed(server):
    server.images("registry.test/tickmart:0.1.1")
    (server.engine / "backup_fails").touch()
    assert server.deploy("v0.1.1", "registry.test/tickmart:0.1.1").returncode == 1
    assert server.state == ("v0.1.0", "registry.test/tickmart:0.1.0")


def test_the_same_release_again_makes_no_backup(server):
    assert server.deploy("v0.1.0", "registry.test/tickmart:0.1.0").returncode == 0
    assert BACKUP not in server.calls


def test_the_password_of_a_server_is_in_no_output(server):
    server.images("registry.test/tickmart:0.1.2", healthy=False)
    done = server.deploy("v0.1.2", "registry.test/tickmart:0.1.2")
    assert "of-this-test" not in done.stdout + done.stderr
