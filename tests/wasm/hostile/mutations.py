"""Good modules with a few changes, thousands of them, met in one process through the native interface.

Called as ``python -m tests.wasm.hostile.mutations SEED FIRST COUNT``. Prints the number of each mutation
before it is met, so that whoever started this knows which one it died of.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from typing import Final

from tests.wasm import guests
from tests.wasm.hostile.cases import most_resident_kib, sound
from tests.wasm.hostile.families import sound_component, sound_lists, sound_map, sound_numcodecs
from wazarr import _native
from wazarr.errors import CodecError

LIMITS: Final = json.dumps(
    {"memory_bytes": 64 << 20, "total_memory_bytes": 128 << 20, "timeout_s": 0.05, "trusted": False}
)
CONTENT: Final = bytes(range(1, 200))
MODULE_LIMIT: Final = 1 << 20


def originals() -> list[bytes]:
    """Return the good modules, of every interface."""
    texts = [sound(), sound_map(), sound_component(), sound_numcodecs()]
    modules = [guests.xor(), guests.trim(), guests.widen(), *map(guests.assembled, texts)]
    return [*modules, sound_lists()]


def sections(module: bytes) -> list[bytes]:
    """Return the sections behind a module's head."""
    found, at = [], 8
    while at < len(module):
        length, shift, start = 0, 0, at
        at += 1
        while True:
            byte = module[at]
            length |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                break
        at += length
        found.append(module[start:at])
    return found


def mutated(module: bytes, number: random.Random) -> bytes:
    """Return a module with a change of some kind."""
    changed = bytearray(module)
    kind = number.randrange(10)
    if kind < 5:
        for _ in range(number.choice([1, 1, 1, 2, 5])):
            at = number.randrange(8, len(changed))
            changed[at] ^= 1 << number.randrange(8)
    elif kind == 5:
        changed[number.randrange(8, len(changed))] = number.choice([0, 0x7F, 0x80, 0xFF, 0x0B, 0x10])
    elif kind == 6:
        del changed[number.randrange(len(changed)) :]
    elif kind == 7:
        start = number.randrange(8, len(changed))
        del changed[start : start + number.randrange(1, 9)]
    elif kind == 8:
        start = number.randrange(8, len(changed))
        changed[start:start] = number.choice([number.randbytes(4), bytes(changed[start : start + 8])])
    else:
        parts = sections(module)
        first, second = number.randrange(len(parts)), number.randrange(len(parts))
        parts[first], parts[second] = parts[second], parts[first]
        if number.random() < 0.3:
            parts.append(number.choice(parts))
        return module[:8] + b"".join(parts)
    return bytes(changed)


def meet(module: bytes) -> str:
    """Use a module as a codec in both directions; return what came of it."""
    digest = _native.wasm_put(module, None, cache_dir=None, module_limit_bytes=MODULE_LIMIT)
    setup = json.dumps({"kind": "bytes-bytes", "parameters": {}})
    codec = _native.bind_wasm_codec(
        "mutant", digest, setup, limits=LIMITS, cache_dir=None, fresh_instance=False
    )
    encoded = bytes(codec.encode(CONTENT))
    decoded = bytes(codec.decode(encoded, None, 1 << 20))
    assert len(encoded) < 100 << 20
    assert len(decoded) <= 1 << 20
    same = bytes(codec.decode(encoded, len(decoded), len(decoded)))
    assert len(same) == len(decoded)
    return "works" if decoded == CONTENT else "changes the data"


def main() -> None:
    """Meet mutations and say how often which thing happened."""
    seed, first, count = (int(argument) for argument in sys.argv[1:4])
    modules, outcomes, slowest = originals(), Counter[str](), 0.0
    for module in modules:
        assert meet(module) in {"works", "changes the data"}
    for index in range(first, first + count):
        number = random.Random(f"{seed} {index}")
        module = mutated(number.choice(modules), number)
        print(index, flush=True)
        started = time.monotonic()
        try:
            outcomes[meet(module)] += 1
        except CodecError as error:
            outcomes[type(error).__name__] += 1
        slowest = max(slowest, time.monotonic() - started)
        if index % 50 == 0:
            _native.wasm_drop_idle()
    # None of them left anything behind: the good ones still work.
    for module in modules:
        assert meet(module) in {"works", "changes the data"}
    resident_kib = most_resident_kib()
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "resident_kib": resident_kib}))


if __name__ == "__main__":
    main()
