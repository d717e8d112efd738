"""The page Connect shows what `tickmart connect` prints, and no password that it was not given."""

import json

from orchestration.cli.connect import session_snippets
from orchestration.local.client import EMBEDDED

SERVER = {"PGHOST": "127.0.0.1", "PGPORT": "40001", "PGDATABASE": "tickmart", "TICKMART_PG_READER_PASSWORD": "canary"}


def test_connect_shows_the_text_of_each_tool(open_page, marts, monkeypatch):
    texts = session_snippets({**SERVER, EMBEDDED: "1"})
    monkeypatch.setenv("TICKMART_CONNECT", json.dumps(texts))
    app = open_page(marts, "connect")
    assert not app.exception
    assert [block.value for block in app.code] == list(texts.values())
    assert all("reader" in text and "40001" in text and "canary" in text for text in texts.values())


def test_connect_without_the_texts_names_the_command_and_shows_no_password(open_page, marts, monkeypatch):
    monkeypatch.delenv("TICKMART_CONNECT", raising=False)
    app = open_page(marts, "connect")
    assert not app.exception
    assert not app.code
    assert "tickmart connect" in app.info[0].value


def test_the_password_of_an_external_server_is_not_shown():
    for host in ("127.0.0.1", "db.example"):
        login = {**SERVER, "PGHOST": host, "TICKMART_PG_READER_USER": "reader"}
        assert not any("canary" in text for text in session_snippets(login).values())
