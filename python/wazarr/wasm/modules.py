"""From a digest to a module: what this process has, what is on disk, then the sources in their order.

The digest decides: whatever a source answers is a module only if its sha256 is the one that was asked for.
A source that fails, or answers something else, is noted and the next one tried.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from wazarr import _native, config
from wazarr.errors import CodecError, WasmModuleNotFoundError
from wazarr.wasm import hierarchy, sources
from wazarr.wasm.description import HIERARCHY, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from zarr.abc.store import Store

    from wazarr.wasm.description import Description

__all__ = ["digest_of", "get_bytes", "has", "load", "locate", "put", "survey"]


def put(module: bytes, digest: str | None = None) -> str:
    """Keep a module: in memory, and on disk where there is a cache.

    Parameters
    ----------
    module : bytes
        The module.
    digest : str, optional
        What its digest has to be.

    Returns
    -------
    str
        Its digest, ``"sha256:…"``.

    Raises
    ------
    CodecError, InvalidInputError
        It has another digest, or is no module that can run within the limits.
    """
    apply_settings()
    return _native.wasm_put(
        module, digest, cache_dir=config.wasm_cache_dir(), module_limit_bytes=config.wasm_module_limit()
    )


@contextmanager
def naming(description: Description) -> Iterator[None]:
    """Have an error of the engine's that is about a module also name it, and the codec that it is for.

    Parameters
    ----------
    description : Description
        The codec.
    """
    try:
        yield
    except CodecError as error:
        if not error.codec:
            message = f"codec {description.codec!r}: module {description.module}: {error}"
            error.args = (message,)
            error.codec = description.codec
        raise


_MOST_SHOWN: Final = 5

_applied: tuple[int, int] | None = None


def apply_settings() -> None:
    """Tell the engine what holds for all modules of the process, if that has changed."""
    global _applied
    limits = config.wasm_limits()
    wanted = int(limits["cache_bytes"]), int(limits["compiled_modules"])
    if wanted != _applied:
        _native.wasm_configure(cache_limit_bytes=wanted[0], compiled_modules_limit=wanted[1])
        _applied = wanted


def has(digest: str) -> bool:
    """Return whether a module is in memory or on disk."""
    return _native.wasm_has(digest, cache_dir=config.wasm_cache_dir())


def get_bytes(digest: str) -> bytes | None:
    """Return a module that is in memory or on disk."""
    return _native.wasm_bytes(digest, cache_dir=config.wasm_cache_dir())


def survey(module: bytes) -> dict[str, Any]:
    """Return what a module says of itself, without compiling it.

    Raises
    ------
    CodecError, InvalidInputError
        It is no module, or over the limits.
    """
    answer: dict[str, Any] = json.loads(
        _native.wasm_survey(module, module_limit_bytes=config.wasm_module_limit())
    )
    return answer


def load(description: Description) -> None:
    """Have a module at hand, from everywhere but the array's store, which nothing here knows.

    Parameters
    ----------
    description : Description
        The codec.

    Raises
    ------
    WasmModuleNotFoundError
        It is nowhere.
    """
    if has(description.module):
        return
    places = _cache_places()
    for source in description.sources:
        if source == HIERARCHY:
            places.append("hierarchy: zarr-python's own pipelines give a codec no store to look into")
        elif _take_from(source, description, places):
            return
    raise not_found(description, places)


async def locate(
    description: Description,
    store: Store | None,
    directories: Sequence[str],
    *,
    origins: Iterable[Store] = (),
) -> None:
    """Have a module at hand.

    Parameters
    ----------
    description : Description
        The codec.
    store : Store or None
        The array's, if it has one.
    directories : sequence of str
        Where in the store to look, as `hierarchy.directories` answers.
    origins : iterable of Store, optional
        Other stores that this very codec object was met in: an array copied from one of them brings the
        codec, but not yet the module.

    Raises
    ------
    WasmModuleNotFoundError
        It is nowhere.
    """
    if has(description.module):
        return
    places = _cache_places()
    for source in description.sources:
        if source == HIERARCHY:
            if _keep(description, await _from_hierarchy(description, store, directories, places)):
                return
        elif await asyncio.to_thread(_take_from, source, description, places):
            return
    for origin in origins:
        if origin is not store and _keep(description, await hierarchy.scan(origin, description.module)):
            return
    raise not_found(description, places)


async def _from_hierarchy(
    description: Description, store: Store | None, directories: Sequence[str], places: list[str]
) -> bytes | None:
    if store is None:
        places.append("hierarchy: there is no store to look into")
        return None
    found = await hierarchy.search(store, directories, description.module)
    places.extend(found.places)
    return found.module


def _take_from(source: str, description: Description, places: list[str]) -> bool:
    """Keep what one source answers, if it is the module."""
    try:
        module = sources.fetch(source)
    except sources.SourceError as error:
        places.append(str(error))
        return False
    found = digest_of(module)
    if found != description.module:
        places.append(f"{sources.shown(source)}: holds something else ({found})")
        return False
    return _keep(description, module)


def _keep(description: Description, module: bytes | None) -> bool:
    """Keep a module that was found; whether there is one."""
    if module is None:
        return False
    with naming(description):
        put(module, description.module)
    return True


def _cache_places() -> list[str]:
    folder = config.wasm_cache_dir()
    return ["this process", f"cache: {folder}" if folder else "cache: wazarr.wasm.cache_dir is off"]


def not_found(description: Description, places: Sequence[str]) -> WasmModuleNotFoundError:
    """Make the exception for a module that is nowhere, with how to supply it."""
    looked = "".join(f"\n  - {place}" for place in places)
    ways = [
        "wazarr.WasmCodec(module=PATH, bytes or URL) once in this process, or wazarr.fetch_codecs(…)",
    ]
    if description.is_in_hierarchy:
        ways.append(
            "the module travels in a group 'wasm_codecs' beside the array or above it: copy that group too, "
            "open the array from the store's root rather than from inside, or call "
            "wazarr.fetch_codecs(GROUP) on the hierarchy that has it"
        )
    allowable = [source for source in description.sources if sources.is_allowable(source)][:_MOST_SHOWN]
    if allowable:
        ways.append(f'zarr.config.set({{"wazarr.wasm.allow": {json.dumps(allowable)}}}) to allow its sources')
    supply = "".join(f"\n  - {way}" for way in ways)
    return WasmModuleNotFoundError(
        f"the module {description.module} of codec {description.codec!r} was not found. Looked in:{looked}\n"
        f"To supply it, any of:{supply}",
        module=description.module,
        places=tuple(places),
    )


def not_described(codec: Any) -> WasmModuleNotFoundError:
    """Make the exception for a codec of which only a name is known, and no manifest says more."""
    from wazarr.wasm.numcodecs_modules import not_found as name_not_found

    return name_not_found(codec.wasm_name)
