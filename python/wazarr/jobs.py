"""Awaiting work that the native engine does on its own threads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from wazarr import interrupt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["finished"]


class Cancellable(Protocol):
    """Something that can be asked to stop."""

    def cancel(self) -> None:
        """Ask it to stop."""


def _resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)


async def finished(
    job: Cancellable, start: Callable[[Callable[[BaseException | None], None]], object]
) -> None:
    """Start native work and wait for its end without blocking the event loop.

    Parameters
    ----------
    job : _native.ReadJob or _native.WriteJob
        Asked to stop if the task is cancelled or its caller leaves; even then this returns only once
        the engine has let go of the caller's memory.
    start : callable
        Starts the work; gets the function to call at its end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def notify(error: BaseException | None) -> None:
        try:
            loop.call_soon_threadsafe(_resolve, future, error)
        except RuntimeError:
            # The loop was closed: nobody waits any more.
            return

    start(notify)
    stop_watching = interrupt.watch(loop, job.cancel)
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        job.cancel()
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:  # noqa: PERF203 - cancelled once more: the wait goes on
                continue
            except Exception:  # noqa: BLE001 - the cancellation is what the caller hears of
                break
        if not future.cancelled():
            future.exception()
        raise
    finally:
        stop_watching()
