"""Modules from outside the array's store: inline, from files, and over HTTP.

Sources are as hostile as metadata are: what is read is bounded in size and time, nothing but regular files
is opened, and no link, redirect or header leads out of what the user allowed (`addresses.py`).
"""

from __future__ import annotations

import base64
import binascii
import http.client
import os
import socket
import ssl
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urljoin
from urllib.request import getproxies, proxy_bypass

from wazarr import config
from wazarr.wasm.addresses import Address, SourceError, require_allowed, shown

__all__ = ["SourceError", "fetch", "inline", "is_allowable", "is_remote", "shown"]

_INLINE: Final = "data:application/wasm;base64,"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 5
_PIECE: Final = 64 << 10
_LONGEST_SHOWN: Final = 500


def inline(module: bytes) -> str:
    """Return a source that holds a module itself."""
    return _INLINE + base64.b64encode(module).decode("ascii")


def is_remote(source: str) -> bool:
    """Return whether a source is fetched only where the user allowed it."""
    return source.partition(":")[0].lower() in {"file", "http", "https", "oci"}


def is_allowable(source: str) -> bool:
    """Return whether a source is fetched once the user allows it, and can be shown in full."""
    if not is_remote(source) or len(source) > _LONGEST_SHOWN:
        return False
    try:
        Address.parse(source)
    except SourceError:
        return False
    return True


def fetch(source: str, *, is_own: bool = False) -> bytes:
    """Return what a source holds, whatever that is: the caller compares the digest.

    Parameters
    ----------
    source : str
        ``data:``, ``file:``, ``https:``, ``oci:``, or ``http:`` on this machine.
    is_own : bool, optional
        Whether the program itself named it, rather than some metadata: then it needs no permission.

    Raises
    ------
    SourceError
        It is not allowed, not there, too large, too slow, or nothing that can be fetched.
    """
    if source.startswith("data:"):
        return _decode(source)
    if not is_remote(source):
        raise SourceError(f"{shown(source)}: not a source that is known here")
    address = Address.parse(source)
    prefix = address if is_own else require_allowed(address, source)
    if address.scheme == "file":
        return _read_file(address, source, len(prefix.segments))
    deadline = time.monotonic() + config.wasm_fetch_timeout()
    if address.scheme == "oci":
        from wazarr.wasm import oci

        return oci.pull(address, source, deadline, is_own=is_own)
    return _get_http(address, source, deadline, is_own=is_own)


def _decode(source: str) -> bytes:
    encoded = source.removeprefix(_INLINE)
    if encoded is source or len(encoded) // 4 * 3 > config.wasm_module_limit() + 2:
        raise SourceError(f"{shown(source)}: not {_INLINE}…, or over wazarr.wasm.module_limit")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SourceError(f"{shown(source)}: {error}") from None


def too_large(source: str) -> SourceError:
    """Return the exception for a source that holds more than a module may have."""
    limit = config.wasm_module_limit()
    return SourceError(f"{shown(source)}: over wazarr.wasm.module_limit ({limit} bytes)")


# --- files ---------------------------------------------------------------------------------------------


def _read_file(address: Address, source: str, trusted: int) -> bytes:
    """Read a regular file, following no links but in so many segments that the user wrote."""
    limit = config.wasm_module_limit()
    try:
        descriptor = _open_regular(address.segments, trusted)
    except OSError as error:
        raise SourceError(f"{shown(source)}: {error.strerror or error}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{shown(source)}: not a regular file")
        pieces, total = [], 0
        while total <= limit and (piece := file.read(min(_PIECE, limit + 1 - total))):
            pieces.append(piece)
            total += len(piece)
    if total > limit:
        raise too_large(source)
    return b"".join(pieces)


def _open_regular(segments: tuple[str, ...], trusted: int) -> int:
    """Open a file for reading, segment by segment, following links only in the first ones.

    Not blocking: a FIFO without a writer would never open otherwise.
    """
    if not segments:
        raise IsADirectoryError(0, "a folder")
    trusted = min(trusted, len(segments) - 1)
    common = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    folder = os.open("/" + "/".join(segments[:trusted]), os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for segment in segments[trusted:-1]:
            inner = os.open(segment, common | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        # What is no regular file is not even opened: opening a device can have effects of its own.
        if not stat.S_ISREG(os.stat(segments[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(0, "not a regular file (links are not followed)")
        return os.open(segments[-1], common | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
    finally:
        os.close(folder)


def read_own_file(path: str | os.PathLike[str]) -> bytes:
    """Read a module that the program itself named by its path.

    Raises
    ------
    OSError
        It cannot be read.
    SourceError
        It is over the limit.
    """
    limit = config.wasm_module_limit()
    with Path(path).open("rb") as file:
        module = file.read(limit + 1)
    if len(module) > limit:
        raise too_large(str(path))
    return module


# --- HTTP ----------------------------------------------------------------------------------------------


def _get_http(address: Address, source: str, deadline: float, *, is_own: bool) -> bytes:
    """Get an address, and what it redirects to as long as that is allowed as well."""
    current = source
    for _ in range(_MOST_REDIRECTS + 1):
        answer = request(address, current, deadline, {"Accept": "application/wasm, */*"})
        if answer.status == 200:
            return answer.body
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or location is None:
            raise SourceError(f"{shown(current)}: the server answered {answer.status}")
        current = urljoin(current, location)
        address = Address.parse(current)
        if address.scheme not in {"http", "https"}:
            raise SourceError(f"{shown(source)}: redirected to {shown(current)}, which is no http")
        if not is_own:
            require_allowed(address, current, is_redirect=True)
    raise SourceError(f"{shown(source)}: more than {_MOST_REDIRECTS} redirects")


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes
    ----------
    status : int
        HTTP status.
    headers : dict of str to str
        By name in lower case.
    body : bytes
        No longer than a module may be; empty for a redirect.
    """

    status: int
    headers: dict[str, str]
    body: bytes


def request(address: Address, source: str, deadline: float, headers: dict[str, str]) -> Answer:
    """Make one request, which is over in time and reads no more than a module may have.

    Parameters
    ----------
    address : Address
        ``https:``, or ``http:`` on this machine.
    source : str
        The same, for messages.
    deadline : float
        When it has to be over, as `time.monotonic` counts.
    headers : dict of str to str
        To send along.

    Raises
    ------
    SourceError
        No answer in time, or too much of one.
    """
    if address.scheme == "http" and not address.is_loopback:
        raise SourceError(f"{shown(source)}: plain http is only for this machine; use https")
    try:
        return _exchange(address, source, deadline, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = f"took longer than wazarr.wasm.fetch_timeout_s ({config.wasm_fetch_timeout():g} s)"
        why = late if time.monotonic() >= deadline else str(error) or type(error).__name__
        raise SourceError(f"{shown(source)}: {why}") from None


def _connection(address: Address, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection, through the environment's proxy if it has one, and what to ask for."""
    host = address.host.strip("[]")
    target = address.path + ("" if address.query is None else f"?{address.query}")
    if address.scheme == "http":
        # Loopback only, which no proxy could reach.
        return http.client.HTTPConnection(host, address.port, timeout=timeout_s), target
    context = ssl.create_default_context()
    proxy = getproxies().get("https")
    if not proxy or proxy_bypass(host):
        return http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=context), target
    through = Address.parse(proxy if "://" in proxy else f"http://{proxy}")
    connection = http.client.HTTPSConnection(
        through.host.strip("[]"), through.port, timeout=timeout_s, context=context
    )
    connection.set_tunnel(host, address.port)
    return connection, target


def _exchange(address: Address, source: str, deadline: float, headers: dict[str, str]) -> Answer:
    connection, target = _connection(address, max(0.001, deadline - time.monotonic()))
    try:
        connection.connect()
        # A timeout of the socket's starts anew with every byte that drips in: this one does not.
        watch = threading.Timer(max(0.001, deadline - time.monotonic()), _cut, (connection.sock,))
        watch.daemon = True
        watch.start()
        try:
            sent = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
            connection.request("GET", target, headers=sent)
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            if response.status in _REDIRECTS:
                return Answer(response.status, received, b"")
            if received.get("content-encoding", "identity").lower() != "identity":
                raise SourceError(f"{shown(source)}: the server compressed its answer")
            return Answer(response.status, received, _read_body(response, source, deadline))
        finally:
            watch.cancel()
    finally:
        connection.close()


def _read_body(response: http.client.HTTPResponse, source: str, deadline: float) -> bytes:
    limit, expected = config.wasm_module_limit(), response.length
    if expected is not None and expected > limit:
        raise too_large(source)
    pieces, total = [], 0
    while total <= limit and (piece := response.read1(min(_PIECE, limit + 1 - total))):
        pieces.append(piece)
        total += len(piece)
    if total > limit:
        raise too_large(source)
    if time.monotonic() >= deadline:
        raise TimeoutError
    if expected is not None and total < expected:
        raise http.client.IncompleteRead(b"", expected - total)
    return b"".join(pieces)


def _cut(sock: socket.socket | None) -> None:
    """End a connection whose time is over, under whoever waits for it."""
    if sock is not None:
        try:
            # Not the method of an encrypted socket, which would take the encryption off under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return
