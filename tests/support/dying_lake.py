"""A lake whose process ends at a call: what it leaves behind is what was written so far."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingestion.bronze.lake import Lake
from ingestion.bronze.objects import ObjectInfo
from ingestion.settings import ObjectStore


class Killed(BaseException):
    """The process has ended here."""


class DyingLake(Lake):
    """Ends at the call number ``calls`` (of listings, reads, writes and removals), before or after it; None: never."""

    def __init__(self, store: ObjectStore, calls: int | None, *, after: bool = False) -> None:
        super().__init__(store)
        self.left, self.after = calls, after

    def _count(self, call: Callable[..., Any], *arguments: Any) -> Any:
        if self.left is None:
            return call(*arguments)
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        done = call(*arguments)
        if self.left < 0:
            raise Killed
        return done

    def list(self, prefix: str) -> list[ObjectInfo]:
        found: list[ObjectInfo] = self._count(super().list, prefix)
        return found

    def get(self, key: str) -> bytes | None:
        body: bytes | None = self._count(super().get, key)
        return body

    def put_file(self, key: str, path: Path) -> tuple[ObjectInfo, str]:
        written: tuple[ObjectInfo, str] = self._count(super().put_file, key, path)
        return written

    def remove(self, key: str) -> None:
        self._count(super().remove, key)
