"""An HTTP server over a folder, far away: each answer takes a while, and all share one link.

``link.py FOLDER DELAY_S BYTES_PER_S`` prints its port and serves until its standard input ends; `served`
starts it in a process of its own, so that it takes no interpreter lock from whom it is measured with. It
knows what a reader needs: GET and HEAD, ranges, connections that stay open.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 64 << 10
ALL = "HTTP/1.1 200 OK"
PART = "HTTP/1.1 206 Partial Content"
NEITHER = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@contextlib.contextmanager
def served(folder: Path, *, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> Iterator[str]:
    """Serve a folder and give its address, without a slash at the end.

    Parameters
    ----------
    folder : Path
        What is served.
    delay_s : float, optional
        Seconds before each answer.
    bytes_per_s : float, optional
        What all answers together may take of the link; 0 for as much as there is.
    """
    command = [sys.executable, __file__, str(folder), str(delay_s), str(bytes_per_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(30)


class Link:
    """The server's side of the link."""

    def __init__(self, folder: Path, delay_s: float, bytes_per_s: float) -> None:
        self.folder = folder
        self.delay_s = delay_s
        self.bytes_per_s = bytes_per_s
        self.free_at_s = 0.0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ")
                asked = next((line for line in lines if line.lower().startswith("range:")), "")
                await asyncio.sleep(self.delay_s)
                head, body = self.answer(path.partition("?")[0], asked)
                writer.write(head)
                if method == "GET":
                    await self.send(writer, body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    def answer(self, path: str, asked: str) -> tuple[bytes, bytes]:
        """Return head and body for a path and the header ``Range``, if any."""
        try:
            body = (self.folder / path.lstrip("/")).read_bytes()
        except OSError:
            return NEITHER, b""
        headers = ['ETag: "x"', "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT", "Accept-Ranges: bytes"]
        first_line, wanted = ALL, re.search(r"bytes=(\d*)-(\d*)", asked)
        if wanted:
            total = len(body)
            first, last = wanted.groups()
            start = int(first) if first else max(0, total - int(last))
            end = min(total, int(last) + 1) if first and last else total
            body, first_line = body[start:end], PART
            headers.append(f"Content-Range: bytes {start}-{end - 1}/{total}")
        head = "\r\n".join([first_line, f"Content-Length: {len(body)}", *headers, "", ""])
        return head.encode(), body

    async def send(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """Send a body, piece by piece where the link is narrow: no connection goes before the others."""
        if not self.bytes_per_s:
            writer.write(body)
            return
        pieces, clock = memoryview(body), asyncio.get_running_loop().time
        for start in range(0, len(body), PIECE_BYTES):
            piece = pieces[start : start + PIECE_BYTES]
            self.free_at_s = max(self.free_at_s, clock()) + len(piece) / self.bytes_per_s
            await asyncio.sleep(max(0.0, self.free_at_s - clock()))
            writer.write(piece)
            await writer.drain()


async def serve(link: Link) -> None:
    """Serve until the standard input ends."""
    server = await asyncio.start_server(link.converse, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Link(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))))
