"""What the configuration says, in one place: keys, defaults and what `None` means.

Everything is read from `zarr.config` when it is needed, so a change holds from the next read or write on
and an unpickled pipeline follows the process it wakes up in. `docs/reference/configuration.md` is the
table for users.
"""

from __future__ import annotations

import os
import re
import warnings
from copy import deepcopy
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.core.config import config as zarr_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DEFAULTS", "get", "limits", "store_concurrency"]

_Setting = TypeVar("_Setting")

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
    "wazarr.wasm.memory_limit": 1 << 30,
    "wazarr.wasm.total_memory_limit": 4 << 30,
    "wazarr.wasm.timeout_s": 60.0,
    "wazarr.wasm.module_limit": 64 << 20,
    "wazarr.wasm.compiled_modules_limit": 64,
    "wazarr.wasm.cache_dir": None,
    "wazarr.wasm.cache_limit": 1 << 30,
    "wazarr.wasm.inline_limit": 32 << 10,
    "wazarr.wasm.fetch_timeout_s": 60.0,
    "wazarr.wasm.allow": (),
    "wazarr.wasm.trusted": (),
    "wazarr.wasm.prefer": "native",
    "wazarr.wasm.native": {},
}
"""Our keys and their defaults.

Bytes for `wazarr.bytes_in_flight`, `wazarr.small_shard_bytes`, `wazarr.variable_length_limit` and the limits
under `wazarr.wasm`, except `compiled_modules_limit`, which counts modules; requests for
`wazarr.store_concurrency`, attempts after the first for `wazarr.store_retries`; seconds where the name ends
in `_s`; chunks for `codec_pipeline.chunk_concurrent_*`; open files for
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


# --- Wasm ----------------------------------------------------------------------------------------------

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


_ignored = 0
"""How many settings made no sense so far."""


def _ignoring(key: str, value: object, why: str) -> None:
    """Report a setting that makes no sense; the default holds."""
    global _ignored
    _ignored += 1
    warnings.warn(f"ignoring {key}={value!r}: {why}", UserWarning, stacklevel=5)


def _positive(key: str) -> int:
    """Return a positive whole number; nonsense is reported, and the default holds."""
    value = get(key)
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        _ignoring(key, value, "not a number")
        return DEFAULTS[key]  # type: ignore[no-any-return]


def _seconds(key: str) -> float:
    """Return a number of seconds above nothing; nonsense is reported, and the default holds."""
    value = get(key)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        _ignoring(key, value, "not a number of seconds")
        seconds = DEFAULTS[key]
    return max(0.001, seconds)


def _texts(key: str) -> tuple[str, ...]:
    """Return some texts; a single one stands for itself."""
    value = get(key)
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(one, str) for one in value
    ):
        if value is not None:
            _ignoring(key, value, "not a list of texts")
        return ()
    return tuple(value)


_known_written: tuple[Any, str] = (None, "")


def wasm_as_written() -> str:
    """Return all that is set under `wazarr.wasm`, to be compared; nothing where nothing is."""
    global _known_written
    ours = zarr_config.config.get("wazarr")
    written = ours.get("wasm") if isinstance(ours, dict) else None
    if not written:
        return ""
    known, text = _known_written
    if known != written:
        # zarr changes the settings in place, so that a copy is what they can be compared with.
        try:
            copied = deepcopy(written)
        except RuntimeError:  # another thread adds or removes one just now
            return repr(written)
        text = repr(copied)
        _known_written = copied, text
    return text


def _environment() -> tuple[str | None, ...]:
    """Return the variables that our settings depend on."""
    return tuple(os.environ.get(name) for name in ("XDG_CACHE_HOME", "HOME", "USERPROFILE"))


def _while_unchanged(
    read: Callable[[], _Setting], environment: Callable[[], tuple[str | None, ...]] = tuple
) -> Callable[[], _Setting]:
    """Read something from the configuration once for as long as it, and the environment, stay the same.

    What makes no sense is reported each time it is asked for.
    """
    known: tuple[object, Any] = (None, None)

    @wraps(read)
    def kept() -> _Setting:
        nonlocal known
        written = wasm_as_written(), environment()
        last_written, answer = known
        if last_written == written:
            return answer  # type: ignore[no-any-return]
        before = _ignored
        answer = read()
        # Another thread may have changed the configuration meanwhile.
        if before == _ignored and written == (wasm_as_written(), environment()):
            known = written, answer
        return answer

    return kept


@_while_unchanged
def wasm_limits() -> MappingProxyType[str, int | float]:
    """Return the limits of guests and of what is kept of modules, by the names that the engine knows."""
    limits = {
        "memory_bytes": _positive("wazarr.wasm.memory_limit"),
        "total_memory_bytes": _positive("wazarr.wasm.total_memory_limit"),
        "timeout_s": _seconds("wazarr.wasm.timeout_s"),
        "module_bytes": wasm_module_limit(),
        "compiled_modules": _positive("wazarr.wasm.compiled_modules_limit"),
        "cache_bytes": _positive("wazarr.wasm.cache_limit"),
    }
    return MappingProxyType(limits)


def wasm_module_limit() -> int:
    """Return how many bytes a module may have."""
    return _positive("wazarr.wasm.module_limit")


def wasm_inline_limit() -> int:
    """Return up to how many bytes a module goes into the metadata where nothing else is asked for."""
    value = get("wazarr.wasm.inline_limit")
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        _ignoring("wazarr.wasm.inline_limit", value, "not a number")
        return DEFAULTS["wazarr.wasm.inline_limit"]  # type: ignore[no-any-return]


def wasm_fetch_timeout() -> float:
    """Return how many seconds it may take to fetch a module over the network."""
    return _seconds("wazarr.wasm.fetch_timeout_s")


@partial(_while_unchanged, environment=_environment)
def wasm_cache_dir() -> str | None:
    """Return the folder that keeps modules and what they compile to, or None if nothing is to be kept."""
    value = get("wazarr.wasm.cache_dir")
    if value is None:
        base = os.environ.get("XDG_CACHE_HOME", "")
        root = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
        return str(root / "wazarr" / "wasm") if root.is_absolute() else None
    if value is False or value == "":
        return None
    if not isinstance(value, str | os.PathLike):
        _ignoring("wazarr.wasm.cache_dir", value, "not a folder")
        return None
    return str(Path(os.fspath(value)).expanduser().absolute())


def wasm_allow() -> tuple[str, ...]:
    """Return the prefixes of addresses that modules may be fetched from, as the user wrote them."""
    return _texts("wazarr.wasm.allow")


@_while_unchanged
def wasm_trusted() -> frozenset[str]:
    """Return the digests of modules that run without a time limit."""
    digests = _texts("wazarr.wasm.trusted")
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            _ignoring("wazarr.wasm.trusted", digest, 'not "sha256:" and 64 hexadecimal digits')
    return frozenset(digests)


def wasm_prefers_native() -> bool:
    """Return whether a native codec stands in for a module that is known to do the same."""
    value = get("wazarr.wasm.prefer")
    if value not in ("native", "wasm"):  # a tuple: the value may be anything
        _ignoring("wazarr.wasm.prefer", value, 'neither "native" nor "wasm"')
    return bool(value != "wasm")


def wasm_native() -> Mapping[str, Any]:
    """Return what the user declares native codecs for, by the digest of the module."""
    value = get("wazarr.wasm.native")
    if not isinstance(value, dict):
        if value is not None:
            _ignoring("wazarr.wasm.native", value, "not a table from digests to native codecs")
        return {}
    return value
