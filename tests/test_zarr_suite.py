"""zarr-python's own behaviour suite for codec pipelines, run on ours.

The suite is in zarr's source distribution only. `WAZARR_ZARR_TESTS` names the unpacked
distribution or its `tests` folder; `make test` sets it. Older zarr versions have no such suite.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from zarr.storage import LocalStore

from tests.pipelines import SUBJECT_IS_WAZARR, SUBJECT_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from zarr.abc.store import Store

MODULE_NAME = "test_codec_pipeline_suite"


def _load_suite() -> ModuleType | str:
    """Import the suite from zarr's tests, or say why it cannot be had."""
    folder = os.environ.get("WAZARR_ZARR_TESTS")
    if not folder:
        return "WAZARR_ZARR_TESTS does not name zarr's tests folder"
    above = Path(folder)
    path = (above / "tests" if (above / "tests").is_dir() else above) / f"{MODULE_NAME}.py"
    if not path.exists():
        return f"this zarr has no {path.name} (it came with 3.3)"
    specification = importlib.util.spec_from_file_location(MODULE_NAME, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[MODULE_NAME] = module
    specification.loader.exec_module(module)
    return module


SUITE = _load_suite()

if isinstance(SUITE, str):

    @pytest.mark.skip(reason=SUITE)
    def test_zarr_suite() -> None:
        """Stand in for zarr's suite where it is missing, so that the gap is reported."""

else:
    CodecPipelineTests: Any = SUITE.CodecPipelineTests

    class WithCounters(CodecPipelineTests):  # type: ignore[misc]  # known only at run time
        """The suite, with a look at what ran: nothing may fall back without a word."""

        pipeline_path = SUBJECT_PATH

        @pytest.fixture(autouse=True)
        def _counted(self, request: pytest.FixtureRequest) -> Iterator[None]:
            if not SUBJECT_IS_WAZARR:
                yield
                return
            import wazarr

            wazarr.reset_counters()
            yield
            counters = wazarr.counters()
            assert counters["codec_steps"]["python"] == 0, counters
            is_native_store = "-async" not in request.node.name and "[async" not in request.node.name
            if is_native_store:
                assert counters["fallbacks"] == {}, counters
                assert counters["store_requests"]["python"] == 0, counters

    class TestOnMemoryStores(WithCounters):
        """The suite on its own stores: one with synchronous methods, one without."""

    class TestOnLocalStore(WithCounters):
        """The suite on the file system."""

        @pytest.fixture
        def store(self, tmp_path: Path) -> Store:
            """Make a new local store."""
            return LocalStore(tmp_path / "store")
