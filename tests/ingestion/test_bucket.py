"""A bucket keeps what is replaced where its store can, its owner's own rules stand, and no store is refused for it."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from ingestion.bronze.lake import Lake
from ingestion.settings import ObjectStore

VERSIONS = "<VersioningConfiguration>{}</VersioningConfiguration>"
NO_RULES = "<Error><Code>NoSuchLifecycleConfiguration</Code><Message>none</Message></Error>"


@pytest.fixture
def prepared() -> Iterator[Callable[[str, int], dict[str, str]]]:
    """Have tickmart look after a bucket of a store with the given versioning; return what was PUT there."""
    servers: list[ThreadingHTTPServer] = []

    def prepare(versioning: str, status: int = 200) -> dict[str, str]:
        written: dict[str, str] = {}

        class Store(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None: ...

            def answer(self, code: int, body: str = "") -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_HEAD(self) -> None:
                self.answer(200)

            def do_GET(self) -> None:
                about = urlsplit(self.path).query
                self.answer(*((status, versioning) if "versioning" in about else (404, NO_RULES)))

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                written[urlsplit(self.path).query.rstrip("=")] = body
                self.answer(200)

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Store))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        where = f"127.0.0.1:{servers[-1].server_address[1]}"
        Lake(ObjectStore(where, "key", "secret", f"b-{uuid4()}")).ensure_bucket()
        return written

    yield prepare
    for server in servers:
        server.shutdown()
        server.server_close()


def test_versions_are_switched_on_and_end_and_abandoned_uploads_too(prepared: Callable[..., dict[str, str]]) -> None:
    written = prepared(VERSIONS.format(""))
    assert "Enabled" in written["versioning"]
    assert "AbortIncompleteMultipartUpload" in written["lifecycle"]
    assert "NoncurrentVersionExpiration" in written["lifecycle"]


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_settings_of_the_buckets_owner_are_not_changed(prepared: Callable[..., dict[str, str]], status: str) -> None:
    assert prepared(VERSIONS.format(f"<Status>{status}</Status>")) == {}


@pytest.mark.parametrize("code", ["NotImplemented", "AccessDenied"])
def test_a_store_without_versions_does_as_well(prepared: Callable[..., dict[str, str]], code: str) -> None:
    assert prepared(f"<Error><Code>{code}</Code><Message>no</Message></Error>", 403) == {}
