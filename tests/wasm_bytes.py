"""WebAssembly modules of a few instructions, put together without a compiler."""

from __future__ import annotations

from typing import Final

I32: Final = b"\x7f"
I64: Final = b"\x7e"

END: Final = b"\x0b"
UNREACHABLE: Final = b"\x00"
LOOP_FOR_EVER: Final = b"\x03\x40\x0c\x00\x0b" + UNREACHABLE
# The input's bytes are the output's: copy them there, answer their number.
COPY: Final = b"\x20\x02\x20\x00\x20\x01\xfc\x0a\x00\x00\x20\x01\xad"
# Answer -1: an error.
FAIL: Final = b"\x42\x7f"
# Answer one byte more than there is room for.
LIE: Final = b"\x20\x03\x41\x01\x6a\xad"
# memory.grow by 60000 pages, drop, answer -1.
GROW: Final = b"\x41\xe0\xd4\x03\x40\x00\x1a" + FAIL


def _number(value: int) -> bytes:
    """Return an unsigned LEB128 number."""
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def _vector(items: list[bytes]) -> bytes:
    return _number(len(items)) + b"".join(items)


def _section(number: int, items: list[bytes]) -> bytes:
    body = _vector(items)
    return bytes([number]) + _number(len(body)) + body


def _text(text: str) -> bytes:
    return _number(len(text)) + text.encode()


def guest(
    decode: bytes = COPY, encode: bytes = COPY, *, pages: int = 64, name: str = "unnamed", start: bytes = b""
) -> bytes:
    """Return a module of the wazarr core ABI.

    Parameters
    ----------
    decode, encode : bytes
        Instructions of the two functions, whose parameters are input, its length, output, its length.
    pages : int
        Memory, in pages of 64 KiB; it does not grow by itself.
    name : str
        Exported too, so that modules differ.
    start : bytes
        Instructions of `_initialize`.
    """
    # alloc: a global counts upwards, in steps of 16.
    alloc = b"\x23\x00\x23\x00\x20\x00\x6a\x41\x0f\x6a\x41\x70\x71\x24\x00"
    functions: list[tuple[str, bytes, bytes, bytes]] = [
        ("wazarr_abi", b"", I32, b"\x41\x01"),
        ("alloc", I32, I32, alloc),
        ("dealloc", I32 * 2, b"", b""),
        ("decode", I32 * 4, I64, decode),
        ("encode", I32 * 4, I64, encode),
        ("_initialize", b"", b"", start),
        (name, b"", b"", b""),
    ]
    types = [
        b"\x60" + _number(len(parameters)) + parameters + _number(len(results)) + results
        for _, parameters, results, _ in functions
    ]
    bodies = [b"\x00" + body + END for *_, body in functions]
    exports = [_text(export) + b"\x00" + _number(index) for index, (export, *_) in enumerate(functions)]
    return b"".join(
        [
            b"\0asm\x01\0\0\0",
            _section(1, types),
            _section(3, [_number(index) for index in range(len(functions))]),
            _section(5, [b"\x00" + _number(pages)]),
            _section(6, [I32 + b"\x01\x41\x80\x20" + END]),
            _section(7, [_text("memory") + b"\x02\x00", *exports]),
            _section(10, [_number(len(body)) + body for body in bodies]),
        ]
    )
