"""What obstore's settings say about clients and credentials holds for the engine's own requests, too.

And what they keep secret is for the host that they are for: the file server has two names, and sees what each
of them is sent.
"""

from __future__ import annotations

import ssl
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

import wazarr
from tests.pipelines import SUBJECT_PATH, pipeline
from tests.servers.faults import Fault, whenever
from tests.servers.files import FileServer
from tests.stores.clouds import SECRET
from tests.stores.readers import RETRIES, move_chunks, serve
from wazarr import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.request import Request

VALUES = np.arange(1, 801, dtype="i4")
ALLOW_HTTP = {"allow_http": True}


def _s3(url: str, options: Any, **settings: Any) -> Any:
    from obstore.store import S3Store

    given: dict[str, Any] = {"region": "us-east-1", "virtual_hosted_style_request": False} | settings
    if "credential_provider" not in given:
        given |= {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET}
    return S3Store("files", endpoint=url.rstrip("/"), client_options=options, **{"prefix": "array", **given})


def _azure(url: str, options: Any, **settings: Any) -> Any:
    from obstore.store import AzureStore

    given: dict[str, Any] = settings if "sas_key" in settings else {"account_key": SECRET, **settings}
    return AzureStore(
        "files",
        endpoint=f"{url}testaccount",
        account_name="testaccount",
        client_options=options,
        **{"prefix": "array", **given},
    )


def _google(url: str, options: Any, **settings: Any) -> Any:
    from obstore.store import GCSStore

    return GCSStore(
        "files",
        base_url=url.rstrip("/"),
        bearer_token=SECRET,
        client_options=options,
        **{"prefix": "array", **settings},
    )


def _http(url: str, options: Any, **settings: Any) -> Any:
    from obstore.store import HTTPStore

    return HTTPStore(f"{url}files/array", client_options=options, **settings)


STORES: dict[str, Callable[..., Any]] = {"s3": _s3, "azure": _azure, "gcs": _google, "http": _http}

SECRETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "s3, keys": ("s3", {}, {}),
    "s3, session token": ("s3", {}, {"session_token": SECRET}),
    "s3, a function's session token": (
        "s3",
        {},
        {
            "credential_provider": lambda: {
                "access_key_id": "AKIAIOSFODNN7EXAMPLE",
                "secret_access_key": "other",
                "token": SECRET,
                "expires_at": datetime.now(UTC) + timedelta(hours=1),
            }
        },
    ),
    "s3, header": ("s3", {"x-api-key": SECRET}, {}),
    "azure, key": ("azure", {}, {}),
    "azure, shared access signature": ("azure", {}, {"sas_key": f"sv=2026-01-01&sig={SECRET}"}),
    "azure, header": ("azure", {"x-api-key": SECRET}, {}),
    "gcs, token": ("gcs", {}, {}),
    "gcs, header": ("gcs", {"x-api-key": SECRET}, {}),
    "http, token": ("http", {"Authorization": f"Bearer {SECRET}"}, {}),
    "http, header": ("http", {"x-api-key": SECRET}, {}),
    "s3, allowed header": ("s3", {"If-Match": SECRET, "Accept": f"x/{SECRET}"}, {}),
    "http, allowed header": ("http", {"If-Match": SECRET, "Accept": f"x/{SECRET}"}, {}),
    "http, cookie": ("http", {"Cookie": f"session={SECRET}"}, {}),
}
"""Where the secret of a store is: its kind, headers of the user's, and other settings."""


@pytest.fixture(autouse=True)
def _natively() -> Iterator[None]:
    """Have every read and write fail that is not the engine's own."""
    with zarr.config.set({"codec_pipeline.strict": True}):
        yield


def _open(
    kind: str, server: FileServer, options: dict[str, Any], *, mode: Any = "r", **settings: Any
) -> zarr.Array[Any]:
    store = STORES[kind](server.url(), options, retry_config=RETRIES, **settings)
    with pipeline(SUBJECT_PATH):
        return zarr.open_array(ObjectStore(store, read_only=mode == "r"), mode=mode)


def _serve(kind: str, server: FileServer, folder: Path, **options: Any) -> None:
    below = "testaccount/" if kind == "azure" else ""
    serve(server, folder, VALUES, f"{below}files/array", **options)


def _is_told(request: Request, headers: dict[str, str]) -> bool:
    """Whether a request carries what its store keeps secret, or what shows that it is the user's."""
    sent = urllib.parse.unquote(f"{request.path} {request.headers}")
    if SECRET in sent or "authorization" in request.headers:
        return True
    return any(name.lower() in request.headers for name in headers if name != "Accept")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("secret", SECRETS)
def test_redirects_take_nothing_to_another_host(
    secret: str, host: str, file_server: FileServer, tmp_path: Path
) -> None:
    kind, headers, settings = SECRETS[secret]
    _serve(kind, file_server, tmp_path, chunks=(200,))
    options: dict[str, Any] = {**ALLOW_HTTP, **({"default_headers": headers} if headers else {})}
    array = _open(kind, file_server, options, **settings)
    move_chunks(file_server, host)
    assert np.array_equal(np.asarray(array[...]), VALUES)
    asked = file_server.chunks()
    moved = [request for request in asked if request.key.startswith("moved")]
    assert len(moved) == 4
    assert len(asked) == 8
    assert all(_is_told(request, headers) for request in asked if request not in moved)
    if host == "localhost":
        assert not [request for request in moved if _is_told(request, headers)]
    elif "signature" not in secret:  # which is in the address, and the redirect has another
        assert all(_is_told(request, headers) for request in moved)


@pytest.mark.parametrize("kind", STORES)
def test_writes_are_not_sent_on(kind: str, file_server: FileServer, tmp_path: Path) -> None:
    _serve(kind, file_server, tmp_path, chunks=(200,))
    array = _open(kind, file_server, dict(ALLOW_HTTP), mode="r+")
    file_server.schedule = lambda request: (
        Fault("status", 307, {"Location": file_server.url("elsewhere", "localhost")})
        if request.method == "PUT"
        else None
    )
    with pytest.raises(wazarr.errors.StoreError, match=r"c/\d"):
        array[...] = 3
    assert "elsewhere" not in {request.key for request in file_server.log}


@pytest.mark.parametrize("prefix", ["", "a/b", "with space", "per%41cent", "percent%", "ü", "a.b~c"])
@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_prefix_names_the_same_place(kind: str, prefix: str, file_server: FileServer) -> None:
    """zarr writes the metadata through obstore, and the engine the chunks."""
    store = STORES[kind](file_server.url(), dict(ALLOW_HTTP), retry_config=RETRIES, prefix=prefix)
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(ObjectStore(store), shape=(800,), chunks=(400,), dtype="i4")
        array[...] = VALUES
        assert np.array_equal(np.asarray(array[...]), VALUES)
    (metadata,) = [key for key in file_server.files if key.endswith("zarr.json")]
    assert {key for key in file_server.files if "/c/" in key} == {
        metadata.replace("zarr.json", f"c/{number}") for number in range(2)
    }


# --- client options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STORES)
def test_who_asks_is_said(kind: str, file_server: FileServer, tmp_path: Path) -> None:
    _serve(kind, file_server, tmp_path, chunks=(200,))
    options = {**ALLOW_HTTP, "user_agent": "lécteur/7", "default_headers": {"x-project": "b", "Accept": "c"}}
    array = _open(kind, file_server, options)
    file_server.forget()
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert len(file_server.chunks()) == 4
    for request in file_server.chunks():
        said = request.headers
        agent = said["user-agent"].encode("latin-1").decode()
        assert (agent, said["x-project"], said["accept"]) == ("lécteur/7", "b", "c")


def _impatient(kind: str, server: FileServer, folder: Path, **timeouts: timedelta) -> zarr.Array[Any]:
    """Open an array over a store with timeouts, none of them as long as the default of 30 s."""
    _serve(kind, server, folder, chunks=(200,))
    store = STORES[kind](server.url(), {**ALLOW_HTTP, **timeouts}, retry_config={"max_retries": 0})
    with pipeline(SUBJECT_PATH):
        return zarr.open_array(ObjectStore(store, read_only=True), mode="r")


@pytest.mark.parametrize(
    "timeouts",
    [
        {"timeout": timedelta(seconds=0.2)},
        {"timeout": timedelta(hours=1), "read_timeout": timedelta(seconds=0.2)},
    ],
    ids=["timeout", "read_timeout"],
)
@pytest.mark.parametrize("kind", STORES)
def test_time_runs_out(
    kind: str, timeouts: dict[str, timedelta], file_server: FileServer, tmp_path: Path
) -> None:
    array = _impatient(kind, file_server, tmp_path, **timeouts)
    file_server.schedule = whenever(Fault("silence"))
    file_server.forget()
    with pytest.raises(wazarr.errors.StoreError, match=r"c/\d"):
        array[...]
    assert file_server.wait(lambda: file_server.in_flight == 0)
    waited = [request.ended_s - request.started_s for request in file_server.chunks() if request.ended_s]
    assert waited
    assert max(waited) < 15


def test_time_runs_out_for_all_redirects_together(file_server: FileServer, tmp_path: Path) -> None:
    """Each of ten would be soon enough."""
    array = _impatient("http", file_server, tmp_path, timeout=timedelta(seconds=2))
    file_server.schedule = whenever(Fault("status", 302, {"Location": file_server.url("files/array/c/0")}))
    file_server.delay_s = 0.5
    file_server.forget()
    with pytest.raises(wazarr.errors.StoreError, match=r"c/0"):
        array[:10]
    assert 2 <= len(file_server.chunks()) <= 5


@pytest.mark.parametrize("kind", STORES)
def test_a_proxy_is_asked(kind: str, file_server: FileServer, tmp_path: Path) -> None:
    """A proxy is sent whole addresses; this one answers for the host itself."""
    _serve(kind, file_server, tmp_path, chunks=(200,))
    array = _open(kind, file_server, dict(ALLOW_HTTP))
    whole = {f"{file_server.url()}{key}": value for key, value in file_server.files.items()}
    store = STORES[kind](
        "http://nowhere.invalid/", {**ALLOW_HTTP, "proxy_url": file_server.url()}, retry_config=RETRIES
    )
    file_server.files |= {
        address.replace(file_server.url(), "http://nowhere.invalid/"): value
        for address, value in whole.items()
    }
    with pipeline(SUBJECT_PATH):
        proxied = zarr.open_array(ObjectStore(store, read_only=True), mode="r")
    file_server.forget()
    assert np.array_equal(np.asarray(proxied[...]), VALUES)
    assert len(file_server.chunks()) == 4
    assert all(request.path.startswith("http://nowhere.invalid/") for request in file_server.chunks())
    assert np.array_equal(np.asarray(array[...]), VALUES)


@pytest.fixture(scope="module")
def authority() -> Any:
    """A certificate authority that no system knows."""
    import trustme

    return trustme.CA()


@pytest.fixture
def secure_server(authority: Any) -> Iterator[FileServer]:
    """The file server over HTTPS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FileServer(context) as server:
        yield server


@pytest.mark.parametrize("kind", STORES)
def test_certificates_are_trusted_as_told(
    kind: str, secure_server: FileServer, authority: Any, tmp_path: Path
) -> None:
    _serve(kind, secure_server, tmp_path, chunks=(200,))
    pem = authority.cert_pem.bytes()
    options: list[dict[str, Any]] = [
        {"root_certificate": pem},
        {"root_certificate": pem.decode(), "disable_system_certificates": True},
        {"allow_invalid_certificates": True},
    ]
    for trusting in options:
        array = _open(kind, secure_server, trusting)
        secure_server.forget()
        assert np.array_equal(np.asarray(array[...]), VALUES)
        assert len(secure_server.chunks()) == 4


@pytest.mark.parametrize("kind", STORES)
def test_secrets_do_not_leave_https(
    kind: str, secure_server: FileServer, file_server: FileServer, authority: Any, tmp_path: Path
) -> None:
    """Where the user allows plain HTTP, a redirect to it is followed, and where not it is an error."""
    _serve(kind, secure_server, tmp_path, chunks=(200,))
    file_server.files = {f"moved/{key}": value for key, value in secure_server.files.items()}
    secure_server.schedule = lambda request: (
        None
        if request.is_metadata
        else Fault("status", 302, {"Location": file_server.url(f"moved/{request.key}")})
    )
    headers = {"x-api-key": SECRET}
    trusting = {"root_certificate": authority.cert_pem.bytes(), "default_headers": headers}
    array = _open(kind, secure_server, {**trusting, **ALLOW_HTTP})
    assert np.array_equal(np.asarray(array[...]), VALUES)
    assert len(file_server.chunks()) == 4
    assert not [request for request in file_server.log if _is_told(request, headers)]
    file_server.forget()
    array = _open(kind, secure_server, trusting)
    with pytest.raises(wazarr.errors.StoreError, match=r"c/\d"):
        array[...]
    assert not file_server.log


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_settings_that_cannot_be_asked_for_leave_the_store_to_obstore(
    kind: str, file_server: FileServer, tmp_path: Path
) -> None:
    """It panics when it is asked how a store was made that has a client's option among its own."""
    _serve(kind, file_server, tmp_path, chunks=(200,))
    array = _open(kind, file_server, dict(ALLOW_HTTP), config={"user_agent": "reader/7"})
    with zarr.config.set({"codec_pipeline.strict": False}):
        assert np.array_equal(np.asarray(array[...]), VALUES)
    assert wazarr.explain(array).fallbacks == ("store ObjectStore is reached through its Python methods",)


class _Newer:
    """A store of obstore as another version might make it: with settings that are not known."""

    def __init__(self, store: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.store, self.args, self.kwargs = store, args, kwargs

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = self.store.__getnewargs_ex__()
        return args + self.args, kwargs | self.kwargs


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("more",), {}),
        ((), {"signer": 1}),
        ((), {"retry_config": {"max_retries": 1, "jitter": True}}),
        ((), {"retry_config": {"backoff": {"base": 2, "jitter": True}}}),
        ((), {"client_options": {"http3_only": True}}),
    ],
)
@pytest.mark.parametrize("kind", STORES)
def test_settings_that_are_not_known_are_refused(
    kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """So that the store is left to obstore, as above."""
    store = STORES[kind]("http://127.0.0.1:9/", dict(ALLOW_HTTP), retry_config=RETRIES)
    named = type(type(store).__name__, (_Newer,), {})
    assert _native.open_object_store(named(store, (), {"retry_config": None}), 1) is not None
    with pytest.raises(Exception, match=r"known|values|http3"):
        _native.open_object_store(named(store, args, kwargs), 1)
