"""Stopping work whose caller has left.

zarr's `sync` waits for a coroutine on another thread. When Ctrl-C raises `KeyboardInterrupt` in it (or a
timeout does), it leaves without cancelling the coroutine, and all the built-in pipelines work on. Signals
cannot tell: a user's own handler may well swallow one and go on waiting. So while a long request runs, its
event loop looks every 10 ms whether the call of `sync` that waits for it is still on its thread's stack,
and cancels the request if it is not. Nothing is installed, nothing is patched, no handler is touched.

Requests that a user awaits on an event loop of their own are cancelled with their task, as usual.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from zarr.core.sync import _runner, sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["watch"]

_INTERVAL_S = 0.01
_SYNC_CODE = sync.__code__
_RUNNER_CODE = _runner.__code__


def _find_caller(task: asyncio.Task[Any] | None) -> tuple[int, FrameType] | None:
    """Return the thread and the frame of the `sync` call that waits for a task, if one does."""
    coroutine: Any = task.get_coro() if task is not None else None
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None:
        return None
    # zarr runs `_runner(coro)` as the task; `sync` holds the same `coro`.
    awaited = frame.f_locals.get("coro", coroutine)
    for thread, top in sys._current_frames().items():  # the way to see other threads' stacks
        at: FrameType | None = top
        while at is not None:
            if at.f_code is _SYNC_CODE and at.f_locals.get("coro") is awaited:
                return thread, at
            at = at.f_back
    return None


def _is_of_sync(task: asyncio.Task[Any] | None) -> bool:
    """Return whether it was a `sync` call that made a task."""
    return task is not None and getattr(task.get_coro(), "cr_code", None) is _RUNNER_CODE


def _is_running(thread: int, frame: FrameType) -> bool:
    at = sys._current_frames().get(thread)
    while at is not None:
        if at is frame:
            return True
        at = at.f_back
    return False


def watch(loop: asyncio.AbstractEventLoop, cancel: Callable[[], object]) -> Callable[[], None]:
    """Call `cancel` if the caller of the current task leaves.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The running loop.
    cancel : callable
        Asks the work to stop; called at most once, on the loop.

    Returns
    -------
    callable
        Ends the watch.
    """
    # Found now: after an interrupt it would be gone from the stack. A request that ends before the first
    # look has paid some 10 µs for it.
    task = asyncio.current_task()
    caller = _find_caller(task)
    if caller is None:
        if _is_of_sync(task):
            cancel()  # it left before we came here
        return lambda: None
    return _Watch(loop, caller, cancel).stop


class _Watch:
    """Looks again and again, until stopped.

    A class, since a function that schedules itself is a reference cycle: through the frame of `sync` and the
    task it would keep the answer of every request in memory until the garbage collector looks for cycles.
    Here `stop` cuts the only one, between the watch and its timer.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, caller: tuple[int, FrameType], cancel: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._caller = caller
        self._cancel = cancel
        self._handle = loop.call_later(_INTERVAL_S, self._look)

    def _look(self) -> None:
        if _is_running(*self._caller):
            self._handle = self._loop.call_later(_INTERVAL_S, self._look)
        else:
            self._cancel()

    def stop(self) -> None:
        """End the watch; the timer forgets it."""
        self._handle.cancel()
