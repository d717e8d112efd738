"""Proxies as the environment names them, through real HTTP servers: who is asked, and what is said of a bad one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from ingestion import proxies
from ingestion.settings import SettingsError, load_settings, secrets
from ingestion.sources.http import Deadline, HttpClient, SourceError
from ingestion.sources.registry import SOURCES
from orchestration.alerting import channels
from orchestration.alerting.heartbeat import ping
from orchestration.alerting.messages import Message, Unavailable
from orchestration.maintenance.doctor import proxies_used
from support.scripted_server import Asked, Reply, ScriptedServer, scripted

HOST = "http://market.example.invalid"
LOGIN = "http://me:canary%2Fpassword@"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in proxies.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    """An HTTP proxy that answers for any host; to CONNECT it says 407."""
    with scripted(lambda asked: Reply(407) if asked.raw.endswith(":443") else Reply(body={"serverTime": 1})) as server:
        yield server


def ask(url: str, source: str = "Binance") -> object:
    client = HttpClient(source, [url], setting="BINANCE_BASE_URL", deadline=Deadline(20), sleep=lambda _: None)
    with closing(client):
        return client.get("/api/v3/time")


def error_of(url: str) -> tuple[str, str]:
    """The message of a failed request and what the request log keeps of it."""
    client = HttpClient("Binance", [url], setting="BINANCE_BASE_URL", deadline=Deadline(20), sleep=lambda _: None)
    with closing(client), pytest.raises(SourceError) as raised:
        client.get("/api/v3/time")
    return str(raised.value), " ".join(str(attempt.error) for attempt in client.take_attempts())


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_source_is_asked_through_the_proxy(proxy, monkeypatch, name):
    monkeypatch.setenv(name, proxy.url)
    assert ask(HOST) == {"serverTime": 1}
    assert [asked.raw for asked in proxy.asked] == [f"{HOST}/api/v3/time"]


def test_the_login_goes_to_the_proxy_and_nowhere_else(proxy, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("http_proxy", proxy.url.replace("http://", LOGIN))
    ask(HOST)
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic bWU6Y2FuYXJ5L3Bhc3N3b3Jk"
    proxy.script = [Reply(407)]
    message, logged = error_of(HOST)
    assert "canary" not in message + logged + caplog.text
    assert {"canary/password", "canary%2Fpassword"} <= set(secrets({"https_proxy": f"{LOGIN}p:1"}))


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("excluded", "host", "direct"),
    [
        ("example.com", "https://example.com", True),
        ("example.com", "https://api.example.com", True),
        (".example.com", "https://api.example.com", True),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        ("other.com, api.example.com", "https://api.example.com", True),
        ("example.com", "https://notexample.com", False),
        ("*", "https://anything.example", True),
        ("*,localhost", "https://anything.example", True),
        ("10.0.0.0/8", "http://10.1.2.3:8600", True),
        ("10.0.0.0/8", "http://11.1.2.3:8600", False),
        ("2001:db8::1", "http://[2001:db8::1]:8600", True),
        ("[2001:db8::1]:8600", "http://[2001:db8::1]:8600", True),
        ("", "https://example.com", False),
    ],
)
def test_no_proxy_names_the_hosts_that_are_asked_directly(name, excluded, host, direct):
    environ = {"http_proxy": "http://p:1", "https_proxy": "http://p:1", name: excluded}
    assert (proxies.proxy_of(host, environ) is None) == direct


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "LOCALHOST", "api.localhost"])
def test_loopback_is_never_asked_through_a_proxy(host):
    assert proxies.proxy_of(f"http://{host}:8600", {"http_proxy": "http://p:1", "all_proxy": "http://p:1"}) is None


def test_the_lower_case_variable_counts_even_when_it_is_empty():
    environ = {"http_proxy": "", "HTTP_PROXY": "http://upper:1"}
    assert proxies.proxy_of(HOST, environ) is None
    found = proxies.proxy_of(HOST, {**environ, "http_proxy": "lower:2"})
    assert (found.variable, found.url) == ("http_proxy", "http://lower:2")


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "value",
    ["http://", "http://me:canary@", "http://me:canary@p:port", "p:99999", "ftp://p:1", "http://me:canary@p:1/path",
     "http://[::1", "socks5://me:canary@p:1", "socks4a://p:1", "http://p q:1", "http://me:%E2%82%ACcanary@p:1"],
)  # fmt: skip
def test_an_invalid_proxy_is_rejected_in_one_line_that_names_the_variable(name, value):
    with pytest.raises(SettingsError) as raised:
        load_settings({name: value})
    message = str(raised.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert "canary" not in message


def closed_port() -> str:
    with scripted([Reply()]) as server:
        return server.url


@pytest.mark.parametrize(
    ("variable", "address", "fault"),
    [
        ("http_proxy", lambda proxy: closed_port(), "connection refused"),
        ("https_proxy", lambda proxy: closed_port(), "connection refused"),
        ("https_proxy", lambda proxy: proxy.url, "407"),
    ],
)
def test_a_proxy_that_fails_is_named_and_not_the_source(
    proxy: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    address: Callable[[ScriptedServer], str],
    fault: str,
) -> None:
    url = address(proxy)
    monkeypatch.setenv(variable, url)
    message, logged = error_of(HOST.replace("http", variable.removesuffix("_proxy")))
    assert f"proxy {url} ({variable})" in message
    assert fault in message
    assert f"Correct {variable}" in message
    assert "BINANCE_BASE_URL" not in message
    assert fault in logged


def test_a_plain_407_is_the_proxys(proxy, monkeypatch):
    proxy.script = [Reply(407)]
    monkeypatch.setenv("http_proxy", proxy.url)
    message, _ = error_of(HOST)
    assert f"proxy {proxy.url} (http_proxy)" in message
    assert "Correct http_proxy" in message
    assert len(proxy.asked) == 1


def test_slack_and_the_heartbeat_go_through_the_proxy(proxy, monkeypatch):
    monkeypatch.setenv("https_proxy", proxy.url)
    alerting = load_settings({"SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/x"}).alerting
    with pytest.raises(Unavailable, match=r"proxy .*\(https_proxy\).*407"):
        channels.send("slack", alerting, [Message("k", "test", "warn", "t")])
    assert "(https_proxy)" in ping("https://heartbeat.example/x")
    assert {asked.raw for asked in proxy.asked} == {"hooks.slack.example:443", "heartbeat.example:443"}


def test_tickmarts_own_services_are_never_asked_through_a_proxy(proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.url)
    with scripted([Reply()]) as own, proxies.open_directly(own.url, timeout=5) as answer:
        assert answer.status == 200
    assert not proxy.asked


def test_doctor_says_which_source_uses_which_proxy(monkeypatch):
    assert proxies_used(load_settings({})) == "none"
    monkeypatch.setenv("https_proxy", "http://me:canary@p:3128")
    monkeypatch.setenv("no_proxy", "api.coingecko.com")
    said = proxies_used(load_settings({}))
    names = dict.fromkeys(api.name for source in SOURCES for api in source.apis)
    others = ", ".join(name for name in names if name != "CoinGecko")
    assert f"{others}: proxy http://p:3128 (https_proxy)" in said
    assert "CoinGecko: none" in said
    assert "canary" not in said


def test_an_answer_of_the_source_behind_a_proxy_is_still_the_sources(proxy, monkeypatch):
    def busy(asked: Asked) -> Reply:
        return Reply(503)

    proxy.script = busy
    monkeypatch.setenv("http_proxy", proxy.url)
    message, _ = error_of(HOST)
    assert "answered 503" in message
    assert f"through proxy {proxy.url}" in message
