"""Run zarr-python's whole test suite with our pipeline in the place of the default one.

    python tests/conformance/run_zarr_suite.py build/zarr-3.4.2/tests

As many tests must pass as with the default pipeline in the same environment. That number is
kept in `zarr_suite_baseline.json`, by zarr version; it is measured anew with
`--refresh-baseline`, and by itself where other optional packages are installed than then.
Tests in `expected_failures.json` (test id -> reason) may fail: only such belong there that
assert the name of another pipeline.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "zarr_suite_baseline.json"
EXPECTED_FAILURES = HERE / "expected_failures.json"
DEFAULT_PIPELINE = "zarr.core.codec_pipeline.BatchedCodecPipeline"
LEFT_OUT = ("tests/benchmarks", "tests/test_regression", "tests/test_examples.py")
NEEDS_NUMPYDOC = "tests/test_api/test_synchronous.py"  # compares docstrings, reads no array


@dataclass(frozen=True)
class Outcome:
    """How many tests passed, and which failed."""

    passed: int
    skipped: int
    failures: dict[str, str]

    @property
    def total(self) -> int:
        """All tests that were found."""
        return self.passed + self.skipped + len(self.failures)


def run_suite(tests: Path, pipeline_path: str, *, workers: int, extra: list[str]) -> Outcome:
    """Run the suite under `pipeline_path` in a child process."""
    left_out = [*LEFT_OUT]
    if importlib.util.find_spec("numpydoc") is None:
        sys.stdout.write(f"numpydoc is not installed: {NEEDS_NUMPYDOC} is left out\n")
        left_out.append(NEEDS_NUMPYDOC)
    root = tests.resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pytest", "tests"),
            *("-n", str(workers), "-q", "--tb=short", "-p", "zarr_suite_report"),
            *("-p", "no:cacheprovider", "-o", "addopts="),
            *(f"--ignore={path}" for path in left_out),
            *extra,
        ]
        environment = {
            **os.environ,
            "ZARR_CODEC_PIPELINE__PATH": pipeline_path,
            "WAZARR_SUITE_REPORT": str(report),
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        sys.stdout.write(f"zarr's suite under {pipeline_path}\n")
        sys.stdout.flush()
        finished = subprocess.run(
            command, cwd=root, env=environment, check=False, stdout=subprocess.PIPE, text=True
        )
        if not report.exists():
            sys.stdout.write(finished.stdout[-5000:])
            raise SystemExit(f"zarr's suite did not finish (exit status {finished.returncode})")
        content = json.loads(report.read_text())
    counts = content["counts"]
    skipped = counts.get("skipped", 0) + counts.get("xfailed", 0)
    return Outcome(counts.get("passed", 0), skipped, content["failures"])


def main() -> int:
    """Parse the command line, run the suite, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tests",
        type=Path,
        nargs="?",
        default=os.environ.get("WAZARR_ZARR_TESTS"),
        help="zarr's unpacked source distribution, or its `tests`; default: WAZARR_ZARR_TESTS",
    )
    parser.add_argument("--pipeline", default="wazarr.CodecPipeline")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--refresh-baseline", action="store_true")
    parser.add_argument("pytest_arguments", nargs="*", help="after --: passed on to pytest")
    options = parser.parse_args()
    if options.tests is None:
        parser.error("name zarr's unpacked source distribution, or set WAZARR_ZARR_TESTS")
    if (options.tests / "tests").is_dir():
        options.tests /= "tests"

    version = importlib.metadata.version("zarr")
    baselines = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    expected = json.loads(EXPECTED_FAILURES.read_text())
    extra = options.pytest_arguments

    def measure_baseline() -> dict[str, object]:
        found = run_suite(options.tests, DEFAULT_PIPELINE, workers=options.workers, extra=extra)
        return {
            "passed": found.passed,
            "skipped": found.skipped,
            "failed": sorted(found.failures),
        }

    if options.refresh_baseline or (version not in baselines and not extra):
        baselines[version] = measure_baseline()
        BASELINE.write_text(json.dumps(baselines, indent=2, sort_keys=True) + "\n")
        if options.refresh_baseline:
            sys.stdout.write(f"zarr {version}: {baselines[version]}\n")
            return 0

    ours = run_suite(options.tests, options.pipeline, workers=options.workers, extra=extra)
    baseline = baselines.get(version, {"passed": 0, "skipped": 0, "failed": []})
    total = baseline["passed"] + baseline["skipped"] + len(baseline["failed"])
    if not extra and ours.total != total:
        sys.stdout.write(
            f"{ours.total} tests were found, {total} when the baseline was kept: "
            "other packages are installed, so the default pipeline runs here as well\n"
        )
        baseline = measure_baseline()

    failing = set(ours.failures)
    unexpected = sorted(failing - set(expected) - set(baseline["failed"]))
    excused = sorted(failing & set(expected))
    for test in unexpected:
        sys.stdout.write(f"\nFAILED {test}\n{ours.failures[test]}\n")
    for test in excused:
        sys.stdout.write(f"expected failure: {test}: {expected[test]}\n")
    sys.stdout.write(
        f"zarr {version}, {options.pipeline}: {ours.passed} passed, {ours.skipped} skipped, "
        f"{len(failing)} failed ({len(excused)} of them expected); "
        f"the default pipeline: {baseline['passed']} passed\n"
    )
    is_short = not extra and ours.passed + len(excused) < baseline["passed"]
    if is_short:
        sys.stdout.write("fewer tests passed than under the default pipeline\n")
    return 1 if unexpected or is_short else 0


if __name__ == "__main__":
    sys.exit(main())
