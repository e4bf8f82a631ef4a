"""Wrap a core module that `chonkle.h` made as a component of interface C or E, and sign modules.

The component's text holds a small stand-in for the core module, with the same functions; in the binary that
comes of it the stand-in is replaced. (No text format can hold a module's bytes inside a component.)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from wasmtime import wat2wasm

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["componentize", "sign"]

_CORE_MODULE: Final = 1
"""Number of the section that holds a core module."""

_COMPONENT: Final = """
(component
  (core module $codec
    (memory (export "memory") 1)
    (func (export "_initialize"))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "decode") (param i32 i32) (result i32) unreachable)
    (func (export "encode") (param i32 i32) (result i32) unreachable)
    (func (export "signature") (result i32) unreachable)
    (func (export "post") (param i32)))
  (core module $starter
    (import "" "initialize" (func $initialize))
    (start $initialize))
  (core instance $codec (instantiate $codec))
  (core instance (instantiate $starter
    (with "" (instance (export "initialize" (func $codec "_initialize"))))))
  (alias core export $codec "memory" (core memory $memory))
  (alias core export $codec "cabi_realloc" (core func $realloc))
  (alias core export $codec "post" (core func $post))
  (type $ports (list (tuple string (list u8))))
  (type $call (func (param "inputs" $ports) (result (result $ports (error string)))))
  (func $decode (type $call) (canon lift (core func $codec "decode")
    (memory $memory) (realloc $realloc) (post-return $post)))
  (func $encode (type $call) (canon lift (core func $codec "encode")
    (memory $memory) (realloc $realloc) (post-return $post)))
  SIGNATURE
  (instance $transform
    (export "encode" (func $encode)) (export "decode" (func $decode)) SIGNATURE_EXPORT)
  (export "INTERFACE" (instance $transform)))
"""

_SIGNATURE: Final = """
  (type $signature (func (result (list u8))))
  (func $signature (type $signature) (canon lift (core func $codec "signature") (memory $memory)))
"""


def componentize(core: bytes, interface: Literal["C", "E"]) -> bytes:
    """Return a component around a core module made with ``-DCHONKLE_COMPONENT``.

    Parameters
    ----------
    core : bytes
        The core module. For E it has ``-DCHONKLE_SIGNATURE`` too.
    interface : {"C", "E"}
        chonkle's interface with port maps, or its draft with a signature function.
    """
    text = _COMPONENT.replace("INTERFACE", _names(interface)[0])
    text = text.replace(
        "SIGNATURE_EXPORT", '(export "signature" (func $signature))' if interface == "E" else ""
    )
    text = text.replace("SIGNATURE", _SIGNATURE if interface == "E" else "")
    component = bytes(wat2wasm(text))
    parts = [component[:8]]
    has_replaced = False
    for number, content in _sections(component):
        if number == _CORE_MODULE and not has_replaced:
            has_replaced = True
            content = core
        parts.append(bytes([number]) + _leb128(len(content)) + content)
    return b"".join(parts)


def sign(module: bytes, signature: dict[str, Any], interface: Literal["C", "D", "E"]) -> bytes:
    """Return a module or component with a signature in a custom section at its end."""
    name = _names(interface)[1].encode()
    content = _leb128(len(name)) + name + json.dumps(signature, separators=(",", ":")).encode()
    return module + b"\x00" + _leb128(len(content)) + content


def _names(interface: str) -> tuple[str, str]:
    if interface == "E":
        return "cylf:codec/transform@0.1.0", "cylf:signature"
    return "chonkle:codec/transform@0.1.0", "chonkle:signature"


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    at = 8
    while at < len(module):
        number, at = module[at], at + 1
        length = shift = 0
        while True:
            byte, at = module[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield number, module[at : at + length]
        at += length


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)
