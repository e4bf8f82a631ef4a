"""Exceptions, grouped by what a handler would do.

::

    WazarrError
    ├── UnsupportedError     selection, dtype, codec or store; .reason
    ├── InvalidInputError    also ValueError
    │   └── ChunkIndexError  also IndexError
    ├── CodecError           also ValueError, RuntimeError; .codec .direction .chunk_key
    │   ├── ChecksumError, PythonCodecError
    │   └── WasmTrapError, WasmLimitError, WasmModuleNotFoundError   .module
    ├── StoreError           also OSError; .chunk_key .status .attempt .written
    └── InternalError        a bug of ours; asks for a report

`UnsupportedError` is not a `NotImplementedError`: zarr swallows those when it opens an array. A
`StoreError` for which Python has a narrower class (`PermissionError`, `IsADirectoryError`, …) is one of
these too, and a `PythonCodecError` is also an instance of what the codec raised, where the two classes can
be combined: handlers written for zarr-python's own pipelines keep working.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

__all__ = [
    "ChecksumError",
    "ChunkIndexError",
    "CodecError",
    "InternalError",
    "InvalidInputError",
    "PythonCodecError",
    "StoreError",
    "UnsupportedError",
    "WasmLimitError",
    "WasmModuleNotFoundError",
    "WasmTrapError",
    "WazarrError",
]


class WazarrError(Exception):
    """Base of all exceptions that wazarr defines."""


class UnsupportedError(WazarrError):
    """Something that this engine does not do, where a fallback was not allowed.

    Parameters
    ----------
    reason : str
        What, and why.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidInputError(WazarrError, ValueError):
    """A request that makes no sense for the array."""


class ChunkIndexError(InvalidInputError, IndexError):
    """Chunk coordinates outside the chunk grid."""


class CodecError(WazarrError, ValueError, RuntimeError):
    """A codec could not decode or encode a chunk.

    Attributes
    ----------
    codec : str or None
        Name of the codec.
    direction : {"decode", "encode"} or None
        Which way it ran.
    chunk_key : str or None
        Store key of the chunk, with the array's path in front.
    """

    codec: str | None = None
    direction: str | None = None
    chunk_key: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        codec: str | None = None,
        direction: str | None = None,
        chunk_key: str | None = None,
    ) -> None:
        super().__init__(message)
        self.codec = codec
        self.direction = direction
        self.chunk_key = chunk_key

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the attributes."""
        return _restore, (_parts_of(type(self)), self.args, dict(self.__dict__), self.__cause__)


class ChecksumError(CodecError):
    """A chunk's stored checksum does not match its data."""


class WasmTrapError(CodecError):
    """A WebAssembly codec trapped.

    Attributes
    ----------
    module : str or None
        Digest of the module, ``"sha256:…"``.
    """

    module: str | None = None


class WasmLimitError(CodecError):
    """A WebAssembly codec went over a limit.

    Attributes
    ----------
    module : str or None
        Digest of the module, ``"sha256:…"``.
    """

    module: str | None = None


class WasmModuleNotFoundError(CodecError):
    """The module of a WebAssembly codec is nowhere where it was looked for.

    The message says where that was, and how to supply it.

    Attributes
    ----------
    module : str or None
        Its digest, ``"sha256:…"``.
    places : tuple of str
        Where it was looked for, and what was wrong there.
    """

    module: str | None = None
    places: tuple[str, ...] = ()

    def __init__(
        self, message: str = "", *, module: str | None = None, places: tuple[str, ...] = (), **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.module = module
        self.places = places


class PythonCodecError(CodecError):
    """A codec written in Python raised; its own exception is the `__cause__`."""


class StoreError(WazarrError, OSError):
    """A store failed; "not found" is not a failure.

    Attributes
    ----------
    chunk_key : str or None
        Store key of the chunk, with the array's path in front.
    status : int or None
        HTTP status that a server answered.
    attempt : int or None
        How often a request over the network was made.
    written : tuple of str or None
        Of a write over the network that failed: keys of the chunks that were stored all the same.
    """

    chunk_key: str | None = None
    status: int | None = None
    attempt: int | None = None
    written: tuple[str, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the attributes."""
        # OSError keeps the file name apart from its arguments.
        args = self.args if self.filename is None else (*self.args, self.filename)
        return _restore, (_parts_of(type(self)), args, dict(self.__dict__), self.__cause__)


class InternalError(WazarrError, RuntimeError):
    """A bug in wazarr. Please report it."""


_combined: dict[tuple[type[BaseException], type[BaseException]], type[BaseException]] = {}


def _combine(own: type[BaseException], other: type[BaseException]) -> type[BaseException]:
    """Return a class that is both, or `own` where the two cannot be combined."""
    if issubclass(own, other):
        return own
    made = _combined.get((own, other))
    if made is None:
        try:
            made = type(own.__name__, (own, other), {"__module__": own.__module__, "_parts": (own, other)})
        except TypeError:
            made = own
        _combined[own, other] = made
    return made


def _parts_of(cls: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Return the importable classes that a combined class was made from."""
    parts: tuple[type[BaseException], ...] = cls.__dict__.get("_parts", (cls,))
    return parts


def _restore(
    parts: tuple[type[BaseException], ...],
    args: tuple[Any, ...],
    state: dict[str, Any],
    cause: BaseException | None,
) -> BaseException:
    """Rebuild a pickled exception."""
    cls = _combine(*parts) if len(parts) == 2 else parts[0]
    error = cls.__new__(cls, *args)
    if not isinstance(error, StoreError):
        error.args = args
    error.__dict__.update(state)
    error.__cause__ = cause
    return error


_CODEC_CLASSES: dict[str, type[CodecError]] = {
    "checksum": ChecksumError,
    "python": PythonCodecError,
    "wasm-limit": WasmLimitError,
    "wasm-trap": WasmTrapError,
}


def make_codec_error(
    *,
    message: str,
    kind: str,
    codec: str,
    direction: str,
    chunk_key: str | None,
    cause: BaseException | None,
    module: str | None = None,
) -> CodecError:
    """Make the exception for a failed codec; called from the native module."""
    cls: type[BaseException] = _CODEC_CLASSES.get(kind, CodecError)
    if isinstance(cause, WasmModuleNotFoundError):
        cls = WasmModuleNotFoundError
    elif cause is not None:
        cls = _combine(cls, type(cause))
    try:
        error = cls.__new__(cls, message)
    except TypeError:
        cls = _CODEC_CLASSES.get(kind, CodecError)
        error = cls.__new__(cls, message)
    error.args = (message,)
    assert isinstance(error, CodecError)
    error.codec = codec
    error.direction = direction
    error.chunk_key = chunk_key
    error.__cause__ = cause
    if isinstance(cause, WasmModuleNotFoundError):
        error.__dict__.update(module=cause.module, places=cause.places)
    elif module is not None:
        error.__dict__["module"] = module
    return error


def make_module_error(*, message: str, kind: str, module: str | None = None) -> CodecError:
    """Make the exception for a WebAssembly module that cannot be used; called from the native module."""
    error = _CODEC_CLASSES.get(kind, CodecError)(message)
    if module is not None:
        error.__dict__["module"] = module
    return error


def make_store_error(*, message: str, errno: int, chunk_key: str, location: str) -> StoreError:
    """Make the exception for a failed store request; called from the native module."""
    narrower = type(OSError(errno, message)) if errno else OSError
    cls = _combine(StoreError, narrower)
    error = cls(errno, message, location) if errno else cls(message)
    assert isinstance(error, StoreError)
    error.chunk_key = chunk_key
    return error


# Their exceptions show the headers of the request, credentials included.
_INDISCREET = frozenset({"aiohttp"})


def of_store(error: Exception, operation: str, chunk_key: str, store: str) -> Exception:
    """Make the exception for what a store's own method raised: of its class too, where that can be.

    Parameters
    ----------
    error : Exception
        What it raised; an exception of ours stays what it is.
    operation : {"get", "set", "delete"}
        What was asked of the store.
    chunk_key : str
        Store key of the chunk.
    store : str
        Class of the store.

    Returns
    -------
    StoreError
        With the original as its cause, unless that shows secrets.
    """
    if isinstance(error, WazarrError):
        return error
    is_indiscreet = type(error).__module__.partition(".")[0] in _INDISCREET
    cls = StoreError if is_indiscreet else _combine(StoreError, type(error))
    what = without_secrets(str(error)) or type(error).__name__
    message = f"chunk {chunk_key!r}: could not {operation} it ({store}): {what}"
    try:
        made = cls.__new__(cls, message)
    except TypeError:
        made = StoreError(message)
    assert isinstance(made, StoreError)
    made.args = (message,)
    if not is_indiscreet:
        made.__dict__.update(vars(error))
    if isinstance(error, OSError) and isinstance(made, OSError):
        made.errno = error.errno
    made.chunk_key = chunk_key
    status = getattr(error, "status", None)
    made.status = status if isinstance(status, int) else None
    if not is_indiscreet:
        made.__cause__ = error
    return made


_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(://[^?#\s\"')>]*)[?#][^\s\"')>]*")


def without_secrets(text: str) -> str:
    """Return a text with everything taken out of its URLs that may be secret: user, password, query."""
    return _QUERY.sub(r"\1", _USER_INFO.sub("", text))


def make_remote_error(
    *,
    message: str,
    chunk_key: str,
    location: str,
    status: int | None,
    attempt: int,
    written: tuple[str, ...] | None,
) -> StoreError:
    """Make the exception for a failed request over the network; called from the native module."""
    cls = _combine(StoreError, PermissionError) if status in {401, 403} else StoreError
    error = cls(message)
    assert isinstance(error, StoreError)
    error.chunk_key = chunk_key
    error.status = status
    error.attempt = attempt
    error.written = written
    return error


def make_internal_error(*, message: str) -> InternalError:
    """Make the exception for a bug; called from the native module."""
    return InternalError(message)


def make_invalid_input_error(*, message: str) -> InvalidInputError:
    """Make the exception for a senseless request; called from the native module."""
    return InvalidInputError(message)


def make_unsupported_error(*, reason: str) -> UnsupportedError:
    """Make the exception for what is not done natively; called from the native module."""
    return UnsupportedError(reason)


def make_cancelled_error() -> asyncio.CancelledError:
    """Make the exception for work that was cancelled; called from the native module."""
    return asyncio.CancelledError()
