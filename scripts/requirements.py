"""Print requirements from `pyproject.toml`, one a line, for ``pip install -r``.

``requirements.py NAME...`` takes dependency groups, and extras of other names; ``run`` stands for the
package's own dependencies. (pip itself reads groups only from 25.1 on, newer than what Python 3.11 ships.)
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(name: str, pyproject: dict[str, Any]) -> list[str]:
    """Return the requirements that `name` stands for, included groups followed."""
    project = pyproject["project"]
    if name == "run":
        return list(project["dependencies"])
    groups = pyproject["dependency-groups"]
    if name not in groups:
        return list(project["optional-dependencies"][name])
    found: list[str] = []
    for entry in groups[name]:
        if isinstance(entry, dict):
            found += requirements(entry["include-group"], pyproject)
        else:
            found.append(entry)
    return found


def main() -> None:
    """Print what the names on the command line stand for."""
    path = Path(__file__).parent.parent / "pyproject.toml"
    pyproject = tomllib.loads(path.read_text())
    for name in sys.argv[1:]:
        print(*requirements(name, pyproject), sep="\n")


if __name__ == "__main__":
    main()
