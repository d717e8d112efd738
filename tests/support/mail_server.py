"""An SMTP server for tests: accepts mail or fails as a test dictates, and records every line that it receives."""

import contextlib
import email
import email.policy
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import cast


class Mailbox(socketserver.ThreadingTCPServer):
    """Keeps every mail; `manner` is how it behaves: friendly, silent, busy, no login, nobody here."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, manner: str, tls: ssl.SSLContext | None, from_the_start: bool) -> None:
        self.manner, self.tls, self.from_the_start = manner, tls, from_the_start
        self.mails: list[EmailMessage] = []
        self.received: list[tuple[bool, str]] = []  # (was the line encrypted, the line)
        super().__init__(("127.0.0.1", 0), _Session)
        self.port = self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is part of the play."""


class _Session(socketserver.BaseRequestHandler):
    server: Mailbox
    request: socket.socket

    def handle(self) -> None:
        if self.server.manner == "silent":
            time.sleep(5)
            return
        self._encrypted = False
        if self.server.from_the_start:
            self._encrypt()
        self._file = self.request.makefile("rb")
        self._say("421 busy, later" if self.server.manner == "busy" else "220 mailbox")
        while line := self._file.readline().decode().strip():
            self.server.received.append((self._encrypted, line))
            if not self._answer(line.split()[0].upper()):
                return

    def _answer(self, verb: str) -> bool:
        if verb == "EHLO":
            offers = ["250-mailbox", *(["250-STARTTLS"] if self.server.tls and not self._encrypted else [])]
            self._say("\r\n".join([*offers, "250 AUTH PLAIN LOGIN"]))
        elif verb == "STARTTLS":
            self._say("220 go on")
            self._encrypt()
            self._file = self.request.makefile("rb")
        elif verb == "AUTH":
            self._say("535 wrong user or password" if self.server.manner == "no login" else "235 welcome")
        elif verb == "RCPT":
            self._say("550 no such user" if self.server.manner == "nobody here" else "250 ok")
        elif verb == "DATA":
            self._say("354 go on")
            lines = []
            while (line := self._file.readline()) not in (b".\r\n", b""):
                lines.append(line)
            mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
            self.server.mails.append(cast(EmailMessage, mail))
            self._say("250 kept")
        else:
            self._say("221 bye" if verb == "QUIT" else "250 ok")
        return verb != "QUIT"

    def _encrypt(self) -> None:
        assert self.server.tls is not None
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self._encrypted = True

    def _say(self, text: str) -> None:
        self.request.sendall(f"{text}\r\n".encode())


@contextlib.contextmanager
def mailbox(
    manner: str = "friendly", tls: ssl.SSLContext | None = None, *, from_the_start: bool = False
) -> Iterator[Mailbox]:
    with Mailbox(manner, tls, from_the_start) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def certificate(folder: Path) -> Path:
    """Make a certificate for this machine that is its own authority; its key lies in the same file."""
    path = folder / "mailbox.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", folder / "key.pem", "-out", path,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text((folder / "key.pem").read_text() + path.read_text())
    return path
