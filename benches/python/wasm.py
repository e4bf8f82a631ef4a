"""Codecs as WebAssembly modules, beside the same codecs native and beside numcodecs-wasm's own host.

**The tile.** A real satellite tile, zlib over TIFF's predictor 2, read through zarr with both steps as
modules (our own interface, and chonkle's components C and E), against numcodecs' zlib and numpy's running
sum called directly, which have no zarr above them.

**Native twins.** Arrays whose bytes are the same, once with our native codec and once with a module made of
the same C library (lz4, zstd) or doing the same (delta, shuffle, packbits); both through the same pipeline.

**Calls.** lz4 and zstd without zarr: numcodecs' own call of the C library, and ours of the same library as a
module.

**numcodecs-wasm.** zfp, pco and sz3, 4 MiB a chunk, through zarr: its packages on their own host under
zarr-python's default pipeline, against ours running the same components.

**Overheads.** What a module that changes nothing adds to a chunk of 1 KiB; how many instances 4096 chunks of
4 KiB take; two threads over one.

Arrays are opened anew for each turn, which is not timed. Everything is on one thread unless it says
otherwise. Modules run trusted, without a time limit, and metered. Every answer is checked, and that each step
ran as a module and none natively.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numcodecs.abc
import numpy as np
import zarr
from contenders import OURS, PIPELINES, REFERENCE
from measure import WrongAnswerError, rotated
from report import number, table, write_report

import wazarr
from wazarr import _native
from wazarr.wasm import packages
from wazarr.wasm.engine import Layout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # scripts and tests/guests are no packages of their own

from scripts.build_guests import UnavailableError, build_guest  # noqa: E402

TILE = ROOT / "examples" / "data" / "sentinel-2-b04-tile.zz"
WIDTH = 1024
IMAGE_SHA256 = "793e95ed73d0ac5170a5960a6e25e49045353c3d2cd59dd8781a820cc9b23cd0"
NATIVE, TRUSTED, METERED = "native", "trusted", "metered"
PACKAGES = ROOT / "build" / "numcodecs-wasm" / "packages"
PREDICTOR = {"bytes_per_sample": 2, "width": WIDTH}


Contender = Callable[[], contextlib.AbstractContextManager[Callable[[], Any]]]
"""Opens something; what the context yields does the work that is timed."""


@dataclass
class Case:
    """One line of the table: who reads, what must come out, what is aimed at."""

    name: str
    contenders: Mapping[str, Contender]
    """By name; the others are compared with the first."""
    expected: npt.NDArray[Any] | None
    goal: float | None = None
    """Ratio of `trusted` to the first that we want to reach at most."""
    goal_metered: float | None = None
    wasm_steps: int = 0
    """Modules that one read runs."""
    is_warm: bool = False
    """Whether to read once before the time is taken: where contenders differ in the number of threads, each
    turn has new threads, and these new guests."""
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def best(self, name: str) -> float | None:
        """Return the shortest time of a contender."""
        return min(self.times_ms[name]) if name in self.times_ms else None

    def ratio(self, name: str) -> float | None:
        """Return the time of a contender over that of the first."""
        base, best = self.best(next(iter(self.contenders))), self.best(name)
        return None if base is None or best is None else best / base


def measure(case: Case, rounds: int) -> None:
    """Have the contenders of a case take turns; the turn before the rounds is not timed."""
    for turn in range(rounds + 1):
        for name in rotated(list(case.contenders), turn):
            wazarr.reset_counters()
            with case.contenders[name]() as read:
                if case.is_warm:
                    read()
                    wazarr.reset_counters()
                start = time.perf_counter()
                answer = read()
                elapsed_ms = (time.perf_counter() - start) * 1e3
            if isinstance(answer, bytes):
                answer = np.frombuffer(answer, np.uint8)
            if case.expected is not None and not np.array_equal(answer, case.expected):
                raise WrongAnswerError(f"{case.name}, under {name}")
            if name in (TRUSTED, METERED) and case.wasm_steps:
                steps = wazarr.counters()["codec_steps"]["wasm"]
                if steps != case.wasm_steps:
                    raise WrongAnswerError(f"{case.name}, {name}: {steps} steps ran as modules")
            if turn:
                case.times_ms.setdefault(name, []).append(elapsed_ms)


@contextlib.contextmanager
def opened(
    array: Path, *, is_trusted: bool = False, threads: int = 1, pipeline: str = OURS
) -> Iterator[Callable[[], Any]]:
    """Open an array; what this yields reads all of it."""
    settings: dict[str, Any] = {
        "codec_pipeline.path": PIPELINES[pipeline],
        "threading.max_workers": threads,
        "wazarr.wasm.prefer": "wasm",
        "wazarr.wasm.trusted": sorted(_digests) if is_trusted else [],
    }
    with zarr.config.set(settings):
        yield partial(zarr.open_array(array, mode="r").__getitem__, ...)


def called(function: Callable[..., Any], *arguments: Any) -> Contender:
    """Return a contender that opens nothing and only calls a function."""
    return lambda: contextlib.nullcontext(partial(function, *arguments))


_digests: set[str] = set()
"""Of all modules that take part."""


def module(name: str, content: bytes | None = None, **description: Any) -> wazarr.WasmCodec:
    """Return a codec made of one of our guests."""
    content = build_guest(name).read_bytes() if content is None else content
    _digests.add("sha256:" + hashlib.sha256(content).hexdigest())
    return wazarr.WasmCodec(content, codec=name, embed="hierarchy", **description)


def create(path: Path, values: npt.NDArray[Any], chunks: tuple[int, ...], **codecs: Any) -> Path:
    """Write an array with our pipeline, and return where."""
    root = zarr.open_group(path.parent, mode="a")
    with zarr.config.set({"codec_pipeline.path": PIPELINES[OURS]}):
        array = root.create_array(
            path.name, shape=values.shape, chunks=chunks, dtype=values.dtype, fill_value=0, **codecs
        )
        array[...] = values
    return path


# --- the tile --------------------------------------------------------------------------------------------


def tile() -> tuple[bytes, npt.NDArray[np.uint16]]:
    """Return the tile as it is in the file, and its pixels."""
    encoded = TILE.read_bytes()
    image = decode_natively(encoded)
    if hashlib.sha256(image.astype("<u2").tobytes()).hexdigest() != IMAGE_SHA256:
        raise WrongAnswerError("the tile")
    return encoded, image


def decode_natively(encoded: bytes) -> npt.NDArray[np.uint16]:
    """Decode the tile with numcodecs and numpy."""
    differences = np.frombuffer(numcodecs.Zlib().decode(encoded), "<u2").reshape(WIDTH, WIDTH)
    image: npt.NDArray[np.uint16] = np.cumsum(differences, axis=1, dtype=np.uint16)
    return image


def decode_many_natively(encoded: bytes, count: int, threads: int) -> npt.NDArray[np.uint16]:
    """Decode the tile so many times."""
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(decode_natively, [encoded] * count)))


def chonkle_component(name: str, interface: str, signature: dict[str, Any]) -> bytes:
    """Return one of our guests as a component of chonkle's interface C or E."""
    import json

    from tests.guests.componentize import componentize, sign

    header = ROOT / "tests" / "guests" / "chonkle.h"
    flags = ["-include", str(header), "-DCHONKLE_COMPONENT"]
    if interface == "E":
        text = json.dumps(signature, separators=(",", ":")).replace('"', '\\"')
        flags.append(f'-DCHONKLE_SIGNATURE="{text}"')
    core = build_guest(name, variant=f"chonkle-{interface.lower()}", flags=tuple(flags)).read_bytes()
    component = componentize(core, interface)  # type: ignore[arg-type]
    return sign(component, signature, interface)  # type: ignore[arg-type]


def signature_of(name: str, parameters: tuple[str, ...], interface: str) -> dict[str, Any]:
    """Return what a component of chonkle's says of itself."""
    data = {"bytes": {"type": "bytes", "required": True}}
    ports = data | {parameter: {"type": "int", "required": True} for parameter in parameters}
    out = {"bytes": {"type": "bytes"}}
    if interface == "E":
        return {
            "codec_id": name,
            "encode": {"inputs": ports, "outputs": out},
            "decode": {"inputs": ports, "outputs": out},
        }
    return {"codec_id": name, "inputs": ports, "outputs": out}


def write_tiles(path: Path, encoded: bytes, codecs: list[Any], count: int = 1) -> Path:
    """Put the file's own bytes where the chunks of an array belong."""
    root = zarr.open_group(path.parent, mode="a")
    root.create_array(
        path.name,
        shape=(count * WIDTH, WIDTH),
        chunks=(WIDTH, WIDTH),
        dtype="uint16",
        fill_value=0,
        compressors=codecs,
    )
    wazarr.embed_codecs(root)
    for index in range(count):
        chunk = path / "c" / str(index) / "0"
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(encoded)
    return path


def tile_cases(folder: Path) -> list[Case]:
    """Return the cases about the tile."""
    encoded, image = tile()
    codecs = [module("tiff-predictor-2", parameters=PREDICTOR), module("zlib")]
    array = write_tiles(folder / "tile", encoded, codecs)
    contenders: dict[str, Contender] = {
        NATIVE: called(decode_natively, encoded),
        TRUSTED: partial(opened, array, is_trusted=True),
        METERED: partial(opened, array),
    }
    cases = [Case("satellite tile: zlib, predictor", contenders, image, 1.5, 1.9, wasm_steps=2)]
    for interface in ("C", "E"):
        try:
            components = [
                module(
                    "tiff-predictor-2",
                    chonkle_component(
                        "tiff-predictor-2",
                        interface,
                        signature_of("tiff-predictor-2", tuple(PREDICTOR), interface),
                    ),
                    parameters=PREDICTOR,
                    kind="bytes-bytes",
                ),
                module(
                    "zlib",
                    chonkle_component("zlib", interface, signature_of("zlib", (), interface)),
                    kind="bytes-bytes",
                ),
            ]
        except ImportError as error:
            print(f"left out: chonkle's interface {interface}: {error}", file=sys.stderr)
            continue
        array = write_tiles(folder / f"tile-{interface}", encoded, components)
        contenders = {
            NATIVE: called(decode_natively, encoded),
            TRUSTED: partial(opened, array, is_trusted=True),
            METERED: partial(opened, array),
        }
        name = f"the same, chonkle's components ({interface})"
        cases.append(Case(name, contenders, image, 2.5, wasm_steps=2))
    return cases


# --- native twins ----------------------------------------------------------------------------------------


def twin_cases(folder: Path) -> list[Case]:
    """Return the cases in which a module does what one of our native codecs does."""
    from zarr.codecs import ZstdCodec
    from zarr.codecs import numcodecs as wrapped

    _, image = tile()
    rows = image[:, :].reshape(-1)
    bits = np.tile(image % 2 == 0, (2, 1)).reshape(-1)
    lz4, zstd = wrapped.LZ4(), ZstdCodec(level=3)
    pairs: list[tuple[str, npt.NDArray[Any], float, dict[str, Any], dict[str, Any]]] = [
        ("lz4 of the tile", rows, 1.3, {"compressors": [lz4]}, {"compressors": [module("lz4")]}),
        ("zstd 3 of the tile", rows, 2.1, {"compressors": [zstd]}, {"compressors": [module("zstd")]}),
        (
            "delta, u2",
            rows,
            1.2,
            {"filters": [wrapped.Delta(dtype="<u2")], "compressors": None},
            {"filters": [module("delta", kind="array-array")], "compressors": None},
        ),
        (
            "byte shuffle, u2",
            rows,
            1.2,
            {"compressors": [wrapped.Shuffle(elementsize=2)]},
            {"compressors": [module("byte-shuffle", parameters={"elementsize": 2})]},
        ),
        (
            "bit unpack",
            bits,
            1.2,
            {"filters": [wrapped.PackBits()], "compressors": None},
            {"serializer": module("packbits", kind="array-bytes"), "compressors": None},
        ),
    ]
    cases = []
    for position, (name, values, goal, native, wasm) in enumerate(pairs):
        twin = create(folder / f"native-{position}", values, values.shape, **native)
        array = create(folder / f"wasm-{position}", values, values.shape, **wasm)
        # Encoders of one format may choose differently; the decoders get the same bytes.
        for chunk in (path for path in twin.rglob("c/**/*") if path.is_file()):
            shutil.copyfile(chunk, array / chunk.relative_to(twin))
        contenders: dict[str, Contender] = {
            NATIVE: partial(opened, twin),
            TRUSTED: partial(opened, array, is_trusted=True),
            METERED: partial(opened, array),
        }
        cases.append(Case(name, contenders, values, goal, wasm_steps=1))
    return cases


@contextlib.contextmanager
def called_as_module(
    codec: wazarr.WasmCodec, encoded: bytes, decoded_len: int, *, is_trusted: bool = False
) -> Iterator[Callable[[], Any]]:
    """Bind a module; what this yields calls its decoder."""
    with zarr.config.set({"wazarr.wasm.trusted": sorted(_digests) if is_trusted else []}):
        bound = codec._codec(Layout(), Layout(), None)
    yield lambda: bound.decode(encoded, decoded_len, decoded_len)


def call_cases(_: Path) -> list[Case]:
    """Return the cases in which a module's decoder is called without zarr."""
    _, image = tile()
    cases = []
    for name, native, goal in (("lz4", numcodecs.LZ4(), 1.3), ("zstd", numcodecs.Zstd(level=3), 2.1)):
        codec = module(name)
        encoded = bytes(native.encode(image))
        contenders: dict[str, Contender] = {
            NATIVE: called(native.decode, encoded),
            TRUSTED: partial(called_as_module, codec, encoded, image.nbytes, is_trusted=True),
            METERED: partial(called_as_module, codec, encoded, image.nbytes),
        }
        expected = np.frombuffer(image, np.uint8)
        cases.append(Case(f"{name} of the tile, the call alone", contenders, expected, goal))
    return cases


# --- numcodecs-wasm --------------------------------------------------------------------------------------


@functools.cache
def their_class(codec_id: str) -> type[numcodecs.abc.Codec]:
    """Return the package's own class; in numcodecs' registry ours has taken its place."""
    (entry,) = (
        entry
        for entry in importlib.metadata.entry_points(group="numcodecs.codecs", name=codec_id)
        if entry.value.startswith("numcodecs_wasm_")
    )
    codec_class: type[numcodecs.abc.Codec] = entry.load()
    return codec_class


def digest_of(codec_id: str) -> str:
    """Return the digest of an installed package's component."""
    package = packages.find(codec_id)
    if package is None:
        raise UnavailableError(f"no package has {codec_id}")
    return package.digest()


@contextlib.contextmanager
def opened_on_their_host(path: Path, codec_id: str) -> Iterator[Callable[[], Any]]:
    """Open an array under zarr-python's default pipeline, with the package's own class."""
    ours = numcodecs.registry.codec_registry.get(codec_id)
    numcodecs.register_codec(their_class(codec_id), codec_id)
    try:
        with opened(path, pipeline=REFERENCE) as read:
            read()  # their host compiles the component in its first call, ours in the round that is not timed
            yield read
    finally:
        if ours is None:
            del numcodecs.registry.codec_registry[codec_id]
        else:
            numcodecs.register_codec(ours, codec_id)


def numcodecs_wasm_cases(folder: Path) -> list[Case]:
    """Return the cases that numcodecs-wasm's packages run on their own host too."""
    if not PACKAGES.exists():
        print("left out: numcodecs-wasm (scripts/numcodecs_wasm.sh installs it)", file=sys.stderr)
        return []
    sys.path.append(str(PACKAGES))
    values = np.add.outer(np.sin(np.arange(1024) / 50), np.cos(np.arange(1024) / 70)).astype(np.float32)
    values += np.random.default_rng(5).normal(scale=1e-3, size=values.shape).astype(np.float32)
    configurations: dict[str, dict[str, Any]] = {
        "zfp": {"id": "zfp.rs", "mode": "reversible"},
        "pco": {
            "id": "pco.rs",
            "level": 8,
            "mode": "auto",
            "delta": "auto",
            "paging": "equal-pages-up-to",
        },
        "sz3": {"id": "sz3.rs", "eb_mode": "abs", "eb_abs": 1e-3, "predictor": "interpolation-lorenzo"},
    }
    cases = []
    for name, configuration in configurations.items():
        codec = numcodecs.get_codec(configuration)
        root = zarr.open_group(folder / "numcodecs-wasm", mode="a", zarr_format=2)
        with zarr.config.set({"codec_pipeline.path": PIPELINES[REFERENCE]}):
            array = root.create_array(
                name, shape=values.shape, chunks=values.shape, dtype="<f4", compressors=codec, fill_value=0
            )
            array[...] = values
            expected = np.asarray(array[...])
        path = folder / "numcodecs-wasm" / name
        contenders: dict[str, Contender] = {
            "numcodecs-wasm": partial(opened_on_their_host, path, configuration["id"]),
            TRUSTED: partial(opened, path, is_trusted=True),
            METERED: partial(opened, path),
        }
        _digests.add(digest_of(configuration["id"]))
        cases.append(Case(f"{name} of numcodecs-wasm, 4 MiB", contenders, expected, 0.62, wasm_steps=1))
    return cases


# --- overheads -------------------------------------------------------------------------------------------


def overheads(folder: Path, rounds: int) -> dict[str, float]:
    """Measure what a call costs, how many instances many chunks take, and what a second thread brings."""
    encoded, image = tile()
    found: dict[str, float] = {}
    values = np.arange(4096 * 1024, dtype=np.uint32).astype(np.uint8)
    plain = create(folder / "plain", values, (1024,), compressors=None)
    same = create(folder / "same", values, (1024,), compressors=[module("identity")])
    contenders: dict[str, Contender] = {
        "bytes": partial(opened, plain),
        TRUSTED: partial(opened, same, is_trusted=True),
        METERED: partial(opened, same),
    }
    case = Case("identity of 1 KiB, 4096 chunks", contenders, values, wasm_steps=4096)
    measure(case, rounds)
    for name in (TRUSTED, METERED):
        found[f"call of a module, 1 KiB, {name} (µs)"] = (
            (case.best(name) or 0) - (case.best("bytes") or 0)
        ) / 4.096

    values = np.arange(4096 * 1024, dtype=np.uint32)
    many = create(folder / "many", values, (1024,), compressors=[module("identity")])
    before = _native.wasm_counters()["instances"]
    with opened(many, is_trusted=True) as read:
        if not np.array_equal(read(), values):
            raise WrongAnswerError("4096 chunks of 4 KiB")
    found["instances made for 4096 chunks of 4 KiB"] = _native.wasm_counters()["instances"] - before

    count = 8
    codecs = [module("tiff-predictor-2", parameters=PREDICTOR), module("zlib")]
    tiles = write_tiles(folder / "tiles", encoded, codecs, count)
    contenders = {
        f"{who}, {threads}": partial(opened, tiles, is_trusted=who == TRUSTED, threads=threads)
        for who in (TRUSTED, METERED)
        for threads in (1, 2)
    } | {f"{NATIVE}, {threads}": called(decode_many_natively, encoded, count, threads) for threads in (1, 2)}
    case = Case("tiles", contenders, np.tile(image, (count, 1)), is_warm=True)
    measure(case, max(3, rounds // 2))
    for who in (TRUSTED, METERED, NATIVE):
        found[f"two threads over one, {count} tiles, {who}"] = (case.best(f"{who}, 1") or 0) / (
            case.best(f"{who}, 2") or 1
        )

    code = "import sys, wazarr; print(sum(name.startswith('wazarr.wasm') for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found["modules of wazarr.wasm that `import wazarr` loads"] = float(result.stdout)
    return found


# --- the report ------------------------------------------------------------------------------------------


def run(rounds: int, options: argparse.Namespace) -> None:
    """Measure everything and report it."""
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as name:
        folder = Path(name) / "arrays"
        # Compiled modules of other runs would hide what compiling costs; nothing of it is timed, though.
        with zarr.config.set({"wazarr.wasm.cache_dir": str(Path(name) / "cache")}):
            for collect in (tile_cases, twin_cases, call_cases, numcodecs_wasm_cases):
                try:
                    cases += collect(folder)
                except UnavailableError as error:
                    print(f"left out: {collect.__name__}: {error}", file=sys.stderr)
            cases = [case for case in cases if not options.only or options.only in case.name]
            for case in cases:
                print(f"measuring: {case.name}", file=sys.stderr, flush=True)
                measure(case, rounds)
            others = {} if options.only else overheads(folder, rounds)
    header = ["case", "peer", "peer (ms)", "trusted (ms)", "ratio", "goal", "metered (ms)", "ratio", "goal"]
    rows = [
        [
            case.name,
            next(iter(case.contenders)),
            number(case.best(next(iter(case.contenders))), 2),
            number(case.best(TRUSTED), 2),
            f"**{number(case.ratio(TRUSTED), 2)}**",
            number(case.goal, 2),
            number(case.best(METERED), 2),
            number(case.ratio(METERED), 2),
            number(case.goal_metered, 2),
        ]
        for case in cases
    ]
    markdown = table(header, rows, 2)
    markdown += [
        "",
        f"Best of {rounds} interleaved rounds, on one thread of {os.cpu_count()}; goals are ratios.",
    ]
    if others:
        entries = [[name, number(value, 2)] for name, value in others.items()]
        markdown += ["", *table(["", "measured"], entries)]
    print("\n".join(markdown), flush=True)
    document = {
        "rounds": rounds,
        "rows": [
            {
                "case": case.name,
                "peer": next(iter(case.contenders)),
                "times_ms": case.times_ms,
                "ratio": case.ratio(TRUSTED),
                "ratio_metered": case.ratio(METERED),
                "goal": case.goal,
                "goal_metered": case.goal_metered,
            }
            for case in cases
        ],
        "overheads": others,
    }
    write_report(options.output, "wasm", markdown, document)
