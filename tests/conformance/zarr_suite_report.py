"""A pytest plugin that writes the outcome of every test as JSON, also under pytest-xdist.

Loaded by `run_zarr_suite.py` into zarr-python's own test run; imports nothing of ours.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

counts: Counter[str] = Counter()
failures: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a test once: by its call, or by a set-up or tear-down that went wrong."""
    if report.failed:
        failures[report.nodeid] = str(report.longrepr)[-1500:]
        counts["failed"] += 1
    elif report.skipped:
        counts["xfailed" if hasattr(report, "wasxfail") else "skipped"] += 1
    elif report.when == "call":
        counts["passed"] += 1


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Count a file that cannot be collected as a failure; workers repeat it."""
    if report.failed and report.nodeid not in failures:
        failures[report.nodeid] = str(report.longrepr)[-1500:]
        counts["failed"] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was counted, in the controlling process only."""
    if not hasattr(session.config, "workerinput"):
        path = Path(os.environ["WAZARR_SUITE_REPORT"])
        path.write_text(json.dumps({"counts": counts, "failures": failures}))
