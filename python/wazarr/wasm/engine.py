"""The way into the engine: what a guest is told of the chunk, what limits hold, and what may stand in for it.

Called where a chain is bound (`wazarr.codecs`) and, under zarr-python's own pipelines, by the codec classes.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from wazarr import _native, config
from wazarr.errors import CodecError, InvalidInputError, UnsupportedError
from wazarr.wasm import modules

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

    from wazarr.wasm.description import Description

__all__ = ["Layout", "NativeCodec", "bind", "forward_guest_log", "native_equivalent", "trust"]

guest_logger: Final = logging.getLogger("wazarr.wasm.guest")
"""Gets what guests write to their standard error, as far as the engine keeps it."""

NATIVE: Final[dict[str, NativeCodec]] = {}
"""Our modules whose results were tested equal to a native codec's, by digest."""

_LONGEST_MESSAGE: Final = 1000

_bound: Final[dict[tuple[Any, ...], _native.Codec]] = {}
"""Codecs bound of late: arrays are opened again, and those of one group mostly have the same codecs."""

_MOST_BOUND: Final = 32

_trusted: Final[set[str]] = set()
"""Modules of packages that the user installed."""


@dataclass(frozen=True)
class Layout:
    """A chunk on one side of a codec, as a guest is told of it.

    Parameters
    ----------
    data_type : str
        numpy's `dtype.str`, in little-endian order: guests see no other.
    shape : tuple of int
        Elements along each axis; ``(0,)`` with ``"|u1"`` for bytes of any length.
    """

    data_type: str = "|u1"
    shape: tuple[int, ...] = (0,)

    @property
    def is_bytes(self) -> bool:
        """Whether these are bytes of any length, rather than an array."""
        return self.shape == (0,) and self.data_type == "|u1"

    @property
    def len_bytes(self) -> int | None:
        """Length in bytes, where it is fixed."""
        return None if self.is_bytes else math.prod(self.shape) * np.dtype(self.data_type).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return it as guests are told."""
        return {"data_type": self.data_type, "shape": list(self.shape)}


def layout_of(spec: ArraySpec) -> Layout:
    """Return how a guest sees a chunk of a spec.

    Parameters
    ----------
    spec : ArraySpec
        The chunk.

    Raises
    ------
    UnsupportedError
        The elements have variable length.
    """
    dtype = spec.dtype.to_native_dtype()
    if dtype.kind in "OT":
        raise UnsupportedError(f"a WebAssembly codec takes no elements of variable length ({dtype})")
    return Layout(dtype.newbyteorder("<").str, tuple(spec.shape))


def zarr_dtype(name: str) -> Any:
    """Return the data type of a name of Zarr v3's or numpy's."""
    from zarr.core.dtype import get_data_type_from_json, get_data_type_from_native_dtype

    try:
        return get_data_type_from_json(name, zarr_format=3)
    except Exception:  # noqa: BLE001 - whatever zarr raises for a name that is not its own
        try:
            return get_data_type_from_native_dtype(np.dtype(name))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"no data type {name!r} for what a codec encodes to") from error


def encoded_layout(description: Description, decoded: Layout) -> Layout:
    """Return how a guest sees what it encodes to: as `encoded` says, else as what it encodes.

    Parameters
    ----------
    description : Description
        The codec.
    decoded : Layout
        What it encodes.
    """
    if description.kind != "array-array":
        return Layout()
    encoded = description.encoded or {}
    data_type = decoded.data_type
    if "data_type" in encoded:
        data_type = zarr_dtype(encoded["data_type"]).to_native_dtype().newbyteorder("<").str
    return Layout(data_type, tuple(encoded.get("shape", decoded.shape)))


@dataclass(frozen=True)
class NativeCodec:
    """A native codec that does what a module does.

    Parameters
    ----------
    name : str
        As `_native.bind_codec` takes it.
    configuration : dict
        Its configuration.
    parameters : dict of str to str
        Which parameter of the module's becomes which key of the configuration.
    """

    name: str
    configuration: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, declared: object) -> NativeCodec:
        """Read what the user declares under `wazarr.wasm.native`.

        Raises
        ------
        InvalidInputError
            It is not as the documentation says.
        """
        if (
            isinstance(declared, Mapping)
            and isinstance(declared.get("name"), str)
            and set(declared) <= {"name", "configuration", "parameters"}
            and isinstance(declared.get("configuration", {}), Mapping)
            and isinstance(declared.get("parameters", {}), Mapping)
        ):
            return cls(
                declared["name"],
                dict(declared.get("configuration", {})),
                dict(declared.get("parameters", {})),
            )
        raise InvalidInputError(
            f"wazarr.wasm.native holds {declared!r}; a native codec is "
            '{"name": …, "configuration": {…}, "parameters": {PARAMETER: KEY}}, the last two optional'
        )

    def configured(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration, with what the module's parameters say."""
        return self.configuration | {
            key: parameters[name] for name, key in self.parameters.items() if name in parameters
        }


def native_equivalent(description: Description) -> NativeCodec | None:
    """Return the native codec that may stand in for a module, by its digest alone.

    What the user declares counts before our own table; `wazarr.wasm.prefer` of "wasm" turns both off.
    """
    if not config.wasm_prefers_native():
        return None
    declared = config.wasm_native().get(description.module)
    if declared is not None:
        return NativeCodec.from_json(declared)
    return NATIVE.get(description.module)


def trust(digest: str) -> None:
    """Have a module run without a time limit in this process; for those of installed packages."""
    _trusted.add(digest)


def is_trusted(digest: str) -> bool:
    """Return whether a module runs without a time limit."""
    return digest in _trusted or digest in config.wasm_trusted()


def settings() -> tuple[str, int]:
    """Return everything in the configuration that a bound codec depends on, to be compared.

    As it is written, not as it is read: this is asked for at every read and write.
    """
    return config.wasm_as_written(), len(_trusted)


def reason(description: Description, native: NativeCodec | None = None) -> str:
    """Say for `wazarr.explain` what runs a codec and why."""
    which = f"{description.codec}, module {description.module[:19]}…"
    if native is not None:
        return f"{which}: its digest stands for the native codec {native.name!r}"
    return f"{which}: {'trusted' if is_trusted(description.module) else 'with a time limit'}"


def bind(
    description: Description,
    decoded: Layout,
    encoded: Layout,
    *,
    fill_value: Any = None,
    decoded_len: int | None = None,
) -> _native.Codec:
    """Bind a module that is at hand to a chunk.

    Parameters
    ----------
    description : Description
        The codec.
    decoded, encoded : Layout
        What it encodes, and what that becomes.
    fill_value : object, optional
        The fill value as Zarr v3 metadata holds it.
    decoded_len : int, optional
        Length in bytes of what is encoded, where that is fixed.

    Returns
    -------
    _native.Codec

    Raises
    ------
    CodecError
        The module cannot run, or refuses its parameters.
    InvalidInputError
        It has another interface than its description says.
    """
    modules.apply_settings()
    try:
        key = (
            *(description.codec, description.module, description.kind, description.interface),
            *(description.fresh_instance, repr(description.parameters), repr(description.encoded)),
            *(decoded, encoded, repr(fill_value), decoded_len, config.wasm_cache_dir(), settings()),
        )
        known = _bound.get(key)
        if known is None:
            known = _bind(description, decoded, encoded, fill_value=fill_value, decoded_len=decoded_len)
            if len(_bound) >= _MOST_BOUND:
                _bound.clear()
            _bound[key] = known
    except CodecError:
        raise
    except (ValueError, RecursionError) as error:
        # Metadata that are no JSON: numbers beyond every size, half a character, brackets without end.
        raise InvalidInputError(
            f"codec {description.codec[:100]!r}, module {description.module}: {shortened(str(error))}"
        ) from None
    return known


def _bind(
    description: Description,
    decoded: Layout,
    encoded: Layout,
    *,
    fill_value: Any,
    decoded_len: int | None,
) -> _native.Codec:
    """Do what `bind` does for a codec that is not bound yet."""
    setup: dict[str, Any] = {
        "kind": description.kind,
        "parameters": description.parameters,
        "decoded": decoded.to_json(),
        "encoded": encoded.to_json(),
    }
    if fill_value is not None:
        setup["fill_value"] = fill_value
    if description.interface is not None:
        setup["interface"] = description.interface
    encoded_len = encoded.len_bytes
    if encoded_len is None:
        encoded_len = encoded_length(description, decoded.len_bytes or decoded_len)
    if encoded_len is not None:
        setup["encoded_len"] = encoded_len
    with modules.naming(description):
        return _native.bind_wasm_codec(
            description.codec,
            description.module,
            json.dumps(setup),
            limits=_limits_json((*config.wasm_limits().items(), ("trusted", is_trusted(description.module)))),
            cache_dir=config.wasm_cache_dir(),
            fresh_instance=description.fresh_instance,
        )


@lru_cache(maxsize=16)
def _limits_json(limits: tuple[tuple[str, int | float], ...]) -> str:
    """Return the limits of one codec's guests as the engine reads them."""
    return json.dumps(dict(limits))


def shortened(text: str) -> str:
    """Return a message of bounded length, whoever's words are in it."""
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def encoded_length(description: Description, decoded_len: int | None) -> int | None:
    """Return the length of every encoding in bytes, where the metadata say that it is fixed.

    Parameters
    ----------
    description : Description
        The codec, not an array-array one.
    decoded_len : int or None
        Length in bytes of what it encodes.
    """
    overhead = (description.encoded or {}).get("overhead_bytes")
    return None if overhead is None or decoded_len is None else decoded_len + int(overhead)


def fill_value_of(spec: ArraySpec) -> Any:
    """Return a spec's fill value as JSON has it, or None where there is no such thing."""
    try:
        return spec.dtype.to_json_scalar(spec.fill_value, zarr_format=3)
    except Exception:  # noqa: BLE001 - somebody's data type; a guest can do without
        return None


def forward_guest_log() -> None:
    """Hand to the logger what guests wrote to their standard error."""
    for digest, text in _native.wasm_take_texts():
        guest_logger.warning("module %s…: %s", digest[:19], text)


def encode(codec: _native.Codec, content: bytes) -> bytes:
    """Encode outside of our pipeline."""
    try:
        return codec.encode(content)
    finally:
        forward_guest_log()


def decode(codec: _native.Codec, content: bytes, expected_len: int | None, limit_bytes: int) -> bytes:
    """Decode outside of our pipeline, to a length that is known or at most to a limit."""
    try:
        return codec.decode(content, expected_len, limit_bytes)
    finally:
        forward_guest_log()
