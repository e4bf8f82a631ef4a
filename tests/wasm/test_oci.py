"""Modules from a registry, which is a small server on this machine."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import zarr

from tests.wasm import guests
from tests.wasm.servers import Handler, send, serving
from wazarr.wasm import sources
from wazarr.wasm.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = guests.xor()
OTHER = guests.trim()
WASM = "application/vnd.wasm.content.layer.v1+wasm"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(content: bytes, media_type: str = WASM, **changes: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content), **changes}


def registry(
    *layers: dict[str, Any], blob: Callable[[Handler], None] | None = None, needs_token: str | None = None
) -> Callable[[Handler], None]:
    """Return what answers as a registry with one image.

    Parameters
    ----------
    *layers : dict
        Of its manifest.
    blob : callable, optional
        Answers for contents.
    needs_token : str, optional
        Where the registry sends for a token.
    """
    manifest = json.dumps({"schemaVersion": 2, "config": _layer(b"{}", "application/json"), "layers": layers})
    contents = {_digest(content): content for content in (MODULE, OTHER)}

    def answer(handler: Handler) -> None:
        path = handler.path
        if path.startswith("/token"):
            send(handler, json.dumps({"token": "t"}).encode())
        elif needs_token and handler.headers.get("Authorization") != "Bearer t":
            challenge = f'Bearer realm="{needs_token}",service="x",scope="repository:org/flip:pull"'
            send(handler, b"", status=401, headers={"WWW-Authenticate": challenge})
        elif path.startswith("/v2/org/flip/manifests/"):
            send(handler, manifest.encode(), headers={"Content-Type": "application/json"})
        elif path.startswith("/v2/org/flip/blobs/"):
            digest = path.rpartition("/")[2]
            if blob is not None:
                blob(handler)
            else:
                send(handler, contents.get(digest, b""), status=200 if digest in contents else 404)
        else:
            send(handler, b"", status=404)

    return answer


def source_of(address: str, reference: str = ":1.0") -> str:
    return address.replace("http://", "oci://") + f"/org/flip{reference}"


def fetch(address: str, reference: str = ":1.0", *also: str) -> bytes:
    source = source_of(address, reference)
    with zarr.config.set({"wazarr.wasm.allow": [source.rpartition("/")[0], *also]}):
        return sources.fetch(source)


@pytest.mark.parametrize(
    "layers",
    [
        [_layer(MODULE)],
        [_layer(MODULE, "application/wasm")],
        [_layer(MODULE, "application/octet-stream")],
        [_layer(OTHER, "text/plain"), _layer(MODULE)],
    ],
)
def test_modules_come_out_of_images(layers: list[dict[str, Any]]) -> None:
    with serving(registry(*layers)) as (address, asked):
        assert fetch(address) == MODULE
        assert asked[0] == "/v2/org/flip/manifests/1.0"
        assert fetch(address, "") == MODULE
        assert asked[2] == "/v2/org/flip/manifests/latest"
        digest = _digest(b"a manifest")
        assert fetch(address, f"@{digest}") == MODULE
        assert asked[4] == f"/v2/org/flip/manifests/{digest}"


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [_layer(MODULE), _layer(OTHER)],
        [_layer(MODULE, "text/plain"), _layer(OTHER, "text/plain")],
        [_layer(MODULE, digest="sha256:../../x")],
        [_layer(MODULE, digest=7)],
        [_layer(MODULE, size=1 << 60)],
        ["text"],
    ],
)
def test_images_that_hold_no_one_module(layers: list[Any]) -> None:
    with serving(registry(*layers)) as (address, asked):
        with pytest.raises(SourceError):
            fetch(address)
        assert not [path for path in asked if "blobs" in path]


def test_nothing_is_asked_of_a_registry_that_is_not_allowed() -> None:
    with serving(registry(_layer(MODULE))) as (address, asked):
        with pytest.raises(SourceError, match=r"wazarr\.wasm\.allow"):
            sources.fetch(source_of(address))
        with (
            zarr.config.set({"wazarr.wasm.allow": [address]}),
            pytest.raises(SourceError, match="not allowed"),
        ):
            sources.fetch(source_of(address))
        assert not asked
        assert sources.fetch(source_of(address), is_own=True) == MODULE


def test_contents_may_be_elsewhere_where_that_is_allowed() -> None:
    with serving(lambda handler: send(handler, MODULE)) as (elsewhere, asked):

        def redirect(handler: Handler) -> None:
            send(handler, b"x" * 1000, status=307, headers={"Location": f"{elsewhere}/blob?signature=x"})

        with serving(registry(_layer(MODULE), blob=redirect)) as (address, _):
            with pytest.raises(SourceError, match="redirected to"):
                fetch(address)
            assert not asked
            assert fetch(address, ":1.0", elsewhere) == MODULE
            assert asked == ["/blob?signature=x"]


def test_tokens_come_only_from_where_it_is_allowed() -> None:
    with serving(registry()) as (elsewhere, asked):
        answering = registry(_layer(MODULE), needs_token=f"{elsewhere}/token")
        with serving(answering) as (address, _):
            with pytest.raises(SourceError, match=r"wazarr\.wasm\.allow"):
                fetch(address)
            assert not asked
            assert fetch(address, ":1.0", elsewhere) == MODULE
            assert asked[0].startswith("/token?")


def _drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def _endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


@pytest.mark.parametrize("blob", [_drip, _endless, lambda handler: send(handler, b"", status=500)])
def test_hostile_contents(blob: Callable[[Handler], None]) -> None:
    begun = time.monotonic()
    limits = {"wazarr.wasm.fetch_timeout_s": 0.5, "wazarr.wasm.module_limit": 1 << 20}
    with (
        serving(registry(_layer(MODULE), blob=blob)) as (address, _),
        zarr.config.set(limits),
        pytest.raises(SourceError),
    ):
        fetch(address)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"layers": 7}', b"\xff" * 10])
def test_manifests_that_are_none(content: bytes) -> None:
    with serving(lambda handler: send(handler, content)) as (address, _), pytest.raises(SourceError):
        fetch(address)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oras", None)
    monkeypatch.setitem(sys.modules, "oras.container", None)
    with pytest.raises(SourceError, match=r"wazarr\[oci\]"):
        fetch("http://127.0.0.1:1")
