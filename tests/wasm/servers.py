"""Servers on this machine that answer what a test wants: well, slowly, hugely, or elsewhere."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Handler = http.server.BaseHTTPRequestHandler


@contextlib.contextmanager
def serving(answer: Callable[[Handler], None]) -> Iterator[tuple[str, list[str]]]:
    """Serve HTTP on this machine.

    Parameters
    ----------
    answer : callable
        Answers one GET.

    Yields
    ------
    tuple of (str, list of str)
        The address, and every path that was asked for.
    """
    asked: list[str] = []

    class Answering(Handler):
        def do_GET(self) -> None:
            asked.append(self.path)
            # A client that has seen enough hangs up.
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(
    handler: Handler, content: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    """Send a whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
