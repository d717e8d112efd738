"""Fixtures of several modules about sources."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support.http_client import Server
from support.scripted_exchange import Exchange
from support.scripted_server import Asked, Reply, ScriptedServer, scripted


@pytest.fixture
def serve() -> Iterator[Server]:
    """Start a server that gives the replies in order, or those of a function."""
    with ExitStack() as open_servers:

        def start(*replies: Reply, by: Callable[[Asked], Reply] | None = None) -> ScriptedServer:
            return open_servers.enter_context(scripted(by or replies))

        yield start


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """An exchange without bars, and its server."""
    with ExitStack() as stack:
        made = Exchange()
        made.server = stack.enter_context(scripted(made))
        yield made
