"""Addresses of modules, compared part by part, and which of them the user allowed.

Whoever writes an array's metadata chooses the addresses in it. So an address is taken only in a plain form
in which no two readers can see different hosts or paths: everything that has ever been used to make them
differ (user names, backslashes, dots as path segments, encoded slashes, …) is refused, not interpreted.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from wazarr import config
from wazarr.errors import without_secrets

__all__ = ["Address", "SourceError", "allowing", "require_allowed", "shown"]


class SourceError(Exception):
    """A source that does not give a module, and why."""


_DEFAULT_PORTS: Final = {"https": 443, "http": 80, "oci": 443, "file": 0}
_PLAIN: Final = re.compile(r"[!-~]+")
_PARTS: Final = re.compile(
    r"(?P<scheme>[a-zA-Z]+)://"
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#\\]*)?"
    r"(?:\?(?P<query>[^#\\]*))?"
)
_ESCAPES: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_REFERENCE: Final = re.compile(r"(?P<name>[^:@]+)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")


@dataclass(frozen=True)
class Address:
    """An address in its parts.

    Attributes
    ----------
    scheme : {"https", "http", "file", "oci"}
        In lower case.
    host : str
        In lower case; empty for files of this machine.
    port : int
        The scheme's own where none is given.
    segments : tuple of str
        The path's, decoded.
    query : str or None
        As given.
    reference : str
        Of ``oci:``: tag and digest behind the name.
    path : str
        The path as given.
    """

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]
    query: str | None
    reference: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take an address apart.

        Raises
        ------
        SourceError
            It is not in the plain form.
        """
        parts = _PARTS.fullmatch(text) if _PLAIN.fullmatch(text) else None
        if parts is None:
            raise SourceError(f"{shown(text)}: not a plain address")
        scheme, host = parts["scheme"].lower(), parts["host"].lower()
        if scheme not in _DEFAULT_PORTS:
            raise SourceError(f"{shown(text)}: no scheme {scheme!r}; there are {', '.join(_DEFAULT_PORTS)}")
        if scheme == "file":
            if host not in {"", "localhost"} or parts["port"] or parts["query"] is not None:
                raise SourceError(f"{shown(text)}: not a file of this machine")
            host = ""
        elif not host or ".." in host:
            raise SourceError(f"{shown(text)}: no host")
        port = int(parts["port"] or _DEFAULT_PORTS[scheme])
        if port > 65535:
            raise SourceError(f"{shown(text)}: no port")
        segments = _segments(parts["path"] or "", text)
        reference = ""
        if scheme == "oci" and segments:
            last = _REFERENCE.fullmatch(segments[-1])
            if last is None:
                raise SourceError(f"{shown(text)}: not NAME:TAG or NAME@sha256:DIGEST")
            reference = segments[-1][len(last["name"]) :]
            segments = (*segments[:-1], last["name"])
        return cls(scheme, host, port, segments, parts["query"], reference, parts["path"] or "/")

    def covers(self, other: Address) -> bool:
        """Return whether this address, as a prefix, allows another: whole parts only."""
        return (
            (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)
            and other.segments[: len(self.segments)] == self.segments
            and self.query in {None, other.query}
            and (not self.reference or (self.segments, self.reference) == (other.segments, other.reference))
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def _segments(path: str, text: str) -> tuple[str, ...]:
    """Return the segments of a path, decoded; a slash at the end says nothing."""
    if _ESCAPES.search(path):
        raise SourceError(f"{shown(text)}: not a plain path")
    segments = []
    for part in path.removesuffix("/").split("/")[1:]:
        try:
            segment = unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise SourceError(f"{shown(text)}: not a plain path") from None
        if segment in {"", ".", ".."} or not segment.isprintable() or not {"/", "\\"}.isdisjoint(segment):
            raise SourceError(f"{shown(text)}: not a plain path")
        segments.append(segment)
    return tuple(segments)


def shown(source: str) -> str:
    """Return a source for messages: without what may be secret, and not longer than a line."""
    text = source if len(source) <= 120 else f"{source[:100]}…"
    return ascii(without_secrets(text))[1:-1]


def _prefixes() -> list[Address]:
    """Return what the user allowed; an entry that is no address is reported, and allows nothing."""
    prefixes = []
    for text in config.wasm_allow():
        try:
            prefixes.append(Address.parse(text))
        except SourceError as error:
            warnings.warn(f"ignoring an entry of wazarr.wasm.allow: {error}", UserWarning, stacklevel=2)
    return prefixes


def allowing(address: Address, *, is_redirect: bool = False) -> Address | None:
    """Return the user's prefix that allows an address, the longest if there are several.

    Parameters
    ----------
    address : Address
        Where something is to be fetched.
    is_redirect : bool, optional
        Whether an allowed server chose it: then it may have a query, which metadata could use to tell
        somebody that the array is being read.
    """
    found = [
        prefix
        for prefix in _prefixes()
        if prefix.covers(address) and (is_redirect or address.query == prefix.query)
    ]
    return max(found, key=lambda prefix: len(prefix.segments), default=None)


def require_allowed(address: Address, text: str, *, is_redirect: bool = False) -> Address:
    """Return the user's prefix that allows an address, or raise `SourceError`, which says what to set."""
    prefix = allowing(address, is_redirect=is_redirect)
    if prefix is not None:
        return prefix
    what = "redirected to" if is_redirect else "not allowed:"
    setting = f"zarr.config.set({{'wazarr.wasm.allow': [{prefix_for(address)!r}]}})"
    whole = " (or rather the whole address, since it has a query)" if address.query is not None else ""
    raise SourceError(f"{what} {shown(text)}; to allow it, set {setting}{whole}")


def prefix_for(address: Address) -> str:
    """Return the narrowest prefix that allows an address and its neighbours, for messages."""
    port = "" if address.port == _DEFAULT_PORTS[address.scheme] else f":{address.port}"
    parent = address.path.rsplit("/", 1)[0]
    return f"{address.scheme}://{address.host}{port}{parent}/"
