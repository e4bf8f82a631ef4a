"""Put a measured table between the ``bench`` markers of a Markdown file.

``fill_readme.py README.md build/bench/main.md``
"""

from __future__ import annotations

import sys
from pathlib import Path

BEGIN = "<!-- bench:begin -->\n"
END = "<!-- bench:end -->"


def main() -> None:
    """Replace what stands between the markers."""
    target, source = map(Path, sys.argv[1:])
    if not source.exists():
        sys.exit(f"{source} is not there\nhint: run `make bench` first")
    before, found_begin, rest = target.read_text().partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        sys.exit(f"{target} has no markers {BEGIN.strip()} and {END}")
    target.write_text(f"{before}{BEGIN}{source.read_text().strip()}\n{END}{after}")


if __name__ == "__main__":
    main()
