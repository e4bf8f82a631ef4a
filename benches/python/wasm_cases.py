"""What the benchmark of modules measures: arrays and calls, each by several contenders; see `wasm.py`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import re
import shutil
import sys
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
from measure import WrongAnswerError

import wazarr
from wazarr.wasm.engine import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # scripts and tests/guests are no packages of their own

from scripts.build_guests import build_guest  # noqa: E402

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


@contextlib.contextmanager
def opened(
    array: Path, *, is_trusted: bool = False, threads: int = 1, pipeline: str = OURS
) -> Iterator[Callable[[], Any]]:
    """Open an array; what this yields reads all of it."""
    settings: dict[str, Any] = {
        "codec_pipeline.path": PIPELINES[pipeline],
        "threading.max_workers": threads,
        "wazarr.wasm.prefer": "wasm",
        "wazarr.wasm.trusted": digests_in(array) if is_trusted else [],
    }
    with zarr.config.set(settings):
        yield partial(zarr.open_array(array, mode="r").__getitem__, ...)


def called(function: Callable[..., Any], *arguments: Any) -> Contender:
    """Return a contender that opens nothing and only calls a function."""
    return lambda: contextlib.nullcontext(partial(function, *arguments))


def digests_in(array: Path) -> list[str]:
    """Return the digests of modules in an array's metadata; installed packages are trusted anyway."""
    return sorted(
        {
            digest
            for name in ("zarr.json", ".zarray")
            if (array / name).exists()
            for digest in re.findall(r"sha256:[0-9a-f]{64}", (array / name).read_text())
        }
    )


def module(name: str, content: bytes | None = None, **description: Any) -> wazarr.WasmCodec:
    """Return a codec made of one of our guests."""
    content = build_guest(name).read_bytes() if content is None else content
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
            "byte shuffle, u2, chunks of 8 MiB",
            np.tile(rows, 16),
            1.2,
            {"chunks": (4 << 20,), "compressors": [wrapped.Shuffle(elementsize=2)]},
            {"chunks": (4 << 20,), "compressors": [module("byte-shuffle", parameters={"elementsize": 2})]},
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
        whole = {"chunks": values.shape}
        twin = create(folder / f"native-{position}", values, **(whole | native))
        array = create(folder / f"wasm-{position}", values, **(whole | wasm))
        # Encoders of one format may choose differently; the decoders get the same bytes.
        for chunk in (path for path in twin.rglob("c/**/*") if path.is_file()):
            shutil.copyfile(chunk, array / chunk.relative_to(twin))
        contenders: dict[str, Contender] = {
            NATIVE: partial(opened, twin),
            TRUSTED: partial(opened, array, is_trusted=True),
            METERED: partial(opened, array),
        }
        steps = zarr.open_array(array, mode="r").nchunks
        cases.append(Case(name, contenders, values, goal, wasm_steps=steps))
    return cases


@contextlib.contextmanager
def called_as_module(
    codec: wazarr.WasmCodec, encoded: bytes, decoded_len: int, *, is_trusted: bool = False
) -> Iterator[Callable[[], Any]]:
    """Bind a module; what this yields calls its decoder."""
    with zarr.config.set({"wazarr.wasm.trusted": [codec.wasm_description.module] if is_trusted else []}):
        bound = codec._codec(Layout(), Layout(), None)
    yield lambda: bound.decode(encoded, decoded_len, decoded_len)


def call_cases(_: Path) -> list[Case]:
    """Return the cases in which a module's decoder is called without zarr."""
    image = tile()[1]
    shuffled = np.ascontiguousarray(image.reshape(-1).view(np.uint8).reshape(-1, 2).T).reshape(-1)
    cases = []
    for name, what, values, native, goal in (
        ("lz4", "the tile, which it cannot compress,", image, numcodecs.LZ4(), 1.3),
        ("lz4", "the tile's shuffled bytes,", shuffled, numcodecs.LZ4(), 1.3),
        ("zstd", "the tile,", image, numcodecs.Zstd(level=3), 2.1),
    ):
        codec = module(name)
        encoded = bytes(native.encode(values))
        contenders: dict[str, Contender] = {
            NATIVE: called(native.decode, encoded),
            TRUSTED: partial(called_as_module, codec, encoded, values.nbytes, is_trusted=True),
            METERED: partial(called_as_module, codec, encoded, values.nbytes),
        }
        expected = np.frombuffer(values, np.uint8)
        cases.append(Case(f"{name} of {what} the call alone", contenders, expected, goal))
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
        cases.append(Case(f"{name} of numcodecs-wasm, 4 MiB", contenders, expected, 0.62, wasm_steps=1))
    return cases
