"""Requests in flight through a store's asynchronous methods: how many, and when there should be more.

A store far away wants as many as allowed at once: each waits, nobody works. One on this machine wants few:
with 64 requests for 1 MiB under way all of them end at the end, and nothing is there to be decoded before.
(`make bench BENCH_ARGS=stores` shows it with Icechunk over a local folder.) So where nobody said how many, a
few begin, and the others follow as soon as nothing arrives and the processors are
idle: after 4 ms.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["for_each"]

FIRST = 8
"""How many begin where nobody said how many there should be."""

_LOOK_S = 2e-3
_IDLE_SHARE = 0.1
"""A process that worked for less than this share of the time waits. (On a busy machine one that could work
gets little of the processors, but more than that.)"""
_IDLE_LOOKS = 2
"""After so many looks in succession that found nothing done and nothing arrived there are all."""
_BUSY_SHARE = 0.5
"""One that worked for less than this has time to spare."""
_SPARE_LOOKS = 8
"""After so many that found time to spare, or nothing arrived (the process may be busy with something else),
there are twice as many."""


async def for_each(
    count: int, limit: int, body: Callable[[int], Awaitable[None]], *, is_guess: bool = False
) -> None:
    """Await `body(0)` … `body(count - 1)`, at most `limit` at a time; the first failure ends the rest.

    Parameters
    ----------
    count : int
        How many.
    limit : int
        How many at the same time, at most.
    body : callable
        What to do for each index.
    is_guess : bool, optional
        Whether so many may not be best: few begin, and more follow while they make us wait.
    """
    lanes = min(count, limit)
    if lanes <= 1:
        for index in range(count):
            await body(index)
        return
    await _Lanes(count, lanes, body).run(min(lanes, FIRST) if is_guess else lanes)


class _Lanes:
    """Tasks that take indices from one iterator, until all are done or one fails."""

    def __init__(self, count: int, most: int, body: Callable[[int], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._indices = iter(range(count))
        self._most = most
        self._body = body
        self._tasks: list[asyncio.Task[None]] = []
        self._left = 0
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._arrived = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, first: int) -> None:
        """Begin with `first` lanes; returns when all are over."""
        self._open(first)
        if first < self._most:
            self._look_again(0, 0)
        try:
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in self._tasks:
                task.cancel()
            # All are over before this returns: none may touch the caller's array any more.
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, number: int) -> None:
        self._left += number
        for _ in range(number):
            task = self._loop.create_task(self._lane())
            task.add_done_callback(self._lane_ended)
            self._tasks.append(task)

    async def _lane(self) -> None:
        for index in self._indices:
            await self._body(index)
            self._arrived += 1

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        self._left -= 1
        if self._over.done():
            return
        if task.cancelled():
            self._over.cancel()
        elif (error := task.exception()) is not None:
            self._over.set_exception(error)
        elif self._left == 0:
            self._over.set_result(None)

    def _look_again(self, idle: int, spare: int) -> None:
        state = self._arrived, time.perf_counter(), time.process_time(), idle, spare
        self._timer = self._loop.call_later(_LOOK_S, self._look, *state)

    def _look(self, arrived: int, start: float, working: float, idle: int, spare: int) -> None:
        """Open more lanes if the last looks found that they would be of use."""
        if self._over.done() or self._left == 0:
            return
        is_silent = arrived == self._arrived
        share = (time.process_time() - working) / (time.perf_counter() - start)
        idle = idle + 1 if is_silent and share < _IDLE_SHARE else 0
        spare = spare + 1 if is_silent or share < _BUSY_SHARE else 0
        if idle >= _IDLE_LOOKS:
            self._open(self._most - len(self._tasks))
        elif spare >= _SPARE_LOOKS:
            self._open(min(len(self._tasks), self._most - len(self._tasks)))
            spare = 0
        if len(self._tasks) < self._most:
            self._look_again(idle, spare)
