"""Measure wazarr against the other pipelines and libraries: one command, one table a group.

``suite.py [GROUP ...]`` with the groups `main`, `further`, `public`, `memory`, `manners`, `scaling`,
`stores`, `wasm`; all of them without a name. Each writes `GROUP.md` and `GROUP.json` into the output folder
and prints its table. How to read them: `benches/README.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import manners
import memory
import scaling
import stores
from cases import further_cases, main_cases, public_cases
from contenders import NAMES, OURS, available
from measure import WrongAnswerError, run_case
from report import NOTICEABLE, cell_document, cell_table, processors_busy, write_report

import wasm

if TYPE_CHECKING:
    from cases import Case
    from measure import Cell

ROUNDS = {
    "main": 9,
    "further": 4,
    "public": 4,
    "memory": 2,
    "manners": 3,
    "scaling": 2,
    "stores": 5,
    "wasm": 15,
}
QUICK_ROUNDS = {
    "main": 3,
    "further": 2,
    "public": 2,
    "memory": 1,
    "manners": 2,
    "scaling": 1,
    "stores": 2,
    "wasm": 5,
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(ROUNDS)} (all)")
    parser.add_argument("--rounds", type=int, help="turns of each contender (by group: 2 to 9)")
    parser.add_argument("--quick", action="store_true", help="few rounds and small arrays: a rough look")
    parser.add_argument("--full", action="store_true", help="the slow ones too: 4 GiB, 10⁶ chunks, 1024³")
    parser.add_argument("--only", metavar="TEXT", help="cases whose name contains TEXT")
    parser.add_argument("--contenders", metavar="NAMES", help=f"comma-separated, of {', '.join(NAMES)}")
    parser.add_argument("--folder", type=Path, help="where to keep the arrays, e.g. a RAM disk")
    parser.add_argument(
        "--output", type=Path, default=Path("build/bench"), help="for the reports (build/bench)"
    )
    parser.add_argument(
        "--check", action="store_true", help="fail when a ratio of the main table is too large"
    )
    options = parser.parse_args()
    if unknown := set(options.groups) - set(ROUNDS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    wanted = options.contenders.split(",") if options.contenders else list(NAMES)
    if unknown := set(wanted) - set(NAMES):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    options.contenders = wanted
    return options


def cases_of(group: str, options: argparse.Namespace) -> list[Case]:
    """Return the cases of a group whose names were asked for."""
    if group == "main":
        cases = main_cases()
    elif group == "further":
        cases = further_cases()
    else:
        cases = public_cases(is_full=options.full)
    return [case for case in cases if not options.only or options.only in case.name]


def run_cases(group: str, rounds: int, options: argparse.Namespace) -> list[Cell]:
    """Measure a group of cases and report it."""
    contenders, absent = available(options.contenders)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="wazarr-bench-", dir=options.folder) as folder:
        for position, case in enumerate(cases_of(group, options)):
            print(f"measuring: {case.name}", file=sys.stderr, flush=True)
            cells += run_case(case, Path(folder) / str(position), contenders, rounds)
    if not cells:
        return []
    conditions = (
        f"Best of {rounds} interleaved rounds, local files and a warm page cache but where the case says "
        "otherwise."
    )
    names = [contender.name for contender in contenders]
    markdown = cell_table(cells, names, absent, conditions)
    print("\n".join(markdown), flush=True)
    write_report(options.output, group, markdown, cell_document(cells, rounds, absent))
    return cells


def over_limit(cells: list[Cell]) -> bool:
    """Name the cells that are too slow or not native; tell whether there were any."""
    is_over = False
    for cell in cells:
        if (cell.ratio() or 0) > cell.limit:
            print(f"over {cell.limit}: {cell.case}, {cell.operation}", file=sys.stderr)
            is_over = True
        if cell.fallbacks:
            print(f"{OURS} fell back: {cell.case}, {cell.operation}: {cell.fallbacks}", file=sys.stderr)
            is_over = True
    return is_over


def run_group(group: str, rounds: int, options: argparse.Namespace) -> bool:
    """Measure a group and report it; tell whether the main table is over a limit."""
    others = {
        "memory": memory.run,
        "manners": manners.run,
        "scaling": scaling.run,
        "stores": stores.run,
        "wasm": wasm.run,
    }
    if group in others:
        others[group](rounds, options)
        return False
    cells = run_cases(group, rounds, options)
    return group == "main" and over_limit(cells)


def main() -> int:
    """Run the groups; return 1 with ``--check`` when the main table is over a limit."""
    options = parse_arguments()
    # zarr and zarrs-python warn about data types outside the specification, which some cases are about.
    warnings.simplefilter("ignore")
    if processors_busy() > NOTICEABLE:
        print("other programs are busy on this machine: times will be rough", file=sys.stderr)
    is_over = False
    for group in options.groups or ROUNDS:
        start = time.monotonic()
        rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)[group]
        try:
            is_over |= run_group(group, rounds, options)
        except WrongAnswerError as error:
            sys.exit(f"WRONG: {error}")
        print(f"{group}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return 1 if options.check and is_over else 0


if __name__ == "__main__":
    sys.exit(main())
