"""Fallbacks are values: decided before any work, counted, never silent.

A codec that runs in Python, a store reached through its Python methods, or an array that goes to
zarr-python's own pipeline has a reason in words. Under `codec_pipeline.strict` the reason is raised as an
`UnsupportedError`; otherwise it is logged once, as a warning of the logger ``wazarr``, and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final

from wazarr import config
from wazarr.errors import UnsupportedError

__all__ = ["counts", "note", "reset"]

logger: Final = logging.getLogger("wazarr")

_lock = threading.Lock()
_chunks: Counter[str] = Counter()
_logged: set[str] = set()


def note(reason: str, chunks: int) -> None:
    """Note that `chunks` chunks take a fallback.

    Parameters
    ----------
    reason : str
        What does not run natively, and why.
    chunks : int
        How many chunks it concerns.

    Raises
    ------
    UnsupportedError
        `codec_pipeline.strict` is set.
    """
    if config.get("codec_pipeline.strict") is True:
        raise UnsupportedError(f"{reason} (codec_pipeline.strict is set; unset it to allow this fallback)")
    with _lock:
        _chunks[reason] += chunks
        is_new = reason not in _logged
        _logged.add(reason)
    if is_new:
        logger.warning("fallback: %s", reason)


def counts() -> dict[str, int]:
    """Return how many chunks took each fallback."""
    with _lock:
        return dict(_chunks)


def reset() -> None:
    """Forget the counts. Reasons that were logged are not logged again."""
    with _lock:
        _chunks.clear()


def _after_fork_in_child() -> None:
    global _lock  # the old one may be held by a thread that is not here
    _lock = threading.Lock()
