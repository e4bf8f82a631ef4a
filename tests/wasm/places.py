"""Every place in which a codec may stand, as arguments of `zarr.create_array`, and values to put there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, ShardingCodec, TransposeCodec, ZstdCodec

import wazarr
from tests.wasm import guests

if TYPE_CHECKING:
    from collections.abc import Callable

    from zarr.abc.store import Store

VALUES = np.arange(8 * 12, dtype="u2").reshape(8, 12) * 7
VALUES[2:6, 3:9] = 0

BYTE_VALUES = VALUES.astype("u1")


def codec(module: bytes, **options: Any) -> Any:
    """Return a codec of the module."""
    return wazarr.WasmCodec(module, codec="guest", **options)


def _shards(**inner: Any) -> dict[str, Any]:
    return {"serializer": ShardingCodec(chunk_shape=(2, 3), **inner), "compressors": None}


V3: dict[str, Callable[..., dict[str, Any]]] = {
    "compressor": lambda **o: {"compressors": codec(guests.xor(), **o)},
    "compressor of any length": lambda **o: {"compressors": codec(guests.trim(), **o)},
    "two compressors": lambda **o: {
        "compressors": [codec(guests.trim(), **o), codec(guests.xor(), **o), ZstdCodec(level=1)]
    },
    "behind zstd": lambda **o: {"compressors": [ZstdCodec(level=1), codec(guests.trim(), **o)]},
    "serializer": lambda **o: {
        "serializer": codec(guests.trim(), kind="array-bytes", **o),
        "compressors": None,
    },
    "filter": lambda **o: {"filters": codec(guests.xor(), kind="array-array", **o), "compressors": None},
    "filter behind a transposition": lambda **o: {
        "filters": [TransposeCodec(order=(1, 0)), codec(guests.xor(), kind="array-array", **o)],
        "compressors": ZstdCodec(level=1),
    },
    "all three": lambda **o: {
        "filters": codec(guests.xor(1), kind="array-array", **o),
        "serializer": codec(guests.xor(2), kind="array-bytes", **o),
        "compressors": codec(guests.trim(), **o),
    },
    "in a shard": lambda **o: _shards(codecs=[BytesCodec(), codec(guests.trim(), **o)]),
    "serializer in a shard": lambda **o: _shards(codecs=[codec(guests.trim(), kind="array-bytes", **o)]),
    "filter in a shard": lambda **o: _shards(
        codecs=[codec(guests.xor(), kind="array-array", **o), BytesCodec()]
    ),
    "index of a shard": lambda **o: _shards(
        codecs=[BytesCodec()],
        index_codecs=[BytesCodec(), codec(guests.xor(), encoded={"overhead_bytes": 0}, **o)],
    ),
    "behind a shard": lambda **o: {
        "serializer": ShardingCodec(chunk_shape=(2, 3)),
        "compressors": codec(guests.trim(), **o),
    },
}
"""Arrays of `u2` in chunks of 4 by 6."""

V2: dict[str, Callable[..., dict[str, Any]]] = {
    "compressor": lambda **o: {"compressors": codec(guests.trim(), zarr_format=2, **o)},
    "filter": lambda **o: {"filters": [codec(guests.xor(), zarr_format=2, **o)], "compressors": None},
    "both": lambda **o: {
        "filters": [codec(guests.xor(), zarr_format=2, **o)],
        "compressors": codec(guests.trim(), zarr_format=2, **o),
    },
}
"""The same in Zarr v2."""

PLACES = [(3, name) for name in V3] + [(2, name) for name in V2]


def create(
    store: Store,
    zarr_format: int,
    place: str,
    *,
    name: str | None = "data",
    dtype: str = "u2",
    **options: Any,
) -> zarr.Array[Any]:
    """Create an array with the codec in a place.

    Parameters
    ----------
    store : Store
        Where.
    zarr_format, place : int, str
        From `PLACES`.
    name : str or None
        Path of the array.
    dtype : str
        Data type.
    **options
        Of `wazarr.WasmCodec`.
    """
    codecs = (V3 if zarr_format == 3 else V2)[place](**options)
    return zarr.create_array(
        store,
        name=name,
        shape=VALUES.shape,
        chunks=(4, 6),
        dtype=dtype,
        zarr_format=zarr_format,  # type: ignore[arg-type]
        **codecs,
    )
