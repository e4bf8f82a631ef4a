"""What the configuration says, in one place: keys, defaults and what `None` means.

Everything is read from `zarr.config` when it is needed, so a change holds from the next read or write on
and an unpickled pipeline follows the process it wakes up in. `docs/reference/configuration.md` is the
table for users.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from zarr.core.config import config as zarr_config

__all__ = ["DEFAULTS", "get", "limits", "store_concurrency"]

DEFAULT_ASYNC_CONCURRENCY = 10
"""zarr's default for `async.concurrency`: a user who set another number meant it."""

DEFAULTS: dict[str, Any] = {
    # zarrs-python's keys, under its names.
    "codec_pipeline.chunk_concurrent_maximum": None,
    "codec_pipeline.chunk_concurrent_minimum": 4,
    "codec_pipeline.validate_checksums": True,
    "codec_pipeline.strict": False,
    "codec_pipeline.direct_io": False,
    "codec_pipeline.file_handle_cache_size": None,
    # Ours.
    "wazarr.store_concurrency": None,
    "wazarr.store_retries": 4,
    "wazarr.store_timeout_s": 60.0,
    "wazarr.small_shard_bytes": 256 << 10,
    "wazarr.bytes_in_flight": 256 << 20,
    "wazarr.variable_length_limit": 512 << 20,
    "wazarr.progress": False,
    "wazarr.allow_unsafe_pickle_decode": False,
}
"""Our keys and their defaults.

Bytes for `wazarr.bytes_in_flight`, `wazarr.small_shard_bytes`, `wazarr.variable_length_limit`; requests for
`wazarr.store_concurrency`, attempts after the first for `wazarr.store_retries`; seconds for
`wazarr.store_timeout_s`; chunks for `codec_pipeline.chunk_concurrent_*`; open files for
`codec_pipeline.file_handle_cache_size`.
"""

_STORE_CONCURRENCY = 64


def get(key: str, default: Any = None) -> Any:
    """Look up a key of `zarr.config`.

    A plain walk through the nested dict: `zarr.config.get` takes 2 µs a key, and every call of ours needs
    half a dozen.

    Parameters
    ----------
    key : str
        Dotted path.
    default : object, optional
        Answered where the key is missing; without one, `DEFAULTS` decides.
    """
    if default is None:
        default = DEFAULTS.get(key)
    found: Any = zarr_config.config
    for part in key.split("."):
        try:
            found = found[part]
        except (KeyError, TypeError):
            if "_" not in part:
                return default
            try:
                found = found[part.replace("_", "-")]
            except (KeyError, TypeError):
                return default
    return found


def _count(key: str) -> int | None:
    """Return a positive number of something, or None; nonsense from the environment is reported, ignored."""
    value = get(key)
    if value is None:
        return None
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        warnings.warn(f"ignoring {key}={value!r}: not a number", UserWarning, stacklevel=3)
        return None


def _cpu_count() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, nor on Windows
        return os.cpu_count() or 1


def max_workers() -> int:
    """Return the most native threads that may be busy: the smaller of zarr's two keys, else the CPUs."""
    configured = [
        count
        for count in (_count("threading.max_workers"), _count("codec_pipeline.max_workers"))
        if count is not None
    ]
    return min(configured) if configured else _cpu_count()


def limits() -> tuple[int, int, int]:
    """Return how many threads, chunks and bytes of chunks there may be at the same time, at most.

    `chunk_concurrent_maximum` of None is the number of threads, `chunk_concurrent_minimum` of None its
    default. Where the two disagree the maximum counts; what chunks leave over goes inside them.
    """
    workers = max_workers()
    chunks = _count("codec_pipeline.chunk_concurrent_maximum") or workers
    lowest = (
        _count("codec_pipeline.chunk_concurrent_minimum")
        or DEFAULTS["codec_pipeline.chunk_concurrent_minimum"]
    )
    if get("codec_pipeline.chunk_concurrent_maximum") is not None:
        lowest = min(lowest, chunks)
    return workers, max(1, min(max(chunks, lowest), workers)), bytes_in_flight()


def bytes_in_flight() -> int:
    """Return how many bytes of chunks one request may work on at the same time, or else one chunk."""
    return _count("wazarr.bytes_in_flight") or DEFAULTS["wazarr.bytes_in_flight"]


def small_shard_bytes() -> int:
    """Return up to which length a shard is fetched whole over the network when a part of it is needed."""
    value = get("wazarr.small_shard_bytes")
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        warnings.warn(f"ignoring wazarr.small_shard_bytes={value!r}: not a number", UserWarning, stacklevel=3)
        return DEFAULTS["wazarr.small_shard_bytes"]  # type: ignore[no-any-return]


def store_patience() -> tuple[int, float]:
    """Return how often a request is made again, and how many seconds each attempt may take."""
    retries, timeout_s = get("wazarr.store_retries"), get("wazarr.store_timeout_s")
    try:
        return max(0, int(retries)), max(0.001, float(timeout_s))
    except (TypeError, ValueError):
        warnings.warn(
            f"ignoring wazarr.store_retries={retries!r}, wazarr.store_timeout_s={timeout_s!r}: not numbers",
            UserWarning,
            stacklevel=3,
        )
        return DEFAULTS["wazarr.store_retries"], DEFAULTS["wazarr.store_timeout_s"]


def wanted_concurrency() -> int | None:
    """Return how many requests to a store the user wants in flight; None where nobody said."""
    own = _count("wazarr.store_concurrency")
    if own is not None:
        return own
    zarrs = _count("async.concurrency")
    return None if zarrs == DEFAULT_ASYNC_CONCURRENCY else zarrs


def store_concurrency() -> int:
    """Return how many requests to a store that makes us wait may be in flight."""
    return wanted_concurrency() or _STORE_CONCURRENCY


def file_access() -> tuple[bool, int]:
    """Return whether files are read and written past the page cache, and how many are kept open."""
    kept = get("codec_pipeline.file_handle_cache_size")
    try:
        most = 0 if kept is None else max(0, int(kept))
    except (TypeError, ValueError):
        warnings.warn(
            f"ignoring codec_pipeline.file_handle_cache_size={kept!r}: not a number",
            UserWarning,
            stacklevel=3,
        )
        most = 0
    return get("codec_pipeline.direct_io") is True, most


def allows_pickle() -> bool:
    """Return whether data may be decoded with the pickle codec, which can run code.

    zarr's own key decides where this zarr has it, ours under an older one; nothing but True will do (an
    environment variable that cannot be parsed is a non-empty string).
    """
    missing = object()
    gate = get("array.allow_unsafe_pickle_decode", missing)
    if gate is missing:
        gate = get("wazarr.allow_unsafe_pickle_decode")
    return gate is True
