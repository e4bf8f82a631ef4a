"""Counts of what ran where."""

from __future__ import annotations

from typing import Any

from wazarr import _native, fallback

__all__ = ["counters", "reset_counters"]


def counters() -> dict[str, Any]:
    """Return what this process read and wrote since the last reset, and which engine did it.

    Returns
    -------
    dict
        ``"read"`` and ``"write"``: ``{"chunks", "bytes_encoded", "bytes_decoded"}``, bytes in the store
        and bytes of selected elements; ``"codec_steps"``: runs of a codec by engine, ``{"native", "wasm",
        "python"}``, inner chunks of a shard each for themselves; ``"store_requests"``: ``{"native",
        "python"}``, with ``"bytes_fetched"`` over the network and ``"bytes_wasted"`` of these, between
        ranges that were fetched together; ``"files"``: ``"direct"`` and ``"direct_refused"`` for files that
        were to be read or written past the page cache, and could or could not be
        (`codec_pipeline.direct_io`), ``"reused"`` for files that were still open
        (`codec_pipeline.file_handle_cache_size`), ``"asked_ahead"`` for files outside the page cache that
        the system was asked to read before their turn, ``"made_elsewhere"`` for chunks that were written in
        another part of the disk and moved, since making files was slow in theirs; ``"fallbacks"``:
        ``{reason: chunks}``.
    """
    answer: dict[str, Any] = {}
    for name, count in _native.counters().items():
        group, _, key = name.partition(".")
        answer.setdefault(group, {})[key] = count
    answer["fallbacks"] = fallback.counts()
    return answer


def reset_counters() -> None:
    """Set all counters to zero."""
    _native.reset_counters()
    fallback.reset()
