"""The table, twice: as users run it, and with everything broken that native work must not touch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from tests.conformance.operations import OPERATIONS
from tests.conformance.runner import Operation, check
from tests.conformance.sabotage import SabotagedError, sabotage
from tests.pipelines import ORACLE_PATH, SUBJECT_IS_WAZARR, pipeline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")

NATIVE_OPERATIONS = [operation for operation in OPERATIONS if operation.is_fully_native]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation(operation: Operation, tmp_path: Path) -> None:
    """Values, errors, bytes and engine are as under the default pipeline, or better."""
    check(operation, tmp_path)


@pytest.mark.skipif(not SUBJECT_IS_WAZARR, reason="would break the pipeline in our role as well")
@pytest.mark.parametrize("operation", NATIVE_OPERATIONS, ids=lambda operation: operation.name)
def test_operation_without_python_engines(operation: Operation, tmp_path: Path) -> None:
    """Native operations need nothing of zarr-python's pipelines, codecs and stores."""
    check(operation, tmp_path, is_sabotaged=True)


def test_table_is_broad() -> None:
    """The table keeps its promised size, and no two rows share a name."""
    names = Counter(operation.name for operation in OPERATIONS)
    assert len(names) >= 250
    assert [name for name, count in names.items() if count > 1] == []


def test_sabotage_bites(tmp_path: Path) -> None:
    """The default pipeline cannot read or write a chunk then, while metadata still opens."""
    hits: list[str] = []
    with pipeline(ORACLE_PATH):
        array = zarr.create_array(LocalStore(tmp_path), shape=(4,), chunks=(2,), dtype="int32")
        array[...] = 1
        with sabotage(hits):
            again = zarr.open_array(LocalStore(tmp_path), mode="r+")
            with pytest.raises(SabotagedError):
                again[...]
            with pytest.raises(SabotagedError):
                again[...] = 2
        assert len(hits) >= 2
        assert np.array_equal(np.asarray(again[...]), [1, 1, 1, 1])
