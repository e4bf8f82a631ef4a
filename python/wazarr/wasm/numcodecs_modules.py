"""From a numcodecs codec to the engine: which module it is, how its arrays are described, what they become.

Used by the codec classes (`wazarr.wasm.numcodecs`) under zarr-python's own pipelines and by whoever binds a
chain. Knows no store: a module that travels with the data is known here once somebody read its hierarchy's
manifest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from wazarr.errors import InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import engine, modules, packages
from wazarr.wasm.description import Description
from wazarr.wasm.engine import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wazarr import _native
    from wazarr.wasm.description import Kind

__all__ = ["BYTES", "bind", "describe_module", "encoded_of", "layout", "learn", "not_found"]

BYTES: Final = Layout()
"""Bytes of any length."""


def layout(data_type: np.dtype[Any], shape: tuple[int, ...]) -> Layout:
    """Return how a guest of this interface sees an array.

    Raises
    ------
    InvalidInputError
        The interface has no such elements: it knows integers of 8 to 64 bits, float32 and float64.
    """
    is_known = data_type.kind in "iuf" and data_type.isnative and data_type.itemsize <= 8
    if not is_known or data_type.str[1:] == "f2":
        raise InvalidInputError(
            f"numcodecs-wasm's codecs take integers, float32 and float64 in native byte order, not {data_type}"
        )
    return Layout(data_type.str, shape)


def describe_module(codec_id: str, kind: Kind, configuration: Mapping[str, Any]) -> Description | None:
    """Return the description of a codec whose module is at hand by the codec's id alone.

    Parameters
    ----------
    codec_id : str
        As metadata has it.
    kind : {"bytes-bytes", "array-bytes", "array-array"}
        What it encodes, and what that becomes.
    configuration : mapping
        As numcodecs has it, with or without ``id``.

    Returns
    -------
    Description or None
        With the module of the installed package, else with the one that `learn` was told of; None where
        only a hierarchy's manifest can tell.
    """
    package = packages.find(codec_id)
    if package is not None:
        digest = package.digest()
        if not modules.has(digest):
            digest = modules.put(package.read()[1])
        # Installed by the user, as any code of theirs: it runs without a meter.
        engine.trust(digest)
    elif len(known := _learnt.get(codec_id, ())) == 1:
        (digest,) = known
    else:
        return None
    parameters = {key: value for key, value in configuration.items() if key != "id"}
    return Description(codec=codec_id, kind=kind, module=digest, parameters=parameters)


_learnt: dict[str, set[str]] = {}
"""Digests of the modules that manifests in this process named for a codec's id."""


def learn(codec_id: str, digest: str) -> None:
    """Remember a module for pipelines that know no store; one id with two modules serves none of them."""
    _learnt.setdefault(codec_id, set()).add(digest)


def not_found(codec_id: str) -> WasmModuleNotFoundError:
    known = _learnt.get(codec_id)
    if known:
        return WasmModuleNotFoundError(
            f"codec {codec_id!r} has {len(known)} modules in the hierarchies that were fetched "
            f"({', '.join(sorted(known))}), and this pipeline knows no store to tell which: read the array "
            "with wazarr.CodecPipeline (wazarr.enable())"
        )
    package = packages.PREFIX.replace("_", "-") + codec_id.removesuffix(".rs")
    return WasmModuleNotFoundError(
        f"codec {codec_id!r} has no module: no installed package has it (pip install {package}, if there is "
        "one), and no manifest of a group 'wasm_codecs' at or above the array that was read names it; under "
        "zarr-python's own pipelines, which know no store, call wazarr.fetch_codecs(array) first"
    )


@lru_cache(maxsize=256)
def _bound(description: Description, decoded: Layout, encoded: Layout, settings: object) -> _native.Codec:
    """Bind a codec; what the configuration says is part of the key."""
    return engine.bind(description, decoded, encoded)


def bind(description: Description, decoded: Layout, encoded: Layout) -> _native.Codec:
    """Bind a codec, or return the one that was bound before.

    Parameters
    ----------
    description : Description
        Its module is at hand.
    decoded, encoded : Layout
        What it encodes, and what that becomes.
    """
    return _bound(description, decoded, encoded, engine.settings(description.module))


@lru_cache(maxsize=256)
def _encoded_of(description: Description, decoded: Layout) -> Layout:
    ones = np.ones(decoded.shape, decoded.data_type)
    codec = bind(description, decoded, decoded if description.kind == "array-array" else BYTES)
    _, (data_type, shape) = codec.encode_array(ones.reshape(-1).view(np.uint8))
    return Layout(data_type, tuple(shape))


def encoded_of(
    description: Description, data_type: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return data type and shape of what arrays of one type and shape become.

    Nothing but the module knows: it encodes an array of ones, once. (zarr-any-numcodecs does the same, and
    asks of the codecs that the answer is the same for all values.)

    Parameters
    ----------
    description : Description
        Its module is at hand.
    data_type : numpy.dtype
        Of what is encoded.
    shape : tuple of int
        Of what is encoded.
    """
    answer = _encoded_of(description, layout(data_type, shape))
    return np.dtype(answer.data_type), answer.shape
