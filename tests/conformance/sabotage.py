"""Break every piece of zarr-python and numcodecs that native work must not touch.

With this in force, an operation that passes has been done by our engine: the built-in
pipelines, the codecs' own `encode` and `decode` and the stores' own `get` and `set` all raise.
Metadata documents still pass, since zarr-python itself reads and writes those.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from typing import TYPE_CHECKING, Any

import numcodecs.abc
import numcodecs.registry
import zarr.abc.codec
import zarr.core.codec_pipeline
from zarr.storage import LocalStore, MemoryStore

from tests.conformance.stores import is_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIPELINE_METHODS = ("read", "write", "read_sync", "write_sync")
ZARR_CODEC_METHODS = (
    "_decode_single",
    "_encode_single",
    "_decode_sync",
    "_encode_sync",
    "_decode_partial_single",
    "_encode_partial_single",
    "_decode_partial_sync",
    "_encode_partial_sync",
)
NUMCODECS_METHODS = ("encode", "decode")
STORE_METHODS = ("get", "set", "get_sync", "set_sync")


class SabotagedError(Exception):
    """Something called a method that native work must not need."""


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    yield base
    children: list[type[Any]] = base.__subclasses__()
    for child in children:
        yield from _subclasses(child)


def _raiser(name: str, hits: list[str]) -> Callable[..., Any]:
    def sabotaged(*_arguments: Any, **_options: Any) -> Any:
        hits.append(name)
        raise SabotagedError(name)

    return sabotaged


def _guarded(original: Callable[..., Any], name: str, hits: list[str]) -> Callable[..., Any]:
    """Let metadata keys pass and raise for any other."""

    def check(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        key = options["key"] if "key" in options else arguments[0]
        if not is_metadata(key):
            hits.append(f"{name}({key})")
            raise SabotagedError(hits[-1])

    if inspect.iscoroutinefunction(original):

        async def guarded_async(self: Any, *arguments: Any, **options: Any) -> Any:
            check(arguments, options)
            return await original(self, *arguments, **options)

        return guarded_async

    def guarded(self: Any, *arguments: Any, **options: Any) -> Any:
        check(arguments, options)
        return original(self, *arguments, **options)

    return guarded


def _replacements(hits: list[str]) -> Iterator[tuple[type, str, Callable[..., Any]]]:
    for class_name in ("BatchedCodecPipeline", "FusedCodecPipeline"):
        owner = getattr(zarr.core.codec_pipeline, class_name, None)
        for method in PIPELINE_METHODS:
            if owner is not None and method in vars(owner):
                yield owner, method, _raiser(f"{class_name}.{method}", hits)
    for owner in set(_subclasses(zarr.abc.codec.BaseCodec)):
        if owner.__module__.startswith("zarr.codecs"):
            for method in ZARR_CODEC_METHODS:
                if method in vars(owner):
                    yield owner, method, _raiser(f"{owner.__name__}.{method}", hits)
    for owner in set(_subclasses(numcodecs.abc.Codec)):
        if owner.__module__.startswith("numcodecs") and owner is not numcodecs.abc.Codec:
            for method in NUMCODECS_METHODS:
                if method in vars(owner):
                    yield owner, method, _raiser(f"numcodecs {owner.__name__}.{method}", hits)
    for store in (LocalStore, MemoryStore):
        yield store, "get_partial_values", _raiser(f"{store.__name__}.get_partial_values", hits)
        for method in STORE_METHODS:
            if method in vars(store):
                original = vars(store)[method]
                yield store, method, _guarded(original, f"{store.__name__}.{method}", hits)


@contextlib.contextmanager
def sabotage(hits: list[str]) -> Iterator[None]:
    """Break what native work must not touch; `hits` takes what was called all the same."""
    for module in ("blosc", "lz4", "zstd", "gzip", "zlib", "bz2", "lzma", "shuffle", "pcodec"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"numcodecs.{module}")
    undo: list[tuple[type, str, Any]] = []
    try:
        for owner, method, replacement in list(_replacements(hits)):
            original = vars(owner)[method]
            setattr(owner, method, replacement)
            undo.append((owner, method, original))
        yield
    finally:
        for owner, method, original in reversed(undo):
            setattr(owner, method, original)
