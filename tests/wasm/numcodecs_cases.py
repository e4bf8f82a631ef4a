"""Arrays with numcodecs-wasm's codecs, for all who compare: their own packages, our host, recorded bytes.

The same table serves the real packages (`tests/fixtures/make_numcodecs_vectors.py`, run by an interpreter
that has them) and ours, which is why nothing of either is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numcodecs.registry
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.registry import get_codec_class

if TYPE_CHECKING:
    from zarr.abc.codec import Codec
    from zarr.abc.store import Store

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One array.

    Attributes
    ----------
    codecs : tuple
        Of Zarr v3: ``(kind, configuration)`` of each, or a codec of zarr's own. Of Zarr v2: configurations
        alone, the compressor last.
    data_type : str
        Of the elements.
    zarr_format : int
        2 or 3.
    is_sharded : bool
        Whether all of it is inside shards.
    """

    codecs: tuple[Any, ...]
    data_type: str = "<f4"
    zarr_format: int = 3
    is_sharded: bool = False

    @property
    def ids(self) -> set[str]:
        """The ids of the codecs that are numcodecs-wasm's."""
        configurations = [codec[1] if self.zarr_format == 3 else codec for codec in self._foreign]
        return {configuration["id"] for configuration in configurations}

    @property
    def _foreign(self) -> list[Any]:
        return [codec for codec in self.codecs if isinstance(codec, tuple | dict)]

    def values(self) -> np.ndarray[Any, Any]:
        """Return what the array holds: smooth, so that lossy codecs have something to do."""
        rows, columns = np.meshgrid(np.arange(7), np.arange(10), indexing="ij")
        values: Any = 100 + 40 * np.sin(rows / 3.0) * np.cos(columns / 4.0) + rows
        return values.astype(self.data_type)  # type: ignore[no-any-return]

    def create(self, store: Store) -> zarr.Array[Any]:
        """Make the array at the root of a store, with whatever classes are registered, and fill it.

        Edge chunks are larger than what of the array is in them.
        """
        values = self.values()
        common: dict[str, Any] = {"shape": values.shape, "dtype": values.dtype, "fill_value": 0}
        if self.zarr_format == 2:
            *filters, compressor = [numcodecs.registry.get_codec(codec) for codec in self.codecs]
            common |= {"filters": filters or None, "compressors": compressor, "zarr_format": 2}
            array = zarr.create_array(store, chunks=(4, 5), **common)
        else:
            filters, serializer, compressors = self._made()
            chain = [*filters, serializer, *compressors]
            if self.is_sharded:
                serializer = ShardingCodec(chunk_shape=(2, 5), codecs=chain)
                filters, compressors = [], []
            array = zarr.create_array(
                store,
                chunks=(4, 5),
                filters=filters,
                serializer=serializer,
                compressors=compressors,
                **common,
            )
        array[...] = values
        return array

    def _made(self) -> tuple[list[Any], Any, list[Any]]:
        filters: list[Codec] = []
        compressors: list[Codec] = []
        serializer: Codec = BytesCodec()
        for entry in self.codecs:
            if not isinstance(entry, tuple):
                compressors.append(entry)
                continue
            kind, configuration = entry
            name = f"any-numcodecs.{kind}"
            codec = get_codec_class(name).from_dict({"name": name, "configuration": configuration})
            match kind:
                case "array-array":
                    filters.append(codec)
                case "array-bytes":
                    serializer = codec
                case _:
                    compressors.append(codec)
        return filters, serializer, compressors


_ZFP: Final = {"id": "zfp.rs", "mode": "reversible"}
_LOSSY_ZFP: Final = {"id": "zfp.rs", "mode": "fixed-accuracy", "tolerance": 0.01}
_PCO: Final = {
    "id": "pco.rs",
    "level": 8,
    "mode": "auto",
    "delta": "auto",
    "paging": "equal-pages-up-to",
}
_SZ3: Final = {"id": "sz3.rs", "eb_mode": "abs", "eb_abs": 0.01}
_SPERR: Final = {"id": "sperr.rs", "mode": "pwe", "pwe": 0.01}
_ZLIB: Final = {"id": "zlib.rs", "level": 6}
_ZSTD: Final = {"id": "zstd.rs", "level": 3}
_ROUND: Final = {"id": "round.rs", "precision": 0.25}
_QUANTIZE: Final = {"id": "linear-quantize.rs", "bits": 12, "dtype": "float32"}
_SCALE: Final = {"id": "fixed-offset-scale.rs", "offset": 100.0, "scale": 8.0}
_REINTERPRET: Final = {"id": "reinterpret.rs", "decode_dtype": "float32", "encode_dtype": "uint32"}
_TO_BYTES: Final = {"id": "reinterpret.rs", "decode_dtype": "float32", "encode_dtype": "uint8"}

CASES: Final[dict[str, Case]] = {
    "zfp": Case((("array-bytes", _ZFP),)),
    "zfp, lossy": Case((("array-bytes", _LOSSY_ZFP),), "<f8"),
    "pco": Case((("array-bytes", _PCO),), "<i4"),
    "sz3": Case((("array-bytes", _SZ3),)),
    "sperr": Case((("array-bytes", _SPERR),), "<f8"),
    "zlib": Case((("array-bytes", _ZLIB),), "<u2"),
    "zstd": Case((("array-bytes", _ZSTD),), "<i8"),
    "zstd of bytes": Case((("bytes-bytes", _ZSTD),), "<i2"),
    "zlib of checked bytes": Case((Crc32cCodec(), ("bytes-bytes", _ZLIB)), "<i2"),
    "round": Case((("array-array", _ROUND),), "<f8"),
    "linear-quantize": Case((("array-array", _QUANTIZE),)),
    "fixed-offset-scale": Case((("array-array", _SCALE),)),
    "reinterpret": Case((("array-array", _REINTERPRET),)),
    "reinterpret as bytes": Case((("array-array", _TO_BYTES),)),
    "three": Case((("array-array", _ROUND), ("array-array", _REINTERPRET), ("array-bytes", _PCO))),
    "everywhere": Case((("array-array", _QUANTIZE), ("array-bytes", _ZLIB), ("bytes-bytes", _ZSTD))),
    "sharded": Case((("array-array", _ROUND), ("array-bytes", _ZFP)), is_sharded=True),
    "v2 zfp": Case((_ZFP,), zarr_format=2),
    "v2 pco": Case((_PCO,), "<i4", zarr_format=2),
    "v2 zlib": Case((_ZLIB,), "<u2", zarr_format=2),
    "v2 round, zfp": Case((_ROUND, _ZFP), zarr_format=2),
    "v2 linear-quantize, zstd": Case((_QUANTIZE, _ZSTD), zarr_format=2),
}
