"""Zip archives of an array, well-formed and not."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING, Any
from unittest import mock

from zarr.storage import LocalStore

from tests.stores.layouts import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

__all__ = ["ARCHIVES", "files_of", "make_archive"]


def files_of(folder: Path, layout: str) -> tuple[dict[str, bytes], np.ndarray[Any, Any]]:
    """Write an array to a folder; return its files by key, and what is in it."""
    expected = write_all(LocalStore(folder), layout)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, expected


class _Unseekable(io.RawIOBase):
    """A sink that cannot go back: sizes and checksums then follow the data."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)


def _write(files: dict[str, bytes], target: Any, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(target, "w", compression) as archive:
        for key, content in files.items():
            archive.writestr(key, content)


def _plain(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    _write(files, target, compression)
    return target.getvalue()


def _streamed(files: dict[str, bytes]) -> bytes:
    sink = _Unseekable()
    _write(files, sink, zipfile.ZIP_DEFLATED)
    return bytes(sink.content)


def _zip64(files: dict[str, bytes]) -> bytes:
    # What is large is a matter of these two numbers, in the central directory and at its end.
    with (
        mock.patch.object(zipfile, "ZIP64_LIMIT", 30),
        mock.patch.object(zipfile, "ZIP_FILECOUNT_LIMIT", 1),
    ):
        return _plain(files)


def _zip64_local(files: dict[str, bytes]) -> bytes:
    """Local headers longer than the central directory says."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for key, content in files.items():
            with archive.open(zipfile.ZipInfo(key), "w", force_zip64=True) as member:
                member.write(content)
    return target.getvalue()


def _mixed(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number, (key, content) in enumerate(files.items()):
            archive.writestr(key, content, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED][number % 2])
    return target.getvalue()


def _with_folders_and_a_comment(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment as long as a chunk, perhaps" * 20
        for folder in _folders(files):
            archive.writestr(folder, b"")
        for key, content in files.items():
            archive.writestr(key, content)
    return target.getvalue()


def _folders(files: dict[str, bytes]) -> Iterator[str]:
    yield from sorted({key.rsplit("/", 1)[0] + "/" for key in files if "/" in key})


def _with_old_versions(files: dict[str, bytes]) -> bytes:
    """Every member twice: the last one counts."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for key, content in files.items():
            archive.writestr(key, b"old" + content)
        for key, content in files.items():
            archive.writestr(key, content)
    return target.getvalue()


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "stored": _plain,
    "deflated": lambda files: _plain(files, zipfile.ZIP_DEFLATED),
    "bzip2": lambda files: _plain(files, zipfile.ZIP_BZIP2),
    "lzma": lambda files: _plain(files, zipfile.ZIP_LZMA),
    "mixed": _mixed,
    "streamed": _streamed,
    "zip64": _zip64,
    "zip64 in local headers": _zip64_local,
    "folders and a comment": _with_folders_and_a_comment,
    "old versions": _with_old_versions,
    "leading junk": lambda files: b"#!/bin/sh\nexit\n" * 30 + _plain(files),
}
"""Each makes an archive that Python's `zipfile` reads."""


def make_archive(name: str, files: dict[str, bytes], path: Path) -> Path:
    """Write one of `ARCHIVES`."""
    path.write_bytes(ARCHIVES[name](files))
    return path


def encrypt(archive: bytes) -> bytes:
    """Say of every chunk of an archive that it is encrypted."""
    changed = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        start = opened.start_dir
        for info in opened.infolist():
            flags_at = start + 8
            name_len, extra_len, comment_len = struct.unpack_from("<HHH", changed, start + 28)
            if info.filename.startswith("c/"):
                changed[flags_at] |= 1
                changed[info.header_offset + 6] |= 1
            start += 46 + name_len + extra_len + comment_len
    return bytes(changed)


def data_of(archive: bytes, key: str) -> int:
    """Return where a stored member's data begins."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        at = opened.getinfo(key).header_offset
    name_len, extra_len = struct.unpack_from("<HH", archive, at + 26)
    return int(at + 30 + name_len + extra_len)
