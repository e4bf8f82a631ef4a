"""A reader and writer in a process of its own: meets hostile modules, and says what came of each.

Called as ``python -m tests.wasm.hostile.victim``, with a JSON object on standard input: ``names`` of cases,
and ``address_limit`` in bytes or null. Prints a JSON line before and after each case.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
import time
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import wazarr
from tests.wasm import guests
from tests.wasm.hostile.cases import MARK, Case, most_resident_kib
from tests.wasm.hostile.corpus import corpus
from wazarr import errors

CHUNK = 256
COUNT = 4
MARKED = 1
TIMEOUT_S = 0.2
LIMITS = {
    "wazarr.wasm.timeout_s": TIMEOUT_S,
    "wazarr.wasm.memory_limit": 96 << 20,
    "wazarr.wasm.total_memory_limit": 256 << 20,
    "wazarr.wasm.cache_dir": "",
    "wazarr.wasm.allow": [],
}


def chunk(number: int) -> np.ndarray[Any, Any]:
    """Return the values of a chunk."""
    values = np.arange(CHUNK, dtype="u1") + np.uint8(7 * number)
    if number == MARKED:
        values[0] = MARK
    return values


def codec(module: bytes, name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a codec that carries its module."""
    whole = {
        "codec": name,
        "kind": "bytes-bytes",
        "module": guests.digest_of(module),
        "sources": ["data:application/wasm;base64," + base64.b64encode(module).decode()],
        "parameters": {},
    }
    return {"name": "wazarr.wasm", "configuration": whole | configuration}


def document(module: bytes, configuration: dict[str, Any], *, is_in_front: bool) -> dict[str, Any]:
    """Return the metadata of an array whose codec is the module."""
    # What another guest encodes to has any length: so the module in front of it does not know its own.
    inner = [codec(guests.xor(0), "inner", {})] if is_in_front else []
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [CHUNK * COUNT],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [CHUNK]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            *inner,
            codec(module, "victim", configuration),
        ],
        "attributes": {},
    }


def attempt(act: Any) -> dict[str, Any] | None:
    """Return what an action raised, or None."""
    started = time.monotonic()
    try:
        act()
    except Exception as error:  # noqa: BLE001 - what it is, is the question
        classes = [cls.__name__ for cls in type(error).__mro__ if cls.__name__ in errors.__all__]
        return {
            "classes": classes or [type(error).__name__],
            "text": str(error),
            "seconds": time.monotonic() - started,
            "module": getattr(error, "module", None),
            "codec": getattr(error, "codec", None),
            "chunk_key": getattr(error, "chunk_key", None),
        }
    return None


def meet(case: Case) -> dict[str, Any]:
    """Read and write an array with a case's module; say what failed and what was wrong."""
    make = default_buffer_prototype().buffer.from_bytes
    content: dict[str, Any] = {}
    metadata = document(case.module, case.configuration, is_in_front=case.is_in_front)
    content["zarr.json"] = make(json.dumps(metadata).encode())
    for number in range(COUNT):
        content[f"c/{number}"] = make(chunk(number).tobytes())
    answer: dict[str, Any] = {"wrong": [], "read": [], "write": [], "digest": guests.digest_of(case.module)}
    array: Any = None

    def open_it() -> None:
        nonlocal array
        array = zarr.open_array(MemoryStore(content), mode="r+")

    answer["open"] = attempt(open_it)
    if array is None:
        return answer

    def read(number: int) -> None:
        part = slice(16, 100) if case.is_read_in_part else slice(0, CHUNK)
        values = array[number * CHUNK + part.start : number * CHUNK + part.stop]
        if not np.array_equal(values, chunk(number)[part]):
            answer["wrong"].append(f"chunk {number} read")

    def read_all() -> None:
        values = array[...]
        if not np.array_equal(values, np.concatenate([chunk(number) for number in range(COUNT)])):
            answer["wrong"].append("all chunks read")

    def write(number: int) -> None:
        content.pop(f"c/{number}", None)
        array[number * CHUNK : (number + 1) * CHUNK] = chunk(number)
        after = content.get(f"c/{number}")
        if after is None or after.to_bytes() != chunk(number).tobytes():
            answer["wrong"].append(f"chunk {number} written")

    of_sound = case.where != "always"
    reads, writes = ((0, MARKED, 2, MARKED), (0, MARKED, 3)) if of_sound else ((MARKED,), (MARKED,))
    answer["read"] = [(number, attempt(lambda n=number: read(n))) for number in reads]
    answer["all"] = attempt(read_all)
    answer["write"] = [(number, attempt(lambda n=number: write(n))) for number in writes]
    return answer


def main() -> None:
    """Meet the cases that are asked for."""
    asked = json.load(sys.stdin)
    if asked["address_limit"]:
        resource.setrlimit(resource.RLIMIT_AS, (asked["address_limit"],) * 2)
    everything = corpus()
    canary = Case(guests.xor(0), (), "nowhere")
    with wazarr.enabled(), zarr.config.set(LIMITS):
        for name in asked["names"]:
            print(json.dumps({"begin": name}), flush=True)
            started = time.monotonic()
            answer = meet(everything[name])
            answer["seconds"] = time.monotonic() - started
            answer["canary"] = meet(canary)
            answer["resident_kib"] = most_resident_kib()
            print(json.dumps({"end": name, "answer": answer}), flush=True)


if __name__ == "__main__":
    main()
