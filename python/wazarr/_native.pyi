"""The compiled part of wazarr.

Everything here is for the other modules of this package, which document what users see: signatures may
change between any two versions. A *job* is one call of `CodecPipeline.read` or `write`, planned; *the pool*
is the engine's threads, of which a process has one set.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "IS_DEBUG_BUILD",
    "Chain",
    "Codec",
    "ReadJob",
    "RemoteHandle",
    "ShardIndex",
    "WriteJob",
    "__version__",
    "after_fork_in_child",
    "bind_codec",
    "bind_wasm_codec",
    "count_files_as_slow",
    "counters",
    "finish_all",
    "native_codecs",
    "open_http",
    "open_object_store",
    "plan_read",
    "plan_write",
    "python_codec",
    "reset_counters",
    "wasm_bytes",
    "wasm_configure",
    "wasm_counters",
    "wasm_drop_idle",
    "wasm_has",
    "wasm_put",
    "wasm_survey",
    "wasm_take_texts",
]

__version__: Final[str]
"""Version of the crate, and so of the package."""

IS_DEBUG_BUILD: Final[bool]
"""Whether this is a build without optimisation."""

_T = TypeVar("_T")

_Notify: TypeAlias = Callable[[BaseException | None], object]
"""Called once, from a thread of the pool and with the interpreter lock: None, or what went wrong."""

_Bytes: TypeAlias = NDArray[Any]
"""A C-contiguous array whose memory is a stored value. It is kept alive as long as it is needed."""

_Batch: TypeAlias = list[tuple[Any, ...]]
"""zarr's ``(byte getter, chunk spec, chunk selection, out selection, is complete)`` for every chunk."""

def native_codecs() -> list[str]:
    """Return the names of all codecs with a native engine, as `bind_codec` takes them."""

def counters() -> dict[str, int]:
    """Return all counters of the process: ``{"read.chunks": 0, …}``."""

def count_files_as_slow(does: bool) -> None:
    """Has making files count as slow, or as what it is; for tests."""

def reset_counters() -> None:
    """Set all counters to zero."""

def finish_all() -> None:
    """Cancel what is under way and wait for its end; for the interpreter's exit."""

def after_fork_in_child() -> None:
    """Let go of threads and locks that only the parent has. To be called in the child after a fork."""

# --- codecs ------------------------------------------------------------------------------------------

@final
class Codec:
    """A codec bound to its configuration, a chunk shape and a data type."""

    @property
    def name(self) -> str:
        """Name for errors, as zarr metadata spells it."""

    @property
    def engine(self) -> str:
        """What runs it: ``"native"``, ``"wasm"`` or ``"python"``."""

    @property
    def interface(self) -> str | None:
        """The interface through which a WebAssembly guest is called; None for other engines."""

    def encode(self, decoded: bytes) -> bytes:
        """Encode outside of a chain, on this thread and without the interpreter lock.

        Raises
        ------
        CodecError
            As a write does, without a chunk key.
        """

    def decode(self, encoded: bytes, expected_len: int | None, limit_bytes: int) -> bytes:
        """Decode outside of a chain, on this thread and without the interpreter lock.

        Parameters
        ----------
        encoded : bytes
            What to decode.
        expected_len : int or None
            The only right length of the result in bytes, where it is known.
        limit_bytes : int
            The longest result allowed.

        Raises
        ------
        CodecError
            As a read does, without a chunk key.
        """

    def decode_ranges(
        self, encoded: bytes, decoded_len: int, ranges: Sequence[tuple[int, int]]
    ) -> list[bytes]:
        """Decode parts outside of a chain, as reads of large chunks and of windows do. Codecs in Wasm only.

        Parameters
        ----------
        encoded : bytes
            What to decode.
        decoded_len : int
            Length of all that it decodes to, in bytes.
        ranges : sequence of (int, int)
            First byte of each part, and where it ends.

        Raises
        ------
        CodecError
            As a read does, without a chunk key.
        ValueError
            Ranges outside of the result, or a native codec.
        """

    def encode_array(self, decoded: bytes) -> tuple[bytes, tuple[str, list[int]]]:
        """Encode an array outside of a chain, whatever it becomes.

        Parameters
        ----------
        decoded : bytes
            An array as the codec was bound to it.

        Returns
        -------
        tuple of (bytes, (str, list of int))
            The encoded array, with its data type and shape; a row of ``"|u1"`` where the guest does not tell.

        Raises
        ------
        ValueError
            It is no WebAssembly codec.
        """

    def decode_array(self, encoded: bytes, limit_bytes: int) -> tuple[bytes, tuple[str, list[int]]]:
        """Decode to an array outside of a chain: the mirror of `encode_array`.

        Parameters
        ----------
        encoded : bytes
            An array as the codec was bound to it.
        limit_bytes : int
            More than so many bytes are an error.
        """

    def encoded_bound(self, decoded_len: int) -> int | None:
        """Return the longest encoding of so many bytes: as a guest tells, or where all have one length."""

def bind_codec(
    name: str,
    configuration: str,
    chunk_shape: Sequence[int],
    dtype: str,
    *,
    validate_checksums: bool,
) -> Codec:
    """Bind a native codec.

    Parameters
    ----------
    name : str
        One of `native_codecs`.
    configuration : str
        Its configuration as JSON; data types in it as numpy's `dtype.str`.
    chunk_shape : sequence of int
        Elements along each axis of what it encodes, as stored; ``(0,)`` for bytes of any length.
    dtype : str
        Data type of what it encodes, as numpy's `dtype.str`.
    validate_checksums : bool
        Whether decoding compares checksums.

    Raises
    ------
    UnsupportedError
        No native engine for this codec, data type or setting: let its Python class run.
    InvalidInputError, ValueError
        The configuration makes no sense for the chunk, or is no JSON.
    """

def python_codec(
    name: str,
    decode: Callable[[bytes], _Bytes],
    encode: Callable[[bytes], _Bytes | None],
    *,
    encoded_len: int | None,
) -> Codec:
    """Make a codec from two Python functions.

    Parameters
    ----------
    name : str
        For errors.
    decode, encode : callable
        Called with the interpreter lock, from any thread of the pool and from several at a time. Each
        gets the whole input as bytes of its own and answers with C-contiguous bytes, which are copied.
    encoded_len : int or None
        Length in bytes of what `encode` answers, where it is always the same.
    """

# --- WebAssembly -------------------------------------------------------------------------------------

def wasm_survey(module: bytes, *, module_limit_bytes: int) -> str:
    """Say what a module is, without compiling or running it.

    Parameters
    ----------
    module : bytes
        A core module or component.
    module_limit_bytes : int
        The longest allowed.

    Returns
    -------
    str
        JSON: ``digest``, ``format`` (``"core"`` or ``"component"``), ``interface`` (None where it is none of
        ours), ``kind`` (None), ``len_bytes``, ``imports``, ``exports``, ``memory`` (``initial_pages`` and
        ``maximum_pages`` of 64 KiB), ``signature``, ``embedded_core``, ``has_decode``, ``has_encode``.

    Raises
    ------
    CodecError
        No module.
    WasmLimitError
        One that is over the limit, or more involved than a codec has to be.
    """

def wasm_put(module: bytes, digest: str | None, *, cache_dir: str | None, module_limit_bytes: int) -> str:
    """Verify a module and keep it in memory and on disk.

    Parameters
    ----------
    module : bytes
        A core module or component.
    digest : str or None
        ``sha256:`` and 64 hexadecimal digits that its bytes have to have.
    cache_dir : str or None
        Folder for modules and compiled code, made if need be; it has to be this user's alone, or a warning
        says why it is not used.
    module_limit_bytes : int
        The longest allowed.

    Returns
    -------
    str
        The digest.

    Raises
    ------
    CodecError
        Another digest, or no module.
    WasmLimitError
        As `wasm_survey`.
    """

def wasm_has(digest: str, *, cache_dir: str | None) -> bool:
    """Return whether a module is in memory or in the folder."""

def wasm_bytes(digest: str, *, cache_dir: str | None) -> bytes | None:
    """Return a module's bytes from memory or the folder, verified; None if they are in neither."""

def wasm_configure(*, cache_limit_bytes: int, compiled_modules_limit: int) -> None:
    """Set how many bytes a cache folder may hold, and how many compiled modules are kept in memory."""

def wasm_counters() -> dict[str, int]:
    """Return counts of the WebAssembly host.

    Returns
    -------
    dict
        Modules ``compiled`` and ``deserialized`` (found compiled on disk), ``instances`` made, ``calls`` of
        them, ``traps`` (calls that cost the instance), and ``memory_bytes`` that all instances hold now.
    """

def wasm_drop_idle() -> None:
    """Drop every instance that is not in a call."""

def wasm_take_texts() -> list[tuple[str, str]]:
    """Return what guests wrote to standard error or logged since this was last called.

    Returns
    -------
    list of (str, str)
        Digest of the module and what was written in one call, oldest first; of too much, the rest is dropped.
    """

def bind_wasm_codec(
    name: str,
    digest: str,
    setup: str,
    *,
    limits: str,
    cache_dir: str | None,
    fresh_instance: bool,
) -> Codec:
    """Bind a codec whose module is in memory or in the folder.

    Parameters
    ----------
    name : str
        For errors.
    digest : str
        Of the module.
    setup : str
        JSON: ``kind``; ``parameters``; ``decoded`` and ``encoded`` with ``data_type`` (numpy's `dtype.str`,
        little-endian) and ``shape``; optional ``fill_value`` and ``interface``.
    limits : str
        JSON, all optional: ``memory_bytes``, ``total_memory_bytes``, ``timeout_s``, ``trusted``.
    cache_dir : str or None
        As `wasm_put`.
    fresh_instance : bool
        Whether every call has an instance of its own.

    Raises
    ------
    CodecError
        A module that does not offer the interface, or none that is known.
    ValueError
        A setup that makes no sense, or a module that is not in the cache.
    """

@final
class Chain:
    """A codec chain bound to one chunk shape and data type.

    Parameters
    ----------
    chunk_shape : sequence of int
        Elements along each axis, as the caller sees the chunk.
    dtype : str
        numpy's `dtype.str`; ``"|O"`` for elements of variable length.
    fill : bytes
        The fill value: one element as it lies in memory, or its bytes where lengths vary.
    codecs : sequence of Codec
        In the order of encoding, without those that move no data.
    stored_axes : sequence of int
        Axes of the chunk in the order in which they are stored.
    vlen : {"vlen-utf8", "vlen-bytes"} or None
        The serializer of elements of variable length.
    shard : tuple or None
        For a shard: the inner chunks' chain, the index's chain, ``"start"`` or ``"end"`` for where the
        index lies, and the order of the inner chunks (``"morton"``, ``"lexicographic"``,
        ``"colexicographic"`` or ``"unordered"``). With `codecs` beside it the shard is the first of them.
    writes_empty_chunks : bool
        Whether chunks of nothing but the fill value are stored.
    native_codecs : int
        Native codecs to count at every run, those that move no data included.
    variable_limit_bytes : int
        Cap on the payload of a chunk whose elements have variable length, in bytes.

    Raises
    ------
    InvalidInputError, ValueError
        Parts that do not fit together, or a chunk that does not fit in memory.
    """

    def __new__(
        cls,
        chunk_shape: Sequence[int],
        dtype: str,
        fill: bytes,
        codecs: Sequence[Codec],
        *,
        stored_axes: Sequence[int],
        vlen: str | None,
        shard: tuple[Chain, Chain, str, str] | None,
        writes_empty_chunks: bool,
        native_codecs: int,
        variable_limit_bytes: int,
    ) -> Chain: ...
    @property
    def len_bytes(self) -> int:
        """Decoded length of a chunk in bytes (number of elements where they have variable length)."""

    @property
    def encoded_len(self) -> int | None:
        """Encoded length of a chunk in bytes, where every chunk has the same."""

    @property
    def is_text(self) -> bool:
        """Whether the elements are text of variable length."""

    @property
    def has_python(self) -> bool:
        """Whether any codec, of inner chunks too, runs in Python."""

# --- reading -----------------------------------------------------------------------------------------

def plan_read(
    batch: _Batch,
    out: NDArray[Any],
    drop_axes: Sequence[int],
    bind: Callable[[Any], Chain],
    *,
    store: object | None,
    path_type: type,
    kind: tuple[str, Any] | None,
    limits: tuple[int, int, int],
) -> ReadJob | None:
    """Plan a read.

    Parameters
    ----------
    batch : list of tuple
        zarr's batch.
    out : ndarray, any strides, writable
        Kept alive by the job; nobody else may write to the selected elements before its end.
    drop_axes : sequence of int
        Axes of a chunk selection's result that `out` does not have.
    bind : callable
        Gives the chain of a chunk spec; called once for each distinct one.
    store : object or None
        The store that every chunk has to be in; None where Python fetches the chunks.
    path_type : type
        Exact type of the byte getters, if there is a `store`.
    kind : tuple of (str, object) or None
        As `wazarr.stores.native_place` answers; None with `store`.
    limits : tuple of (int, int, int)
        Threads at most, how many of them may take chunks, and bytes of chunks at the same time.

    Returns
    -------
    ReadJob or None
        None where some chunk is not in `store`, or its byte getter is of another type.

    Raises
    ------
    IndexError
        A selection outside its chunk or outside `out`.
    UnsupportedError, InvalidInputError, ValueError, TypeError
        A batch that makes no sense.
    """

@final
class ReadJob:
    """A planned read."""

    def in_flight(self, wanted: int) -> int:
        """Return how many values Python may have in flight for their bytes to stay below the limit.

        Parameters
        ----------
        wanted : int
            Never more than these; and never less than one.
        """

    @property
    def is_short(self) -> bool:
        """Whether the read is done faster than a change of threads is worth."""

    def __len__(self) -> int:
        """Return the number of chunks."""

    def done(self) -> int:
        """Return how many chunks are where they belong."""

    def survey(self) -> tuple[int, int, int, int | None, int | None]:
        """Say what the read would touch, without reading.

        Returns
        -------
        tuple of int
            Inner chunks of shards; requests for a range of bytes, those for shard indexes included;
            elements selected; bytes that come out of the codecs (None for elements of variable length);
            bytes to fetch if nothing is missing (None where they depend on what is stored).
        """

    def run(self) -> None:
        """Read everything on this thread, without the interpreter lock.

        Raises
        ------
        CodecError, StoreError
            A chunk that cannot be read.
        """

    def start(self, notify: _Notify) -> None:
        """Read everything on the pool.

        Parameters
        ----------
        notify : callable
            Called at the end, once nothing touches the output any more.
        """

    def cancel(self) -> None:
        """Ask a read under way to stop at the next chunk; `notify` still tells of its end."""

    def statuses(self, present: _T, missing: _T) -> tuple[_T, ...]:
        """Return `present` or `missing` for every chunk, by whether it was found."""

    def partial_shard(self, index: int) -> tuple[str, int] | None:
        """Say how to begin with chunk `index` if it is a shard of which a part is needed.

        Returns
        -------
        tuple of (str, int) or None
            ``"start"`` or ``"end"`` for where the index lies, and its length in bytes. None: fetch the
            whole chunk.
        """

    def feed(self, index: int, array: _Bytes | None) -> int:
        """Have a chunk decoded that Python fetched: on the pool, or before this returns if `is_short`.

        Parameters
        ----------
        index : int
            Position in the batch.
        array : ndarray or None
            The stored bytes; None if there are none.

        Returns
        -------
        int
            Bytes of all chunks that were fed and are not decoded yet, and one more for each.
        """

    def wait(self, weight: int, notify: _Notify) -> None:
        """Have `notify` called once at most `weight` (as `feed` counts) is left, or a chunk failed.

        Parameters
        ----------
        weight : int
            With 0 nothing touches the output any more when `notify` is called.
        notify : callable
            Gets None, or the exception of the first chunk that failed, unless another `wait` had it.
        """

    def shard_ranges(self, index: int, array: _Bytes) -> tuple[ShardIndex, list[tuple[int, int]]]:
        """Decode the index of a shard that Python fetched.

        Parameters
        ----------
        index : int
            Position of the shard in the batch.
        array : ndarray
            The stored index.

        Returns
        -------
        tuple of (ShardIndex, list)
            The index, and for every inner chunk that is needed and there its first byte and the one past
            its last, ascending.
        """

    def feed_parts(
        self,
        index: int,
        shard_index: ShardIndex,
        parts: Sequence[tuple[int, _Bytes]],
    ) -> int:
        """Have the inner chunks decoded that are needed of a shard.

        Parameters
        ----------
        index : int
            Position of the shard in the batch.
        shard_index : ShardIndex
            From `shard_ranges`.
        parts : sequence of (int, ndarray)
            Offset of the first byte within the shard, and the bytes. Together they hold all ranges, each
            of them in one part.

        Returns
        -------
        int
            As `feed`.
        """

@final
class ShardIndex:
    """Where the inner chunks of one shard lie; opaque."""

# --- stores ------------------------------------------------------------------------------------------

@final
class RemoteHandle:
    """A store on the network that the engine speaks to itself; opaque."""

def open_object_store(store: object, retries: int) -> RemoteHandle:
    """Open the store that an obstore object describes.

    Parameters
    ----------
    store : obstore.store.S3Store, GCSStore, AzureStore or HTTPStore
        Its configuration, credentials, client options and retries are taken over.
    retries : int
        Further attempts at an answer that broke off.

    Raises
    ------
    ValueError, TypeError
        It has settings that are not known here.
    """

def open_http(url: str, retries: int, timeout_s: float) -> RemoteHandle:
    """Open the values below an address.

    Parameters
    ----------
    url : str
        ``http:`` or ``https:``, without a query.
    retries : int
        Further attempts at a request that failed in a way that may pass.
    timeout_s : float
        Seconds that an attempt may take.

    Raises
    ------
    ValueError
        A timeout that is none.
    """

# --- writing -----------------------------------------------------------------------------------------

def plan_write(
    batch: _Batch,
    value: NDArray[Any],
    drop_axes: Sequence[int],
    bind: Callable[[Any], Chain],
    *,
    store: object | None,
    path_type: type,
    kind: tuple[str, Any] | None,
    make_buffer: Callable[[NDArray[np.uint8]], object] | None,
    store_name: str | None,
    limits: tuple[int, int, int],
) -> WriteJob | None:
    """Plan a write.

    Parameters
    ----------
    batch, drop_axes, bind, store, path_type, kind, limits
        As in `plan_read`.
    value : ndarray, any strides
        The values, or a single one without axes. Kept alive by the job; nobody may change it meanwhile.
    make_buffer : callable or None
        Makes zarr's `Buffer` of an array that it may keep; for ``"memory"``.
    store_name : str or None
        Chunk locks go by this and the chunk's key.

    Returns
    -------
    WriteJob or None
        None as in `plan_read`.

    Raises
    ------
    IndexError
        A selection outside its chunk or outside `value`.
    UnsupportedError, InvalidInputError, ValueError, TypeError
        A batch that makes no sense, values that cannot be broadcast.
    """

@final
class WriteJob:
    """A planned write."""

    def in_flight(self, wanted: int) -> int:
        """Return how many values Python may have in flight for their bytes to stay below the limit.

        Parameters
        ----------
        wanted : int
            Never more than these; and never less than one.
        """

    @property
    def is_short(self) -> bool:
        """Whether the write is done faster than a change of threads is worth."""

    def __len__(self) -> int:
        """Return the number of chunks."""

    def done(self) -> int:
        """Return how many chunks are stored."""

    def note_done(self) -> None:
        """Count a chunk that Python has stored."""

    def run(self) -> bool:
        """Write everything on this thread, without the interpreter lock.

        Returns
        -------
        bool
            False, with nothing done, where another write holds a chunk's lock: then `start` waits for it.

        Raises
        ------
        CodecError, StoreError
            A chunk that cannot be read, encoded or stored.
        """

    def start(self, notify: _Notify) -> None:
        """Write everything on the pool, as soon as the chunks' locks are free.

        Parameters
        ----------
        notify : callable
            Called at the end, once nothing reads the values any more.
        """

    def cancel(self) -> None:
        """Ask a write under way to stop at the next chunk; `notify` still tells of its end."""

    def hold(self, notify: _Notify) -> None:
        """Take the chunks' locks for Python to write them, then call `notify`."""

    def release(self) -> None:
        """Let go of the locks that `hold` took."""

    def needs_existing(self, index: int) -> bool:
        """Say whether the stored chunk `index`, if there is one, has to be passed to `encode`."""

    def encode(self, index: int, existing: _Bytes | None, notify: _Notify | None) -> None:
        """Merge a chunk's new elements into the stored ones, and encode it.

        Parameters
        ----------
        index : int
            Position in the batch.
        existing : ndarray or None
            The stored bytes, where `needs_existing` asks for them and there are any.
        notify : callable or None
            With it the work is done on the pool, without it before this returns.
        """

    def take(self, index: int) -> NDArray[np.uint8] | None:
        """Return the encoded chunk `index`, once; None if the stored one is to be deleted."""

    def keys(self) -> list[str]:
        """Return the store keys of the chunks, with the array's path."""
