"""Fixtures and marks shared by all tests."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from tests.pipelines import SUBJECT_IS_WAZARR, SUBJECT_PATH, pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks, and keep zarr's warnings about non-standard codecs out of the report."""
    config.addinivalue_line("markers", "slow: takes many seconds; left out with -m 'not slow'")
    config.addinivalue_line("filterwarnings", "ignore:Numcodecs codecs are not in the Zarr")
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr")


def pytest_report_header() -> str:
    """Name the pipeline under test."""
    return f"pipeline under test: {SUBJECT_PATH}"


@pytest.fixture
def subject_pipeline() -> Iterator[str]:
    """Open arrays with the pipeline under test for the length of a test."""
    with pipeline(SUBJECT_PATH):
        yield SUBJECT_PATH


@pytest.fixture
def requires_wazarr() -> None:
    """Skip when another pipeline plays the role of ours."""
    if not SUBJECT_IS_WAZARR:
        pytest.skip("needs wazarr itself, not a stand-in")
