"""Compare two runs of `suite.py`, of two commits for example, cell by cell.

``compare.py OLD NEW [GROUP ...]`` with the output folders of the runs. The times of the fastest other
pipeline stand for the machine: what counts is the ratio, and `change` is the new ratio over the old.
A change is only called one where the quartiles of the two runs do not overlap.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from report import geometric_mean, table


def cells(folder: Path, group: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cells of a run that have a ratio, by case and operation."""
    document = json.loads((folder / f"{group}.json").read_text())
    return {
        (cell["case"], cell["operation"]): cell for cell in document["cells"] if cell["ratio"] is not None
    }


def verdict(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Say whether the ratio changed by more than the rounds differ among themselves."""
    if new["ratio_quartiles"][1] < old["ratio_quartiles"][0]:
        return "faster"
    if new["ratio_quartiles"][0] > old["ratio_quartiles"][1]:
        return "slower"
    return ""


def main() -> None:
    """Print a table for each group that both runs have."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path, help="output folder of the first run")
    parser.add_argument("new", type=Path, help="output folder of the second run")
    parser.add_argument(
        "groups", nargs="*", default=["main", "further", "public"], help="of main, further, public"
    )
    options = parser.parse_args()
    for group in options.groups:
        if not all((folder / f"{group}.json").exists() for folder in (options.old, options.new)):
            print(f"{group}: not in both\n")
            continue
        before, after = cells(options.old, group), cells(options.new, group)
        common = [key for key in before if key in after]
        if not common:
            print(f"{group}: no cell in both\n")
            continue
        changes = [after[key]["ratio"] / before[key]["ratio"] for key in common]
        rows = [
            [
                *key,
                f"{before[key]['ratio']:.2f}",
                f"{after[key]['ratio']:.2f}",
                f"{change:.2f}",
                verdict(before[key], after[key]),
            ]
            for key, change in zip(common, changes, strict=True)
        ]
        print("\n".join(table(["case", "operation", "old ratio", "new ratio", "change", ""], rows, 2)))
        print(f"\nGeometric mean of {len(changes)} changes: {geometric_mean(changes):.3f}\n")


if __name__ == "__main__":
    main()
