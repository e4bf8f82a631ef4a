"""How far long reads and writes are: a bar, or calls of the user's function (`wazarr.progress`).

The event loop that a request runs in looks ten times a second how many of its chunks are done. The engine
counts them anyway; where nobody wants to know, nobody looks.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Protocol

from wazarr import config

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["follow"]

_logger = logging.getLogger("wazarr")

_DELAY_S = 0.5
_INTERVAL_S = 0.1


class Countable(Protocol):
    """Work of which some is done."""

    def done(self) -> int:
        """Return how many chunks are done."""

    def __len__(self) -> int:
        """Return how many there are."""


class Shown(Protocol):
    """Where progress is shown."""

    def update(self, done: int) -> None:
        """Show how many chunks are done."""

    def close(self) -> None:
        """End, wherever that is."""


class _Told:
    """A user's function, called with `(done, total)`."""

    def __init__(self, tell: Callable[[int, int], object], total: int) -> None:
        self._tell = tell
        self._total = total

    def update(self, done: int) -> None:
        self._tell(done, self._total)

    def close(self) -> None:
        pass


class _TqdmBar:
    """tqdm's bar: its own for notebooks in a notebook."""

    def __init__(self, tqdm: Any, label: str, total: int) -> None:
        self._bar = tqdm(total=total, desc=label, unit="chunk", leave=False)

    def update(self, done: int) -> None:
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Line:
    """One line of a terminal, or of a notebook's output, written again and again."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._start = time.monotonic()
        self._width = 0

    def update(self, done: int) -> None:
        width = shutil.get_terminal_size().columns - 1
        elapsed_s = time.monotonic() - self._start + _DELAY_S
        text = f"{self._label}: {done} of {self._total} chunks, {elapsed_s:.0f} s"
        self._write(text[:width])

    def close(self) -> None:
        self._write("")
        sys.stderr.write("\r")
        sys.stderr.flush()

    def _write(self, text: str) -> None:
        # Spaces wipe what was longer: not every output knows the codes of terminals.
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)


def _is_notebook() -> bool:
    """Return whether this is the kernel of a notebook, as tqdm finds out."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and "IPKernelApp" in running.config


def _bar(label: str, total: int) -> Shown | None:
    """Return a bar; None where it would only fill a log file."""
    is_notebook = _is_notebook()
    if not is_notebook and not (sys.stderr is not None and sys.stderr.isatty()):
        return None
    try:
        with warnings.catch_warnings():
            # In a notebook without widgets it says so, and draws with characters.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        return _Line(label, total)
    return _TqdmBar(tqdm, label, total)


class _Following:
    """Looks again and again, until stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Countable, wanted: Any, label: str) -> None:
        self._loop = loop
        self._job = job
        self._wanted = wanted
        self._label = label
        self._shown: Shown | None = None
        self._handle = loop.call_later(_DELAY_S, self._look)

    def _look(self) -> None:
        if self._shown is None:
            total = len(self._job)
            self._shown = _Told(self._wanted, total) if callable(self._wanted) else _bar(self._label, total)
            if self._shown is None:
                return
        if self._show(self._job.done()):
            self._handle = self._loop.call_later(_INTERVAL_S, self._look)

    def _show(self, done: int) -> bool:
        """Show it, and return whether to go on: what fails to show does not end the work."""
        assert self._shown is not None
        try:
            self._shown.update(done)
        except Exception as error:
            self._close()
            _logger.warning("wazarr.progress failed; the %s goes on without", self._label, exc_info=error)
            return False
        return True

    def _close(self) -> None:
        if self._shown is not None:
            with contextlib.suppress(Exception):  # as above, and said already
                self._shown.close()
        self._shown = None

    def stop(self, *, is_done: bool) -> None:
        """End; where the work is done, say so to whoever heard of its beginning."""
        self._handle.cancel()
        if self._shown is not None and (not is_done or self._show(len(self._job))):
            self._close()


def follow(loop: asyncio.AbstractEventLoop, job: Countable, label: str) -> Callable[[bool], None] | None:
    """Show the progress of a job if the user wants it and the job takes long.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The running loop.
    job : _native.ReadJob or _native.WriteJob
        The work.
    label : {"read", "write"}
        What to call it.

    Returns
    -------
    callable or None
        Ends it; to be called with whether the work was done. None where nobody wants to know.
    """
    wanted = config.get("wazarr.progress")
    if wanted is None or wanted is False:
        return None
    if wanted is not True and not callable(wanted):
        warnings.warn(
            f"ignoring wazarr.progress={wanted!r}: not True, False or a function", UserWarning, stacklevel=2
        )
        return None
    following = _Following(loop, job, wanted, label)
    return lambda is_done: following.stop(is_done=is_done)
