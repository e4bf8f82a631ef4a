"""What a server notes down about a request."""

from __future__ import annotations

import time
import urllib.parse
from dataclasses import dataclass, field

__all__ = ["Request"]

METADATA_NAMES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


@dataclass
class Request:
    """One request and what became of it."""

    method: str
    path: str
    """As sent, percent-encoded."""
    headers: dict[str, str]
    """Names in lower case."""
    in_flight: int
    """How many requests were in flight when it came, itself included."""
    body: bytes = b""
    started_s: float = field(default_factory=time.monotonic)
    status: int | None = None
    ended_s: float | None = None
    """When its answer was out, or given up."""
    is_abandoned: bool = False
    """Whether the client closed the connection before it had its answer."""

    @property
    def key(self) -> str:
        """The path decoded, without query and leading slash."""
        return urllib.parse.unquote(self.path.partition("?")[0]).lstrip("/")

    @property
    def range(self) -> str | None:
        """The header ``Range`` without its unit, as in ``0-9`` or ``-20``."""
        text = self.headers.get("range")
        return None if text is None else text.removeprefix("bytes=")

    @property
    def is_metadata(self) -> bool:
        """Whether it is about a metadata document, which never fails."""
        return self.key.rsplit("/", 1)[-1] in METADATA_NAMES
