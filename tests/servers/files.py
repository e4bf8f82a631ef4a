"""A plain HTTP/1.1 server over a dict of bytes, on loopback, in a thread of its own.

It does what a well-behaved server does (keep-alive, ranges, PUT, DELETE) unless told otherwise: `ranges` says
how it takes the header ``Range``, `delay_s` how long an answer takes, `schedule` which answers fail
(`tests.servers.faults`), `hold` keeps answers back until so many requests are in flight. Everything that
happened is in `log`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
import urllib.parse
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Self

from tests.servers.request import Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.faults import Fault, Schedule

__all__ = ["FileServer"]

Ranges = Literal["all", "none", "no suffix: 416", "no suffix: 200"]


class FileServer:
    """The server; a context manager that starts and stops it.

    Parameters
    ----------
    tls : ssl.SSLContext, optional
        Speak HTTPS with it.

    Attributes
    ----------
    files : dict of str to bytes
        What it serves, by decoded path without a leading slash.
    log : list of Request
        Every request in the order of arrival.
    most_in_flight, open_sockets, most_sockets : int
        Requests in flight at the most since `forget`, connections now, and at the most.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.files: dict[str, bytes] = {}
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file server", daemon=True)
        self.open_sockets = 0
        self.behave()
        self.forget()

    # --- what a test sets --------------------------------------------------------------------------------

    def behave(self) -> None:
        """Be an ordinary server again."""
        self.ranges: Ranges = "all"
        self.delay_s = 0.0
        self.schedule: Schedule = lambda _: None
        self._held = 0
        self._hold_extra_s = 0.0
        self._unheld = 0
        self._last_key = ""
        self._last_of = 0
        self.gave_up = False

    def forget(self) -> None:
        """Empty the log.

        A request whose answer the client may already have, and that has not ended here, is forgotten too:
        were it only counted, its end would be taken off the count of the requests that come next.
        """
        self.log: list[Request] = []
        self._in_flight: dict[int, Request] = {}
        self.most_in_flight = 0
        self.most_sockets = self.open_sockets

    def hold(self, count: int, extra_s: float = 0.1, *, skip: int = 0) -> None:
        """Keep answers back until `count` chunk requests are in flight, and `extra_s` longer.

        So a client that sends as many at once is seen to do so however slow the machine is, and one that
        would send more has the time; after that nothing is kept back any more. A client that never sends
        as many is answered after 30 s, and `gave_up` set. The first `skip` answers (a shard's index) are not
        kept back.
        """
        self._held = count
        self._hold_extra_s = extra_s
        self._unheld = skip

    def answer_last(self, key: str, count: int) -> None:
        """Keep a key's answer back until `count` chunk requests came; `gave_up` if they do not in 30 s."""
        self._last_key, self._last_of = key, count

    def serve_folder(self, folder: Path, prefix: str = "") -> None:
        """Take all files below a folder, under keys that begin with `prefix`."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.files[prefix + path.relative_to(folder).as_posix()] = path.read_bytes()

    # --- what a test asks --------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """How many requests came since `forget` and have not ended."""
        return len(self._in_flight)

    def url(self, path: str = "", host: str = "127.0.0.1") -> str:
        """Return the address of a path, percent-encoded."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{host}:{self.port}/{urllib.parse.quote(path)}"

    def chunks(self, method: str = "GET") -> list[Request]:
        """Return the logged requests that are not about metadata."""
        return [request for request in self.log if request.method == method and not request.is_metadata]

    def wait(self, condition: Callable[[], bool], timeout_s: float = 10) -> bool:
        """Wait until a condition holds; False if it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    # --- running -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=512, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_sockets += 1
        self.most_sockets = max(self.most_sockets, self.open_sockets)
        try:
            while (request := await self._receive(reader)) is not None:
                try:
                    if not await self._answer(request, reader, writer):
                        break
                finally:
                    self._in_flight.pop(id(request), None)
                    request.ended_s = time.monotonic()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        except asyncio.CancelledError:
            return  # the server stops
        finally:
            self.open_sockets -= 1
            self._tasks.discard(task)
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, self.in_flight + 1, body)
        self.log.append(request)
        self._in_flight[id(request)] = request
        self.most_in_flight = max(self.most_in_flight, request.in_flight)
        return request

    # --- answers -----------------------------------------------------------------------------------------

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request; whether the connection stays open."""
        if not await self._let_time_pass(request, reader):
            return False
        fault = self.schedule(request)
        if fault is None:
            status, headers, body = self._respond(request)
        elif fault.kind == "silence":
            await self._is_abandoned(request, reader, 3600)
            return False
        elif fault.kind == "status":
            status, headers, body = fault.status, dict(fault.headers), fault.body
        else:
            status, headers, body = self._respond(request, fault)
        request.status = status
        if fault is not None and fault.kind == "reset before the head":
            return _reset(writer)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if request.method == "HEAD":
            body = b""
        match None if fault is None else fault.kind:
            case "reset in mid-body":
                writer.write(body[: len(body) // 2])
                await writer.drain()
                await asyncio.sleep(0.01)  # so that the client has seen the beginning
                return _reset(writer)
            case "short body":
                writer.write(body[: len(body) // 2])
                await writer.drain()
                return False
            case "drip" if fault is not None:
                for at in range(0, len(body), fault.piece_bytes):
                    writer.write(body[at : at + fault.piece_bytes])
                    await writer.drain()
                    await asyncio.sleep(fault.pause_s)
            case _:
                writer.write(body)
        await writer.drain()
        return True

    async def _let_time_pass(self, request: Request, reader: asyncio.StreamReader) -> bool:
        """Wait as told; False if the client left meanwhile."""
        if request.method == "GET" and not request.is_metadata:
            if self._unheld:
                self._unheld -= 1
            elif self._held:
                if not await self._until(lambda: self.most_in_flight >= self._held, request, reader):
                    return False
                if await self._is_abandoned(request, reader, self._hold_extra_s):
                    return False
                self._held = 0
            if request.key == self._last_key and not await self._until(
                lambda: len(self.chunks()) >= self._last_of, request, reader
            ):
                return False
        return not (self.delay_s and await self._is_abandoned(request, reader, self.delay_s))

    async def _until(
        self, condition: Callable[[], bool], request: Request, reader: asyncio.StreamReader
    ) -> bool:
        """Wait for a condition, though not for ever; False if the client left meanwhile."""
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                self.gave_up = True
                return True
            if await self._is_abandoned(request, reader, 0.005):
                return False
        return True

    async def _is_abandoned(self, request: Request, reader: asyncio.StreamReader, wait_s: float) -> bool:
        """Wait, and say whether the client closed the connection meanwhile."""
        deadline = time.monotonic() + wait_s
        while not (request.is_abandoned or reader.at_eof() or reader.exception()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            await asyncio.sleep(min(0.005, remaining))
        request.is_abandoned = True
        return True

    def _respond(self, request: Request, fault: Fault | None = None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body as an ordinary server would, but for bytes that a fault moves."""
        if request.method == "PUT":
            self.files[request.key] = request.body
            return 201, {"ETag": f'"{hash(request.body):x}"'}, b""
        if request.method == "DELETE":
            return (404, {}, b"") if self.files.pop(request.key, None) is None else (204, {}, b"")
        if request.method not in ("GET", "HEAD"):
            return 405, {}, b""
        content = self.files.get(request.key)
        if content is None:
            return 404, {}, b"no such file"
        headers = {"ETag": f'"{hash(content):x}"', "Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT"}
        if request.range is None or self.ranges == "none":
            return 200, headers, content
        headers["Accept-Ranges"] = "bytes"
        first, _, last = request.range.partition("-")
        if not first and self.ranges == "no suffix: 416":
            return 416, {**headers, "Content-Range": f"bytes */{len(content)}"}, b""
        if not first and self.ranges == "no suffix: 200":
            return 200, headers, content
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(len(content), int(last) + 1) if first and last else len(content)
        if start >= len(content):
            return 416, {**headers, "Content-Range": f"bytes */{len(content)}"}, b""
        kind = None if fault is None else fault.kind
        if kind == "fewer bytes than asked":
            end = start + max(1, (end - start) // 2)
        elif kind == "more bytes than asked":
            start, end = max(0, start - 3), min(len(content), end + 5)
        elif kind == "other bytes than asked":
            shift = -start if start else 1
            start, end = start + shift, min(len(content), end + shift)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        part = content[start:end]
        if kind == "shorter than told":
            part = part[1:]
        elif kind == "longer than told":
            part = b"more" + part
        return 206, headers, part


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Close a connection with a reset instead of an orderly end."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False
