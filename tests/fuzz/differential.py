"""Differential fuzz: random arrays and selections against numpy and the default pipeline.

    python tests/fuzz/differential.py --operations 300000 --seed 1 --jobs 2

Prints the seed and how many operations fell on each codec, data type, selection kind and store.
A failing program is shrunk, printed, and written to `--failures` as JSON; moved to
`tests/fuzz/reproducers/` it stays as a test. Exit status 1 then.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

if not __package__:  # started as a script: `tests` is a package of the folder above
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def fuzz(seed: int, operations: int, failures: Path, oracle_share: float) -> tuple[Counter[str], int]:
    """Run programs drawn from `seed` until `operations` steps are done; return counts, failures."""
    warnings.simplefilter("ignore")
    from tests.fuzz.program import execute, failure_of, generate, shrink

    counts: Counter[str] = Counter()
    found = 0
    index = 0
    current = failures / f"running-{os.getpid()}.json"
    failures.mkdir(parents=True, exist_ok=True)
    while counts["operations"] < operations and found < 5:
        program = generate(random.Random(f"{seed}/{index}"), oracle_share=oracle_share)
        current.write_text(json.dumps(program))  # what ran, should the process die
        with tempfile.TemporaryDirectory(prefix="wazarr-fuzz-") as folder:
            try:
                execute(program, Path(folder), counts)
            except Exception as exception:  # noqa: BLE001 - any exception is a finding
                found += 1
                _report(seed, index, program, exception, failures, shrink, failure_of)
        counts["programs"] += 1
        index += 1
    current.unlink(missing_ok=True)
    return counts, found


def _report(
    seed: int,
    index: int,
    program: dict[str, Any],
    exception: Exception,
    failures: Path,
    shrink: Any,
    failure_of: Any,
) -> None:
    """Print and keep a failing program, made small where the failure can be repeated."""
    text = f"{type(exception).__name__}: {exception}"
    if failure_of(program) is None:
        text += "\n(not seen again when repeated alone)"
    else:
        program = shrink(program)
        text = failure_of(program) or text
    path = failures / f"failure-{seed}-{index}.json"
    path.write_text(json.dumps({"failure": text, "program": program}, indent=1) + "\n")
    sys.stderr.write(f"\nFAILED seed {seed}, program {index}, kept in {path}\n{text}\n")
    sys.stderr.write(f"array: {json.dumps(program['array'])}\n")
    for step in program["steps"]:
        sys.stderr.write(f"  {json.dumps(step)}\n")


def _print_counts(counts: Counter[str]) -> None:
    for group in ("codec", "dtype", "selection", "store", "layout", "compared with"):
        sys.stdout.write(f"\n{group}\n")
        for name, count in sorted(counts.items()):
            if name.startswith(group + " "):
                sys.stdout.write(f"  {name.removeprefix(group + ' '):32}{count:10}\n")


def main() -> int:
    """Parse the command line, fuzz in `--jobs` processes, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--failures", type=Path, default=Path("build/fuzz"), help="folder for reproducers")
    parser.add_argument(
        "--oracle-share", type=float, default=0.2, help="share also run by the default pipeline"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    sys.stdout.write(f"seed {seed}, {options.operations} operations, {options.jobs} jobs\n")
    sys.stdout.flush()
    share = -(-options.operations // options.jobs)
    began = time.monotonic()
    counts: Counter[str] = Counter()
    found = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as executor:
        tasks = [
            executor.submit(fuzz, seed * 1000 + job, share, options.failures, options.oracle_share)
            for job in range(options.jobs)
        ]
        for task in tasks:
            job_counts, job_found = task.result()
            counts += job_counts
            found += job_found
    _print_counts(counts)
    rate = counts["operations"] / (time.monotonic() - began)
    sys.stdout.write(
        f"\nseed {seed}: {counts['operations']} operations in {counts['programs']} programs, "
        f"{rate:.0f} a second, {found} failures\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
