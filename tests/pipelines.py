"""Which pipeline class is under test, which one is the oracle, and how to select either.

The pipeline under test is `wazarr.CodecPipeline`. The environment variable
`WAZARR_TEST_PIPELINE` names another class instead, so that the tests themselves can be
checked with zarr-python's own pipeline in our role; what only ours can do (the counters)
is then left out.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

import zarr

if TYPE_CHECKING:
    from collections.abc import Iterator

SUBJECT_PATH = os.environ.get("WAZARR_TEST_PIPELINE", "wazarr.CodecPipeline")
"""The pipeline class under test."""

ORACLE_PATH = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""zarr-python's default pipeline: what every result is compared with."""

SUBJECT_IS_WAZARR = SUBJECT_PATH.startswith("wazarr.")

ZARR_VERSION = tuple(int(part) for part in importlib.metadata.version("zarr").split(".")[:2])
"""Major and minor version of the installed zarr-python."""


@contextlib.contextmanager
def pipeline(path: str, **config: Any) -> Iterator[None]:
    """Open arrays with the pipeline class `path`, with further zarr `config` keys.

    An array keeps the pipeline that it was opened with, so open arrays inside.
    """
    with zarr.config.set({"codec_pipeline.path": path, **config}):
        yield
