"""Values of environment variables: numbers, flags, addresses and URLs, each with the error for a bad one.

Does not belong here: which variables there are, which is `ingestion.settings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from ingestion import proxies

Default = TypeVar("Default", bound=float | None)


class SettingsError(ValueError):
    """An invalid setting; the message is one line: variable, value, fix."""


def secret_url(name: str, value: str, fix: str) -> None:
    """Validate a URL that is itself a secret: it is never shown, and needs https unless the host is this machine."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - urllib validates the port only when it is read
    except ValueError:
        raise SettingsError(f"{name}: its value is not a URL (not shown: it is secret); {fix}") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and proxies.is_loopback(parts.hostname or "")):
        raise SettingsError(f"{name}: its value is not an https URL (not shown: it is secret); {fix}")
    if not parts.hostname or len(parts.path) < 2 or parts.username or parts.fragment or not plain_text(value):
        raise SettingsError(f"{name}: its value is not a complete URL (not shown: it is secret); {fix}")


def is_address(text: str) -> bool:
    """Return whether a text is an e-mail address."""
    return re.fullmatch(r"[^@\s,<>\"]+@[^@\s,<>\"]+", text) is not None


def addresses(name: str, value: str) -> tuple[str, ...]:
    """Return e-mail addresses with commas between."""
    found = tuple(part.strip() for part in value.split(",") if part.strip())
    for address in found:
        if not is_address(address) or not plain_text(address):
            raise SettingsError(f"{name}: {address!r} is not an address; write me@example.org, commas between several")
    if value and not found:
        raise SettingsError(f"{name}: {value!r} has no address; write me@example.org, or unset it")
    return found


def url(name: str, value: str) -> str:
    """Return an http(s) URL without a slash at its end."""
    if "@" in value or "?" in value:
        # The value is not shown: it may contain a password or a key.
        raise SettingsError(f"{name}: leave user, password and query out of the URL; keys have variables of their own")
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - urllib validates the port only when it is read
    except ValueError as error:
        raise SettingsError(f"{name}: {value!r} is not a URL ({error}); write it like http://host:8600/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment or not plain_text(value):
        raise SettingsError(f"{name}: {value!r} is not an http(s) URL; write it like https://host/path")
    return value.rstrip("/")


def urls(name: str, value: str) -> tuple[str, ...]:
    """Return one or several http(s) URLs with commas between."""
    found = tuple(url(name, part.strip()) for part in value.split(",") if part.strip())
    if not found:
        raise SettingsError(
            f"{name}: {value!r} names no host; write one URL, or several with commas between, or unset it"
        )
    return found


def stream_url(name: str, value: str, schemes: tuple[str, ...], *, login: bool = False) -> str:
    """Validate the address of a server that is no HTTP server; its value is not shown if it may have a ``login``."""
    shown = "its value (not shown: it may have a password)" if login else repr(value)
    form = (
        f"{name}: {shown} is not a {' or '.join(f'{s}://' for s in schemes)} address; write {schemes[-1]}://host:port"
    )
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - urllib validates the port only when it is read
    except ValueError:
        raise SettingsError(form) from None
    has_login = bool(parts.username or parts.password)
    if parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment or not plain_text(value):
        raise SettingsError(form)
    if has_login and not login:
        raise SettingsError(f"{name}: leave user and password out of the URL; the stream is public")
    return value.rstrip("/")


def bucket_url(name: str, value: str) -> str:
    """Validate the address of a bucket (s3://, http://, https://, the region as its only query) or folder (file://)."""
    address, _, query = value.partition("?")
    form = f"{name}: {value!r} is not s3://bucket/prefix, https://endpoint/bucket/prefix or file:///folder; correct it"
    if "@" in value:
        raise SettingsError(f"{name}: leave user and password out of the URL; the bucket is read anonymously")
    if query and not re.fullmatch(r"region=[a-z0-9-]+", query):
        raise SettingsError(form)
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - urllib validates the port only when it is read
    except ValueError:
        raise SettingsError(form) from None
    has_place = bool(parts.path.strip("/")) if parts.scheme in ("http", "https", "file") else True
    has_host = bool(parts.hostname) != (parts.scheme == "file")
    if parts.scheme not in ("s3", "http", "https", "file") or not (has_place and has_host) or not plain_text(value):
        raise SettingsError(form)
    return value.rstrip("/")


def plain_text(value: str) -> bool:
    """Return whether a text can be part of a header or a URL without escaping."""
    return value.isascii() and value.isprintable() and " " not in value


def number(values: Mapping[str, str], name: str, default: Default, low: float, high: float) -> float | Default:
    """Return a number from ``low`` to ``high``, or the default of a variable that is not set."""
    text = values.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name}: {text!r} is not a number from {low:g} to {high:g}; correct or unset it")
    return value


def whole(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return an integer from ``low`` to ``high``, or the default of a variable that is not set."""
    value = number(values, name, default, low, high)
    if value != int(value):
        raise SettingsError(f"{name}: {values[name]!r} is not an integer from {low} to {high}; correct or unset it")
    return int(value)


def flag(values: Mapping[str, str], name: str, *, default: bool) -> bool:
    """Return a flag (true, false, 1, 0, yes, no), or the default of a variable that is not set."""
    text = values.get(name, "true" if default else "false").lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise SettingsError(f"{name}: {text!r} is neither true nor false; write one of them, or unset it")
    return text in ("true", "1", "yes")


def switch(values: Mapping[str, str], name: str) -> bool | None:
    """Return whether something is switched on or off (also true, false and so on); None if that is not set."""
    text = values.get(name)
    if text is None:
        return None
    if text.lower() not in ("on", "off", "true", "false", "1", "0", "yes", "no"):
        raise SettingsError(f"{name}: {text!r} is neither on nor off; write one of them, or unset it")
    return text.lower() in ("on", "true", "1", "yes")


def is_endpoint(text: str) -> bool:
    """Return whether a text is host or host:port, an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return False
    in_brackets = parts.netloc.startswith("[")
    bare = f"[{parts.hostname}]" if in_brackets else parts.hostname or ""
    written = text.lower() in (bare, f"{bare}:{port}") and port != 0
    return written and bool(parts.hostname) and plain_text(text)
