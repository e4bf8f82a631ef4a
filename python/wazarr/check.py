"""Conformance of a codec module: whether it does what hosts and readers rely on.

``wazarr codec check`` prints what this finds. A module is run as the engine runs it, with limits, on samples
made for the data type and shape that it is to be used with, or on the caller's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from wazarr import _native, config
from wazarr.errors import CodecError, InvalidInputError, WasmLimitError, WasmTrapError
from wazarr.wasm import modules
from wazarr.wasm.engine import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wazarr.wasm.description import Kind

__all__ = ["Conditions", "Finding", "check_module"]

MOST_BYTES: Final = 1 << 26
"""Nothing that a sample decodes to is longer."""

_LENGTHS: Final = (0, 1, 2, 3, 7, 16, 17, 255, 256, 4096, 65537)
"""Of samples for a codec of bytes, where no shape is given."""

_HINT_FRESH: Final = 'hint: "fresh_instance": true in the metadata gives it a new instance for each chunk'

Outcome = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    name : str
        The check.
    outcome : {"ok", "failed", "skipped"}
        Its result; skipped where the module gives it nothing to do.
    detail : str
        What was seen.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Conditions:
    """How the module is to be used.

    Parameters
    ----------
    kind : {"bytes-bytes", "array-bytes", "array-array"}
        What it encodes, and what that becomes.
    parameters : dict
        Its configuration.
    decoded : Layout
        A chunk. For a codec of bytes its length is that of the samples; without a shape they have several.
    encoded : Layout, optional
        What an array-array codec makes of a chunk, where that is something else.
    interface : str, optional
        How to call it, where its bytes leave that open.
    samples : sequence of bytes
        Decoded chunks to try instead of made-up ones.
    encoded_samples : sequence of bytes
        Encoded chunks, for a codec that only reads.
    is_lossy : bool
        Whether decoding what was encoded may give something else, as long as doing both again changes
        nothing more.
    """

    kind: Kind = "bytes-bytes"
    parameters: dict[str, Any] = field(default_factory=dict)
    decoded: Layout = field(default_factory=Layout)
    encoded: Layout | None = None
    interface: str | None = None
    samples: Sequence[bytes] = ()
    encoded_samples: Sequence[bytes] = ()
    is_lossy: bool = False


def check_module(module: bytes, conditions: Conditions | None = None) -> list[Finding]:
    """Try a module out.

    Parameters
    ----------
    module : bytes
        The module.
    conditions : Conditions, optional
        How it is to be used. Default: bytes to bytes, without parameters.

    Returns
    -------
    list of Finding
        Ends at the first failure that leaves nothing else to try.
    """
    return list(Trial(module, conditions or Conditions()).run())


class _Failed(Exception):
    """A check failed; its text says how."""


class _Skipped(Exception):
    """There is nothing to check; the text says why."""


@dataclass
class _Pair:
    """A chunk that the module encoded, and what it made of that."""

    decoded: bytes
    encoded: bytes


class Trial:
    """One module under its conditions; `wazarr.measure` prepares its samples with it too."""

    def __init__(self, module: bytes, conditions: Conditions) -> None:
        self.module = module
        self.conditions = conditions
        self.facts: dict[str, Any] = {}
        self.pairs: list[_Pair] = []
        self.random = np.random.default_rng(20)

    def run(self) -> Iterator[Finding]:
        # Each of the first needs what those before it found.
        for name, check in (
            ("module", self.survey),
            ("configuration", self.configure),
            ("samples", self.encode),
        ):
            finding = self.attempt(name, check)
            yield finding
            if finding.outcome == "failed":
                return
        for name, check in (
            ("round trip", self.round_trip),
            ("determinism", self.determinism),
            ("statelessness", self.statelessness),
            ("ranges", self.ranges),
            ("bad input", self.bad_input),
            ("output bounds", self.output_bounds),
            ("limits", self.limits),
        ):
            yield self.attempt(name, check)

    def attempt(self, name: str, check: Callable[[], str]) -> Finding:
        try:
            return Finding(name, "ok", check())
        except _Skipped as skipped:
            return Finding(name, "skipped", str(skipped))
        except (_Failed, CodecError, InvalidInputError, ValueError) as error:
            return Finding(name, "failed", str(error))

    def bind(self, *, is_fresh: bool = False, is_trusted: bool = False) -> _native.Codec:
        conditions = self.conditions
        decoded, encoded = conditions.decoded, conditions.encoded or Layout()
        if conditions.kind == "bytes-bytes":
            decoded = Layout()
        elif conditions.kind == "array-array" and conditions.encoded is None:
            encoded = decoded
        setup: dict[str, Any] = {
            "kind": conditions.kind,
            "parameters": conditions.parameters,
            "decoded": decoded.to_json(),
            "encoded": encoded.to_json(),
        }
        if conditions.interface is not None:
            setup["interface"] = conditions.interface
        return _native.bind_wasm_codec(
            "codec under test",
            self.facts["digest"],
            json.dumps(setup),
            limits=json.dumps(config.wasm_limits() | {"trusted": is_trusted}),
            cache_dir=config.wasm_cache_dir(),
            fresh_instance=is_fresh,
        )

    # --- the checks, each returning what it saw --------------------------------------------------------

    def survey(self) -> str:
        self.facts = modules.survey(self.module)
        interface = self.conditions.interface or self.facts["interface"]
        if interface is None:
            raise _Failed(
                "no interface that wazarr knows: not even the names of its exports are those of one"
            )
        if interface == "wazarr" and (imports := foreign_imports(self.facts)):
            raise _Failed(f"it imports {', '.join(imports)}; modules of this interface import nothing")
        modules.put(self.module)
        sides = [side for side in ("decode", "encode") if self.facts[f"has_{side}"]]
        if not sides:
            raise _Failed("it has neither decode nor encode")
        calls = len(self.facts["imports"])
        asks = f", asks for {calls} system calls" if calls and interface == "wazarr" else ""
        return f"interface {interface}, {' and '.join(sides)}, {len(self.module)} bytes{asks}"

    def configure(self) -> str:
        # A module is configured by its first instance, so by the first call.
        codec = self.bind()
        try:
            self.decode(codec, b"", None) if self.facts["has_decode"] else codec.encode(b"")
        except (WasmTrapError, WasmLimitError) as error:
            raise _Failed(f"with nothing to do: {error}") from error
        except CodecError as error:
            if "configuration" in str(error) or "parameter" in str(error):
                raise _Failed(str(error)) from error
        return f"{self.conditions.kind}, parameters {json.dumps(self.conditions.parameters)}"

    def decode(self, codec: _native.Codec, encoded: bytes, expected_len: int | None) -> bytes:
        return codec.decode(encoded, expected_len, MOST_BYTES)

    def samples(self) -> Iterator[bytes]:
        conditions = self.conditions
        if conditions.samples:
            yield from conditions.samples
            return
        data_type = np.dtype(conditions.decoded.data_type)
        shapes = [conditions.decoded.shape]
        if conditions.kind == "bytes-bytes" and conditions.decoded.is_bytes:
            shapes = [(length,) for length in _LENGTHS]
        for shape in shapes:
            count = int(np.prod(shape))
            if data_type.kind == "f":
                yield np.zeros(count, data_type).tobytes()
                yield self.random.normal(size=count).astype(data_type).tobytes()
                yield np.arange(count).astype(data_type).tobytes()
                continue
            yield bytes(count * data_type.itemsize)
            if data_type.kind == "b":
                yield self.random.integers(0, 2, count).astype(data_type).tobytes()
                continue
            yield self.random.bytes(count * data_type.itemsize)
            steps = np.arange(count * data_type.itemsize) // 7 % 251
            yield steps.astype(np.uint8).tobytes()

    def encode(self) -> str:
        if not self.facts["has_encode"]:
            if not self.conditions.encoded_samples:
                raise _Failed("it only decodes\nhint: give encoded chunks with --encoded")
            codec = self.bind()
            self.pairs = [
                _Pair(self.decode(codec, encoded, self.expected_len), encoded)
                for encoded in self.conditions.encoded_samples
            ]
            return f"{len(self.pairs)} decoded"
        codec = self.bind()
        refused = ""
        count = 0
        for sample in self.samples():
            count += 1
            try:
                self.pairs.append(_Pair(sample, codec.encode(sample)))
            except (WasmTrapError, WasmLimitError) as error:
                raise _Failed(f"{len(sample)} bytes: {error}") from error
            except CodecError as error:
                refused = str(error)
        if not self.pairs:
            raise _Failed(
                f"none of {count} samples was encoded; of the last it says: {refused}\n"
                "hint: give it chunks that it is for, with --data-type and --shape or with --decoded"
            )
        return f"{len(self.pairs)} of {count} encoded" + (f"; refused: {refused}" if refused else "")

    @property
    def expected_len(self) -> int | None:
        return self.conditions.decoded.len_bytes

    def round_trip(self) -> str:
        if not (self.facts["has_encode"] and self.facts["has_decode"]):
            raise _Skipped("it has one side only")
        codec = self.bind()
        for pair in self.pairs:
            back = self.decode(codec, pair.encoded, len(pair.decoded))
            if back == pair.decoded:
                continue
            if not self.conditions.is_lossy:
                first = _first_difference(back, pair.decoded)
                raise _Failed(
                    f"{len(pair.decoded)} bytes come back changed, from byte {first}\n"
                    "hint: --lossy, if that is what the codec is for"
                )
            if self.decode(codec, codec.encode(back), len(back)) != back:
                raise _Failed("what came back changes again when it is encoded and decoded once more")
        return f"{len(self.pairs)} chunks come back" + (" the same" if not self.conditions.is_lossy else "")

    def determinism(self) -> str:
        warm, fresh = self.bind(), self.bind(is_fresh=True)
        for pair in self.pairs:
            if self.facts["has_encode"] and fresh.encode(pair.decoded) != pair.encoded:
                raise _Failed(f"a new instance encodes the same {len(pair.decoded)} bytes otherwise")
            if self.facts["has_decode"]:
                results = {
                    self.decode(each, pair.encoded, len(pair.decoded)) for each in (warm, fresh, fresh)
                }
                if len(results) > 1:
                    raise _Failed(
                        f"two instances decode the same {len(pair.encoded)} bytes to different results"
                    )
        return "new instances give the same results"

    def statelessness(self) -> str:
        codec = self.bind()
        expected = {}
        if self.facts["has_decode"]:
            expected = {
                pair.encoded: self.decode(codec, pair.encoded, len(pair.decoded)) for pair in self.pairs
            }
        for order in (self.pairs, self.pairs[::-1], self.pairs):
            for pair in order:
                if self.facts["has_encode"] and codec.encode(pair.decoded) != pair.encoded:
                    raise _Failed(
                        f"the same {len(pair.decoded)} bytes are encoded otherwise after other calls\n"
                        + _HINT_FRESH
                    )
                if self.facts["has_decode"]:
                    self.swallow(codec, pair.encoded[: len(pair.encoded) // 2])
                    if self.decode(codec, pair.encoded, len(pair.decoded)) != expected[pair.encoded]:
                        raise _Failed(
                            f"the same {len(pair.encoded)} bytes are decoded otherwise after other calls\n"
                            + _HINT_FRESH
                        )
        return "other calls before, failed ones too, change nothing"

    def ranges(self) -> str:
        exports = self.facts["exports"]
        if self.facts["interface"] != "wazarr" or "decode_range" not in exports:
            raise _Skipped("it decodes no parts alone")
        if "decoded_len" not in exports:
            raise _Failed("it exports decode_range without decoded_len, so hosts cannot use it")
        codec = self.bind()
        count = 0
        for pair in self.pairs:
            whole = self.decode(codec, pair.encoded, len(pair.decoded))
            for ranges in self.cuts(len(whole)):
                parts = codec.decode_ranges(pair.encoded, len(whole), ranges)
                for (start, end), part in zip(ranges, parts, strict=True):
                    count += 1
                    if part != whole[start:end]:
                        raise _Failed(
                            f"bytes {start} to {end} of {len(whole)} are not what decode makes of them"
                        )
        return f"{count} parts are as in the whole"

    def cuts(self, length: int) -> Iterator[list[tuple[int, int]]]:
        """Yield ranges of so many bytes: all in pieces, and some alone."""
        for piece in (1 << 16, 4096, 1000):
            if length // piece <= 64:
                yield [(start, min(length, start + piece)) for start in range(0, length, piece)]
        for _ in range(8):
            start, end = sorted(int(place) for place in self.random.integers(0, length + 1, 2))
            yield [(start, end)]
        yield [(length - 1, length)] if length else []

    def swallow(self, codec: _native.Codec, damaged: bytes) -> str | None:
        """Decode something that may be damaged; return how a module must not answer, if it did."""
        try:
            self.decode(codec, damaged, self.expected_len)
        except (WasmTrapError, WasmLimitError) as error:
            return str(error)
        except CodecError:
            pass
        return None

    def damaged(self) -> Iterator[bytes]:
        yield b""
        yield b"\0"
        yield b"\xff" * 64
        for length in (5, 64, 4096):
            yield self.random.bytes(length)
        for pair in self.pairs[:6]:
            encoded = pair.encoded
            for cut in {1, 2, len(encoded) // 2, len(encoded) - 1}:
                yield encoded[: max(cut, 0)]
            yield encoded + b"\0"
            for _ in range(24 if encoded else 0):
                changed = bytearray(encoded)
                changed[int(self.random.integers(len(changed)))] ^= 1 << int(self.random.integers(8))
                yield bytes(changed)

    def bad_input(self) -> str:
        if not self.facts["has_decode"]:
            raise _Skipped("it does not decode")
        codec = self.bind()
        count = 0
        for damaged in self.damaged():
            count += 1
            fault = self.swallow(codec, damaged)
            if fault is not None:
                raise _Failed(f"{len(damaged)} bytes of damaged input: {fault}")
        return f"{count} damaged inputs give errors or results"

    def output_bounds(self) -> str:
        codec = self.bind()
        seen = []
        if self.facts["has_encode"]:
            bounds = [(codec.encoded_bound(len(pair.decoded)), pair) for pair in self.pairs]
            for bound, pair in bounds:
                if bound is not None and len(pair.encoded) > bound:
                    raise _Failed(
                        f"{len(pair.decoded)} bytes became {len(pair.encoded)}: encoded_bound says {bound}"
                    )
            seen.append("no bound is told" if bounds[0][0] is None else "encodings are within their bound")
        if self.facts["has_decode"]:
            for pair in self.pairs:
                if not pair.decoded:
                    continue
                try:
                    self.decode(codec, pair.encoded, len(pair.decoded) - 1)
                except WasmTrapError as error:
                    raise _Failed(f"with room for one byte less than it decodes to: {error}") from error
                except CodecError:
                    continue
                raise _Failed(f"{len(pair.decoded)} bytes decode into room for one less, without an error")
            seen.append("too little room is an error")
        return ", ".join(seen)

    def limits(self) -> str:
        before = _native.wasm_counters()["traps"]
        trusted = self.bind(is_trusted=True)
        for pair in self.pairs:
            if self.facts["has_decode"]:
                metered = self.decode(self.bind(), pair.encoded, len(pair.decoded))
                if self.decode(trusted, pair.encoded, len(pair.decoded)) != metered:
                    raise _Failed("without a time limit it decodes to something else")
            if self.facts["has_encode"] and trusted.encode(pair.decoded) != pair.encoded:
                raise _Failed("without a time limit it encodes to something else")
        if _native.wasm_counters()["traps"] != before:
            raise _Failed("an instance was dropped on the way")
        limits = config.wasm_limits()
        mebibytes = int(limits["memory_bytes"]) >> 20
        return f"within {mebibytes} MiB and {limits['timeout_s']:g} s a call, metered and not"


def foreign_imports(facts: dict[str, Any]) -> list[str]:
    """Return what a module imports besides system calls, which every module may ask for and none gets.

    Parameters
    ----------
    facts : dict
        What `wazarr.wasm.modules.survey` says of the module.
    """
    return [name for name in facts["imports"] if not name.startswith("wasi_")]


def _first_difference(left: bytes, right: bytes) -> int:
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return min(len(left), len(right))
