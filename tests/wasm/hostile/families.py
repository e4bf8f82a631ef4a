"""The same for the interfaces of others: port maps, lists and strings that lie, components that grow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.guests.componentize import componentize
from tests.wasm import guests
from tests.wasm.hostile.cases import ANY, CODEC, LIMIT, TRAP, add

if TYPE_CHECKING:
    from tests.wasm.hostile.cases import Where

_HEAP: Final = """
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 65536))
  (func $alloc (export "alloc") (param $len i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $next) (local.get $len)) (i32.const 262000))
      (then (global.set $next (i32.const 65536))))
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  (func (export "dealloc") (param i32 i32))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $len i32) (result i32) (call $alloc (local.get $len)))
"""


def fill() -> None:
    """Add all of them."""
    _with_configuration()
    _with_ports()
    _with_signature()
    _components()
    _direct()


def _packed(pointer: int, len_bytes: int) -> str:
    return f"(i64.const {pointer << 32 | len_bytes:#x})"


def _chonkle_a(harm: str) -> str:
    """Return a guest of A that copies, with harm for the marked chunk."""
    function = """(func (export "{name}") (param $data i32) (param $len i32) (param i32 i32) (result i64)
      (local $out i32)
      (if (i32.eq (i32.load8_u (local.get $data)) (i32.const 0xEE)) (then {harm}))
      (local.set $out (call $alloc (local.get $len)))
      (memory.copy (local.get $out) (local.get $data) (local.get $len))
      (i64.or (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))"""
    both = "".join(function.format(name=name, harm=harm) for name in ("decode", "encode"))
    return f"(module {_HEAP} {both})"


def _with_configuration() -> None:
    for name, answer, errors in [
        ("0", "(i64.const 0)", CODEC),
        ("a result outside", _packed(0x7FFFFFF0, 256), TRAP),
        ("a result that ends outside", _packed(262_143, 2), TRAP),
        ("a result of 4 GiB", _packed(65536, 0xFFFFFFFF), TRAP),
        ("all of the memory", _packed(0, 262_144), CODEC),
    ]:
        where: Where = "decode" if name == "all of the memory" else "chunk"
        add(f"chonkle A answers {name}", _chonkle_a(f"(return {answer})"), errors, where)
    add("chonkle A loops", _chonkle_a("(loop $l (br $l))"), LIMIT)
    add("chonkle A without memory", _chonkle_a("").replace('(export "memory")', ""), CODEC, "always")
    for body, errors in [
        ("(i32.const -1)", TRAP),
        ("(unreachable)", TRAP),
        ("(loop $l (br $l)) (unreachable)", LIMIT),
    ]:
        text = _chonkle_a("").replace('(func $alloc (export "alloc")', "(func $alloc")
        text = text[:-1] + f'(func (export "alloc") (param i32) (result i32) {body}))'
        add(f"chonkle A with an allocator of {body[1:20]}", text, errors, "always")


def _port_map(harm: str, more: str = "") -> str:
    """Return a guest of D that answers its own input, a map of one port, with harm for the marked chunk."""
    function = """(func (export "{name}") (param $map i32) (param $len i32) (result i64)
      (if (i32.eq (i32.load8_u (i32.add (local.get $map) (i32.add (i32.const 12) (i32.load offset=4 (local.get $map)))))
            (i32.const 0xEE))
        (then {harm}))
      (i64.or (i64.shl (i64.extend_i32_u (local.get $map)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))"""
    both = "".join(function.format(name=name, harm=harm) for name in ("decode", "encode"))
    return f"(module {_HEAP} {both} {more})"


def _data(at: int, *parts: bytes | int) -> tuple[str, int]:
    """Return a data segment of numbers and texts, and its length."""
    content = b"".join(part.to_bytes(4, "little") if isinstance(part, int) else part for part in parts)
    escaped = "".join(f"\\{byte:02x}" for byte in content)
    return f'(data (i32.const {at}) "{escaped}")', len(content)


def _with_ports() -> None:
    add("chonkle D answers 0", _port_map("(return (i64.const 0))"), CODEC)
    add("chonkle D answers a map outside", _port_map(f"(return {_packed(0xFFFFFFF0, 64)})"), TRAP)
    add("chonkle D answers a map of 2 bytes", _port_map(f"(return {_packed(64, 2)})"), TRAP)
    name = b"bytes"
    maps: dict[str, tuple[bytes | int, ...]] = {
        "of 4 thousand million ports": (0xFFFFFFFF, 5, name, 1, b"x"),
        "of a thousand ports that are not there": (1000, 5, name, 1, b"x"),
        "of no ports": (0,),
        "with a name of 4 GiB": (1, 0xFFFFFFFF, name, 1, b"x"),
        "with data of 4 GiB": (1, 5, name, 0xFFFFFFFF, b"x"),
        "with a name that is not UTF-8": (1, 5, b"\xff\xfe\x00ab", 1, b"x"),
        "with another length": (1, 5, name, 1, b"x"),
        "with a port twice": (2, 5, name, 1, b"x", 5, name, 1, b"y"),
    }
    for title, parts in maps.items():
        segment, len_bytes = _data(512, *parts)
        # To encode to a byte is allowed, whatever was given.
        where: Where = "decode" if title in ("with another length", "with a port twice") else "chunk"
        add(
            f"chonkle D answers a map {title}",
            _port_map(f"(return {_packed(512, len_bytes)})", segment),
            (*TRAP, *CODEC),
            where,
        )
    add("chonkle D loops", _port_map("(loop $l (br $l))"), LIMIT)


def _with_signature() -> None:
    def told(body: str, more: str = "") -> str:
        return _port_map("", f'(func (export "signature") (result i64) {body}) {more}')

    def document(content: object) -> str:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        segment, len_bytes = _data(2048, text)
        return told(_packed(2048, len_bytes), segment)

    add("chonkle E loops in its signature", told("(loop $l (br $l)) (unreachable)"), LIMIT, "always")
    add("chonkle E traps in its signature", told("(unreachable)"), TRAP, "always")
    add("chonkle E has its signature outside", told(_packed(0x7FFFFFFF, 100)), TRAP, "always")
    add("chonkle E has a signature of 4 GiB", told(_packed(0, 0xFFFFFFFF)), (*CODEC, *TRAP), "always")
    ports = {"bytes": {"type": "bytes"}}
    for title, content in {
        "of nonsense": b"{nonsense",
        "of very many brackets": b"[" * 50_000,
        "that is a number": 7,
        "without sides": {},
        "with sides that are lists": {"encode": [], "decode": []},
        "of very many ports": {
            "encode": (
                many := {"inputs": {f"p{n}": {"type": "bytes"} for n in range(2000)}, "outputs": ports}
            ),
            "decode": many,
        },
        "without outputs": {
            "encode": {"inputs": ports, "outputs": {}},
            "decode": {"inputs": ports, "outputs": {}},
        },
        "with a required port": {
            name: {"inputs": {**ports, "key": {"type": "int", "required": True}}, "outputs": ports}
            for name in ("encode", "decode")
        },
    }.items():
        add(f"chonkle E has a signature {title}", document(content), (*CODEC, *TRAP), "always")


_B: Final = """(component
  (core module $guest {heap}
    (func (export "post") (param i32))
    (func $answer (param $case i32) (param $ptr i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (local.get $case))
      (i32.store (i32.const 20) (local.get $ptr))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    (func $run (export "run") (param $data i32) (param $len i32) (param i32 i32) (result i32)
      (if (i32.eq (i32.load8_u (local.get $data)) (i32.const 0xEE)) (then {harm}))
      (call $answer (i32.const 0) (local.get $data) (local.get $len))) {more})
  {before}
  (core instance $i (instantiate $guest))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "post" (core func $post))
  (alias core export $i "run" (core func $run))
  (type $f (func (param "data" (list u8)) (param "config" string) (result (result (list u8) (error string)))))
  (func $code (type $f) (canon lift (core func $run) (memory $memory) (realloc $realloc) (post-return $post)))
  (export "decode" (func $code)) (export "encode" (func $code)))"""


def _component(harm: str = "", before: str = "", more: str = "", heap: str = _HEAP) -> str:
    return _B.format(harm=harm, before=before, more=more, heap=heap)


def sound_component() -> str:
    """Return the text of a component of interface B that copies."""
    return _component()


def sound_map() -> str:
    """Return the text of a core module of interface D that copies."""
    return _port_map("")


_NUMCODECS_NAME: Final = "numcodecs:abc/codec@0.1.1"

_NUMCODECS: Final = """
  (import "[export]numcodecs:abc/codec@0.1.1" "[resource-new]codec" (func $new (param i32) (result i32)))
  {heap}
  (func (export "{name}#[static]codec.from-config") (param i32 i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (call $new (i32.const 4242)))
    (i32.const 16))
  (func $answer (param $type i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store8 (i32.const 20) (local.get $type))
    (i32.store (i32.const 24) (local.get $ptr))
    (i32.store (i32.const 28) (local.get $len))
    (i32.store (i32.const 32) (local.get $shape))
    (i32.store (i32.const 36) (local.get $axes))
    (i32.const 16))
  (func $run (export "{name}#[method]codec.encode") (export "{name}#[method]codec.decode")
    (param $self i32) (param $type i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32)
    (result i32)
    (if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 0xEE)) (then {harm}))
    (call $answer (i32.const 0) (local.get $ptr) (local.get $len) (local.get $shape) (local.get $axes)))
  {more}"""


def _numcodecs(harm: str = "", more: str = "", heap: str = "") -> str:
    """Return the text of a component around a codec of numcodecs-wasm's, for the direct call of the module inside."""
    core = _NUMCODECS.format(name=_NUMCODECS_NAME, heap=heap or _HEAP, harm=harm, more=more)
    return f"""(component
      (core module $codec {core})
      (instance $i)
      (export "{_NUMCODECS_NAME}" (instance $i)))"""


def sound_numcodecs() -> str:
    """Return the text of a component of numcodecs-wasm's that copies."""
    return _numcodecs()


def _direct() -> None:
    def answer(*numbers: int) -> str:
        return f"(return (call $answer {' '.join(f'(i32.const {number})' for number in numbers)}))"

    row = "(i32.store (i32.const 1024) (local.get $len))"
    for name, harm, errors in [
        ("a type that there is not", answer(77, 64, 1, 1024, 1), TRAP),
        ("data outside", row + answer(0, 0x7FFFFFF0, 256, 1024, 1), TRAP),
        ("data of 4 GiB", row + answer(3, 64, -1, 1024, 1), TRAP),
        ("a shape outside", answer(0, 64, 256, 0x7FFFFFF0, 1), TRAP),
        ("four thousand million axes", answer(0, 64, 256, 1024, -1), TRAP),
        (
            "a shape of another size",
            "(i32.store (i32.const 1024) (i32.const 3))" + answer(0, 64, 256, 1024, 1),
            (*TRAP, *CODEC),
        ),
        (
            "a shape whose product overflows",
            "(i64.store (i32.const 1024) (i64.const -1)) (i64.store (i32.const 1032) (i64.const -1))"
            + answer(0, 64, 1, 1024, 4),
            (*TRAP, *CODEC),
        ),
        (
            "neither result nor error",
            row
            + "(drop (call $answer (i32.const 0) (local.get $ptr) (local.get $len) (i32.const 1024) (i32.const 1))) (i32.store8 (i32.const 16) (i32.const 9)) (return (i32.const 16))",
            TRAP,
        ),
        ("an answer outside", "(return (i32.const -3))", TRAP),
        (
            "an error outside",
            "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const -1)) (i32.store (i32.const 24) (i32.const 99)) (return (i32.const 16))",
            TRAP,
        ),
        (
            "an error with very many causes",
            "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 0)) (i32.store (i32.const 24) (i32.const 0)) (i32.store (i32.const 28) (i32.const 0)) (i32.store (i32.const 32) (i32.const 30000)) (return (i32.const 16))",
            (*TRAP, *CODEC),
        ),
    ]:
        add(f"numcodecs answers {name}", _numcodecs(harm), errors)
    add("numcodecs loops", _numcodecs("(loop $l (br $l))"), LIMIT)
    add("numcodecs traps", _numcodecs("(unreachable)"), TRAP)
    add("numcodecs is sound", _numcodecs(), (), "nowhere")
    realloc = "(call $alloc (local.get $len))"
    for name, body, errors in [
        ("outside", "(i32.const 0x7ffffff0)", TRAP),
        ("of a trap", "(unreachable)", TRAP),
        ("of a loop", "(loop $l (br $l)) (unreachable)", LIMIT),
    ]:
        add(f"numcodecs has memory {name}", _numcodecs(heap=_HEAP.replace(realloc, body)), errors, "always")
    add(
        "numcodecs starts with a loop",
        _numcodecs(more="(func $s (loop $l (br $l))) (start $s)"),
        LIMIT,
        "always",
    )


def _laughs(count: int, levels: int) -> str:
    """Return the text of a component that instantiates the one inside so often, and so on down."""
    if levels == 0:
        return "(component $c)"
    return f"(component $c {_laughs(count, levels - 1)} {'(instance (instantiate $c))' * count})"


def _components() -> None:
    def answer(case: int, pointer: int, len_bytes: int) -> str:
        return f"(return (call $answer (i32.const {case}) (i32.const {pointer}) (i32.const {len_bytes})))"

    add("a component that is sound", _component(), (), "nowhere")
    add("a component that traps", _component("(unreachable)"), TRAP)
    add("a component that loops", _component("(loop $l (br $l))"), LIMIT)
    add(
        "a component that recurses",
        _component("(return (call $run (local.get $data) (local.get $len) (i32.const 0) (i32.const 0)))"),
        TRAP,
    )
    add(
        "a component whose memory grows",
        _component("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)"),
        LIMIT,
    )
    add("a component that reports nothing", _component(answer(1, 0, 0)), CODEC)
    for name, case, pointer, len_bytes, errors in [
        ("a list outside", 0, 0x7FFFFFF0, 256, ANY),
        ("a list of 4 GiB", 0, 64, -1, ANY),
        ("a case that there is not", 77, 64, 1, ANY),
        ("an error outside", 1, 0x7FFFFFF0, 256, ANY),
        ("an error that is not UTF-8", 1, 512, 2, ANY),
    ]:
        add(
            f"a component that answers {name}",
            _component(answer(case, pointer, len_bytes), more='(data (i32.const 512) "\\ff\\fe")'),
            errors,
        )
    add("a component whose answer is outside", _component("(return (i32.const -4))"), ANY)
    for name, realloc in [("outside", "(i32.const 0x7ffffff0)"), ("of a trap", "(unreachable)")]:
        heap = _HEAP.replace("(call $alloc (local.get $len))", realloc)
        add(f"a component with memory {name}", _component(heap=heap), ANY, "always")
    add(
        "a component with an allocator that loops",
        _component(heap=_HEAP.replace("(call $alloc (local.get $len))", "(loop $l (br $l)) (unreachable)")),
        LIMIT,
        "always",
    )
    add(
        "a component whose module starts with a loop",
        _component(more="(func $s (loop $l (br $l))) (start $s)"),
        LIMIT,
        "always",
    )
    add("a component of very many components", _component(before=_laughs(15, 7)), LIMIT, "always")
    add("a component of components side by side", _component(before=_laughs(40, 4)), LIMIT, "always")
    add(
        "a component of very many instances",
        _component(before="(core instance (instantiate $guest))" * 100),
        ANY,
        "always",
    )
    add("a component of very many modules", _component(before="(core module)" * 70), LIMIT, "always")
    add("a component that imports one", _component(before='(import "c" (component))'), CODEC, "always")
    add(
        "a component that imports a function",
        _component(before='(import "secrets" (func (result string)))'),
        ANY,
        "always",
    )
    add(
        "a component that imports sockets",
        _component(
            before='(import "wasi:sockets/tcp@0.2.0" (instance (export "connect" (func (result u32)))))'
        ),
        (),
        "nowhere",
    )
    doubled = "(type $t0 (tuple u8 u8))" + "".join(
        f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 40)
    )
    add("a component whose types double", _component(before=doubled), ANY, "always")
    add("chonkle C is sound", sound_lists(), (), "nowhere")
    add("chonkle C answers 4 thousand million ports", _of_lists("(i32.const -1)"), ANY, "always")
    add("chonkle C answers ports that are not there", _of_lists("(i32.const 1000)"), ANY, "always")
    add("a component of which half is there", (whole := sound_lists())[: len(whole) // 2], CODEC, "always")


_LISTS: Final = """(module {heap}
  (func (export "_initialize"))
  (func (export "post") (param i32))
  (func $run (export "decode") (export "encode") (param $map i32) (param $count i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (local.get $map))
    (i32.store (i32.const 24) {count})
    (i32.const 16)))"""


def _of_lists(count: str) -> bytes:
    """Return a component of interface C that answers its own ports, so many of them."""
    return componentize(guests.assembled(_LISTS.format(heap=_HEAP, count=count)), "C")


def sound_lists() -> bytes:
    """Return a component of interface C that copies."""
    return _of_lists("(local.get $count)")
