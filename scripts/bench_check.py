"""Count the instructions of the engine's hot cases, and compare with the counts in the repository.

``bench_check.py [--update] [--only CASE ...] [--profile CASE ...]``

Each case of ``benches/instructions.rs`` runs under valgrind's callgrind, with one counted round and with two;
the difference is what a round costs. So a count depends on the code alone, not on what else the machine does.
The exit status is 1 when a case needs over 5 % more instructions or system calls a chunk than
``benches/instructions.json`` says. Whoever means it runs this with ``--update`` and commits the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COUNTS = Path(__file__).parent.parent / "benches" / "instructions.json"
COUNTED_FUNCTION = "*counted_rounds*"
MAX_GROWTH = 1.05
PROFILE_LINES = 15


@dataclass(frozen=True)
class Cost:
    """What one chunk of a case costs, on average."""

    instructions: int
    system_calls: float

    def __str__(self) -> str:
        return f"{self.instructions:,} instructions, {self.system_calls} system calls"

    def growth(self, before: Cost) -> float:
        """Return the greater of the two ratios to an earlier cost."""
        return max(
            _ratio(self.instructions, before.instructions), _ratio(self.system_calls, before.system_calls)
        )


def _ratio(now: float, before: float) -> float:
    if before == 0:
        return 1.0 if now == 0 else float("inf")
    return now / before


def output_of(*command: str | Path) -> str:
    """Return what a command prints; end with its messages where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build() -> Path:
    """Build the program that runs the cases; return its path."""
    command = "cargo bench --locked --no-default-features --bench instructions --no-run --message-format=json"
    done = subprocess.run(command.split(), stdout=subprocess.PIPE, text=True, check=False)
    for line in done.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message["target"]["name"] == "instructions":
            return Path(message["executable"])
    sys.exit("the benchmark `instructions` could not be built")


def run(program: Path, case: str, rounds: int, out_file: Path) -> int:
    """Run a case under callgrind; return how many chunks its counted rounds had."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            f"--toggle-collect={COUNTED_FUNCTION}",
            "--collect-systime=yes",
            f"--callgrind-out-file={out_file}",
            program,
            case,
            str(rounds),
        ],
        capture_output=True,
        text=True,
        check=False,
        # A small, fixed environment: what is in it moves the stack.
        env=kept | {"LC_ALL": "C"},
    )
    if done.returncode != 0:
        sys.exit(f"case {case} failed under valgrind:\n{done.stdout}{done.stderr}")
    return int(json.loads(done.stdout)["chunks"])


def totals(out_file: Path) -> dict[str, int]:
    """Return the events that callgrind counted, by name."""
    fields = {}
    for line in out_file.read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name in ("events", "totals"):
            fields[name] = value.split()
    events = fields.get("events", [])
    values = [int(value) for value in fields.get("totals", [])]
    return dict(zip(events, values + [0] * len(events), strict=False))


def own_instructions(out_file: Path) -> dict[str, int]:
    """Return the instructions of every function without those of the functions it calls."""
    names: dict[str, str] = {}
    own: dict[str, int] = {}
    function = ""
    is_call = False
    for line in out_file.read_text(errors="replace").splitlines():
        if line.startswith("fn="):
            number, _, name = line.removeprefix("fn=").partition(" ")
            function = names.setdefault(number, name)
        elif line.startswith("cfn="):
            number, _, name = line.removeprefix("cfn=").partition(" ")
            names.setdefault(number, name)
        elif line.startswith("calls="):
            is_call = True
        elif line[:1] in ("+", "-", "*") or line[:1].isdigit():
            _, *costs = line.split()
            if not is_call and costs:
                own[function] = own.get(function, 0) + int(costs[0])
            is_call = False
    return own


def measure(program: Path, case: str, folder: Path) -> tuple[Cost, list[tuple[str, float]]]:
    """Return what a chunk of a case costs, and its functions with their own instructions, most first."""
    once, twice = folder / f"{case}.1", folder / f"{case}.2"
    chunks_once, chunks_twice = run(program, case, 1, once), run(program, case, 2, twice)
    chunks = chunks_twice - chunks_once
    first, second = totals(once), totals(twice)
    instructions = second.get("Ir", 0) - first.get("Ir", 0)
    if chunks <= 0 or instructions <= 0:
        sys.exit(f"case {case}: callgrind counted nothing; is {COUNTED_FUNCTION} still the counted function?")
    system_calls = second.get("sysCount", 0) - first.get("sysCount", 0)
    earlier = own_instructions(once)
    functions = [
        (name, (count - earlier.get(name, 0)) / chunks) for name, count in own_instructions(twice).items()
    ]
    functions.sort(key=lambda function: -function[1])
    return Cost(round(instructions / chunks), round(system_calls / chunks, 2)), functions


def versions() -> dict[str, str]:
    """Return what besides our code decides on the counts."""
    library, version = platform.libc_ver()
    return {
        "rustc": output_of("rustc", "--version").split()[1],
        "valgrind": output_of("valgrind", "--version").strip().removeprefix("valgrind-"),
        "machine": platform.machine(),
        "libc": f"{library} {version}",
    }


def read_counts() -> tuple[dict[str, str], dict[str, Cost]]:
    """Return the versions and the costs in the repository."""
    if not COUNTS.exists():
        return {}, {}
    stored: dict[str, Any] = json.loads(COUNTS.read_text())
    return stored["versions"], {name: Cost(**cost) for name, cost in stored["per_chunk"].items()}


def write_counts(costs: dict[str, Cost]) -> None:
    """Write the costs and today's versions to the repository."""
    per_chunk = {name: asdict(cost) for name, cost in costs.items()}
    COUNTS.write_text(json.dumps({"versions": versions(), "per_chunk": per_chunk}, indent=2) + "\n")


def print_row(case: str, cost: Cost, before: Cost | None) -> None:
    """Print one line of the table."""
    change = (
        "new" if before is None else f"{100 * (_ratio(cost.instructions, before.instructions) - 1):+.2f} %"
    )
    stored = "" if before is None else f"{before.instructions:,}"
    print(f"{case:20} {cost.instructions:>14,} {stored:>14} {change:>10} {cost.system_calls:>8}", flush=True)


def main() -> None:
    """Measure, print, and compare or update."""
    parser = argparse.ArgumentParser(description="Instruction counts of the engine's hot cases.")
    parser.add_argument("--update", action="store_true", help="write the counts to benches/instructions.json")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases only")
    parser.add_argument("--profile", nargs="+", metavar="CASE", help="show the costliest functions of these")
    options = parser.parse_args()
    for tool in ("valgrind", "cargo"):
        if shutil.which(tool) is None:
            sys.exit(
                f"{tool} is not installed: nothing was checked\nhint: instructions are counted by valgrind"
            )
    program = build()
    cases = output_of(program).split()
    wanted = options.profile or options.only or cases
    if unknown := set(wanted) - set(cases):
        sys.exit(f"no case {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    stored_versions, stored = read_counts()
    costs: dict[str, Cost] = {}
    print(f"{'per chunk':20} {'instructions':>14} {'stored':>14} {'change':>10} {'calls':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for case in (case for case in cases if case in wanted):
            costs[case], functions = measure(program, case, Path(folder))
            print_row(case, costs[case], stored.get(case))
            if options.profile:
                for name, own in functions[:PROFILE_LINES]:
                    print(f"  {own:>12,.0f} {100 * own / costs[case].instructions:5.1f} %  {name}")
    if options.update:
        merged = {case: cost for case in cases if (cost := costs.get(case) or stored.get(case))}
        write_counts(merged)
        print(f"written to {COUNTS.name}")
        return
    if options.profile:
        return
    complaints = [f"{case} is not in the file" for case in costs if case not in stored]
    complaints += [f"{case} is in the file, but no case any more" for case in stored if case not in cases]
    complaints += [
        f"{case} grew by more than {100 * (MAX_GROWTH - 1):.0f} %: {stored[case]} before; {cost} now"
        for case, cost in costs.items()
        if case in stored and cost.growth(stored[case]) > MAX_GROWTH
    ]
    now = versions()
    if changed := [name for name in now if stored_versions.get(name) != now[name]]:
        names = ", ".join(f"{name} {now[name]} (stored {stored_versions.get(name)})" for name in changed)
        print(f"note: counted with another {names}", file=sys.stderr)
    if complaints:
        hint = "hint: if that is meant, `make bench-check BENCH_CHECK_ARGS=--update` and commit the file"
        sys.exit("\n".join([*complaints, hint]))
    print(f"no case grew by more than {100 * (MAX_GROWTH - 1):.0f} %")


if __name__ == "__main__":
    main()
