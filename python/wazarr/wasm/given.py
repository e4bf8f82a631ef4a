"""What a program hands to `wazarr.WasmCodec`: the module in whatever form, and where it is to travel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zarr.registry import get_pipeline_class

from wazarr import config
from wazarr.errors import InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import modules, sources
from wazarr.wasm.description import DIGEST, HIERARCHY

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Embed", "as_json", "given", "placed"]

Embed = Literal["auto", "hierarchy", "inline", "never"]


def given(module: Any) -> tuple[bytes, str | None, str | None]:
    """Return the bytes of a module, an address that readers may use, and a name for it."""
    if isinstance(module, bytes | bytearray | memoryview):
        return bytes(module), None, None
    text = os.fspath(module)
    if not isinstance(text, str):
        raise InvalidInputError(f"module is a {type(module).__name__}, not bytes, a path or an address")
    if DIGEST.fullmatch(text):
        found = modules.get_bytes(text)
        if found is None:
            raise WasmModuleNotFoundError(f"the module {text} is not known here", module=text)
        return found, None, None
    is_address = text.startswith("data:") or ("://" in text and sources.is_remote(text))
    try:
        if not is_address:
            return sources.read_own_file(text), None, Path(text).stem
        content = sources.fetch(text, is_own=True)
    except sources.SourceError as error:
        raise WasmModuleNotFoundError(str(error), places=(str(error),)) from error
    if text.startswith("data:"):
        return content, None, None
    return content, text, Path(text.partition("?")[0]).stem


def as_json(value: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a copy as JSON has it, so that what is written is what was meant."""
    try:
        answer = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} holds something that JSON does not: {error}") from error
    assert isinstance(answer, dict)
    return answer


def placed(embed: Embed, module: bytes, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sources of a module that a program gave."""
    if embed == "auto":
        is_small = len(module) <= config.wasm_inline_limit()
        embed = "inline" if is_small or not _pipeline_stores_modules() else "hierarchy"
    match embed:
        case "inline":
            return (sources.inline(module), *addresses)
        case "hierarchy":
            return (HIERARCHY, *addresses)
        case _:
            return addresses


def _pipeline_stores_modules() -> bool:
    """Return whether arrays made now get a pipeline that can write the group `wasm_codecs`."""
    from wazarr.pipeline import CodecPipeline

    return issubclass(get_pipeline_class(), CodecPipeline)
