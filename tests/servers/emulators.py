"""Azure's and Google's object stores on loopback: programs of their own, which end with the tests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import subprocess
import tempfile
import threading
import urllib.request
import uuid
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.servers.install import AZURITE, GOOGLE

if TYPE_CHECKING:
    from tests.servers.install import Program

__all__ = ["AzureContainer", "AzureServer", "GoogleBucket", "GoogleServer"]

ACCOUNT = "testaccount"

# Node goes on for as long as anybody listens.
_END_WITH_STDIN = "data:text/javascript,process.stdin.resume().on('end', () => process.exit())"


class _Server:
    """A program that says where it listens, and ends when its standard input does.

    So it does not outlive tests that were killed.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self._left = contextlib.ExitStack()

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        # Azurite leaves files in its working folder.
        folder = self._left.enter_context(tempfile.TemporaryDirectory(prefix="wazarr-server-"))
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._left.callback(self._end, process)
        # Reading ends when the program does.
        timer = threading.Timer(60, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.endpoint = found[0]
                break
        timer.cancel()
        if not self.endpoint:
            self._left.close()
            raise RuntimeError(f"{command[0]} did not start")

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        try:
            process.communicate("", timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def __exit__(self, *_: object) -> None:
        self._left.close()


def _require(program: Program) -> None:
    if not program.path.exists():
        reason = f"NOT TESTED: no {program.name}; `make test-servers` installs it with {program.tool}"
        pytest.skip(reason)


def _send(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> None:
    request = urllib.request.Request(url, method=method, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _new_name() -> str:
    return f"container-{uuid.uuid4().hex}"


# --- Azure -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AzureContainer:
    """A container of blobs, and how obstore is told to reach it."""

    endpoint: str
    name: str
    secret: str
    """The account's key."""

    def obstore(self, prefix: str | None = None, **options: Any) -> Any:
        """Return obstore's store of it."""
        from obstore.store import AzureStore

        return AzureStore(
            self.name,
            prefix=prefix,
            endpoint=f"{self.endpoint}/{ACCOUNT}",
            account_name=ACCOUNT,
            account_key=self.secret,
            client_options={"allow_http": True},
            **options,
        )

    def make(self) -> None:
        """Make it."""
        self._send("PUT")

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._send("DELETE")

    def _send(self, method: str) -> None:
        """Send a request about the container, signed with the account's key; obstore has none such."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        # Eleven headers that it does not have; the account's name is a part of the path too.
        lines = [
            *(method, *[""] * 11),
            *(f"{name}:{value}" for name, value in headers.items()),
            f"/{ACCOUNT}/{ACCOUNT}/{self.name}",
            "restype:container",
        ]
        key = base64.b64decode(self.secret)
        signature = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
        _send(method, f"{self.endpoint}/{ACCOUNT}/{self.name}?restype=container", headers)


class AzureServer(_Server):
    """Azurite; a context manager that starts and stops it."""

    def __enter__(self) -> Self:
        _require(AZURITE)
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        options = ["--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--silent"]
        self._start(
            ["node", "--import", _END_WITH_STDIN, str(AZURITE.path), "--blobPort", "0", *options],
            {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"},
        )
        return self

    def container(self) -> AzureContainer:
        """Make a new container."""
        container = AzureContainer(self.endpoint, _new_name(), self.key)
        container.make()
        return container


# --- Google ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GoogleBucket:
    """A bucket, and how obstore is told to reach it."""

    endpoint: str
    name: str
    secret: str
    """The token."""

    def obstore(self, prefix: str | None = None, **options: Any) -> Any:
        """Return obstore's store of it."""
        from obstore.store import GCSStore

        return GCSStore(
            self.name,
            prefix=prefix,
            base_url=self.endpoint,
            bearer_token=self.secret,
            client_options={"allow_http": True},
            **options,
        )

    def make(self) -> None:
        """Make it."""
        headers = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
        body = json.dumps({"name": self.name}).encode()
        _send("POST", f"{self.endpoint}/storage/v1/b?project=tests", headers, body)


class GoogleServer(_Server):
    """fake-gcs-server; a context manager that starts and stops it."""

    def __enter__(self) -> Self:
        _require(GOOGLE)
        self.token = secrets.token_urlsafe(40)
        self._start([str(GOOGLE.path)], {"TOKEN": self.token})
        return self

    def bucket(self) -> GoogleBucket:
        """Make a new bucket."""
        bucket = GoogleBucket(self.endpoint, _new_name(), self.token)
        bucket.make()
        return bucket
