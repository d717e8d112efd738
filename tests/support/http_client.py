"""What tests of the HTTP client share: a good answer, the types of their fixtures, the error of a call."""

from collections.abc import Callable
from typing import Any

import pytest

from ingestion.sources.http import HttpClient, SourceError
from support.scripted_server import Reply, ScriptedServer

GOOD = Reply(body={"ok": True})
Client = Callable[..., HttpClient]
Server = Callable[..., ScriptedServer]


def error_of(call: Callable[[], Any]) -> SourceError:
    """The error that a call raises, of one line."""
    with pytest.raises(SourceError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value
