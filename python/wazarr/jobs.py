"""Awaiting work that the native engine does on its own threads."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from wazarr import interrupt, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["ended", "watched"]


class Cancellable(Protocol):
    """Something that can be asked to stop."""

    def cancel(self) -> None:
        """Ask it to stop."""


class Job(Cancellable, progress.Countable, Protocol):
    """Work that can be stopped, and of which some is done."""


def _resolve(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    elif isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)


async def ended(job: Cancellable, start: Callable[[Callable[[BaseException | None], None]], object]) -> None:
    """Start native work and wait for its end without blocking the event loop.

    Parameters
    ----------
    job : _native.ReadJob or _native.WriteJob
        Asked to stop if the task is cancelled; even then this returns only once the engine has let go
        of the caller's memory.
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
    try:
        await asyncio.shield(future)
    except asyncio.CancelledError:
        job.cancel()
        while not future.done():
            # A further cancellation does not end the wait, and the work's own failure is nobody's news.
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(future)
        if not future.cancelled():
            future.exception()
        raise


async def watched(job: Job, label: str, work: Coroutine[Any, Any, None]) -> None:
    """Await work in this task, and cancel it if the caller leaves (`wazarr.interrupt`).

    Its progress is shown to whoever wants to see it (`wazarr.progress`).

    Parameters
    ----------
    job : _native.ReadJob or _native.WriteJob
        Asked to stop then.
    label : {"read", "write"}
        What it is.
    work : coroutine
        What to await.
    """
    task = asyncio.current_task()

    def cancel() -> None:
        job.cancel()
        if task is not None:
            task.cancel()

    loop = asyncio.get_running_loop()
    end = progress.follow(loop, job, label)
    stop = interrupt.watch(loop, cancel)
    is_done = False
    try:
        await work
        is_done = True
    finally:
        stop()
        if end is not None:
            end(is_done)
