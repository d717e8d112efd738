"""How an alert looks and travels: Slack's incoming webhook, e-mail, and the dead-man switch.

Belongs here: rendering and sending, and telling a channel that is down from one that refuses. Does not: when to send,
and what to do about a failure (``alerts``). Both transports are small enough for what is here already: urllib3 for one
POST (slack-sdk would add a package for it, and neither escapes nor shortens), smtplib for the mail. Nothing retries
here: the outbox does.
"""

from __future__ import annotations

import html
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

import orjson
import urllib3

from ingestion import proxies
from ingestion.connection_errors import describe_transport_error
from ingestion.settings import Alerting, Smtp, secrets
from ingestion.sources.conventions import retry_after
from ingestion.text import visible

TIMEOUT_S = 10.0
PINGS = 3
# Slack: 50 blocks, 150 characters of a header, 3,000 of a section (https://docs.slack.dev/reference/block-kit/blocks);
# beyond some 13,000 in all it answers msg_blocks_too_long.
SLACK_HEADER, SLACK_SECTION, SLACK_TOTAL = 150, 3_000, 12_000
WORDS = {"error": "FAILED", "warn": "WARNING"}


class Unavailable(Exception):
    """The channel cannot be used now: to be tried again, not before ``wait_s`` if it has said so."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(without_secrets(why))
        self.wait_s = wait_s


class Refused(Exception):
    """The channel will not take this message, however often it is sent: something must be mended first."""

    def __init__(self, why: str) -> None:
        super().__init__(without_secrets(why))


@dataclass(frozen=True)
class Message:
    """One thing to tell: a title in one line, what to know and to do, and for a digest its tables by heading."""

    key: str
    event: str
    severity: str
    title: str
    detail: str = ""
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write out control and direction characters: each channel then only adds its own escaping."""
        tables = {name: [[visible(cell) for cell in row] for row in rows] for name, rows in self.tables.items()}
        object.__setattr__(self, "title", visible(" ".join(self.title.split())))
        object.__setattr__(self, "detail", visible(self.detail, keep="\n"))
        object.__setattr__(self, "tables", tables)

    def as_json(self) -> dict[str, Any]:
        """Return the message as the outbox keeps it."""
        return asdict(self)

    @property
    def heading(self) -> str:
        """Return the title behind the word that says how things stand."""
        word = {"recovered": "RECOVERED", "digest": "", "test": "TEST"}.get(self.event, WORDS[self.severity])
        again = " again" if self.event == "reopened" else ""
        return f"{word}{again}: {self.title}" if word else self.title


def configured(alerting: Alerting) -> list[str]:
    """Return the names of the channels that are switched on."""
    return [name for name, on in (("slack", alerting.slack_webhook_url), ("email", alerting.smtp)) if on]


def send(channel: str, alerting: Alerting, messages: Sequence[Message]) -> None:
    """Send messages through a channel as one; raises Unavailable or Refused."""
    _SEND[channel](alerting, messages)


def without_secrets(text: str) -> str:
    """Return a text in one line, cut short, with every secret of the environment taken out."""
    for secret in secrets():
        text = text.replace(secret, "***")
    return " ".join(text.split())[:300]


# -- Slack -----------------------------------------------------------------------------------------------------------


def slack_payload(messages: Sequence[Message]) -> dict[str, Any]:
    """Return the webhook's JSON: a header, a section per message, their links; within Slack's limits whatever comes."""
    head = messages[0].heading if len(messages) == 1 else _counted(messages)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain_text(_cut(head, SLACK_HEADER))}]
    room = min(SLACK_SECTION, SLACK_TOTAL // len(messages))
    for message in messages[:40]:
        title = _cut(message.heading, 300)
        body = _cut(message.detail, room - len(title) - 1)
        blocks.append({"type": "section", "text": _plain_text(f"{title}\n{body}" if body else title)})
    links = {name: url for message in messages for name, url in message.links.items()}
    if links:
        text = " | ".join(f"<{url}|{_slack_text(name, 40)}>" for name, url in list(links.items())[:5])
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
    text = _slack_text(f"tickmart: {head}", 400)
    return {"text": text, "mrkdwn": False, "blocks": blocks, "unfurl_links": False}


def _plain_text(text: str) -> dict[str, Any]:
    """Return Slack's text object in which nothing is markup: no bold, code, link, emoji or mention."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _counted(messages: Sequence[Message]) -> str:
    news = sum(message.event in ("opened", "reopened") for message in messages)
    healed = sum(message.event == "recovered" for message in messages)
    parts = [f"{news} new problem{'s' * (news != 1)}"] * bool(news) + [f"{healed} recovered"] * bool(healed)
    return ", ".join(parts) or f"{len(messages)} messages"


def _slack_text(text: str, limit: int) -> str:
    """Escape the three characters that Slack reads as markup, and keep within ``limit`` without cutting an escape."""
    kept = _cut(text, limit)
    while len(escaped := kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) > limit:
        kept = _cut(kept, len(kept) - max(1, (len(escaped) - limit) // 4))
    return escaped


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: max(0, limit - 3)]}..."


def _send_slack(alerting: Alerting, messages: Sequence[Message]) -> None:
    assert alerting.slack_webhook_url is not None
    body = orjson.dumps(slack_payload(messages))
    proxy = proxies.proxy_of(alerting.slack_webhook_url)
    timeout = urllib3.Timeout(connect=5, read=TIMEOUT_S)
    try:
        with proxies.pool(proxy, retries=False, timeout=timeout) as pool:
            answer = pool.request(
                "POST",
                alerting.slack_webhook_url,
                body=body,
                headers={"Content-Type": "application/json", "User-Agent": "tickmart/0.1"},
                redirect=False,
            )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # The exception's own text holds the webhook's address, which is a secret.
        raise Unavailable(f"Slack{_through(proxy)} {describe_transport_error(error)}") from None
    said = answer.data[:120].decode(errors="replace")
    if answer.status == 429 or answer.status >= 500:
        raise Unavailable(f"Slack answered {answer.status} {said}", retry_after(answer.headers))
    if answer.status != 200:
        raise Refused(f"Slack answered {answer.status} {said}: is SLACK_WEBHOOK_URL still valid?")


# -- e-mail ----------------------------------------------------------------------------------------------------------


def compose(alerting: Alerting, messages: Sequence[Message]) -> EmailMessage:
    """Return the mail, plain and HTML; its id is that of its messages, so that a repeated one is known as such."""
    mail = EmailMessage()
    head = messages[0].heading if len(messages) == 1 else _counted(messages)
    mail["Subject"] = _cut(f"tickmart: {head}", 200)
    mail["From"] = alerting.email_from
    mail["To"] = ", ".join(alerting.email_to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{messages[0].key.replace(' ', '.')}@tickmart.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n\n".join(_plain(message) for message in messages) + "\n")
    mail.add_alternative(_page("".join(_html(message) for message in messages)), subtype="html")
    return mail


def _plain(message: Message) -> str:
    parts = [message.heading, message.detail]
    for heading, rows in message.tables.items():
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        parts.append("\n".join([heading.upper(), *(f"  {line}" for line in lines)]))
    parts += [f"{name}: {url}" for name, url in message.links.items()]
    return "\n\n".join(filter(None, parts))


def _html(message: Message) -> str:
    parts = [f"<h3>{html.escape(message.heading)}</h3>"]
    if message.detail:
        parts.append(f"<p>{html.escape(message.detail).replace(chr(10), '<br>')}</p>")
    for heading, rows in message.tables.items():
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        lines = "".join(f"<tr>{row}</tr>" for row in cells)
        parts.append(f'<h4>{html.escape(heading)}</h4><table cellpadding="4">{lines}</table>')
    parts += [f'<p><a href="{html.escape(url)}">{html.escape(name)}</a></p>' for name, url in message.links.items()]
    return "".join(parts)


def _page(body: str) -> str:
    return f'<!doctype html><html><body style="font-family: sans-serif">{body}</body></html>'


def _send_mail(alerting: Alerting, messages: Sequence[Message]) -> None:
    assert alerting.smtp is not None
    server = alerting.smtp
    mail = compose(alerting, messages)
    where = f"mail server {proxies.join(server.host, server.port)}"
    try:
        with _smtp(server) as client:
            refused = client.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        said = f"{where} takes mail for none of ALERT_EMAIL_TO (answered {', '.join(map(str, sorted(codes)))})"
        raise (Refused(said) if min(codes) >= 500 else Unavailable(said)) from None
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        said = f"{where} answered {error.smtp_code} {text}"
        if error.smtp_code >= 500:
            raise Refused(f"{said}: check SMTP_URL, ALERT_EMAIL_FROM and ALERT_EMAIL_TO") from None
        raise Unavailable(said) from None
    except ssl.SSLError as error:
        raise Unavailable(f"{where} has no TLS that this machine trusts ({error.reason})") from None
    except TimeoutError:
        raise Unavailable(f"{where} stopped answering (timed out after {TIMEOUT_S:.0f} s)") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"{where} failed ({type(error).__name__}: {error})") from None
    if refused:
        raise Refused(f"{where} sent it, but not to {', '.join(refused)}: correct ALERT_EMAIL_TO")


def _smtp(server: Smtp) -> smtplib.SMTP:
    """Return a session that is encrypted and logged in; a password is never sent over an open line."""
    context = ssl.create_default_context()
    # smtplib would ask DNS for this machine's whole name, which can take longer than the mail.
    name = socket.gethostname()
    if server.tls:
        client: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, name, timeout=TIMEOUT_S, context=context)
    else:
        client = smtplib.SMTP(server.host, server.port, name, timeout=TIMEOUT_S)
    try:
        client.ehlo()
        if not server.tls and client.has_extn("starttls"):
            client.starttls(context=context)
            client.ehlo()
        elif not server.tls and server.password and not proxies.is_loopback(server.host):
            raise Refused(
                f"mail server {proxies.join(server.host, server.port)} offers no STARTTLS, and a password is "
                "not sent in the clear: write smtps:// in SMTP_URL, or leave user and password out"
            )
        if server.user and server.password:
            client.login(server.user, server.password)
    except BaseException:
        client.close()
        raise
    return client


_SEND: dict[str, Callable[[Alerting, Sequence[Message]], None]] = {"slack": _send_slack, "email": _send_mail}


# -- dead-man switch -------------------------------------------------------------------------------------------------


def ping(url: str) -> str | None:
    """Ask for the heartbeat URL; return what went wrong in one line, or None."""
    why = ""
    proxy = proxies.proxy_of(url)
    timeout = urllib3.Timeout(connect=3, read=5)
    with proxies.pool(proxy, retries=False, timeout=timeout) as pool:
        for _ in range(PINGS):
            try:
                answer = pool.request("GET", url, headers={"User-Agent": "tickmart/0.1"})
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = f"HEARTBEAT_URL{_through(proxy)} {describe_transport_error(error)}"
                continue
            if answer.status < 300:
                return None
            why = f"HEARTBEAT_URL answered {answer.status}"
    return why


def _through(proxy: proxies.Proxy | None) -> str:
    return f" (through {proxy})" if proxy else ""
