"""From a numcodecs codec to the engine: which module it is, how its arrays are described, what they become.

Used by the codec classes (`wazarr.wasm.numcodecs`) under zarr-python's own pipelines and by whoever binds a
chain. Knows no store: a module that travels with the data is known here once somebody read its hierarchy's
manifest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from wazarr import config
from wazarr.errors import InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import engine, hierarchy, modules, packages
from wazarr.wasm.description import Description
from wazarr.wasm.engine import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from wazarr import _native
    from wazarr.wasm.description import Kind

__all__ = [
    "BYTES",
    "Named",
    "bind",
    "describe_module",
    "encoded_of",
    "layout",
    "learn",
    "longest",
    "not_found",
    "parameters_of",
]

BYTES: Final = Layout()
"""Bytes of any length."""


def layout(data_type: np.dtype[Any], shape: tuple[int, ...]) -> Layout:
    """Return how a guest of this interface sees an array.

    Raises
    ------
    InvalidInputError
        The interface has no such elements.
    """
    is_known = data_type.kind in "iuf" and data_type.isnative and data_type.itemsize <= 8
    if not is_known or data_type.str[1:] == "f2":
        raise InvalidInputError(
            "numcodecs-wasm's codecs take integers of 8 to 64 bits, float32 and float64, in native byte "
            f"order, not {data_type}"
        )
    return Layout(data_type.str, tuple(shape))


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
        # Installed by the user, as any code of theirs: it runs without a time limit.
        engine.trust(digest)
    else:
        known = _learnt.get(codec_id, set())
        if len(known) != 1:
            return None
        digest = next(iter(known))
    return Description(codec=codec_id, kind=kind, module=digest, parameters=parameters_of(configuration))


def parameters_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as the module takes it: it knows its own id."""
    return {key: value for key, value in configuration.items() if key != "id"}


_learnt: dict[str, set[str]] = {}
"""Digests of the modules that manifests in this process named for a codec's id."""


def learn(codec_id: str, digest: str) -> None:
    """Remember a module for pipelines that know no store; one id with two modules serves none of them."""
    _learnt.setdefault(codec_id, set()).add(digest)


def not_found(codec_id: str) -> WasmModuleNotFoundError:
    """Make the exception for a codec whose id is all that is known."""
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
        "one), and no manifest of a group 'wasm_codecs' beside the array or above it names it. Copy the "
        "group that does; zarr-python's own pipelines, which know no store, need wazarr.fetch_codecs(array) "
        "first"
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
    return _bound(description, decoded, encoded, engine.settings())


@lru_cache(maxsize=256)
def encoded_of(description: Description, decoded: Layout) -> Layout:
    """Return what arrays of one type and shape become.

    Nothing but the module knows: it encodes an array of ones, once. (zarr-any-numcodecs does the same, and
    asks of the codecs that the answer is the same for all values.)

    Parameters
    ----------
    description : Description
        Its module is at hand.
    decoded : Layout
        What is encoded.
    """
    ones = np.ones(decoded.shape, decoded.data_type)
    # Only what is encoded is told to an encoder, and its answer taken as it comes.
    codec = bind(_as_bytes(description), decoded, BYTES)
    data_type, shape = codec.encode_array(ones.tobytes())[1]
    return Layout(data_type, tuple(shape))


def _as_bytes(description: Description) -> Description:
    return replace(description, kind="bytes-bytes", encoded=None)


class Named:
    """A codec that metadata name by its numcodecs id: what is common to both formats."""

    kind: ClassVar[Kind]

    @property
    def wasm_label(self) -> str:
        """The name in metadata."""
        raise NotImplementedError

    @property
    def wasm_name(self) -> str:
        """The codec's id, under which a manifest may have it."""
        raise NotImplementedError

    @property
    def wasm_configuration(self) -> Mapping[str, Any]:
        """The configuration as numcodecs has it."""
        raise NotImplementedError

    @property
    def wasm_description(self) -> Description | None:
        """What the engine needs to know, or None where a store has to be asked."""
        known: Description | None = self.__dict__.get("_description")
        if known is None or not modules.has(known.module):
            known = describe_module(self.wasm_name, self.kind, self.wasm_configuration)
            # Not a field: codecs of Zarr v3 are frozen, and compared by what metadata say.
            self.__dict__["_description"] = known
        return known

    async def wasm_locate(self, store: Store, groups: Sequence[str]) -> Description | None:
        """Return what the nearest manifest of a store has under the codec's id, or None.

        Parameters
        ----------
        store : Store
            The array's store.
        groups : sequence of str
            Paths of groups, in the order in which to look.
        """
        found = await hierarchy.find_named(store, groups, self.wasm_name)
        if found is None:
            return None
        return replace(found, kind=self.kind, parameters=parameters_of(self.wasm_configuration), encoded=None)

    def _described(self) -> Description:
        description = self.wasm_description
        if description is None:
            raise not_found(self.wasm_name)
        return description


def longest() -> int:
    """Return how many bytes may come back where nothing tells how many should."""
    return int(config.wasm_limits()["memory_bytes"])
