"""Bound chains that are kept: for every pipeline, and beyond it for arrays that are opened later.

An array's first request binds its codecs, which takes longer than a small read. Arrays that are opened again,
or that are alike, as those of one dataset are, share what was bound for the first one, if there are only
codecs of zarr's own among theirs: of those it is known what the chain depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import zarr.codecs

from wazarr import config
from wazarr.chains import fill_bytes
from wazarr.codecs import bind, is_shard_lookup_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from zarr.core.array_spec import ArraySpec

    from wazarr.chains import BoundChain
    from wazarr.wasm.steps import Steps

__all__ = ["ChainCache"]

_KEPT: Final = 128


class ChainCache:
    """The chains of one pipeline, by chunk spec."""

    def __init__(self) -> None:
        # Data type and fill value are kept with a chain: their identities are part of its key.
        self._chains: dict[Any, tuple[BoundChain, object, object]] = {}

    def bound(self, codecs: Iterable[Any], spec: ArraySpec, wasm: Steps | None) -> BoundChain:
        """Return the chain of some codecs for a chunk spec.

        Parameters
        ----------
        codecs : iterable of zarr.abc.codec.Codec
            The pipeline's, in the order of encoding.
        spec : ArraySpec
            The decoded chunk.
        wasm : Steps or None
            The pipeline's modules, if there are any among the codecs.

        Raises
        ------
        UnsupportedError
            The chain cannot run here as a whole.
        """
        settings = (
            spec.config.order,
            spec.config.write_empty_chunks,
            config.get("codec_pipeline.validate_checksums") is not False,
            int(config.get("wazarr.variable_length_limit")),
        )
        # The identities of data type and fill value stand for them: both live as long as the metadata.
        key = (
            spec.shape,
            id(spec.dtype),
            id(spec.fill_value),
            settings,
            None if wasm is None else wasm.settings(),
        )
        kept = self._chains.get(key)
        if kept is not None:
            return kept[0]
        codecs = tuple(codecs)
        found = bind(codecs, spec, wasm) if wasm is not None else _shared(codecs, spec, settings)
        if not found.lacks_module:  # one that lacks it is bound anew: the module may turn up
            _keep(self._chains, key, (found, spec.dtype, spec.fill_value))
        return found


_CHAINS: Final[dict[Any, BoundChain]] = {}
"""Chains of zarr's own codecs, by all that they depend on."""


def _keep(chains: dict[Any, Any], key: Any, chain: Any) -> None:
    if len(chains) >= _KEPT:
        chains.clear()
    chains[key] = chain


def _shared(codecs: tuple[Any, ...], spec: ArraySpec, settings: tuple[Any, ...]) -> BoundChain:
    """Return the chain of codecs that are no modules, from the ones that all share where it can be."""
    settings_of_codecs = _settings_of(codecs)
    if settings_of_codecs is None:
        return bind(codecs, spec)
    dtype = spec.dtype.to_native_dtype()
    key = (
        settings_of_codecs,
        settings,
        tuple(spec.shape),
        type(spec.dtype),
        dtype,
        fill_bytes(spec, dtype),
    )
    found = _CHAINS.get(key)
    if found is None:
        found = bind(codecs, spec)
        if not found.fallbacks:  # a codec in Python is told more of the array than the key
            _keep(_CHAINS, key, found)
    return found


_SETTINGS_OF: Final[dict[type, Callable[[Any], Any]]] = {
    zarr.codecs.BytesCodec: lambda codec: codec.endian,
    zarr.codecs.TransposeCodec: lambda codec: codec.order,
    zarr.codecs.VLenUTF8Codec: lambda _: (),
    zarr.codecs.VLenBytesCodec: lambda _: (),
    zarr.codecs.ZstdCodec: lambda codec: (codec.level, codec.checksum),
    zarr.codecs.GzipCodec: lambda codec: codec.level,
    zarr.codecs.BloscCodec: lambda codec: (
        codec.cname, codec.clevel, codec.shuffle, codec.typesize, codec.blocksize
    ),
    zarr.codecs.Crc32cCodec: lambda _: (),
    zarr.codecs.ShardingCodec: lambda codec: _settings_of_shard(codec),
}  # fmt: skip
"""What the chain of a codec depends on besides the chunk spec, by exact type."""


def _settings_of(codecs: Iterable[Any]) -> tuple[Any, ...] | None:
    """Return what the chain depends on, or None where that is not known."""
    settings = []
    for codec in codecs:
        cls = type(codec)
        setting = _SETTINGS_OF[cls](codec) if cls in _SETTINGS_OF else None
        if setting is None and cls is not zarr.codecs.BytesCodec:
            return None
        settings.append((cls, setting))
    return tuple(settings)


def _settings_of_shard(codec: Any) -> tuple[Any, ...] | None:
    inner, index = _settings_of(codec.codecs), _settings_of(codec.index_codecs)
    if inner is None or index is None or is_shard_lookup_replaced():
        return None
    order = getattr(codec, "subchunk_write_order", None)
    return (tuple(codec.chunk_shape), inner, index, codec.index_location, order)
