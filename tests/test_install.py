"""How `make setup` installs a lock file: by uv with pip's settings, else by pip, and never a file without its hash."""

import base64
import hashlib
import os
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestration.install_dependencies import pip_settings, uv_environment

SCRIPT = Path(__file__).parents[1] / "orchestration" / "install_dependencies.py"
UV = Path(sys.executable).with_name("uv")


class Index:
    """A package index on loopback that holds one wheel, and the virtual environment that installs from it."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "venv" / "bin" / "python"
        venv.create(folder / "venv", with_pip=True, symlinks=True)
        package = folder / "index" / "simple" / "tinypackage"
        package.mkdir(parents=True)
        wheel = package / "tinypackage-1.0-py3-none-any.whl"
        write_wheel(wheel)
        self.sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (package / "index.html").write_text(f'<a href="{wheel.name}#sha256={self.sha256}">{wheel.name}</a>')
        handler = partial(SimpleHTTPRequestHandler, directory=folder / "index")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        self.lock = folder / "requirements.lock"
        self.programs = folder / "programs"
        self.programs.mkdir()

    def install(self, *, sha256: str | None = None, uv: str | None = None) -> subprocess.CompletedProcess[str]:
        """Install the wheel again; ``uv`` is the script that stands on PATH under that name, None for the real one."""
        subprocess.run([self.python, "-m", "pip", "uninstall", "-qy", "tinypackage"], check=True, capture_output=True)
        self.lock.write_text(f"tinypackage==1.0 \\\n    --hash=sha256:{sha256 or self.sha256}\n")
        program = self.programs / "uv"
        program.unlink(missing_ok=True)
        if uv is None:
            program.symlink_to(UV)
        else:
            program.write_text(f"#!/bin/sh\n{uv}\n")
            program.chmod(0o755)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        environ |= {"PATH": f"{self.programs}:/usr/bin:/bin", "PIP_INDEX_URL": self.url, "PIP_CONFIG_FILE": os.devnull}
        return subprocess.run(
            [self.python, "-I", SCRIPT, self.lock], env=environ, capture_output=True, text=True, check=False
        )

    def installed(self) -> bool:
        """Return whether the wheel is there."""
        return (
            subprocess.run([self.python, "-c", "import tinypackage"], capture_output=True, check=False).returncode == 0
        )


def write_wheel(path: Path) -> None:
    files = {
        "tinypackage.py": b"",
        "tinypackage-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinypackage\nVersion: 1.0\n",
        "tinypackage-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {n: base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b"=").decode() for n, b in files.items()}
    record = [f"{name},sha256={digests[name]},{len(body)}" for name, body in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        archive.writestr("tinypackage-1.0.dist-info/RECORD", "\n".join([*record, "tinypackage-1.0.dist-info/RECORD,,"]))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    made = Index(tmp_path_factory.mktemp("install"))
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_uv_installs_from_the_index_that_pip_is_set_to(index: Index) -> None:
    done = index.install()
    assert done.returncode == 0, done.stdout + done.stderr
    assert index.installed()
    assert "uv cannot be used" not in done.stdout


@pytest.mark.parametrize(
    "uv",
    [
        "exit 1",
        "echo uv 0.1.0",
        'case "$1" in --version) echo uv 9.9.9;; *) echo error: no such index >&2; exit 2;; esac',
    ],
    ids=["broken", "too old", "refuses the index"],
)
def test_pip_installs_and_one_line_names_the_reason_when_uv_cannot(index: Index, uv: str) -> None:
    done = index.install(uv=uv)
    assert done.returncode == 0, done.stdout + done.stderr
    assert index.installed()
    assert sum(line.startswith("uv cannot be used") for line in done.stdout.splitlines()) == 1


def test_a_file_without_its_hash_is_installed_by_neither(index: Index) -> None:
    done = index.install(sha256="0" * 64)
    assert done.returncode != 0
    assert not index.installed()


def test_the_settings_of_pip_apply_to_uv() -> None:
    listing = "\n".join(
        [
            "global.index-url='https://mirror.example/simple'",
            r"global.extra-index-url='\nhttps://a.example/simple\nhttps://b.example/simple'",
            "global.trusted-host='mirror.example a.example'",
            "install.find-links='/wheels /more'",
            ":env:.index-url='https://from-environment.example/simple'",
            ":env:.cert='/etc/corporate.pem'",
            ":env:.client-cert='/etc/me.pem'",
            ":env:.proxy='http://proxy.example:3128'",
            ":env:.no-index='1'",
        ]
    )
    found = uv_environment(pip_settings(listing), {"PATH": "/bin", "UV_HTTP_TIMEOUT": "7"})
    assert found["UV_DEFAULT_INDEX"] == "https://from-environment.example/simple"
    assert found["UV_INDEX"].split() == ["https://a.example/simple", "https://b.example/simple"]
    assert found["UV_INSECURE_HOST"].split() == ["mirror.example", "a.example"]
    assert found["UV_FIND_LINKS"] == "/wheels,/more"
    assert found["SSL_CERT_FILE"] == "/etc/corporate.pem"
    assert found["SSL_CLIENT_CERT"] == "/etc/me.pem"
    assert found["HTTPS_PROXY"] == found["HTTP_PROXY"] == "http://proxy.example:3128"
    assert found["UV_NO_INDEX"] == "1"
    assert found["UV_HTTP_TIMEOUT"] == "7"


def test_without_settings_of_pip_uv_uses_its_own() -> None:
    found = uv_environment({}, {"UV_DEFAULT_INDEX": "https://own.example/simple", "SSL_CERT_FILE": "/etc/own.pem"})
    assert found["UV_DEFAULT_INDEX"] == "https://own.example/simple"
    assert found["SSL_CERT_FILE"] == "/etc/own.pem"
    assert not {"UV_INDEX", "UV_FIND_LINKS", "UV_NO_INDEX", "HTTP_PROXY"} & found.keys()
