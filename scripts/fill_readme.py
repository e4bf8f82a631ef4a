"""Put a measured table, and the chart of it, between the ``bench`` markers of a Markdown file.

``fill_readme.py README.md build/bench/main.md [docs/images/ratios-main.png]``
"""

from __future__ import annotations

import sys
from pathlib import Path

BEGIN = "<!-- bench:begin -->\n"
END = "<!-- bench:end -->"


def main() -> None:
    """Replace what stands between the markers."""
    target, source, *charts = map(Path, sys.argv[1:])
    if not source.exists():
        sys.exit(f"{source} is not there\nhint: run `make bench` first")
    before, found_begin, rest = target.read_text().partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        sys.exit(f"{target} has no markers {BEGIN.strip()} and {END}")
    images = [f"![Time of wazarr over the fastest of the others, by case]({chart})" for chart in charts]
    table = "\n\n".join([*images, source.read_text().strip()])
    target.write_text(f"{before}{BEGIN}{table}\n{END}{after}")


if __name__ == "__main__":
    main()
