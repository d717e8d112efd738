"""Compare the pinned digests of third-party images with their registries: `python docker/check_image_pins.py`.

Belongs here: which images the repository pins, and what a registry has under the same tag. Only the standard library,
so that it runs anywhere. Exit code 0: every pinned digest can be pulled; 1: one cannot. A tag that has moved on is a
notice.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("docker-compose.yml", "Dockerfile")
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9./-]*):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
TYPES = ", ".join((
    "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
TIMEOUT_S = 30


@dataclass(frozen=True, order=True)
class Pin:
    """One pinned image, with its registry's address and its repository there."""

    image: str
    registry: str
    repository: str
    tag: str
    digest: str


def pins(text: str) -> set[Pin]:
    """Return the pinned images of a file; a name without a registry is one of Docker Hub."""
    found = set()
    for match in PIN.finditer(text):
        name = match["name"]
        first, _, rest = name.partition("/")
        registry, repository = (first, rest) if "." in first else ("registry-1.docker.io", name)
        if "/" not in repository:
            repository = f"library/{repository}"
        found.add(Pin(name, registry, repository, match["tag"], match["digest"]))
    return found


class Registry:
    """A registry of the OCI distribution API; TICKMART_REGISTRY_MIRROR replaces every registry's address."""

    def __init__(self, host: str) -> None:
        self.address = os.environ.get("TICKMART_REGISTRY_MIRROR", f"https://{host}").rstrip("/")
        self._tokens: dict[str, str] = {}
        self._opener = urllib.request.build_opener()

    def digest(self, repository: str, reference: str) -> str | None:
        """Return the digest of a tag or digest; None when the registry does not have it."""
        try:
            with self._manifest(repository, reference) as answer:
                return answer.headers["Docker-Content-Digest"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def _manifest(self, repository: str, reference: str):
        url = f"{self.address}/v2/{repository}/manifests/{reference}"
        request = urllib.request.Request(url, method="HEAD", headers={"Accept": TYPES})  # noqa: S310  # the registry's
        if token := self._tokens.get(repository):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            return self._opener.open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code != 401 or repository in self._tokens:
                raise
            self._tokens[repository] = self._token(error.headers["WWW-Authenticate"], repository)
        return self._manifest(repository, reference)

    def _token(self, challenge: str, repository: str) -> str:
        """Return an anonymous token from the server that the registry names."""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = urllib.parse.urlencode({"service": asked.get("service", ""), "scope": f"repository:{repository}:pull"})
        with self._opener.open(f"{asked['realm']}?{query}", timeout=TIMEOUT_S) as answer:
            return json.load(answer)["token"]


def problem(pin: Pin) -> str | None:
    """Return why a pinned digest cannot be relied on; None when the registry has it. Prints a tag that has moved on."""
    registry = Registry(pin.registry)
    try:
        if registry.digest(pin.repository, pin.digest) != pin.digest:
            return "the registry does not have this digest: pin the one that the tag has now"
        current = registry.digest(pin.repository, pin.tag)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{registry.address} gave no answer that can be used: {error}"
    moved = "" if current == pin.digest else f"; notice: the tag is {current or 'gone'} now"
    print(f"{pin.image}:{pin.tag} {pin.digest[:19]} can be pulled{moved}")
    return None


def main() -> int:
    """Check every pin; return the exit code."""
    found = sorted(set().union(*(pins((ROOT / name).read_text()) for name in FILES)))
    problems = {pin: text for pin in found if (text := problem(pin))}
    for pin, text in problems.items():
        print(f"{pin.image}:{pin.tag}@{pin.digest}: {text}", file=sys.stderr)
    print(f"{len(found) - len(problems)} of {len(found)} pinned images verified")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
