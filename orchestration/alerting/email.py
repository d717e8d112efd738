"""E-mail over SMTP: format and transport.

smtplib is enough for one mail. Nothing retries here: the outbox does.
"""

from __future__ import annotations

import html
import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate

from ingestion import proxies
from ingestion.settings import Alerting, Smtp
from orchestration.alerting.messages import TIMEOUT_S, Message, PermanentFailure, Unavailable, shorten, subject


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


def send(alerting: Alerting, messages: Sequence[Message]) -> None:
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
