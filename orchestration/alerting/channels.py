"""The alert channels, Slack's incoming webhook and e-mail over SMTP: formats and transports.

urllib3 and smtplib are enough for one post and one mail. Nothing retries here: the outbox does.
"""

from __future__ import annotations

import html
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

import orjson
import urllib3

from ingestion import proxies
from ingestion.connection_errors import describe_transport_error
from ingestion.settings import Alerting, Smtp
from ingestion.sources.conventions import retry_after
from orchestration.alerting.messages import (
    TIMEOUT_S,
    Message,
    PermanentFailure,
    Unavailable,
    shorten,
    subject,
    through,
)

# Slack: 50 blocks, 150 characters of a header, 3,000 of a section (https://docs.slack.dev/reference/block-kit/blocks);
# beyond some 13,000 in all it answers msg_blocks_too_long.
HEADER_LIMIT, SECTION_LIMIT, TOTAL_LIMIT = 150, 3_000, 12_000


def configured(alerting: Alerting) -> list[str]:
    """Return the names of the configured channels."""
    return [name for name, setting in (("slack", alerting.slack_webhook_url), ("email", alerting.smtp)) if setting]


def send(channel: str, alerting: Alerting, messages: Sequence[Message]) -> None:
    """Send messages through a channel as one; raises Unavailable or PermanentFailure."""
    _SEND[channel](alerting, messages)


# -- Slack -------------------------------------------------------------------------------------------------------------


def to_payload(messages: Sequence[Message]) -> dict[str, Any]:
    """Return the webhook's JSON within Slack's limits: a header, a section per message, their links."""
    head = subject(messages)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain_text(shorten(head, HEADER_LIMIT))}]
    limit = min(SECTION_LIMIT, TOTAL_LIMIT // len(messages))
    for message in messages[:40]:
        title = shorten(message.heading, 300)
        body = shorten(message.detail, limit - len(title) - 1)
        blocks.append({"type": "section", "text": _plain_text(f"{title}\n{body}" if body else title)})
    links = {name: url for message in messages for name, url in message.links.items()}
    if links:
        text = " | ".join(f"<{url}|{_escape(name, 40)}>" for name, url in list(links.items())[:5])
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
    text = _escape(f"tickmart: {head}", 400)
    return {"text": text, "mrkdwn": False, "blocks": blocks, "unfurl_links": False}


def _plain_text(text: str) -> dict[str, Any]:
    """Return Slack's text object in which nothing is markup: no bold, code, link, emoji or mention."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _escape(text: str, limit: int) -> str:
    """Escape the three characters that Slack reads as markup, within ``limit`` and without cutting an escape."""
    cut = shorten(text, limit)
    while len(escaped := cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")) > limit:
        cut = shorten(cut, len(cut) - max(1, (len(escaped) - limit) // 4))
    return escaped


def _send_to_slack(alerting: Alerting, messages: Sequence[Message]) -> None:
    """Send messages as one post; raises Unavailable or PermanentFailure."""
    assert alerting.slack_webhook_url is not None
    body = orjson.dumps(to_payload(messages))
    proxy = proxies.proxy_of(alerting.slack_webhook_url)
    timeout = urllib3.Timeout(connect=5, read=TIMEOUT_S)
    try:
        with proxies.pool(proxy, retries=False, timeout=timeout) as pool:
            response = pool.request(
                "POST",
                alerting.slack_webhook_url,
                body=body,
                headers={"Content-Type": "application/json", "User-Agent": "tickmart/0.1"},
                redirect=False,
            )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        # The exception's own text contains the webhook's address, which is a secret.
        raise Unavailable(f"Slack{through(proxy)} {describe_transport_error(error)}") from None
    text = response.data[:120].decode(errors="replace")
    if response.status == 429 or response.status >= 500:
        raise Unavailable(f"Slack answered {response.status} {text}", retry_after(response.headers))
    if response.status != 200:
        raise PermanentFailure(f"Slack answered {response.status} {text}: is SLACK_WEBHOOK_URL still valid?")


# -- e-mail ------------------------------------------------------------------------------------------------------------


def compose(alerting: Alerting, messages: Sequence[Message]) -> EmailMessage:
    """Return the mail, plain and HTML. A repeated mail has the same Message-ID, so that clients can drop it."""
    mail = EmailMessage()
    mail["Subject"] = shorten(f"tickmart: {subject(messages)}", 200)
    mail["From"] = alerting.email_from
    mail["To"] = ", ".join(alerting.email_to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{messages[0].key.replace(' ', '.')}@tickmart.invalid>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n\n".join(_to_text(message) for message in messages) + "\n")
    body = "".join(_to_html(message) for message in messages)
    mail.add_alternative(
        f'<!doctype html><html><body style="font-family: sans-serif">{body}</body></html>', subtype="html"
    )
    return mail


def _to_text(message: Message) -> str:
    parts = [message.heading, message.detail]
    for heading, rows in message.tables.items():
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        parts.append("\n".join([heading.upper(), *(f"  {line}" for line in lines)]))
    parts += [f"{name}: {url}" for name, url in message.links.items()]
    return "\n\n".join(filter(None, parts))


def _to_html(message: Message) -> str:
    parts = [f"<h3>{html.escape(message.heading)}</h3>"]
    if message.detail:
        parts.append(f"<p>{html.escape(message.detail).replace(chr(10), '<br>')}</p>")
    for heading, rows in message.tables.items():
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        lines = "".join(f"<tr>{row}</tr>" for row in cells)
        parts.append(f'<h4>{html.escape(heading)}</h4><table cellpadding="4">{lines}</table>')
    parts += [f'<p><a href="{html.escape(url)}">{html.escape(name)}</a></p>' for name, url in message.links.items()]
    return "".join(parts)


def _send_mail(alerting: Alerting, messages: Sequence[Message]) -> None:
    """Send messages as one mail; raises Unavailable or PermanentFailure."""
    assert alerting.smtp is not None
    server = alerting.smtp
    mail = compose(alerting, messages)
    name = f"mail server {proxies.join(server.host, server.port)}"
    try:
        with _connect(server) as client:
            rejected = client.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        reason = f"{name} accepts mail for none of ALERT_EMAIL_TO (answered {', '.join(map(str, sorted(codes)))})"
        raise (PermanentFailure(reason) if min(codes) >= 500 else Unavailable(reason)) from None
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        reason = f"{name} answered {error.smtp_code} {text}"
        if error.smtp_code >= 500:
            raise PermanentFailure(f"{reason}: check SMTP_URL, ALERT_EMAIL_FROM and ALERT_EMAIL_TO") from None
        raise Unavailable(reason) from None
    except ssl.SSLError as error:
        raise Unavailable(f"{name} has no TLS certificate that this machine trusts ({error.reason})") from None
    except TimeoutError:
        raise Unavailable(f"{name} stopped answering (timed out after {TIMEOUT_S:.0f} s)") from None
    except (OSError, smtplib.SMTPException) as error:
        raise Unavailable(f"{name} failed ({type(error).__name__}: {error})") from None
    if rejected:
        raise PermanentFailure(f"{name} sent it, but not to {', '.join(rejected)}: correct ALERT_EMAIL_TO")


def _connect(server: Smtp) -> smtplib.SMTP:
    """Return an encrypted session that is logged in; a password is never sent over an unencrypted connection."""
    context = ssl.create_default_context()
    # smtplib would look up this machine's full name in DNS, which can take longer than the mail.
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
            raise PermanentFailure(
                f"mail server {proxies.join(server.host, server.port)} offers no STARTTLS, and a password is not sent "
                "unencrypted: use smtps:// in SMTP_URL, or omit user and password"
            )
        if server.user and server.password:
            client.login(server.user, server.password)
    except BaseException:
        client.close()
        raise
    return client


_SEND: dict[str, Callable[[Alerting, Sequence[Message]], None]] = {"slack": _send_to_slack, "email": _send_mail}
