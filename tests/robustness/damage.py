"""Damaged and hostile stored chunks: what can be done to any bytes, and what only to some formats."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from typing import TYPE_CHECKING

import crc32c
import numcodecs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

BOMB_BYTES = 192 << 20
"""What a bomb decodes to: far more than any chunk here."""

MISSING = 2**64 - 1


def any_bytes(sound: bytes, rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Yield damaged forms of `sound` that make no assumption on the format."""
    length = len(sound)
    for cut in sorted({0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 15, 16, 17, length // 2, length - 4, length - 1}):
        if 0 <= cut < length:
            yield f"cut to {cut}", sound[:cut]
    yield "one byte more", sound + b"\0"
    yield "many bytes more", sound + rng.bytes(1000)
    yield "twice", sound + sound
    yield "first byte lost", sound[1:]
    yield "zeros", bytes(length)
    yield "ones", b"\xff" * length
    for count in (1, 3, 8, 16, 100, length, 5 * length):
        yield f"{count} random bytes", rng.bytes(count)
    for at in range(0, min(length, 24), 1 if rounds > 50 else 3):
        for word in (b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", bytes(4), b"\xff" * 8):
            yield f"{word.hex()} at {at}", sound[:at] + word + sound[at + len(word) :]
    for at in range(max(0, length - 16), length, 3):
        yield f"ones at {at}", sound[:at] + b"\xff" * (length - at)
    for _ in range(rounds if length else 0):
        flipped = bytearray(sound)
        bits = [int(bit) for bit in rng.integers(0, 8 * length, size=int(rng.integers(1, 6)))]
        for bit in bits:
            flipped[bit // 8] ^= 1 << bit % 8
        yield f"bits {bits} flipped", bytes(flipped)


def hostile(codec: str) -> Iterator[tuple[str, bytes]]:
    """Yield chunks that were made to hurt a decoder of `codec`."""
    if codec == "zstd":
        magic = struct.pack("<I", 0xFD2FB528)
        for size in (4 << 40, 2**64 - 1, 2**63, 1 << 33):
            yield f"claims {size}", magic + b"\xe0" + struct.pack("<Q", size) + b"\x01\0\0"
        yield "wide window", magic + b"\xc0\xf8" + struct.pack("<Q", 4 << 40) + b"\x01\0\0"
        yield "endless window", magic + b"\0\xff" + b"\x03\xff\xff\0"
        yield "skippable", struct.pack("<II", 0x184D2A50, 0xFFFFFFFF)
        yield "many frames", bytes(numcodecs.Zstd(1).encode(b"")) * 50_000
        yield "bomb", bytes(numcodecs.Zstd(1).encode(np.zeros(BOMB_BYTES, "u1")))
        yield "bomb of frames", bytes(numcodecs.Zstd(1).encode(np.zeros(1 << 20, "u1"))) * 192
    if codec == "gzip":
        yield "bomb", gzip.compress(bytes(BOMB_BYTES), 1)
        yield "bomb of members", gzip.compress(bytes(1 << 20), 1) * 192
        yield "empty members", gzip.compress(b"", 1) * 20_000
        for flags in range(256):
            yield f"flags {flags}", b"\x1f\x8b\x08" + bytes([flags]) + b"\0" * 6 + b"\xff" * 40
    if codec == "zlib":
        yield "bomb", zlib.compress(bytes(BOMB_BYTES), 1)
        yield "dictionary wanted", b"\x78\xbb" + b"\0" * 40
    if codec == "bz2":
        yield "bomb", bz2.compress(bytes(BOMB_BYTES), 9)
        yield "bomb of streams", bz2.compress(bytes(8 << 20), 9) * 24
    if codec == "lzma":
        yield "bomb", lzma.compress(bytes(BOMB_BYTES), preset=0)
        yield "bomb of streams", lzma.compress(bytes(8 << 20), preset=0) * 24
        yield "alone, dictionary of 4 GiB", b"\x5d" + b"\xff" * 4 + struct.pack("<Q", 2**63) + bytes(20)
        yield "alone, no size", b"\x5d" + b"\0\0\0\x60" + b"\xff" * 8 + bytes(20)
        wide = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
        yield "xz, dictionary of 1 GiB", _xz_of(wide)
    if codec == "lz4":
        for size in (2**31 - 1, -1, -(2**31), 0):
            yield f"claims {size}", struct.pack("<i", size) + b"\x10\x00" * 20
        yield "bomb", bytes(numcodecs.LZ4().encode(np.zeros(64 << 20, "u1")))
    if codec == "blosc":
        plain = bytes(numcodecs.Blosc("lz4", clevel=5, shuffle=1).encode(np.arange(8192, dtype="u4")))
        yield "bomb", bytes(numcodecs.Blosc("zstd", clevel=1).encode(np.zeros(BOMB_BYTES, "u1")))
        for size in (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 32767, 32769):
            for at, what in ((4, "length"), (8, "block"), (12, "stored length")):
                yield f"{what} {size}", plain[:at] + struct.pack("<I", size) + plain[at + 4 :]
        for flags in range(256):
            yield f"flags {flags}", plain[:2] + bytes([flags]) + plain[3:]
        for typesize in (0, 3, 255):
            yield f"item size {typesize}", plain[:3] + bytes([typesize]) + plain[4:]
        for start in (0, 15, 16, 2**31 - 1, 2**32 - 1):
            yield f"block at {start}", plain[:16] + struct.pack("<I", start) + plain[20:]
    if codec == "packbits":
        for padding in (1, 7, 8, 255):
            yield f"{padding} bits of padding", bytes([padding]) + b"\xff" * 3
        yield "nothing but padding", b"\x07"
    if codec == "pcodec":
        yield "magic and ones", b"pco!" + b"\xff" * 64
        yield "magic and zeros", b"pco!" + bytes(64)


def _xz_of(filters: list[dict[str, int]]) -> bytes:
    small = lzma.compress(bytes(1000), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    # The dictionary's size is one byte of the block header, behind which comes the header's checksum.
    header_len = (small[12] + 1) * 4
    header = bytearray(small[12 : 12 + header_len - 4])
    at = header.index(lzma.FILTER_LZMA2) + 2
    header[at] = 36 if filters[0]["dict_size"] == 1 << 30 else 40
    return small[:12] + bytes(header) + struct.pack("<I", zlib.crc32(header)) + small[12 + header_len :]


def lying_indexes(
    shard: bytes, inner_count: int, *, location: str, has_checksum: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield shards whose index is well-formed and wrong."""
    index_len = 16 * inner_count
    stored_len = index_len + 4 * has_checksum
    is_first = location == "start"
    encoded = shard[:stored_len] if is_first else shard[len(shard) - stored_len :]
    rest = shard[stored_len:] if is_first else shard[: len(shard) - stored_len]
    index = np.frombuffer(encoded[:index_len], "<u8").reshape(-1, 2)

    def with_index(changed: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> bytes:
        entries = changed.astype("<u8").tobytes()
        if has_checksum:
            entries += struct.pack("<I", crc32c.crc32c(entries))
        return entries + rest if is_first else rest + entries

    length = len(shard)
    offset, size = (int(number) for number in index[0])
    for first in (
        (length, 1), (length - 1, 2), (0, length + 1), (2**63, 2**63), (2**64 - 2, 5), (5, 2**64 - 2),
        (2**64 - 2, 2**64 - 2), (MISSING, 5), (5, MISSING), (2**63 - 1, 2**63 - 1), (2**32, 2**32),
        (0, 0), (length, 0), (2**63, 0), (offset, size - 1), (offset, size + 1), (offset + 1, size),
        (offset, 2 * size), (offset, 0), (0, length), (length - stored_len, stored_len),
    ):  # fmt: skip
        lie = index.copy()
        lie[0] = np.array([number % 2**64 for number in first], dtype="u8")
        yield f"entry 0 is {first}", with_index(lie)
    lie = index.copy()
    lie[1] = (offset, size)
    yield "two entries are one", with_index(lie)
    lie[1] = (offset + 1, size)
    yield "two entries overlap", with_index(lie)
    yield "all entries are ones but one", with_index(np.full_like(index, 2**64 - 2))
    yield "all entries are zeros", with_index(np.zeros_like(index))
    yield "index reversed", with_index(index[::-1].copy())
    yield "all of it by every entry", with_index(np.tile(np.array([[0, length]], "u8"), (inner_count, 1)))
    yield "index alone", with_index(index)[:stored_len] if is_first else with_index(index)[-stored_len:]
    if has_checksum:
        changed = bytearray(shard)
        changed[3 if is_first else len(shard) - 7] ^= 1
        yield "checksum of another index", bytes(changed)


def lying_elements(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield chunks of the `vlen-*` codecs whose counts and lengths lie (before any compression)."""
    for count in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"{count} elements", struct.pack("<I", count) + sound[4:]
    for size in (2**31 - 1, 2**31, 2**32 - 1, 2**32 - 4, len(sound), len(sound) - 8, len(sound) - 7):
        yield f"first of {size} bytes", sound[:4] + struct.pack("<I", size) + sound[8:]
    yield "invalid UTF-8", sound[:8] + b"\xff\xfe" + sound[10:]
    yield "overlong UTF-8", sound[:8] + b"\xc0\x80" + sound[10:]
    yield "half a surrogate", sound[:8] + b"\xed\xa0\x80" + sound[11:]
    yield "count alone", sound[:4]
