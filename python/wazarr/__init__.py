"""A Rust codec pipeline for zarr-python.

>>> import zarr
>>> zarr.config.set({"codec_pipeline.path": "wazarr.CodecPipeline"})  # doctest: +SKIP

From then on whatever a program does with a zarr array gives the same values and the same errors, in
parallel and off the interpreter lock.
"""

from __future__ import annotations

import atexit
import importlib
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zarr.core.config import config as _zarr_config
from zarr.registry import register_pipeline

from wazarr import _native, errors, fallback, stores
from wazarr.counters import counters, reset_counters
from wazarr.pipeline import CodecPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wazarr.explanation import explain
    from wazarr.wasm.chonkle import from_chonkle
    from wazarr.wasm.codec import WasmCodec
    from wazarr.wasm.embed import codecs_used, embed_codecs, fetch_codecs

__all__ = [
    "CodecPipeline",
    "WasmCodec",
    "codecs_used",
    "counters",
    "disable",
    "embed_codecs",
    "enable",
    "enabled",
    "errors",
    "explain",
    "fetch_codecs",
    "from_chonkle",
    "reset_counters",
]

__version__: str = _native.__version__

_PATH = "wazarr.CodecPipeline"

register_pipeline(CodecPipeline)

if _native.IS_DEBUG_BUILD:
    warnings.warn(
        "this wazarr was built without optimisation; build with --release before measuring",
        RuntimeWarning,
        stacklevel=2,
    )

# While the interpreter goes down no thread of ours may want its lock.
atexit.register(_native.finish_all)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.after_fork_in_child)
    os.register_at_fork(after_in_child=fallback._after_fork_in_child)
    os.register_at_fork(after_in_child=stores.forget_handles)


# What a program seldom needs is loaded when it is asked for: name -> module.
_LATE = {
    "WasmCodec": "wazarr.wasm.codec",
    "codecs_used": "wazarr.wasm.embed",
    "embed_codecs": "wazarr.wasm.embed",
    "explain": "wazarr.explanation",
    "fetch_codecs": "wazarr.wasm.embed",
    "from_chonkle": "wazarr.wasm.chonkle",
}


def __getattr__(name: str) -> Any:
    module = _LATE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(module), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})


def enable() -> None:
    """Make zarr use this pipeline for arrays opened from now on."""
    _zarr_config.set({"codec_pipeline.path": _PATH})


def disable() -> None:
    """Make zarr use its own default pipeline again."""
    default = "zarr.core.codec_pipeline.BatchedCodecPipeline"
    _zarr_config.set({"codec_pipeline.path": default})


@contextmanager
def enabled(**settings: Any) -> Iterator[None]:
    """Use this pipeline inside a ``with`` block.

    Parameters
    ----------
    **settings
        Further keys of `zarr.config`, with ``__`` for the dots (``codec_pipeline__strict=True``).
    """
    keys = {name.replace("__", "."): value for name, value in settings.items()}
    with _zarr_config.set({"codec_pipeline.path": _PATH, **keys}):
        yield
