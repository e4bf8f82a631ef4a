"""What is measured: layouts of arrays, and the operations on each.

`main_cases` are the seven layouts with three operations whose table is in the README.
`further_cases` are the corners: data types, text, selections that are no boxes, memory orders, Zarr
v2, partial writes, missing chunks, many chunks, memory, a cold page cache. `public_cases` are the
three tasks of the public project zarr_benchmarks, at a size that fits here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from fields import field, quiet_field, records, typed_field, words
from numcodecs import GZip
from selections import EVERYTHING, Selection, boxes, indices, mask, points, window
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

if TYPE_CHECKING:
    from collections.abc import Callable

    from contenders import Store
    from selections import Values

Action = Literal["read", "write", "round trip"]
LIMIT = 1.1
GZIP_WRITE_LIMIT = 1.3


@dataclass(frozen=True)
class Operation:
    """Something done to an array: one or more selections, each read, written or copied in turn.

    A round trip reads each selection and writes it to an array of the same layout without chunks.
    """

    name: str
    action: Action
    selections: tuple[Selection, ...]
    limit: float = LIMIT
    """Ratio that is accepted with ``--check``."""

    @property
    def is_everything(self) -> bool:
        """Whether it is about the whole array at once."""
        return self.selections[0] is EVERYTHING


@dataclass(frozen=True)
class Case:
    """One layout, its data, and the operations measured on it."""

    name: str
    make_data: Callable[[], Values]
    layout: dict[str, Any]
    """Arguments of `zarr.create_array`, other than shape and dtype."""
    operations: tuple[Operation, ...]
    is_in_memory: bool = False
    is_cold: bool = False
    """Whether the files are put out of the page cache before each turn."""
    is_empty: bool = False
    """Whether the chunks are left out, so that reads give the fill value."""
    is_text: bool = False

    def create(self, store: Store, values: Values) -> None:
        """Create the array for these values, without chunks."""
        zarr.create_array(
            store,
            shape=values.shape,
            dtype=str if self.is_text else values.dtype,
            **({"fill_value": 0} if values.dtype == np.uint16 else {}) | self.layout,
        )


def read(name: str, *selections: Selection) -> Operation:
    """Return a reading operation."""
    return Operation(name, "read", selections)


def write(name: str, *selections: Selection, limit: float = LIMIT) -> Operation:
    """Return a writing operation."""
    return Operation(name, "write", selections, limit)


def cube(side: int) -> tuple[int, int, int]:
    """Return the lengths of a cube's axes."""
    return (side, side, side)


def standard(inside: Selection, *, write_limit: float = LIMIT) -> tuple[Operation, ...]:
    """Return the three usual operations."""
    return (
        read("read all", EVERYTHING),
        read("read window", inside),
        write("write all", EVERYTHING, limit=write_limit),
    )


def main_cases() -> list[Case]:
    """Return the layouts of the main table: 62.5 MiB in all but the small ones, which have 4 MiB."""
    zstd = ZstdCodec(level=1)

    def case(
        name: str, side: int, chunk: int, compressor: Any, *, shard: int | None = None, limit: float = LIMIT
    ) -> Case:
        bounds = (70, 170) if side == 320 else (30, 80)
        layout = {"chunks": cube(chunk), "compressors": compressor, "shards": cube(shard) if shard else None}
        operations = standard(window(bounds, bounds, bounds), write_limit=limit)
        return Case(name, partial(field, cube(side)), layout, operations)

    return [
        case("uncompressed", 320, 80, None),
        case("zstd 1", 320, 80, zstd),
        case("blosc lz4 shuffle", 320, 80, BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")),
        case("gzip 1", 320, 80, GzipCodec(level=1), limit=GZIP_WRITE_LIMIT),
        case("zstd 1, 32³ in 8 shards", 320, 32, zstd, shard=160),
        case("512 small, uncompressed", 128, 16, None),
        case("512 small, zstd 1", 128, 16, zstd),
    ]


def further_cases() -> list[Case]:
    """Return the cases beside the main table."""
    return [
        *_huge_chunks(),
        *_data_types(),
        *_selections(),
        *_layouts(),
        *_partial_writes(),
        *_missing_chunks(),
        *_in_memory(),
        *_cold(),
    ]


def _huge_chunks() -> list[Case]:
    inside = window((100, 120), (50, 150), (50, 150))
    codecs = {
        "uncompressed": None,
        "zstd 1": ZstdCodec(level=1),
        "blosc lz4 shuffle": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    }
    return [
        Case(
            f"one chunk of 32 MiB, {name}",
            partial(field, cube(256)),
            {"chunks": cube(256), "compressors": codec},
            standard(inside),
        )
        for name, codec in codecs.items()
    ]


def _data_types() -> list[Case]:
    array_shape, chunk_shape = (128, 128, 128), (32, 64, 64)
    operations = standard(window((20, 100), (20, 100), (20, 100)))
    layout = {"chunks": chunk_shape, "compressors": ZstdCodec(level=1)}
    numbers = [
        Case(f"{dtype}, zstd 1", partial(typed_field, array_shape, dtype), layout, operations)
        for dtype in ("u1", "i4", "f4", "f8", "c16", "M8[s]", ">f4")
    ]
    flat_shape = (512, 256)
    flat_layout = {"chunks": (64, 64), "compressors": ZstdCodec(level=1)}
    flat = standard(window((100, 300), (30, 130)))
    return [
        *numbers,
        Case("structured i4 and f8, zstd 1", partial(records, array_shape), layout, operations),
        Case("text of fixed length U8, zstd 1", partial(typed_field, flat_shape, "U8"), flat_layout, flat),
        Case("bytes of fixed length S8, zstd 1", partial(typed_field, flat_shape, "S8"), flat_layout, flat),
        Case("text of variable length, zstd 1", partial(words, flat_shape), flat_layout, flat, is_text=True),
    ]


def _selections() -> list[Case]:
    array_shape = cube(192)
    odd = Selection((slice(1, None, 3), slice(2, None, 5), slice(0, None, 2)))
    along = Selection((slice(None), slice(None), slice(5, None, 16)))
    rows = tuple(Selection((row,)) for row in range(3, 192, 24))
    columns = tuple(Selection((slice(None), slice(None), column)) for column in range(3, 192, 48))
    grid, scattered = indices(array_shape, 50), points(array_shape, 10_000)
    some = mask(array_shape, 0.01)
    operations = (
        read("steps 3, 5, 2", odd),
        read("step 16 on the last axis", along),
        read("8 rows, one by one", *rows),
        read("4 columns, one by one", *columns),
        read("50³ by index arrays", grid),
        read("10 000 points", scattered),
        read("mask, 1 in 100", some),
        write("write steps 3, 5, 2", odd),
        write("write 50³ by index arrays", grid),
        write("write mask, 1 in 100", some),
    )
    layouts: dict[str, dict[str, Any]] = {
        "uncompressed": {"chunks": cube(48), "compressors": None},
        "zstd 1": {"chunks": cube(48), "compressors": ZstdCodec(level=1)},
        "zstd 1 in shards": {
            "chunks": cube(24),
            "shards": cube(96),
            "compressors": ZstdCodec(level=1),
        },
    }
    return [
        Case(f"selections, {name}", partial(field, array_shape), layout, operations)
        for name, layout in layouts.items()
    ]


def _layouts() -> list[Case]:
    array_shape = cube(200)
    operations = standard(window((45, 105), (45, 105), (45, 105)))
    data = partial(field, array_shape)
    chunks = {"chunks": cube(50)}
    zstd = {"compressors": ZstdCodec(level=1)}
    two = {"zarr_format": 2, **chunks}
    flat = standard(window((2_000_001, 4_999_999)))
    gzip_5 = standard(window((45, 105), (45, 105), (45, 105)), write_limit=GZIP_WRITE_LIMIT)
    return [
        Case("v2, uncompressed", data, {**two, "compressors": None}, operations),
        Case("v2, default compressor", data, two, operations),
        Case("v2, gzip 1", data, {**two, "compressors": GZip(1)}, gzip_5),
        Case("v2, F order, uncompressed", data, {**two, "order": "F", "compressors": None}, operations),
        Case("v2, F order, default compressor", data, {**two, "order": "F"}, operations),
        Case(
            "transpose, uncompressed",
            data,
            {**chunks, "filters": TransposeCodec(order=(2, 1, 0)), "compressors": None},
            operations,
        ),
        Case(
            "transpose, zstd 1",
            data,
            {**chunks, **zstd, "filters": TransposeCodec(order=(2, 0, 1))},
            operations,
        ),
        Case("v3, default compressor", data, chunks, operations),
        Case("gzip 5", data, {**chunks, "compressors": GzipCodec(level=5)}, gzip_5),
        Case(
            "zstd 3 with crc32c",
            data,
            {**chunks, "compressors": [ZstdCodec(level=3), Crc32cCodec()]},
            operations,
        ),
        Case("one dimension, zstd 1", partial(field, (8_000_000,)), {"chunks": (125_000,), **zstd}, flat),
    ]


def _partial_writes() -> list[Case]:
    data = partial(field, cube(192))
    operations = (
        write("write window", window((40, 140), (40, 140), (40, 140))),
        write("write a plane across chunks", Selection((slice(None), 70, slice(None)))),
        write("write 8 rows, one by one", *(Selection((row,)) for row in range(3, 192, 24))),
    )
    layouts: dict[str, dict[str, Any]] = {
        "uncompressed": {"chunks": cube(48), "compressors": None},
        "zstd 1": {"chunks": cube(48), "compressors": ZstdCodec(level=1)},
        "zstd 1 in shards": {"chunks": cube(24), "shards": cube(96), "compressors": ZstdCodec(level=1)},
    }
    return [Case(f"parts of chunks, {name}", data, layout, operations) for name, layout in layouts.items()]


def _missing_chunks() -> list[Case]:
    operations = (read("read all", EVERYTHING),)
    empty = partial(np.zeros, cube(128), np.uint16)
    large = partial(np.zeros, cube(320), np.uint16)
    return [
        Case("512 missing chunks", empty, {"chunks": cube(16)}, operations, is_empty=True),
        Case("64 missing chunks of 1 MiB", large, {"chunks": cube(80)}, operations, is_empty=True),
        Case("8 missing shards", empty, {"chunks": cube(16), "shards": cube(64)}, operations, is_empty=True),
    ]


def _in_memory() -> list[Case]:
    zstd, inside = ZstdCodec(level=1), window((70, 170), (70, 170), (70, 170))
    large, small = partial(field, cube(320)), partial(field, cube(128))
    many, most = partial(field, (4096 * 64,)), partial(field, (100_000 * 8,))
    few = standard(window((30, 80), (30, 80), (30, 80)))

    def case(name: str, data: Callable[[], Values], operations: tuple[Operation, ...], **layout: Any) -> Case:
        return Case(f"memory, {name}", data, layout, operations, is_in_memory=True)

    return [
        case("uncompressed", large, standard(inside), chunks=cube(80), compressors=None),
        case("zstd 1", large, standard(inside), chunks=cube(80), compressors=zstd),
        case(
            "zstd 1, 32³ in 8 shards",
            large,
            standard(inside),
            chunks=cube(32),
            shards=cube(160),
            compressors=zstd,
        ),
        case("512 small, zstd 1", small, few, chunks=cube(16), compressors=zstd),
        case("4096 chunks", many, standard(window((1000, 9000))), chunks=(64,), compressors=None),
        case(
            "100 000 chunks",
            most,
            (read("read all", EVERYTHING), read("read window", window((1000, 90_000)))),
            chunks=(8,),
            compressors=None,
        ),
    ]


def _cold() -> list[Case]:
    inside = window((70, 170), (70, 170), (70, 170))
    operations = (read("read all", EVERYTHING), read("read window", inside))
    data = partial(field, cube(320))
    return [
        Case("cold, uncompressed", data, {"chunks": cube(80), "compressors": None}, operations, is_cold=True),
        Case(
            "cold, zstd 1",
            data,
            {"chunks": cube(80), "compressors": ZstdCodec(level=1)},
            operations,
            is_cold=True,
        ),
        Case(
            "cold, zstd 1, 32³ in 8 shards",
            data,
            {"chunks": cube(32), "shards": cube(160), "compressors": ZstdCodec(level=1)},
            operations,
            is_cold=True,
        ),
    ]


def public_cases(*, is_full: bool = False) -> list[Case]:
    """Return the tasks of zarr_benchmarks: read all, chunk by chunk, round trip.

    Its arrays are 1024³ with chunks or shards of 256³ and inner chunks of 64³, `uint16`, zstd 0, data
    that compresses well. Here they are a quarter of that along each axis, unless `is_full`.
    """
    side, chunk, inner = (1024, 256, 64) if is_full else (256, 64, 16)
    each = boxes(cube(side), cube(chunk))
    operations = (
        read("read all", EVERYTHING),
        read("read chunk by chunk", *each),
        Operation("round trip", "round trip", each),
    )
    data, zstd = partial(quiet_field, cube(side)), ZstdCodec(level=0)
    return [
        Case("public: uncompressed", data, {"chunks": cube(chunk), "compressors": None}, operations),
        Case("public: compressed", data, {"chunks": cube(chunk), "compressors": zstd}, operations),
        Case(
            "public: compressed and sharded",
            data,
            {"chunks": cube(inner), "shards": cube(chunk), "compressors": zstd},
            operations,
        ),
    ]
