"""numcodecs-wasm's codecs under their numcodecs ids, as Zarr v2 has them, on our host.

The classes here read and write what numcodecs-wasm's do, with neither its host nor its packages imported. The
module is that of the installed package (`wazarr.wasm.packages`), else the one that the manifest of a group
`wasm_codecs` names (`wazarr.wasm.hierarchy`). Where a program has the packages' own classes, `adopt`
recognises exactly those.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

import numcodecs.abc
import numpy as np

from wazarr.wasm import packages
from wazarr.wasm.any_numcodecs import (
    AnyArrayArrayCodec,
    AnyArrayBytesCodec,
    AnyBytesBytesCodec,
    AnyNumcodecsCodec,
)
from wazarr.wasm.numcodecs_modules import BYTES, Named, bind, encoded_of, layout, longest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wazarr.wasm.description import Description
    from wazarr.wasm.engine import Layout

__all__ = ["NumcodecsIdCodec", "adopt", "class_of"]


class NumcodecsIdCodec(Named, numcodecs.abc.Codec):  # type: ignore[misc] # numcodecs has no types
    """A codec of Zarr v2 that is a module, under its numcodecs id.

    Parameters
    ----------
    **configuration
        The codec's own parameters.
    """

    codec_id: str
    kind = "bytes-bytes"

    def __init__(self, **configuration: Any) -> None:
        self.configuration = configuration

    @property
    def wasm_label(self) -> str:
        """The name in metadata."""
        return self.codec_id

    @property
    def wasm_name(self) -> str:
        """The codec's id, under which a manifest may have it."""
        return self.codec_id

    @property
    def wasm_configuration(self) -> Mapping[str, Any]:
        """The configuration as numcodecs has it, without the id."""
        return self.configuration

    def wasm_arrange(self, description: Description, decoded: Layout) -> tuple[Description, Layout]:
        """Return how it is to be called for an array, and what that becomes.

        A row of bytes is the end of what is known of an array: it may have any length. An array of any
        other type or shape is told to the codec when it decodes.

        Parameters
        ----------
        description : Description
            Its module is at hand.
        decoded : Layout
            What it encodes.
        """
        layout(np.dtype(decoded.data_type), decoded.shape)
        if decoded.is_bytes:
            return description, BYTES
        encoded = encoded_of(description, decoded)
        if encoded.data_type == "|u1" and len(encoded.shape) == 1:
            return replace(description, kind="array-bytes"), BYTES
        return replace(description, kind="array-array"), encoded

    def get_config(self) -> dict[str, Any]:
        """Return the codec's entry in metadata."""
        return {"id": self.codec_id, **self.configuration}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the codec's entry in metadata, without its id."""
        return cls(**{key: value for key, value in config.items() if key != "id"})

    def encode(self, buf: Any) -> np.ndarray[Any, Any]:
        """Encode an array; what comes is one as well.

        Parameters
        ----------
        buf : array_like
            Its data type and shape are the codec's to see.
        """
        array = _as_array(buf)
        codec = bind(self._described(), layout(array.dtype, array.shape), BYTES)
        return _made(*codec.encode_array(array.tobytes()))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode an array; what comes is one as well.

        Parameters
        ----------
        buf : array_like
            What `encode` gave.
        out : ndarray, optional
            Where it goes: an array of as many bytes.
        """
        array = _as_array(buf)
        description, answer = self._described(), BYTES
        if out is not None:
            # Some have to be told what to make.
            given = np.asarray(out)
            description = replace(description, kind="array-array")
            answer = layout(given.dtype, given.shape)
        codec = bind(description, answer, layout(array.dtype, array.shape))
        decoded = _made(*codec.decode_array(array.tobytes(), longest()))
        if out is None:
            return decoded
        np.asarray(out).reshape(-1).view(decoded.dtype)[:] = decoded.reshape(-1)
        return out


def _as_array(buf: Any) -> np.ndarray[Any, Any]:
    """Return a buffer as an array; numpy alone would make text of bytes."""
    return (
        np.frombuffer(buf, np.uint8) if isinstance(buf, bytes | bytearray | memoryview) else np.asarray(buf)
    )


def _made(content: bytes, described: tuple[str, list[int]]) -> np.ndarray[Any, Any]:
    data_type, array_shape = described
    return np.frombuffer(bytearray(content), data_type).reshape(array_shape)


def class_of(codec_id: str) -> type[NumcodecsIdCodec]:
    """Return our class of a codec, made on first use."""
    name = codec_id.replace("-", "_").replace(".", "_")
    found = globals().get(name)
    if found is None:
        body = {
            "codec_id": codec_id,
            "__module__": __name__,
            "__doc__": f"The codec `{codec_id}` of Zarr v2.",
        }
        found = globals().setdefault(name, type(name, (NumcodecsIdCodec,), body))
    return found  # type: ignore[no-any-return]


def __getattr__(name: str) -> type[NumcodecsIdCodec]:
    """Make the class of a published codec: ``zfp_rs`` for ``zfp.rs``; entry points and pickles ask for it."""
    codec_id = name.removesuffix("_rs").replace("_", "-") + ".rs"
    is_known = codec_id in packages.CODEC_IDS or packages.find(codec_id) is not None
    if not is_known or not name.endswith("_rs"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return class_of(codec_id)


# --- the packages' own classes -------------------------------------------------------------------------

_THEIRS: Final = "zarr_any_numcodecs"
_OURS: Final[dict[str, type[AnyNumcodecsCodec]]] = {
    "AnyNumcodecsArrayArrayCodec": AnyArrayArrayCodec,
    "AnyNumcodecsArrayBytesCodec": AnyArrayBytesCodec,
    "AnyNumcodecsBytesBytesCodec": AnyBytesBytesCodec,
}


def adopt(codec: Any) -> AnyNumcodecsCodec | NumcodecsIdCodec | None:
    """Return ours in place of a codec of the packages' own classes.

    Parameters
    ----------
    codec : object
        A codec of a chain, of either format.

    Returns
    -------
    codec or None
        None where it is of any other class, a derived one included, or wraps one that is.
    """
    cls = type(codec)
    if cls.__module__ == _THEIRS:
        ours = _OURS.get(cls.__name__)
        is_theirs = getattr(sys.modules.get(_THEIRS), cls.__name__, None) is cls
        if ours is None or not is_theirs or packages.find_owner(type(codec.codec)) is None:
            return None
        return ours(dict(codec.codec.get_config()))
    if packages.find_owner(cls) is None:
        return None
    configuration = dict(codec.get_config())
    return class_of(configuration.pop("id")).from_config(configuration)
