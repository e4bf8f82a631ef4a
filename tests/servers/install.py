"""Azurite (from npm) and fake-gcs-server (built with Go), put where the tests look for them.

Usage: ``python -m tests.servers.install``. Nothing happens for what is there already: it is in the user's
cache, so that a fresh clone finds it. What cannot be had is said loudly, and its tests are skipped; with the
environment variable ``REQUIRE_SERVERS`` that is an error.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AZURITE", "GOOGLE", "Program"]

AZURITE_VERSION = "3.35.0"  # the last for Node 20 and older
FAKE_GCS_SERVER_VERSION = "1.56.1"

_SOURCE = Path(__file__).parent / "google" / "main.go"


def _folder() -> Path:
    """Return where everything is; the environment variable ``WAZARR_TEST_SERVERS`` moves it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("WAZARR_TEST_SERVERS") or cache / "wazarr" / "servers")


@dataclass(frozen=True)
class Program:
    """A server that has to be installed.

    Attributes
    ----------
    name : str
        What it is called; a folder's name too, another one for other content.
    tool : str
        What installs it.
    install : callable
        Does so into an empty folder.
    main : str
        The file to run, in that folder.
    """

    name: str
    tool: str
    install: Callable[[Path], None]
    main: str

    @property
    def path(self) -> Path:
        """The file to run, whether or not it is there."""
        return _folder() / self.name / self.main

    def provide(self) -> str | None:
        """Install it unless it is there; return why it is not there, if so."""
        if self.path.exists():
            return None
        if shutil.which(self.tool) is None:
            return f"{self.tool} was not found"
        print(f"== installing {self.name} into {_folder()}, once", flush=True)
        _folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_folder()) as parent:
            work = Path(parent) / "work"
            work.mkdir()
            try:
                self.install(work)
                if not self.path.exists():  # another process may have been quicker
                    work.rename(_folder() / self.name)
            except (OSError, subprocess.CalledProcessError) as error:
                return str(error)
        return None if self.path.exists() else f"{self.main} was not made"


def _install_azurite(work: Path) -> None:
    quiet = ["--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
    # No package's own scripts, and nothing that only some databases need.
    sparse = ["--ignore-scripts", "--omit=optional"]
    subprocess.run(
        ["npm", "install", "--prefix", work, *quiet, *sparse, f"azurite@{AZURITE_VERSION}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _build_google(work: Path) -> None:
    # Never another Go than the one that is there.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    shutil.copy(_SOURCE, work)
    for arguments in (
        ["mod", "init", "google"],
        ["get", f"github.com/fsouza/fake-gcs-server@v{FAKE_GCS_SERVER_VERSION}"],
        ["build", "-trimpath", "-ldflags=-s -w", "-o", "server", "."],
    ):
        done = subprocess.run(
            ["go", *arguments], cwd=work, env=environment, text=True, stderr=subprocess.PIPE, check=False
        )
        if done.returncode:
            # Only now: else it tells of each of a hundred downloads.
            sys.stderr.write(done.stderr)
        done.check_returncode()


AZURITE = Program(
    f"azurite-{AZURITE_VERSION}",
    "npm",
    _install_azurite,
    "node_modules/azurite/dist/src/blob/main.js",
)
GOOGLE = Program(
    f"fake-gcs-server-{FAKE_GCS_SERVER_VERSION}-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}",
    "go",
    _build_google,
    "server",
)


def main() -> int:
    """Install what is missing; return the exit status."""
    reasons = {program.name: program.provide() for program in (AZURITE, GOOGLE)}
    missing = [f"** {name}: {reason}" for name, reason in reasons.items() if reason]
    if missing:
        line = "*" * 70
        heading = "** NOT TESTED, since there is no server for it:"
        print(line, heading, *missing, line, sep="\n", file=sys.stderr, flush=True)
    return 1 if missing and os.environ.get("REQUIRE_SERVERS") else 0


if __name__ == "__main__":
    sys.exit(main())
