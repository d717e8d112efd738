"""Slack's incoming webhook: format and transport.

One POST with urllib3, which is a dependency already: slack-sdk would add a package, and neither escapes nor shortens.
Nothing retries here: the outbox does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import urllib3

from ingestion import proxies
from ingestion.connection_errors import describe_transport_error
from ingestion.settings import Alerting
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


def send(alerting: Alerting, messages: Sequence[Message]) -> None:
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
