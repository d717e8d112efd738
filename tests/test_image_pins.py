"""The pinned images are compared with a registry that speaks the distribution API, with its tokens."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "docker" / "check_image_pins.py"
PINNED = {
    f"library/{name}" if "/" not in name else name: (tag, digest)
    for file in ("docker-compose.yml", "Dockerfile")
    for name, tag, digest in re.findall(r"([a-z][a-z0-9/]*):([\w.-]+)@(sha256:\w{64})", (ROOT / file).read_text())
}
OTHER = "sha256:" + "0" * 64


class Answers(BaseHTTPRequestHandler):
    """Docker Hub's way: 401 with the address of a token server, then the digest as a header."""

    def do_GET(self):
        assert "/token?" in self.path
        body = json.dumps({"token": "of-this-test"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        repository, _, reference = self.path.removeprefix("/v2/").rpartition("/manifests/")
        if self.headers["Authorization"] != "Bearer of-this-test":
            self.send_response(401)
            realm = f"http://127.0.0.1:{self.server.server_port}/token"
            self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="registry.test"')
        elif digest := self.server.images.get(repository, {}).get(reference):
            self.send_response(200)
            self.send_header("Docker-Content-Digest", digest)
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.images = {name: {digest: digest, tag: digest} for name, (tag, digest) in PINNED.items()}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def check(registry):
    env = {"TICKMART_REGISTRY_MIRROR": f"http://127.0.0.1:{registry.server_port}"}
    return subprocess.run([sys.executable, SCRIPT], env=env, capture_output=True, text=True)


def test_every_pinned_image_is_verified(registry):
    done = check(registry)
    assert (done.returncode, done.stderr) == (0, "")
    for name in PINNED:
        assert name.removeprefix("library/") in done.stdout


def test_a_digest_that_the_registry_lacks_fails_and_is_named(registry):
    tag, digest = PINNED["library/caddy"]
    registry.images["library/caddy"] = {tag: OTHER}
    done = check(registry)
    assert done.returncode == 1
    assert f"caddy:{tag}@{digest}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_tag_that_has_moved_on_is_a_notice(registry):
    tag, _ = PINNED["library/postgres"]
    registry.images["library/postgres"][tag] = OTHER
    done = check(registry)
    assert done.returncode == 0
    assert OTHER in done.stdout


def test_a_registry_that_does_not_answer_is_one_line_per_image(registry):
    registry.shutdown()
    registry.server_close()
    done = check(registry)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == len(PINNED)
    assert "Traceback" not in done.stderr
