"""Selects the HTTP proxy of a URL from the environment, and opens connections through it.

Belongs here: http_proxy, https_proxy, all_proxy and no_proxy, in either case, with the rules of urllib, curl and pip.
Does not: the requests (``sources.http``). Loopback and tickmart's own services (Postgres, S3, Dagster) never use one.

urllib3 and urllib.request are imported when a connection is made: every command imports this module.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from urllib.request import Request

    import urllib3

VARIABLES = tuple(
    name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word}_proxy".upper())
)
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def answers(url: str, timeout_s: float) -> bool:
    """Return whether one of tickmart's own services answers a request with status 200."""
    try:
        with open_directly(url, timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except OSError:  # of which urllib's errors are
        return False


class ProxyError(ValueError):
    """A proxy setting that cannot be used; the message is one line: variable, what is wrong, fix."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, the variable that names it, and its login, which no message may contain."""

    variable: str
    url: str
    login: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"proxy {self.url} ({self.variable})"


def check(environ: Mapping[str, str] = os.environ) -> None:
    """Raise ProxyError for the first variable without a usable proxy."""
    for word in ("http", "https", "all"):
        _read(word, environ)


def proxy_of(url: str, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy of a URL; None for a direct connection."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or _excluded(host, parts.port, _value("no", environ)[1]):
        return None
    return _read(parts.scheme, environ) or _read("all", environ)


def pool(proxy: Proxy | None, **options: Any) -> urllib3.PoolManager:
    """Return a pool of connections, through the proxy if there is one."""
    import urllib3

    if proxy is None:
        return urllib3.PoolManager(**options)
    login = urllib3.make_headers(proxy_basic_auth=proxy.login) if proxy.login else None
    return urllib3.ProxyManager(proxy.url, proxy_headers=login, **options)


def open_directly(url: str | Request, timeout: float) -> Any:
    """Open a URL of tickmart's own services, as urllib's urlopen does, without a proxy."""
    from urllib.request import ProxyHandler, build_opener

    return build_opener(ProxyHandler({})).open(url, timeout=timeout)


def logins(environ: Mapping[str, str] = os.environ) -> set[str]:
    """Return the passwords inside the proxy variables, as written and decoded."""
    found: set[str] = set()
    for name in VARIABLES:
        # urlsplit rejects some malformed values, whose password is secret too.
        login, at, _ = environ.get(name, "").rpartition("@")
        password = login.rpartition("://")[2].partition(":")[2] if at else ""
        found |= {password, unquote(password)} if password else set()
    return found


def is_loopback(host: str) -> bool:
    """Return whether a host, name or address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _value(word: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's name and value; as in urllib, the lower-case one counts, even when it is empty."""
    name = f"{word}_proxy"
    name = name if name in environ else name.upper()
    return name, environ.get(name, "").strip()


def _read(word: str, environ: Mapping[str, str]) -> Proxy | None:
    name, value = _value(word, environ)
    if not value:
        return None
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if "@" in parts.netloc else None
        (login or "").encode("latin-1")  # the encoding of a Basic login
        plain = value.isascii() and value.isprintable() and " " not in value
        if parts.scheme.startswith("socks"):
            raise ProxyError(f"{name}: a {parts.scheme} proxy is not supported; name an HTTP proxy, or unset it")
        if parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and plain:
            return Proxy(name, f"{parts.scheme}://{join(parts.hostname, parts.port)}", login)
    except ProxyError:
        raise
    except ValueError:
        pass
    raise ProxyError(
        f"{name}: its value is not the address of a proxy (not shown: it may contain a password); write "
        "http://host:port, or http://user:password@host:port with odd characters %-encoded, or unset it"
    )


def join(host: str, port: int | None) -> str:
    """Return host:port as in a URL: an IPv6 address in brackets."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _excluded(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether no_proxy names a host: by urllib's rules, and by networks (10.0.0.0/8) as in curl and Go."""
    if not no_proxy:
        return False
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    rules = {"no": no_proxy}
    if proxy_bypass_environment(host, rules) or proxy_bypass_environment(join(host, port), rules):
        return True
    for entry in map(str.strip, no_proxy.split(",")):
        try:
            if entry == "*":
                return True
            if "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
