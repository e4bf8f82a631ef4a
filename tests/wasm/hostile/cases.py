"""What a case of the corpus is, and the sound guest that most of them are made from by one change."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.wasm import guests

if TYPE_CHECKING:
    from collections.abc import Callable

Where = Literal["chunk", "decode", "encode", "decoding", "encoding", "always", "nowhere"]

MARK: Final = 0xEE
"""First byte of the chunk with which guests do harm; with every other chunk they are sound."""

CORPUS: Final[dict[str, Case]] = {}


def most_resident_kib() -> int:
    """Return the most memory that this process ever had; `getrusage` counts the parent's before the start."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1])


@dataclass(frozen=True)
class Case:
    """A hostile module and how it has to end.

    Parameters
    ----------
    module : bytes
        The module.
    errors : tuple of str
        Names of the exceptions that reading and writing may raise; no others.
    where : str
        Which calls fail: those for the marked chunk (``"decode"``, ``"encode"``: in one direction), those for
        any chunk (``"decoding"``, ``"encoding"``), or none.
    configuration : dict
        More keys for the codec's configuration.
    is_in_front : bool
        Whether another codec stands between it and the bytes, so that decoded lengths are not known to it.
    """

    module: bytes
    errors: tuple[str, ...]
    where: Where = "chunk"
    configuration: dict[str, Any] = field(default_factory=dict)
    is_in_front: bool = False
    is_read_in_part: bool = False
    """Whether only a window of each chunk is read, which is what asks a guest for ranges."""

    def fails(self, *, is_read: bool, is_marked: bool) -> bool:
        """Return whether a call for a chunk has to fail."""
        if self.where == "always" or self.where == ("decoding" if is_read else "encoding"):
            return True
        return is_marked and self.where in ("chunk", "decode" if is_read else "encode")


TRAP: Final = ("WasmTrapError",)
LIMIT: Final = ("WasmLimitError",)
CODEC: Final = ("CodecError",)
ANY: Final = (*TRAP, *LIMIT, *CODEC)

_PARTS: Final = {
    "imports": "",
    "memory": '(memory (export "memory") 2)',
    "abi": '(func (export "wazarr_abi") (result i32) (i32.const 1))',
    "alloc": """(func (export "alloc") (param $length i32) (result i32)
      (local $start i32)
      (local.set $start (global.get $next))
      (global.set $next
        (i32.and (i32.add (i32.add (global.get $next) (local.get $length)) (i32.const 15)) (i32.const -16)))
      (block $enough
        (loop $more
          (br_if $enough (i32.le_u (global.get $next) (i32.shl (memory.size) (i32.const 16))))
          (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (return (i32.const 0))))
          (br $more)))
      (local.get $start))""",
    "dealloc": '(func (export "dealloc") (param i32 i32))',
    "configure": "",
    "decode": "",
    "encode": "",
    "more": "",
}

_FUNCTION: Final = """(func (export "{name}")
      (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
      (if (local.get $in_len)
        (then (if (i32.eq (i32.load8_u (local.get $in)) (i32.const 0xEE)) (then {harm}))))
      (if (i32.lt_u (local.get $out_len) (local.get $in_len)) (then (return (i64.const -2))))
      (memory.copy (local.get $out) (local.get $in) (local.get $in_len))
      (i64.extend_i32_u (local.get $in_len)))"""


def sound(harm: str = "", **changed: str) -> str:
    """Return the text of a guest that copies, with harm for the marked chunk and parts put in the place of others.

    Parameters
    ----------
    harm : str
        Instructions, in both directions. They see ``$in``, ``$in_len``, ``$out`` and ``$out_len``.
    **changed : str
        Parts of the module.
    """
    parts = dict(_PARTS)
    for name in ("decode", "encode"):
        parts[name] = _FUNCTION.format(name=name, harm=harm)
    assert set(changed) <= set(parts), changed
    parts.update(changed)
    order = ("imports", "memory", "abi", "alloc", "dealloc", "configure", "decode", "encode", "more")
    body = "\n".join(parts[name] for name in order[1:])
    return f"(module {parts['imports']} (global $next (mut i32) (i32.const 65536)) {body})"


def add(
    name: str, module: str | bytes, errors: tuple[str, ...], where: Where = "chunk", **options: Any
) -> None:
    """Add a case to the corpus; a text is assembled."""
    assert name not in CORPUS, name
    binary = guests.assembled(module) if isinstance(module, str) else module
    CORPUS[name] = Case(binary, errors, where, **options)


def harm(name: str, instructions: str, errors: tuple[str, ...], more: str = "", **options: Any) -> None:
    """Add a guest that does harm with the marked chunk."""
    add(name, sound(instructions, more=more), errors, **options)


def collect(*fillers: Callable[[], None]) -> dict[str, Case]:
    """Fill the corpus once, and return it."""
    if not CORPUS:
        for filler in fillers:
            filler()
    return CORPUS
