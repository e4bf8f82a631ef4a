"""What the metadata of an array says of a codec that is a WebAssembly module.

Both formats hold the same keys: Zarr v3 as the ``configuration`` of a codec named ``wazarr.wasm``, Zarr v2
beside ``"id": "wazarr.wasm"``. `docs/reference/wasm-metadata.md` is the specification; this is its reader.
Everything in here was written by somebody else: it is checked, and nothing is looked up or loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from wazarr.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NAME", "Description", "Kind", "digest_of"]

NAME: Final = "wazarr.wasm"
"""Name of the codec in metadata of either format."""

Kind = Literal["bytes-bytes", "array-bytes", "array-array"]

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""The identity of a module."""

HIERARCHY: Final = "hierarchy"
"""The source that stands for the group `wasm_codecs` of the array's own store."""

MOST_SOURCES: Final = 32
LONGEST_NAME: Final = 200

_REQUIRED: Final = ("codec", "kind", "module")
_OPTIONAL: Final = ("sources", "parameters", "fresh_instance", "interface", "encoded")


@dataclass(frozen=True)
class Description:
    """One codec: which module, what it turns into what, with which parameters, and where to find it.

    Parameters
    ----------
    codec : str
        What its author calls it. A name for people and messages: it decides nothing.
    kind : {"bytes-bytes", "array-bytes", "array-array"}
        What it encodes, and what that becomes.
    module : str
        ``"sha256:"`` and the digest of the module in 64 hexadecimal digits: its identity.
    sources : tuple of str
        Where the module may be, in the order in which to look.
    parameters : dict
        What the module is configured with, as JSON has it.
    fresh_instance : bool
        Whether every chunk needs an instance of its own.
    interface : str or None
        How to call the module, where its bytes leave that open.
    encoded : dict or None
        What is known of the encoded side: ``data_type`` and ``shape`` of an array-array codec where they
        differ from those it encodes; for the others ``overhead_bytes`` where every encoding is exactly so
        many bytes longer than what it encodes.

    Raises
    ------
    InvalidInputError
        A part that makes no sense.
    """

    codec: str
    kind: Kind
    module: str
    sources: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    fresh_instance: bool = False
    interface: str | None = None
    encoded: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check every part: whatever its annotation says, somebody else wrote it."""
        codec: Any = self.codec
        module: Any = self.module
        parameters: Any = self.parameters
        if not isinstance(codec, str) or not 0 < len(codec) <= LONGEST_NAME:
            raise _wrong("codec", self.codec, f"a text of 1 to {LONGEST_NAME} characters")
        if self.kind not in get_args(Kind):
            raise _wrong("kind", self.kind, f"one of {', '.join(get_args(Kind))}")
        if not isinstance(module, str) or not DIGEST.fullmatch(module):
            raise _wrong("module", self.module, '"sha256:" and 64 hexadecimal digits in lower case')
        if len(self.sources) > MOST_SOURCES or not all(isinstance(source, str) for source in self.sources):
            raise _wrong("sources", self.sources, f"a list of at most {MOST_SOURCES} texts")
        if not isinstance(parameters, dict) or not all(isinstance(key, str) for key in parameters):
            raise _wrong("parameters", self.parameters, "an object")
        if not isinstance(self.fresh_instance, bool):
            raise _wrong("fresh_instance", self.fresh_instance, "true or false")
        if not (self.interface is None or isinstance(self.interface, str)):
            raise _wrong("interface", self.interface, "a text")
        if self.encoded is not None:
            self._check_encoded(self.encoded)

    def _check_encoded(self, encoded: object) -> None:
        if not isinstance(encoded, dict):
            raise _wrong("encoded", encoded, "an object")
        known = {"data_type", "shape"} if self.kind == "array-array" else {"overhead_bytes"}
        if not set(encoded) <= known:
            raise _wrong("encoded", encoded, f"with no keys but {', '.join(sorted(known))} for {self.kind}")
        if not isinstance(encoded.get("data_type", ""), str):
            raise _wrong("encoded.data_type", encoded["data_type"], "a text")
        shape = encoded.get("shape", [])
        if not isinstance(shape, list | tuple) or not all(_is_count(length) for length in shape):
            raise _wrong("encoded.shape", shape, "a list of lengths")
        if not _is_count(encoded.get("overhead_bytes", 0)):
            raise _wrong("encoded.overhead_bytes", encoded["overhead_bytes"], "a number of bytes")

    @classmethod
    def from_json(cls, configuration: Mapping[str, Any]) -> Self:
        """Read the keys as metadata holds them.

        Parameters
        ----------
        configuration : mapping
            The configuration object; Zarr v2's without its ``id``.

        Raises
        ------
        InvalidInputError
            A key that is missing, unknown or makes no sense. An unknown key is refused, since it may say
            how to decode.
        """
        if not hasattr(configuration, "keys"):
            raise _wrong("configuration", configuration, "an object")
        keys = set(configuration)
        missing = [key for key in _REQUIRED if key not in keys]
        unknown = sorted(str(key) for key in keys.difference(_REQUIRED, _OPTIONAL))
        if missing or unknown:
            what = [f"{key!r} is missing" for key in missing] + [f"{key!r} is not known" for key in unknown]
            raise InvalidInputError(f"the configuration of codec {NAME!r}: {', '.join(what)}")
        values = {key: value for key, value in configuration.items() if value is not None or key in _REQUIRED}
        sources = values.pop("sources", ())
        if not isinstance(sources, list | tuple):
            raise _wrong("sources", sources, "a list")
        return cls(**values, sources=tuple(sources))

    def to_json(self) -> dict[str, Any]:
        """Return the keys as metadata holds them, without those that say nothing."""
        answer: dict[str, Any] = {
            "codec": self.codec,
            "kind": self.kind,
            "module": self.module,
            "sources": list(self.sources),
            "parameters": self.parameters,
        }
        if self.fresh_instance:
            answer["fresh_instance"] = True
        if self.interface is not None:
            answer["interface"] = self.interface
        if self.encoded is not None:
            answer["encoded"] = self.encoded
        return answer

    def __hash__(self) -> int:
        """Hash by what makes two of them equal."""
        return hash(
            (self.codec, self.kind, self.module, self.sources, json.dumps(self.to_json(), sort_keys=True))
        )

    @property
    def hex(self) -> str:
        """The digest's digits alone, which name the module in a hierarchy and in the cache."""
        return self.module.removeprefix("sha256:")

    @property
    def is_in_hierarchy(self) -> bool:
        """Whether the module is, or is to be, in a group of the array's store."""
        return HIERARCHY in self.sources

    @property
    def is_inline(self) -> bool:
        """Whether the metadata hold the module itself."""
        return any(source.startswith("data:") for source in self.sources)

    def with_sources(self, *sources: str) -> Self:
        """Return the same codec with the module elsewhere."""
        return replace(self, sources=sources)


def digest_of(module: bytes) -> str:
    """Return the identity of some bytes."""
    return f"sha256:{hashlib.sha256(module).hexdigest()}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _wrong(key: str, value: object, wanted: str) -> InvalidInputError:
    shown = repr(value)
    shown = shown if len(shown) <= 100 else f"{shown[:100]}…"
    return InvalidInputError(f"the configuration of codec {NAME!r}: {key} is {shown}, not {wanted}")
