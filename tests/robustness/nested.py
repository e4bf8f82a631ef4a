"""Codecs in Python whose own work waits for ours. Usage: nested.py KIND WORKERS."""

from __future__ import annotations

import faulthandler
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec

import wazarr

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

OTHER: list[zarr.Array[Any]] = []


@dataclass(frozen=True)
class Reading(BytesBytesCodec):
    """Reads and writes another array for every chunk."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make one."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Return its metadata."""
        return {"name": "tests.reading"}

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        assert (np.asarray(OTHER[0][:]) == 3).all()
        return chunk_data

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        OTHER[0][1:-1] = 3
        assert (np.asarray(OTHER[0][:]) == 3).all()
        return chunk_data

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the same length."""
        return input_byte_length


class MySharding(ShardingCodec):
    """A subclass: it runs in Python, and its inner chain is a pipeline of ours."""


def main() -> None:
    """Write and read."""
    faulthandler.dump_traceback_later(45, exit=True)
    kind, workers = sys.argv[1], int(sys.argv[2])
    wazarr.enable()
    zarr.config.set({"threading.max_workers": workers})
    settings: dict[str, Any]
    if kind == "reading":
        other = zarr.create_array(tempfile.mkdtemp(), shape=(8, 512, 512), chunks=(1, 512, 512), dtype="f4")
        other[:] = 3
        OTHER.append(other)
        settings = {"shape": (8, 64), "chunks": (1, 64), "compressors": [Reading()]}
    else:
        inner: list[Any] = [BytesCodec(), GzipCodec(level=1)]
        if kind == "nested sharding":
            inner = [MySharding(chunk_shape=(1, 512, 512), codecs=inner)]
        serializer = MySharding(chunk_shape=(2, 512, 512), codecs=inner)
        settings = {
            "shape": (32, 512, 512),
            "chunks": (8, 512, 512),
            "filters": None,
            "serializer": serializer,
            "compressors": None,
        }
    array = zarr.create_array(zarr.storage.MemoryStore(), dtype="f4", **settings)
    values = np.random.default_rng(0).integers(0, 9, array.shape).astype("f4")
    array[:] = values
    assert np.array_equal(np.asarray(array[:]), values)
    array[1:3] = 5
    assert (np.asarray(array[1:3]) == 5).all()


if __name__ == "__main__":
    main()
