"""The format of alerts in Slack and mail, and how a mail is sent."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.settings import Alerting, Smtp
from orchestration.alerting import channels
from orchestration.alerting.messages import Message, PermanentFailure, Unavailable
from support.mail_server import certificate, mailbox

# -- format -----------------------------------------------------------------------------------------------------------

TEXT = st.text(max_size=4000) | st.text("&<>*_`", max_size=4000)
MESSAGES = st.lists(
    st.builds(
        Message, st.just("incident 1 opened 0"), st.sampled_from(["opened", "reopened", "recovered"]),
        st.sampled_from(["warn", "error"]), TEXT, TEXT, st.just({}),
        st.just({"Dagster": "http://127.0.0.1:3000"}),
    ),
    min_size=1, max_size=60,
)  # fmt: skip


@given(MESSAGES)
def test_any_messages_are_escaped_and_within_slacks_limits(bundle: list[Message]):
    payload = channels.to_payload(bundle)
    blocks = payload["blocks"]
    assert len(blocks) <= 50
    assert len(blocks[0]["text"]["text"]) <= 150
    shown = [block["text"] for block in blocks if block["type"] == "section"]
    assert {text["type"] for text in shown} == {"plain_text"}
    sections = [text["text"] for text in shown]
    assert all(0 < len(text) <= 3000 for text in sections)
    assert sum(map(len, sections)) <= 13_000
    rest = payload["text"].replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set("&<>") & set(rest)
    assert payload["mrkdwn"] is False


@given(TEXT.filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text)), TEXT)
def test_no_text_adds_a_header_to_the_mail(title: str, detail: str):
    alerting = Alerting(email_to=("me@example.org",), email_from="tickmart@example.org")
    mail = channels.compose(alerting, [Message("k", "opened", "error", f"{title}\r\nBcc: you@example.org", detail)])
    assert set(mail.keys()) == {
        "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert mail.get_body(("html",)).get_content().count("<h3>") == 1


def test_source_values_are_plain_text_in_slack_and_mail():
    evil = "<!channel> *x* `y` :smile: <https://x.y|z> & \x1b[31m\u202e"
    message = Message("k", "opened", "error", f"{evil}\nBcc: you@example.org", evil, {"Data": [[evil, "1"]]})
    payload = channels.to_payload([message])
    (section,) = [block["text"] for block in payload["blocks"] if block["type"] == "section"]
    assert section["type"] == "plain_text"
    assert "<!channel> *x* `y` :smile:" in section["text"]
    assert "<!channel>" not in payload["text"]
    mail = channels.compose(Alerting(email_to=("me@example.org",), email_from="tickmart@example.org"), [message])
    page, words = (mail.get_body((kind,)).get_content() for kind in ("html", "plain"))
    assert "&lt;!channel&gt;" in page
    assert "<!channel> *x*" in words
    for sent in (str(payload), mail["Subject"], page, words):
        assert not {"\x1b", "\u202e"} & set(sent)


# -- e-mail ----------------------------------------------------------------------------------------------------------

MESSAGE = Message("incident 7 opened 0", "opened", "error", "it <failed>", "fix & retry", links={"Dagster": "http://d"})


def mail_to(port: int, *, tls: bool = False, login: bool = True) -> Alerting:
    user, password = ("me", "canary-password") if login else (None, None)
    return Alerting(
        smtp=Smtp("127.0.0.1", port, tls, user, password), email_to=("you@example.org",), email_from="a@b.c"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    return certificate(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Path, monkeypatch) -> ssl.SSLContext:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_mail_is_plain_and_html_and_its_password_is_sent_encrypted(tls, from_the_start: bool):
    with mailbox(tls=tls, from_the_start=from_the_start) as server:
        channels.send("email", mail_to(server.port, tls=from_the_start), [MESSAGE])
    [mail] = server.mails
    assert mail["Subject"] == "tickmart: FAILED: it <failed>"
    assert mail["Message-ID"] == "<incident.7.opened.0@tickmart.invalid>"
    assert "fix & retry" in mail.get_body(("plain",)).get_content()
    assert "it &lt;failed&gt;" in mail.get_body(("html",)).get_content()
    assert [encrypted for encrypted, line in server.received if line.startswith("AUTH")] == [True]


def test_a_password_is_not_sent_unencrypted(monkeypatch):
    monkeypatch.setattr(channels.proxies, "is_loopback", lambda host: False)
    with mailbox() as server, pytest.raises(PermanentFailure, match="STARTTLS"):
        channels.send("email", mail_to(server.port), [MESSAGE])
    assert not [line for _, line in server.received if line.startswith("AUTH")]


def test_a_certificate_that_is_not_trusted_stops_the_mail(authority: Path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with mailbox(tls=context) as server, pytest.raises(Unavailable, match="TLS"):
        channels.send("email", mail_to(server.port), [MESSAGE])


@pytest.mark.parametrize(
    ("manner", "kind", "words"),
    [
        ("silent", Unavailable, "timed out"),
        ("busy", Unavailable, "421"),
        ("no login", PermanentFailure, "535"),
        ("nobody here", PermanentFailure, "550"),
    ],
)
def test_a_mail_servers_failure_is_temporary_or_permanent_as_its_code_says(manner, kind, words, monkeypatch):
    monkeypatch.setattr(channels, "TIMEOUT_S", 0.3)
    with mailbox(manner) as server, pytest.raises(kind, match=words) as problem:
        channels.send("email", mail_to(server.port), [MESSAGE])
    assert "canary-password" not in str(problem.value)
