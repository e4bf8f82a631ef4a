"""Figures that need a process of their own: peak memory, import times, numbers of threads.

`in_fresh_process` starts Python anew, lets it call one function of this folder, and returns what that
function returned, over JSON. Meanwhile the process's memory can be watched from outside, which takes
nothing from it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

SAMPLE_S = 0.002
TIMEOUT_S = 900


class ChildError(Exception):
    """The fresh process failed; the message is the last line of what it said."""


def in_fresh_process(
    function: str,
    *,
    environment: dict[str, str] | None = None,
    is_watched: bool = False,
    timeout_s: float = TIMEOUT_S,
    **arguments: Any,
) -> dict[str, Any]:
    """Call a function in a new process.

    Parameters
    ----------
    function : str
        ``module:name``; it returns a dict that JSON can hold.
    environment : dict, optional
        Added to the environment.
    is_watched : bool, optional
        Whether to add ``"samples"``: pairs of a time in seconds, on the clock of `time.monotonic`, and
        the resident memory in bytes.
    timeout_s : float, optional
        After so many seconds the process is ended.
    **arguments
        What the function is called with; anything that JSON can hold.

    Raises
    ------
    ChildError
        The process did not end well, or not in time.
    """
    settings = {**os.environ, "PYTHONWARNINGS": "ignore", **(environment or {})}
    settings.pop("ZARR_CODEC_PIPELINE__PATH", None)
    command = [sys.executable, str(Path(__file__)), function, json.dumps(arguments)]
    child = subprocess.Popen(
        command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    samples: list[tuple[float, int]] = []
    watcher = threading.Thread(target=_watch, args=(child, samples), daemon=True)
    if is_watched:
        watcher.start()
    try:
        output, errors = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise ChildError(f"not done after {timeout_s:g} s") from None
    except BaseException:
        child.kill()
        child.wait()
        raise
    if child.returncode:
        lines = errors.strip().splitlines() or [f"exit code {child.returncode}"]
        raise ChildError(lines[-1][:200])
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    if is_watched:
        watcher.join()
        answer["samples"] = samples
    return answer


def _watch(child: subprocess.Popen[str], samples: list[tuple[float, int]]) -> None:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    path = Path(f"/proc/{child.pid}/statm")
    while child.poll() is None:
        try:
            samples.append((time.monotonic(), int(path.read_text().split()[1]) * page_bytes))
        except (OSError, IndexError):
            return
        time.sleep(SAMPLE_S)


def main() -> None:
    """Call what the command line says and print its answer as JSON."""
    function, arguments = sys.argv[1:]
    module, _, name = function.partition(":")
    answer = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
