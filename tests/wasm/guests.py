"""Small guests in the text format, assembled when a test needs one.

They follow wazarr's own interface: the host owns input and output, which the guest only fills. Their heap
only grows: a host keeps its buffers, so there is nothing to give back.
"""

from __future__ import annotations

import functools
import hashlib
import random

import wasmtime

_HEAD = """
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (func (export "wazarr_abi") (result i32) (i32.const 1))
  (func (export "alloc") (param $length i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (global.get $next) (local.get $length)) (i32.const 15)) (i32.const -16)))
    (block $enough
      (loop $more
        (br_if $enough (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 0))))
        (br $more)))
    (local.get $start))
  (func (export "dealloc") (param i32 i32))
"""

_XOR = """
  (func $xor (export "encode") (export "decode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (local $at i32)
    (if (i32.lt_u (local.get $out_len) (local.get $in_len)) (then (return (i64.const -2))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $in_len)))
        (i32.store8 (i32.add (local.get $out) (local.get $at))
          (i32.xor (i32.load8_u (i32.add (local.get $in) (local.get $at))) (i32.const {mask})))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i64.extend_i32_u (local.get $in_len)))
)
"""

# An encoding is the length in four bytes, and what is before the zeros at the end.
_TRIM = """
  (func (export "encode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (local $kept i32)
    (local.set $kept (local.get $in_len))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $kept)))
        (br_if $done (i32.load8_u (i32.sub (i32.add (local.get $in) (local.get $kept)) (i32.const 1))))
        (local.set $kept (i32.sub (local.get $kept) (i32.const 1)))
        (br $next)))
    (if (i32.lt_u (local.get $out_len) (i32.add (local.get $kept) (i32.const 4)))
      (then (return (i64.const -2))))
    (i32.store (local.get $out) (local.get $in_len))
    (memory.copy (i32.add (local.get $out) (i32.const 4)) (local.get $in) (local.get $kept))
    (i64.extend_i32_u (i32.add (local.get $kept) (i32.const 4))))
  (func (export "decode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (local $length i32)
    (if (i32.lt_u (local.get $in_len) (i32.const 4)) (then (return (i64.const -1))))
    (local.set $length (i32.load (local.get $in)))
    (if (i32.lt_u (local.get $out_len) (local.get $length)) (then (return (i64.const -2))))
    (memory.fill (local.get $out) (i32.const 0) (local.get $length))
    (memory.copy (local.get $out) (i32.add (local.get $in) (i32.const 4))
      (i32.sub (local.get $in_len) (i32.const 4)))
    (i64.extend_i32_u (local.get $length)))
)
"""

# Every byte becomes the two of a little-endian number.
_WIDEN = """
  (func (export "encode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (local $at i32)
    (if (i32.lt_u (local.get $out_len) (i32.shl (local.get $in_len) (i32.const 1)))
      (then (return (i64.const -2))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $in_len)))
        (i32.store16 (i32.add (local.get $out) (i32.shl (local.get $at) (i32.const 1)))
          (i32.load8_u (i32.add (local.get $in) (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i64.extend_i32_u (i32.shl (local.get $in_len) (i32.const 1))))
  (func (export "decode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (local $at i32) (local $count i32)
    (local.set $count (i32.shr_u (local.get $in_len) (i32.const 1)))
    (if (i32.lt_u (local.get $out_len) (local.get $count)) (then (return (i64.const -2))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $count)))
        (i32.store8 (i32.add (local.get $out) (local.get $at))
          (i32.load16_u (i32.add (local.get $in) (i32.shl (local.get $at) (i32.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i64.extend_i32_u (local.get $count)))
)
"""

_TRAP = """
  (func (export "encode") (export "decode") (param i32 i32 i32 i32) (result i64) (unreachable))
)
"""

_LOOP = """
  (func (export "encode") (export "decode") (param i32 i32 i32 i32) (result i64)
    (loop $forever (br $forever))
    (unreachable))
)
"""


# Says something on standard error, and then what its output is.
_TALK = """
  (data (i32.const 16) "\\20\\00\\00\\00\\05\\00\\00\\00")
  (data (i32.const 32) "hello")
  (func (export "encode") (export "decode")
    (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
    (if (i32.lt_u (local.get $out_len) (local.get $in_len)) (then (return (i64.const -2))))
    (drop (call $fd_write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 64)))
    (memory.copy (local.get $out) (local.get $in) (local.get $in_len))
    (i64.extend_i32_u (local.get $in_len)))
)
"""
_FD_WRITE = """
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
"""


@functools.cache
def assembled(text: str) -> bytes:
    """Return a module in the binary format."""
    return bytes(wasmtime.wat2wasm(text))


def xor(mask: int = 0x55) -> bytes:
    """Return a guest that changes every byte, the same way in both directions."""
    return assembled(_HEAD + _XOR.replace("{mask}", str(mask)))


def trim() -> bytes:
    """Return a guest that leaves out the zeros at the end: encodings of different lengths."""
    return assembled(_HEAD + _TRIM)


def widen() -> bytes:
    """Return a guest that turns bytes into numbers of two bytes."""
    return assembled(_HEAD + _WIDEN)


def trap() -> bytes:
    """Return a guest that traps."""
    return assembled(_HEAD + _TRAP)


def loop() -> bytes:
    """Return a guest that never ends."""
    return assembled(_HEAD + _LOOP)


def talk() -> bytes:
    """Return a guest that changes nothing and writes to its standard error."""
    return assembled(_HEAD.replace("(module", "(module" + _FD_WRITE) + _TALK)


def padded(module: bytes, len_bytes: int = 40 << 10, seed: int = 0) -> bytes:
    """Return the same guest with so many bytes more, which do nothing and do not compress."""
    content = b"\x07padding" + random.Random(seed).randbytes(len_bytes)
    return module + b"\x00" + _leb128(len(content)) + content


def _leb128(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def digest_of(module: bytes) -> str:
    """Return the identity of a module."""
    return f"sha256:{hashlib.sha256(module).hexdigest()}"
