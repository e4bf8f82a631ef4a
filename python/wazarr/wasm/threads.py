"""Codecs of Zarr v3 that encode and decode one chunk, in a thread, under zarr-python's own pipelines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

__all__ = ["InThreads"]


class InThreads:
    """The asynchronous methods that zarr-python calls, by way of the synchronous ones that each kind has."""

    async def _decode_single(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    def _decode_sync(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        raise NotImplementedError  # pragma: no cover - each kind has its own

    def _encode_sync(self, chunk_data: Any, chunk_spec: ArraySpec) -> Any:
        raise NotImplementedError  # pragma: no cover - each kind has its own
