"""Modules from registries of container images (``oci:``), with the library `oras`.

The library speaks the protocol: names, manifests, anonymous tokens. Every request that it makes goes
through `sources.request`, with its limits, and only to the registry itself or to what the user allowed:
where tokens come from and where contents are kept is for the registry to say. No credentials are sent.
"""

from __future__ import annotations

import inspect
import io
import json
import re
from typing import TYPE_CHECKING, Any, Final

from wazarr import config
from wazarr.wasm import sources
from wazarr.wasm.addresses import Address, SourceError, require_allowed, shown

if TYPE_CHECKING:
    import oras.provider

__all__ = ["pull"]

_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_MODULES: Final = frozenset(
    {
        "application/wasm",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.module.wasm.content.layer.v1+wasm",
    }
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def pull(address: Address, source: str, deadline: float, *, is_own: bool) -> bytes:
    """Return the module that a registry has under a name.

    Parameters
    ----------
    address : Address
        ``oci://REGISTRY/NAME:TAG`` or ``…@sha256:DIGEST``, allowed.
    source : str
        The same, for messages.
    deadline : float
        When it has to be over, as `time.monotonic` counts.
    is_own : bool
        Whether the program itself named it: then the registry may send it anywhere.

    Raises
    ------
    SourceError
        There is no module, or the library is not installed.
    """
    try:
        import oras.container
    except ImportError:
        raise SourceError(
            f"{shown(source)}: registries need the package oras: pip install 'wazarr[oci]'"
        ) from None
    port = "" if address.port == 443 else f":{address.port}"
    container = oras.container.Container(
        "/".join(address.segments) + (address.reference or ":latest"), registry=f"{address.host}{port}"
    )
    registry = _registry(address, source, deadline, is_own=is_own)
    try:
        manifest = _get(registry, container.manifest_url(), source, _MANIFESTS)
        digest = _module_in(json.loads(manifest), source)
        return _get(registry, container.get_blob_url(digest), source, "*/*")
    except SourceError:
        raise
    except Exception as error:
        # The library and what it stands on raise whatever a strange answer leads to.
        raise SourceError(f"{shown(source)}: {type(error).__name__}: {error}") from error


def _get(registry: oras.provider.Registry, url: str, source: str, accept: str) -> bytes:
    response = registry.do_request(f"{registry.prefix}://{url}", "GET", headers={"Accept": accept})
    if response.status_code != 200:
        raise SourceError(f"{shown(source)}: the registry answered {response.status_code}")
    return bytes(response.content)


def _module_in(manifest: Any, source: str) -> str:
    """Return the digest of the one layer that is a module."""
    layers = manifest.get("layers") if isinstance(manifest, dict) else None
    layers = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    modules = [layer for layer in layers if layer.get("mediaType") in _MODULES] or layers
    if len(modules) != 1:
        raise SourceError(f"{shown(source)}: {len(modules)} layers that may be the module, instead of one")
    size, digest = modules[0].get("size"), modules[0].get("digest")
    if isinstance(size, int) and size > config.wasm_module_limit():
        raise sources.too_large(source)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SourceError(f"{shown(source)}: the layer has no sha256 digest")
    return digest


def _registry(address: Address, source: str, deadline: float, *, is_own: bool) -> oras.provider.Registry:
    """Return the library's registry, whose requests go through ours."""
    import oras.provider
    import requests
    from requests.adapters import BaseAdapter

    class Transport(BaseAdapter):
        """Makes every request of the library's, redirects and tokens included."""

        def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
            target = Address.parse(request.url)
            is_registry = (target.host, target.port) == (address.host, address.port)
            if not is_own and not (is_registry and target.segments[:1] == ("v2",)):
                require_allowed(target, request.url, is_redirect=True)
            answer = sources.request(target, source, deadline, dict(request.headers))
            response = requests.Response()
            response.status_code = answer.status
            response.headers.update(answer.headers)
            response.url, response.request = request.url, request
            response.raw = io.BytesIO()
            response._content = answer.body
            return response

        def close(self) -> None:
            """Keep nothing open."""

    class Registry(oras.provider.Registry):  # type: ignore[misc]
        """Without the library's own retries, which take minutes."""

        do_request = inspect.unwrap(oras.provider.Registry.do_request)

    registry = Registry(hostname=None, insecure=address.is_loopback)
    # Neither proxies, which the requests below find themselves, nor the user's passwords.
    registry.session.trust_env = False
    registry.session.max_redirects = 5
    for scheme in ("https://", "http://"):
        registry.session.mount(scheme, Transport())
    return registry
