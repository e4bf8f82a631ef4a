"""Draw the figures of the last run of `suite.py`: PNG and SVG, from its JSON files.

``plots.py [--input build/bench] [--output build/bench/plots] [--readme docs/images]``

With ``--readme`` the bar chart of the main table goes to the named folder as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = "wazarr"
COLOURS = {
    "Batched": "#9aa5b1",
    "Fused": "#4c78a8",
    "zarrs-python": "#e0912f",
    "wazarr": "#c0392b",
    "tensorstore": "#5b9a5b",
    "zarrista": "#8d6cab",
    "floor": "#333333",
    "wazarr, 10 in flight": "#e8a39b",
    "get": "#333333",
}
MAIN_CHART = "ratios-main"
MEMORY_ROW = "zstd 1 in shards, read 62.5 MiB"


def style() -> None:
    """Set what all figures share; SVG stays text and does not change without a reason."""
    mpl.rcParams.update(
        {
            "figure.dpi": 130,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "wazarr",
        }
    )


def described(document: dict[str, Any]) -> str:
    """Return the machine and the versions of a run, on two lines."""
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return f"{document['machine']}\n{versions}"


def save(figure: Figure, document: dict[str, Any], folder: Path, name: str) -> None:
    """Write a figure twice, with the machine under it."""
    figure.text(0.01, 0.005, described(document), fontsize=6, color="#666666", va="bottom")
    for suffix in ("png", "svg"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(folder / f"{name}.{suffix}", bbox_inches="tight", metadata=metadata)
    plt.close(figure)
    print(folder / f"{name}.png")


def ratios(document: dict[str, Any], folder: Path, name: str) -> None:
    """Draw the ratio to the fastest other pipeline, a bar for each cell; below 1 is faster."""
    cells = [cell for cell in document["cells"] if cell["ratio"] is not None]
    height = 1.4 + 0.2 * len(cells)
    figure, axes = plt.subplots(figsize=(7.5, height))
    positions = range(len(cells))
    values = [cell["ratio"] for cell in cells]
    errors = [
        [max(0.0, cell["ratio"] - cell["ratio_quartiles"][0]) for cell in cells],
        [max(0.0, cell["ratio_quartiles"][1] - cell["ratio"]) for cell in cells],
    ]
    colours = [COLOURS[OURS] if value <= 1 else "#e8a39b" for value in values]
    axes.barh(
        positions, values, xerr=errors, color=colours, height=0.72, error_kw={"lw": 0.7, "ecolor": "#555555"}
    )
    tensorstore = [(at, cell["ratio_to_tensorstore"]) for at, cell in zip(positions, cells, strict=True)]
    shown = [(at, value) for at, value in tensorstore if value is not None]
    if shown:
        axes.plot(
            [value for _, value in shown],
            [at for at, _ in shown],
            ls="",
            marker="d",
            ms=4,
            color=COLOURS["tensorstore"],
            label="time over tensorstore's",
        )
        axes.legend(loc="upper right", fontsize=7)
    axes.axvline(1, color="#333333", lw=1)
    axes.set_yticks(list(positions), [f"{cell['case']}: {cell['operation']}" for cell in cells], fontsize=7)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.set_xlim(0, max(1.3, min(2.5, 1.05 * max(values + [value for _, value in shown]))))
    axes.set_xlabel("time of wazarr over the fastest of zarr-python's two pipelines and zarrs-python")
    mean = document["geometric_mean"]
    axes.set_title(f"Below 1 is faster than all three (geometric mean {mean:.2f})")
    figure.tight_layout(rect=(0, 0.45 / height, 1, 1))
    save(figure, document, folder, name)


def chunk_counts(document: dict[str, Any], folder: Path) -> None:
    """Draw the cost of a chunk against how many there are."""
    figure, both = plt.subplots(1, 2, figsize=(8.5, 3.8), sharey=True)
    for axes, kind in zip(both, ("missing chunks", "tiny chunks"), strict=True):
        figures = document[kind]
        counts = [int(count) for count in figures]
        for name in next(iter(figures.values())):
            costs = [figures[str(count)].get(name) for count in counts]
            _line(axes, counts, costs, name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(f"{kind} of 8 bytes, in memory")
    both[0].set_ylabel("µs a chunk")
    both[0].set_title("Reading many chunks at once")
    both[1].legend(fontsize=7, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    save(figure, document, folder, "chunk-counts")


def throughput(document: dict[str, Any], folder: Path, part: str, name: str, label: str) -> None:
    """Draw throughput against the number of threads, or the size of a chunk."""
    figures = document[part]
    rows = -(-len(figures) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(8.5, 2.7 * rows), squeeze=False)
    for axes, (what, by_name) in zip(grid.flat, figures.items(), strict=False):
        for contender, rates in by_name.items():
            _line(axes, [float(at) for at in rates], list(rates.values()), contender)
        if part == "threads":
            axes.set_xticks(sorted({int(at) for rates in by_name.values() for at in rates}))
        else:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(what, fontsize=8)
        axes.set_ylabel("MiB/s")
        axes.set_xlabel(label)
    for axes in list(grid.flat)[len(figures) :]:
        axes.set_visible(False)
    grid[0][1].legend(fontsize=7, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout(rect=(0, 0.35 / (2.7 * rows), 1, 1))
    save(figure, document, folder, name)


def memory_over_time(document: dict[str, Any], folder: Path) -> None:
    """Draw the resident memory during one operation."""
    rows = document["rows"]
    row = MEMORY_ROW if MEMORY_ROW in rows else next(iter(rows), None)
    if row is None:
        return
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for name, samples in rows[row]["samples"].items():
        axes.plot(
            [at * 1e3 for at, _ in samples],
            [resident for _, resident in samples],
            color=COLOURS.get(name),
            lw=1.8 if name == OURS else 1.1,
            label=name,
        )
    axes.set_xlabel("ms since the start")
    axes.set_ylabel("MiB over the start")
    axes.set_title(f"Resident memory: {row}")
    axes.legend(fontsize=7)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    save(figure, document, folder, "memory-over-time")


def _line(axes: Axes, at: list[Any], values: list[Any], name: str) -> None:
    axes.plot(
        at,
        values,
        marker="o",
        ms=3.5,
        lw=2 if name == OURS else 1.2,
        ls=":" if name == "floor" else "-",
        color=COLOURS.get(name),
        label=name,
        zorder=3 if name == OURS else 2,
    )


def scaling(document: dict[str, Any], folder: Path) -> None:
    """Draw everything about scaling."""
    chunk_counts(document, folder)
    throughput(document, folder, "threads", "threads", "threads")
    throughput(document, folder, "chunk sizes", "chunk-sizes", "KiB a chunk, decoded")


def stores(document: dict[str, Any], folder: Path) -> None:
    """Draw the ratios through each store, and the times over the network."""
    ratios(document, folder, "ratios-stores")
    cells = [cell for cell in document["cells"] if "HTTP" in cell["case"]]
    if not cells:
        return
    figure, grid = plt.subplots(1, len(cells), figsize=(2.4 * len(cells), 3.4))
    for axes, cell in zip([grid] if len(cells) == 1 else grid, cells, strict=True):
        times = {name: min(values) / 1e3 for name, values in cell["times_ms"].items()}
        bars = axes.bar(range(len(times)), list(times.values()), color=[COLOURS[name] for name in times])
        axes.bar_label(bars, fmt="%.2f", fontsize=6)
        axes.set_xticks(range(len(times)), list(times), rotation=60, ha="right", fontsize=7)
        axes.set_title(f"{cell['case'].replace(', ', chr(10))}\n{cell['operation']}", fontsize=7)
    figure.axes[0].set_ylabel("seconds")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    save(figure, document, folder, "stores-far")


def wasm(document: dict[str, Any], folder: Path) -> None:
    """Draw how much longer a codec takes as a module."""
    rows = [row for row in document["rows"] if row["ratio"] is not None][::-1]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(7, 0.45 * len(rows) + 1.4))
    for offset, key, label, colour in (
        (0.2, "ratio", "trusted", COLOURS[OURS]),
        (-0.2, "ratio_metered", "metered", COLOURS["wazarr, 10 in flight"]),
    ):
        values = [row[key] or 0 for row in rows]
        bars = axes.barh([at + offset for at in range(len(rows))], values, 0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{value:.2f}" if value else "" for value in values], fontsize=6, padding=2)
    for at, row in enumerate(rows):
        if row["goal"] is not None:
            axes.plot([row["goal"]] * 2, [at, at + 0.4], color="#333333", lw=1.2)
    axes.axvline(1, color="#9aa5b1", lw=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), [f"{row['case']}\nover {row['peer']}" for row in rows], fontsize=7)
    axes.set_xlabel("time as a module over the peer's; the stroke is the goal")
    axes.set_title("Codecs as WebAssembly modules")
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    save(figure, document, folder, "wasm")


FIGURES: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "main": lambda document, folder: ratios(document, folder, MAIN_CHART),
    "further": lambda document, folder: ratios(document, folder, "ratios-further"),
    "public": lambda document, folder: ratios(document, folder, "ratios-public"),
    "memory": memory_over_time,
    "scaling": scaling,
    "stores": stores,
    "wasm": wasm,
}


def main() -> None:
    """Draw what there are figures of."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", type=Path, default=Path("build/bench"), help="where suite.py wrote")
    parser.add_argument("--output", type=Path, default=Path("build/bench/plots"), help="where the plots go")
    parser.add_argument("--readme", type=Path, help="folder that gets the main chart as well")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    style()
    absent = []
    for group, draw in FIGURES.items():
        path = options.input / f"{group}.json"
        if path.exists():
            draw(json.loads(path.read_text()), options.output)
        else:
            absent.append(group)
    if absent:
        print(f"not measured yet, not drawn: {', '.join(absent)}", file=sys.stderr)
    if options.readme and "main" not in absent:
        options.readme.mkdir(parents=True, exist_ok=True)
        for suffix in ("png", "svg"):
            shutil.copy(options.output / f"{MAIN_CHART}.{suffix}", options.readme)


if __name__ == "__main__":
    main()
