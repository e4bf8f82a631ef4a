"""The corpus: by name, every hostile module that we could think of."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.wasm import guests
from tests.wasm.hostile.cases import ANY, CODEC, LIMIT, TRAP, add, collect, harm, sound

if TYPE_CHECKING:
    from tests.wasm.hostile.cases import Case, Where

__all__ = ["corpus"]


def corpus() -> dict[str, Case]:
    """Return all cases by name."""
    from tests.wasm.hostile import families

    return collect(
        _calls,
        _growth,
        _lengths,
        _ranges,
        _texts,
        _starting,
        _buffers,
        _exports,
        _imports,
        _sizes,
        _bytes,
        families.fill,
    )


_RECURSE = "(func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (i32.const 1)))"
_FORTY = " ".join(f"(local $v{number} v128)" for number in range(400))


def _calls() -> None:
    """Calls that trap or do not end."""
    harm("endless loop", "(loop $l (br $l))", LIMIT)
    harm("endless loop of growth of nothing", "(loop $l (drop (memory.grow (i32.const 0))) (br $l))", LIMIT)
    harm(
        "endless loop of fills",
        "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))",
        LIMIT,
    )
    harm("endless tail calls", "(drop (call $tail))", LIMIT, "(func $tail (result i32) (return_call $tail))")
    harm("unreachable", "(unreachable)", TRAP)
    harm("division by zero", "(drop (i32.div_s (local.get $in_len) (i32.load (i32.const 0))))", TRAP)
    harm(
        "overflow of a division",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.sub (i32.load (i32.const 0)) (i32.const 1))))",
        TRAP,
    )
    harm("no number as an integer", "(drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.const 0))))", TRAP)
    harm("load outside", "(drop (i64.load (i32.const -4)))", TRAP)
    harm("load far outside", "(drop (i64.load offset=0xffffffff (i32.const -1)))", TRAP)
    harm("store outside", "(i64.store (i32.const -4) (i64.const -1))", TRAP)
    harm("copy outside", "(memory.copy (local.get $out) (local.get $in) (i32.const -1))", TRAP)
    harm("fill outside", "(memory.fill (local.get $out) (i32.const 1) (i32.const -1))", TRAP)
    harm("vector load outside", "(drop (v128.load (i32.const -8)))", TRAP)
    harm("recursion", "(drop (call $recurse (i32.const 1)))", TRAP, _RECURSE)
    harm(
        "recursion with large frames",
        "(drop (call $large (v128.const i64x2 1 1)))",
        TRAP,
        f"""(func $large (param v128) (result v128) {_FORTY}
          (local.set $v0 (call $large (local.get 0)))
          {" ".join(f"(local.set $v{n + 1} (call $large (local.get $v{n})))" for n in range(100))}
          {" ".join(f"(local.set $v0 (i8x16.add (local.get $v0) (local.get $v{n})))" for n in range(100))}
          (local.get $v0))""",
    )
    table = (
        "(table $t 2 funcref) (elem (i32.const 0) $f) (type $other (func (param f64) (result f64))) (func $f)"
    )
    harm("call of nothing", "(call_indirect (i32.const 1))", TRAP, table)
    harm(
        "call of another type",
        "(drop (call_indirect (type $other) (f64.const 1) (i32.const 0)))",
        TRAP,
        table,
    )
    harm("call outside the table", "(call_indirect (i32.const 99999999))", TRAP, table)
    tag = "(tag $e (param i64))"
    harm("an exception that nobody catches", "(throw $e (i64.const 7))", TRAP, tag)
    harm(
        "exceptions without end",
        "(loop $l (block $h (result i64) (try_table (catch $e $h) (throw $e (i64.const 7))) (i64.const 0)) (drop) (br $l))",
        LIMIT,
        tag,
    )
    harm(
        "exceptions that are kept",
        """(local.set $in (i32.const 0))
           (loop $l
             (table.set $kept (local.get $in)
               (block $h (result exnref) (try_table (catch_all_ref $h) (throw $e (i64.const 7))) (unreachable)))
             (local.set $in (i32.rem_u (i32.add (local.get $in) (i32.const 1)) (i32.const 1000000)))
             (br $l))""",
        ANY,
        tag + "(table $kept 1000000 exnref)",
    )
    harm(
        "an exception out of a deep call",
        "(call $deep (i32.const 2000))",
        TRAP,
        tag
        + "(func $deep (param i32) (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (throw $e (i64.const 1)))))",
    )
    harm("a null exception", "(throw_ref (ref.null exn))", TRAP)


def _growth() -> None:
    """Memory and tables without end."""
    grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const {pages})) (i32.const -1))))"
    harm("memory page by page", grow.format(pages=1) + "(unreachable)", LIMIT)
    harm("memory at once", "(drop (memory.grow (i32.const 65000))) (unreachable)", LIMIT)
    harm("memory until it fails, and an answer", grow.format(pages=16) + "(return (i64.const -1))", LIMIT)
    harm("memory by a negative number", "(drop (memory.grow (i32.const -1))) (unreachable)", (*TRAP, *LIMIT))
    table = "(table $t 0 funcref)"
    harm(
        "a table at once",
        "(drop (table.grow $t (ref.null func) (i32.const 0x7fffffff))) (unreachable)",
        TRAP,
        table,
    )
    harm(
        "a table bit by bit",
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) (unreachable)",
        TRAP,
        table,
    )
    harm(
        "a table beyond its end", "(table.fill $t (i32.const 0) (ref.null func) (i32.const -1))", TRAP, table
    )
    add("memory of 4 GiB from the start", sound(memory='(memory (export "memory") 65536)'), LIMIT, "always")
    add(
        "memory over the limit from the start",
        sound(memory='(memory (export "memory") 2000)'),
        LIMIT,
        "always",
    )
    add("a table of everything from the start", sound(more="(table 0xffffffff funcref)"), TRAP, "always")
    add("sixteen large tables", sound(more="(table 100000 funcref)" * 16), TRAP, "always")


def _lengths() -> None:
    """Answers that lie about lengths."""
    for name, answer in {
        "a negative length": "(i64.const -3)",
        "the most negative length": "(i64.const 0x8000000000000000)",
        "the largest length": "(i64.const 0x7fffffffffffffff)",
        "a length of 4 GiB": "(i64.const 0x100000000)",
        "one byte more than there is room": "(i64.add (i64.extend_i32_u (local.get $out_len)) (i64.const 1))",
    }.items():
        harm(name, f"(return {answer})", TRAP)
    harm("nothing at all", "(return (i64.const 0))", CODEC, where="decode")
    harm(
        "one byte less than the chunk",
        "(return (i64.sub (i64.extend_i32_u (local.get $out_len)) (i64.const 1)))",
        CODEC,
        where="decode",
    )
    harm("never enough room", "(return (i64.const -2))", (*CODEC, *LIMIT))
    harm("never enough room for another codec", "(return (i64.const -2))", (*CODEC, *LIMIT), is_in_front=True)
    harm("an endless loop for another codec", "(loop $l (br $l))", LIMIT, is_in_front=True)
    for name, told, errors in [
        ("negative", "(i64.const -7)", TRAP),
        ("huge", "(i64.const 0x7fffffffffffffff)", None),
        ("zero", "(i64.const 0)", None),
        ("a loop", "(loop $l (br $l)) (unreachable)", LIMIT),
        ("a trap", "(unreachable)", TRAP),
    ]:
        # What is huge or zero is not believed, or believed and corrected: then nothing fails.
        bound = f'(func (export "encoded_bound") (param i64) (result i64) {told})'
        add(f"a bound that is {name}", sound(more=bound), errors or (), "encoding" if errors else "nowhere")
        length = f'(func (export "decoded_len") (param i32 i32) (result i64) {told})'
        add(
            f"a decoded length that is {name}",
            sound(more=length),
            errors or (),
            "decoding" if errors else "nowhere",
            is_in_front=True,
        )


def _ranges() -> None:
    """Parts that are decoded alone, or so the guest says."""
    parts = """(func (export "decode_range")
        (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (param $first i64) (result i64)
        {body})
      (func (export "decoded_len") (param i32 i32) (result i64) (i64.extend_i32_u (local.get 1)))"""
    copy = """(memory.copy
        (local.get $out) (i32.add (local.get $in) (i32.wrap_i64 (local.get $first))) (local.get $out_len))
      (i64.extend_i32_u (local.get $out_len))"""
    for name, body, errors in [
        ("a loop", "(loop $l (br $l)) (unreachable)", LIMIT),
        ("a trap", "(unreachable)", TRAP),
        ("a failure", "(i64.const -1)", CODEC),
        ("too little room", "(i64.const -2)", TRAP),
        ("nothing", "(i64.const 0)", TRAP),
        ("more than was asked for", "(i64.add (i64.extend_i32_u (local.get $out_len)) (i64.const 1))", TRAP),
        ("the largest length", "(i64.const 0x7fffffffffffffff)", TRAP),
        ("the right length and 4 GiB", "(i64.const 0x100000100)", TRAP),
        (
            "all of its memory overwritten",
            "(memory.fill (i32.const 0) (i32.const 0) (i32.shl (memory.size) (i32.const 16))) (unreachable)",
            TRAP,
        ),
    ]:
        guest = sound(more=parts.format(body=body))
        add(f"a range that is {name}", guest, errors, "decoding", is_read_in_part=True)
    steps: list[tuple[str, str, tuple[str, ...]]] = [
        ("negative", "(i64.const -1)", TRAP),
        ("zero", "(i64.const 0)", TRAP),
        ("huge", "(i64.const 0x7fffffffffffffff)", ()),
        ("a loop", "(loop $l (br $l)) (unreachable)", LIMIT),
    ]
    for name, told, expected in steps:
        step = f'(func (export "range_bytes") (result i64) {told})'
        guest = sound(more=parts.format(body=copy) + step)
        where: Where = "always" if expected else "nowhere"
        add(f"ranges whose multiple is {name}", guest, expected, where, is_read_in_part=True)
    wrong_type = '(func (export "decode_range") (param i32) (result i32) (i32.const 0))'
    add("a range function of another type", sound(more=wrong_type), ANY, "always")


def _texts() -> None:
    """Errors whose text lies."""
    for name, body, errors in [
        ("outside", "(i64.const 0x7fffffff00000010)", TRAP),
        ("of 4 GiB", "(i64.const 0x00000000ffffffff)", TRAP),
        ("that ends outside", "(i64.const 0xffffffff00000002)", TRAP),
        ("that is all of the memory", "(i64.const 0x0000000000020000)", CODEC),
        ("that loops", "(loop $l (br $l)) (unreachable)", LIMIT),
        ("that traps", "(unreachable)", TRAP),
    ]:
        harm(
            f"an error text {name}",
            "(return (i64.const -1))",
            errors,
            f'(func (export "error_text") (result i64) {body})',
        )
    nonsense = '(data (i32.const 64) "\\ff\\fe\\1b[31m\\00\\07\\0a")(func (export "error_text") (result i64) (i64.const 0x4000000009))'
    harm("an error text of control characters", "(return (i64.const -1))", CODEC, nonsense)
    harm("an error without text", "(return (i64.const -1))", CODEC)


def _starting() -> None:
    """What does harm before the first chunk."""
    loop = "(loop $l (br $l))"
    configure = '(func (export "configure") (param i32 i32) (result i32) {body})'
    for name, body, errors in [
        ("loops", loop + "(unreachable)", LIMIT),
        ("traps", "(unreachable)", TRAP),
        ("refuses", "(i32.const 1)", CODEC),
        (
            "grows",
            "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 1)",
            LIMIT,
        ),
    ]:
        add(f"configure {name}", sound(configure=configure.format(body=body)), errors, "always")
    for name, body, errors in [
        ("loops", loop, LIMIT),
        ("traps", "(unreachable)", TRAP),
        ("recurses", "(call $s)", TRAP),
    ]:
        add(f"the start function {name}", sound(more=f"(func $s {body}) (start $s)"), errors, "always")
        add(f"_initialize {name}", sound(more=f'(func $s (export "_initialize") {body})'), errors, "always")
        add(
            f"wazarr_abi {name}",
            sound(
                abi=f'(func $s (export "wazarr_abi") (result i32) {body.replace("(call $s)", "(drop (call $s))")} (unreachable))'
            ),
            errors,
            "always",
        )
    add(
        "another version",
        sound(abi='(func (export "wazarr_abi") (result i32) (i32.const 2))'),
        CODEC,
        "always",
    )
    add("data outside the memory", sound(more='(data (i32.const -1) "abc")'), TRAP, "always")
    add(
        "data at the end of a large memory",
        sound(memory='(memory (export "memory") 1000)', more='(data (i32.const 65535999) "a")'),
        (),
        "nowhere",
    )
    add(
        "elements outside the table",
        sound(more="(table 1 funcref) (func $f) (elem (i32.const 7) $f)"),
        TRAP,
        "always",
    )
    add("parameters that nothing takes", sound(), CODEC, "always", configuration={"parameters": {"x": 1}})


def _buffers() -> None:
    """Allocators that lie."""
    alloc = '(func (export "alloc") (param i32) (result i32) {body})'
    for name, body, errors in [
        ("answers 0", "(i32.const 0)", CODEC),
        ("answers an odd address", "(i32.const 65537)", TRAP),
        ("answers an address outside", "(i32.const 0x7ffffff0)", TRAP),
        ("answers the last address", "(i32.const -16)", TRAP),
        ("answers the end of the memory", "(i32.const 131072)", TRAP),
        ("loops", "(loop $l (br $l)) (unreachable)", LIMIT),
        ("traps", "(unreachable)", TRAP),
        ("recurses", "(call $a (local.get 0))", TRAP),
    ]:
        add(
            f"alloc {name}",
            sound(alloc=alloc.replace("(func ", "(func $a ").format(body=body)),
            errors,
            "always",
        )
    add(
        "alloc answers the same address always",
        sound(alloc=alloc.format(body="(i32.const 65536)")),
        (),
        "nowhere",
    )
    configure = '(func (export "configure") (param i32 i32) (result i32) (i32.const 0))'
    for name, body, errors in [("loops", "(loop $l (br $l))", LIMIT), ("traps", "(unreachable)", TRAP)]:
        dealloc = f'(func (export "dealloc") (param i32 i32) {body})'
        add(f"dealloc {name}", sound(dealloc=dealloc, configure=configure), errors, "always")


def _exports() -> None:
    """Exports that are missing, or something else."""
    for part in ("memory", "alloc", "dealloc"):
        nothing = "(memory 2)" if part == "memory" else ""
        add(f"no {part}", sound(**{part: nothing}), CODEC, "always")
    memory = '(memory 2) (func (export "memory"))'
    add("a function that is called memory", sound(memory=memory), CODEC, "always")
    add(
        "a global that is called alloc",
        sound(alloc='(global (export "alloc") i32 (i32.const 1))'),
        CODEC,
        "always",
    )
    for name, signature in {
        "decode of floats": "(param f32 f32 f32 f32) (result i64) (i64.const 0)",
        "decode without a result": "(param i32 i32 i32 i32)",
        "decode of three": "(param i32 i32 i32) (result i64) (i64.const 0)",
        "decode with two results": "(param i32 i32 i32 i32) (result i64 i64) (i64.const 0) (i64.const 0)",
        "decode of references": "(param externref i32 i32 i32) (result i64) (i64.const 0)",
    }.items():
        add(name, sound(decode=f'(func (export "decode") {signature})'), CODEC, "always")
    add(
        "wazarr_abi of another type",
        sound(abi='(func (export "wazarr_abi") (param i32) (result i64) (i64.const 1))'),
        CODEC,
        "always",
    )
    add(
        "_initialize of another type",
        sound(more='(func (export "_initialize") (param i32))'),
        CODEC,
        "always",
    )
    add(
        "configure of another type",
        sound(configure='(func (export "configure") (result i32) (i32.const 0))'),
        CODEC,
        "always",
    )
    add("error_text of another type", sound(more='(func (export "error_text") (param i32))'), CODEC, "always")
    add(
        "encoded_bound of another type",
        sound(more='(func (export "encoded_bound") (param i32) (result i32) (i32.const 1))'),
        CODEC,
        "always",
    )


def _imports() -> None:
    """Imports of what there is not, and of what answers no."""
    for name, imported in {
        "an unknown function": '(import "env" "system" (func (param i32) (result i32)))',
        "a memory": '(import "env" "memory" (memory 1))',
        "a table": '(import "env" "table" (table 1 funcref))',
        "a global": '(import "env" "pointer" (global (mut i32)))',
        "a system call of another type": '(import "wasi_snapshot_preview1" "fd_write" (func (param f64)))',
        "an unknown system call": '(import "wasi_snapshot_preview1" "give_me_everything" (func))',
        "a function of a host of components": '(import "wasi:filesystem/preopens@0.2.0" "get-directories" (func (param i32)))',
    }.items():
        extra = {"memory": ""} if name == "a memory" else {}
        # A system call that is not known traps when it is called, and this one is not.
        is_system = "a system call" in name or "an unknown system call" in name
        text = sound(imports=imported, **extra)
        if is_system:
            add(f"import of {name}", text, (), "nowhere")
        else:
            add(f"import of {name}", text, (*CODEC, *TRAP), "always")
    write = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
    vector = '(data (i32.const 16) "\\00\\00\\00\\00\\ff\\ff\\ff\\ff")'
    fine = '(data (i32.const 16) "\\20\\00\\00\\00\\00\\10\\00\\00")'
    call = "(call $write (i32.const {to}) (i32.const {at}) (i32.const {count}) (i32.const 0))"
    endless = f"(loop $l (drop {call.format(to=2, at=16, count=1)}) (br $l))"
    add("writes without end", sound(endless, imports=write, more=fine), LIMIT)
    for name, arguments, more in [
        ("a vector that lies", {"to": 2, "at": 16, "count": 1}, vector),
        ("vectors outside", {"to": 2, "at": -8, "count": 100}, ""),
        ("four thousand million vectors", {"to": 2, "at": 16, "count": -1}, fine),
    ]:
        text = f"(drop {call.format(**arguments)}) (unreachable)"
        add(f"a write of {name}", sound(text, imports=write, more=more), TRAP)
    leave = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
    for status in (0, 1, -1):
        add(f"an exit with status {status}", sound(f"(call $exit (i32.const {status}))", imports=leave), TRAP)
    random_get = '(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))'
    add(
        "random numbers everywhere",
        sound("(drop (call $random (i32.const 0) (i32.const -1))) (unreachable)", imports=random_get),
        TRAP,
    )
    add(
        "random numbers without end",
        sound("(loop $l (drop (call $random (i32.const 0) (i32.const 65536))) (br $l))", imports=random_get),
        LIMIT,
    )
    poll = '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
    add(
        "waiting without end",
        sound(
            "(loop $l (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))) (br $l))",
            imports=poll,
        ),
        LIMIT,
    )


def _sizes() -> None:
    """Modules that are too much for a compiler, or hold what is switched off."""
    too_much = LIMIT
    add(
        "a thousand exports",
        sound(more="(func $f) " + " ".join(f'(export "e{n}" (func $f))' for n in range(1100))),
        too_much,
        "always",
    )
    add("very many functions", sound(more="(func)" * 50_001), too_much, "always")
    add(
        "very many types",
        sound(
            more="".join(
                f"(type (func (param {'i32 ' * (n % 50)}{'i64 ' * (n // 50 % 50)})))" for n in range(20_500)
            )
        ),
        too_much,
        "always",
    )
    add("very many globals", sound(more="(global i32 (i32.const 0))" * 10_001), too_much, "always")
    add("very many segments", sound(more='(data "")' * 20_001), too_much, "always")
    add("very many tables", sound(more="(table 0 funcref)" * 17), too_much, "always")
    add(
        "very many blocks inside one another",
        sound(more="(func " + "block " * 60_001 + "end " * 60_001 + ")"),
        too_much,
        "always",
    )
    add(
        "many blocks inside one another",
        sound(more="(func " + "block " * 50_000 + "end " * 50_000 + ")"),
        (),
        "nowhere",
    )
    add("a huge function", sound(more="(func " + "(drop (i32.const 1))" * 600_000 + ")"), too_much, "always")
    add(
        "a function of very many variables",
        sound(more="(func " + "(local i32)" * 10_001 + ")"),
        too_much,
        "always",
    )
    add(
        "a jump to very many places",
        sound(more="(func (block (br_table " + "0 " * 60_001 + "(i32.const 0))))"),
        too_much,
        "always",
    )
    add(
        "a variable declared four thousand million times",
        _with_body(b"\x01\xff\xff\xff\xff\x0f\x7f\x0b"),
        (*CODEC, *LIMIT),
        "always",
    )
    add("memory of 64 bits", sound(memory='(memory (export "memory") i64 2)'), CODEC, "always")
    add("two memories", sound(more="(memory 1)"), CODEC, "always")
    add("shared memory", sound(memory='(memory (export "memory") 2 2 shared)'), CODEC, "always")
    add("collected objects", sound(more="(type (struct (field i32)))"), CODEC, "always")
    add("a very long name", sound(more=f'(func (export "{"x" * 100_001}"))'), CODEC, "always")
    add("a long name", sound(more=f'(func (export "{"x" * 99_000}"))'), (), "nowhere")
    add(
        "the same name twice",
        sound(more='(func (export "decode2")) (func (export "decode3"))')
        .encode()
        .replace(b"decode3", b"decode2")
        .decode(),
        CODEC,
        "always",
    )


def _leb128(number: int) -> bytes:
    encoded = b""
    while number >= 0x80:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _leb128(len(content)) + content


def _with_body(body: bytes) -> bytes:
    """Return a module of one function, which exports nothing."""
    head = b"\0asm\x01\0\0\0" + _section(1, b"\x01\x60\0\0") + _section(3, b"\x01\0")
    return head + _section(10, b"\x01" + _leb128(len(body)) + body)


def _bytes() -> None:
    """Bytes that are no module, or nearly one."""
    good = guests.assembled(sound())
    for eighth in range(8):
        add(f"a module of which {eighth} eighths are there", good[: len(good) * eighth // 8], CODEC, "always")
    add("another magic", b"\0asn" + good[4:], CODEC, "always")
    add("another version of the format", good[:4] + b"\x02\0\0\0" + good[8:], CODEC, "always")
    add("a component's version", good[:4] + b"\x0d\0\x01\0" + good[8:], CODEC, "always")
    add("no sections", good[:8], CODEC, "always")
    add("random bytes", random.Random(1).randbytes(5000), CODEC, "always")
    add("random sections", good[:8] + random.Random(2).randbytes(5000), CODEC, "always")
    add(
        "sections in another order",
        good[:8] + _section(3, b"\x01\0") + _section(1, b"\x01\x60\0\0"),
        CODEC,
        "always",
    )
    add("a section twice", good[:8] + _section(1, b"\x01\x60\0\0") * 2, CODEC, "always")
    add("a section of another length", good[:8] + b"\x01\x7f" + good[10:], CODEC, "always")
    add(
        "a count of four thousand million",
        good[:8] + _section(1, b"\xff\xff\xff\xff\x0f\x60\0\0"),
        (*CODEC, *LIMIT),
        "always",
    )
    add("a number that does not end", good + b"\0" + b"\x80" * 20, CODEC, "always")
    add("a section whose name does not end", good + _section(0, b"\xff\xff\xff\xff\x0fabc"), CODEC, "always")
    add("names that are nonsense", good + _section(0, b"\x04name\x01\xff\xff\xff\x7f\x00"), (), "nowhere")
    signature = b"\x11chonkle:signature"
    add("a signature that is no JSON", good + _section(0, signature + b"{nonsense"), CODEC, "always")
    add("a signature without end", good + _section(0, signature + b"[" * 100_000), CODEC, "always")
    add("bytes behind the end", good + b"\xff" * 100, CODEC, "always")
    add("two modules", good + good, CODEC, "always")
