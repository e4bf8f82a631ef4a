"""chonkle's pipeline documents as Zarr codecs.

A document names codecs and where their modules are. Two forms exist: the older is a list, from the array to
the stored bytes, beside each chunk; the newer a graph of steps in the direction that it states, of which
those that are one line from input to output can be Zarr codecs. Modules are fetched where
`wazarr.wasm.allow` permits it, and their digests recorded: what is made of a document holds no matter what
its URIs serve later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import zarr.codecs
from zarr.abc.codec import ArrayArrayCodec, ArrayBytesCodec, BytesBytesCodec

from wazarr.errors import InvalidInputError, WasmModuleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from zarr.abc.codec import Codec

    from wazarr.wasm.codec import Embed

__all__ = ["ChonkleCodecs", "Step", "from_chonkle", "parse"]

_BYTES: Final = "bytes"
"""Name of the port that carries the data, and of the older form's codec between arrays and bytes."""


@dataclass(frozen=True)
class Step:
    """One codec of a document.

    Attributes
    ----------
    name : str
        What the document calls it.
    uri : str or None
        Where its module is; None for a codec of numcodecs.
    parameters : dict
        Its configuration.
    takes_array : bool
        Whether it stands before the elements become bytes.
    """

    name: str
    uri: str | None
    parameters: dict[str, Any] = field(default_factory=dict)
    takes_array: bool = False


@dataclass(frozen=True)
class Document:
    """What a document says, from the array to the stored bytes.

    Attributes
    ----------
    steps : tuple of Step
        The codecs, without the one that turns elements into bytes.
    endian : {"little", "big"}
        Byte order of the elements.
    data_type : numpy.dtype or None
        Their data type, where the document tells.
    chunk_shape : tuple of int or None
        Shape of a chunk, where the document tells.
    """

    steps: tuple[Step, ...]
    endian: Literal["little", "big"] = "little"
    data_type: np.dtype[Any] | None = None
    chunk_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ChonkleCodecs:
    """The Zarr codecs that a document stands for, ready for `zarr.create_array`.

    Attributes
    ----------
    filters : tuple of ArrayArrayCodec
    serializer : ArrayBytesCodec
    compressors : tuple of BytesBytesCodec
    data_type : numpy.dtype or None
        Data type of the elements, where the document tells.
    chunk_shape : tuple of int or None
        Shape of a chunk, where the document tells.
    """

    filters: tuple[ArrayArrayCodec, ...]
    serializer: ArrayBytesCodec
    compressors: tuple[BytesBytesCodec, ...]
    data_type: np.dtype[Any] | None = None
    chunk_shape: tuple[int, ...] | None = None

    def __iter__(self) -> Iterator[Codec]:
        """Iterate over the codecs in the order of encoding."""
        yield from self.filters
        yield self.serializer
        yield from self.compressors


def from_chonkle(
    document: Mapping[str, Any] | str | PathLike[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    embed: Embed = "auto",
) -> ChonkleCodecs:
    """Make Zarr codecs of a pipeline document.

    Codecs of type ``wasm`` become `wazarr.WasmCodec`, those of numcodecs the codecs ``numcodecs.*`` that
    zarr has for them.

    Parameters
    ----------
    document : mapping, str or path
        The document, or the path of its JSON file (for the list form that of the chunk and ``.json``).
    inputs : mapping, optional
        Values for inputs of a graph besides its data: here they are parameters, the same for all chunks.
    embed : {"auto", "hierarchy", "inline", "never"}
        Where the modules go (`wazarr.WasmCodec`).

    Returns
    -------
    ChonkleCodecs

    Raises
    ------
    InvalidInputError
        Not such a document, or one that is no chain of codecs: a graph with branches, a port besides
        ``bytes`` between two steps, a codec of arrays behind one of bytes, a codec that nobody knows.
    WasmModuleNotFoundError
        `wazarr.wasm.allow` does not list where a module is, or nothing is there.
    """
    read: Any = document if isinstance(document, Mapping) else json.loads(Path(document).read_bytes())
    parsed = parse(read, inputs or {})
    filters: list[ArrayArrayCodec] = []
    compressors: list[BytesBytesCodec] = []
    for step in parsed.steps:
        made = _numcodecs(step) if step.uri is None else _wasm(step, step.uri, embed)
        if isinstance(made, ArrayArrayCodec):
            if compressors or (parsed.endian != "little" and not step.takes_array):
                raise InvalidInputError(
                    f"codec {step.name!r} of the chonkle document takes arrays, but stands behind one that "
                    "made bytes of them"
                )
            filters.append(made)
        elif isinstance(made, BytesBytesCodec) and not step.takes_array:
            compressors.append(made)
        else:
            raise InvalidInputError(f"codec {step.name!r} of the chonkle document cannot stand where it does")
    serializer = zarr.codecs.BytesCodec(endian=parsed.endian)
    return ChonkleCodecs(tuple(filters), serializer, tuple(compressors), parsed.data_type, parsed.chunk_shape)


def _wasm(step: Step, uri: str, embed: Embed) -> Codec:
    """Fetch a module under the rules for addresses that somebody else wrote, and make a codec of it."""
    from wazarr.wasm import sources
    from wazarr.wasm.codec import WasmCodec

    try:
        module = sources.fetch(uri)
    except sources.SourceError as error:
        raise WasmModuleNotFoundError(
            f"the module of codec {step.name!r} of the chonkle document: {error}", places=(str(error),)
        ) from error
    codec: Any = WasmCodec(
        module,
        codec=step.name,
        kind="array-array" if step.takes_array else "bytes-bytes",
        parameters=step.parameters,
        embed=embed,
    )
    # Readers may look there too, after what travels with the data.
    codec._set(_description=codec._description.with_sources(uri))
    return codec  # type: ignore[no-any-return]


def _numcodecs(step: Step) -> Codec:
    from zarr.registry import get_codec_class

    name = "numcodecs." + step.name.removeprefix("numcodecs.")
    try:
        cls = get_codec_class(name)
    except (KeyError, ValueError) as error:  # zarr's UnknownCodecError is a ValueError, before 3.2 a KeyError
        raise InvalidInputError(
            f"codec {step.name!r} of the chonkle document has no module and is none of numcodecs"
        ) from error
    return cls.from_dict({"name": name, "configuration": dict(step.parameters)})


# --- reading a document --------------------------------------------------------------------------------


def parse(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> Document:
    """Read a document of either form.

    Parameters
    ----------
    document : mapping
        As JSON has it.
    inputs : mapping
        Values for inputs of a graph besides ``bytes``.

    Raises
    ------
    InvalidInputError
        It is no such document, or no chain.
    """
    if "codecs" in document:
        if inputs:
            raise _wrong(f"a list of codecs has no inputs, but values for {sorted(inputs)} were given")
        return _parse_list(_typed(document, "codecs", list, "the document"))
    if "steps" in document:
        return _Graph(document, inputs).document()
    raise _wrong("it has neither 'codecs' nor 'steps'")


def _wrong(what: str) -> InvalidInputError:
    return InvalidInputError(f"not a chonkle document that Zarr codecs can stand for: {what}")


def _typed(entry: Any, key: str, kind: type, where: str, default: Any = None) -> Any:
    """Return a value of an object if it has the right type."""
    value = entry.get(key, default) if hasattr(entry, "get") else None
    if not isinstance(value, kind):
        raise _wrong(f"{key!r} of {where} is {value!r}")
    return value


def _parse_list(entries: list[Any]) -> Document:
    steps: list[Step] = []
    found: Document | None = None
    for at, entry in enumerate(entries):
        where = f"codec {at}"
        name = _typed(entry, "name", str, where)
        parameters = _typed(entry, "configuration", dict, where, {})
        match _typed(entry, "type", str, where):
            case "numcodecs" if name == _BYTES:
                if found is not None:
                    raise _wrong("two codecs named 'bytes'")
                found = _parse_bytes(parameters)
                steps = [Step(step.name, step.uri, step.parameters, takes_array=True) for step in steps]
            case "numcodecs":
                steps.append(Step(name, None, parameters))
            case "wasm":
                steps.append(Step(name, _typed(entry, "uri", str, where), parameters))
            case other:
                raise _wrong(f"{where} has type {other!r}")
    if found is None:
        return Document(tuple(steps))
    return Document(tuple(steps), found.endian, found.data_type, found.chunk_shape)


def _parse_bytes(parameters: dict[str, Any]) -> Document:
    """Read the codec that says what the elements are."""
    endian = parameters.get("endian", "little")
    if endian not in ("little", "big"):
        raise _wrong(f"'endian' is {endian!r}")
    data_type = None
    if "data_type" in parameters:
        try:
            data_type = np.dtype(parameters["data_type"])
        except TypeError as error:
            raise _wrong(f"'data_type' is {parameters['data_type']!r}") from error
    shape = parameters.get("shape")
    if shape is not None and not (
        isinstance(shape, list) and all(isinstance(length, int) for length in shape)
    ):
        raise _wrong(f"'shape' is {shape!r}")
    return Document((), endian, data_type, None if shape is None else tuple(shape))


class _Graph:
    """A document of steps and what is wired to what.

    Parameters
    ----------
    document : mapping
        As JSON has it.
    inputs : mapping
        Values for inputs besides ``bytes``.
    """

    def __init__(self, document: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        self.steps: dict[str, Any] = _typed(document, "steps", dict, "the document")
        self.sources: dict[str, Any] = _typed(document, "sources", dict, "the document", {})
        self.constants: dict[str, Any] = _typed(document, "constants", dict, "the document", {})
        self.inputs: dict[str, Any] = _typed(document, "inputs", dict, "the document")
        self.outputs: dict[str, Any] = _typed(document, "outputs", dict, "the document")
        self.values = inputs
        self.direction = document.get("direction")
        if self.direction not in ("encode", "decode"):
            raise _wrong(f"'direction' is {self.direction!r}")
        unknown = sorted(set(inputs).difference(self.inputs))
        if unknown:
            raise _wrong(f"it has no inputs {unknown}, for which values were given")

    def document(self) -> Document:
        """Return the steps in the order of encoding."""
        if len(self.outputs) != 1:
            raise _wrong(f"it has {len(self.outputs)} outputs")
        # From the output back to the input, each step's data coming from one other.
        chain: list[Step] = []
        seen: set[str] = set()
        (reference,) = self.outputs.values()
        while True:
            origin, port = self._split(reference)
            if port != _BYTES:
                raise _wrong(f"port {port!r} of {origin!r} carries data on")
            if origin == "input":
                break
            if origin in seen or origin not in self.steps:
                raise _wrong(f"{reference!r} leads nowhere")
            seen.add(origin)
            step, reference = self._step(origin)
            chain.append(step)
        left_over = sorted(set(self.steps) - seen)
        if left_over:
            raise _wrong(f"steps {left_over} are not on the line from input to output")
        # The chain is now against the document's direction.
        return Document(tuple(chain if self.direction == "decode" else chain[::-1]))

    def _split(self, reference: Any) -> tuple[str, str]:
        origin, dot, port = reference.partition(".") if isinstance(reference, str) else ("", "", "")
        if not dot:
            raise _wrong(f"{reference!r} is no reference")
        return origin, port

    def _step(self, name: str) -> tuple[Step, Any]:
        """Return one step and what its data is wired to."""
        where = f"step {name!r}"
        codec_id = _typed(self.steps[name], "codec_id", str, where)
        wires = dict(_typed(self.steps[name], "inputs", dict, where))
        if _BYTES not in wires:
            raise _wrong(f"{where} has no input {_BYTES!r}")
        data = wires.pop(_BYTES)
        parameters = {}
        for port, reference in wires.items():
            origin, source = self._split(reference)
            if origin == "constant" and source in self.constants:
                constant = self.constants[source]
                if not isinstance(constant, dict) or "value" not in constant:
                    raise _wrong(f"constant {source!r} has no value")
                parameters[port] = constant["value"]
            elif origin == "input" and source in self.values:
                parameters[port] = self.values[source]
            elif origin == "input" and source in self.inputs:
                raise _wrong(
                    f"input {source!r} gives {where} a parameter: a value for it must be given (inputs=)"
                )
            else:
                raise _wrong(f"port {port!r} of {where} is wired to {reference!r}")
        uri = self.sources.get(codec_id)
        if uri is not None and not isinstance(uri, str):
            raise _wrong(f"the source of {codec_id!r} is {uri!r}")
        return Step(codec_id, uri, parameters), data
