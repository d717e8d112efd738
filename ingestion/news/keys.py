"""Keys by which repeated headlines are found: the canonical address, and the title without case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import parse_qsl, urlencode, urlsplit

# Parameters that say how a reader came, not what the page is.
_TRACKING = re.compile(r"(?i)utm_.*|fbclid|gclid|mc_[ce]id|ref|source|cmpid|ocid|s?share|amp|outputtype")
_AMP_END = re.compile(r"(?i)/amp/?$")


def canonical_url(url: str) -> str:
    """Return an address without scheme, www., port, tracking parameters, fragment and AMP: equal for one page."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").lower()
    except ValueError:
        return url.strip()
    host = re.sub(r"^(www|m|amp|mobile)\.", "", host)
    path = _AMP_END.sub("", parts.path).rstrip("/")
    kept = sorted(pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0]))
    return f"{host}{path}" + (f"?{urlencode(kept)}" if kept else "")


def title_key(title: str, publisher: str | None = None) -> str:
    """Return a title's letters and digits in lowercase, without the publisher's name that some feeds append."""
    named = bool(publisher) and _ends_with_name(title, publisher or "")
    text = re.sub(r"\s+[-|–—]\s+[^-|–—]{2,40}$", "", title) if named else title
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded)) or folded.strip()


def _ends_with_name(title: str, publisher: str) -> bool:
    last = re.split(r"\s+[-|–—]\s+", title)[-1]
    name = re.sub(r"[^a-z0-9]", "", last.casefold())
    return bool(name) and name in re.sub(r"[^a-z0-9]", "", publisher.casefold())
