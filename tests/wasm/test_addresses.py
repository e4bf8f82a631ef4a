"""Which addresses a prefix allows: whole parts of the address, and no way around them."""

from __future__ import annotations

import pytest
import zarr

from wazarr.wasm.addresses import Address, SourceError, require_allowed

# prefix, address, whether it is allowed
RULES = [
    ("https://good.org", "https://good.org/a.wasm", True),
    ("https://good.org", "https://GOOD.org/a.wasm", True),
    ("HTTPS://Good.Org", "https://good.org/a.wasm", True),
    ("https://good.org", "https://good.org:443/a.wasm", True),
    ("https://good.org/", "https://good.org/x/y/a.wasm", True),
    ("https://good.org/codecs", "https://good.org/codecs/a.wasm", True),
    ("https://good.org/codecs/", "https://good.org/codecs/a.wasm", True),
    ("https://good.org/codecs/a.wasm", "https://good.org/codecs/a.wasm", True),
    ("https://good.org/my%20codecs", "https://good.org/my%20codecs/a.wasm", True),
    ("https://good.org/c%6Fdecs", "https://good.org/codecs/a.wasm", True),
    ("https://[::1]:8443", "https://[::1]:8443/a.wasm", True),
    ("https://good.org", "https://good.org.evil/a.wasm", False),
    ("https://good.org", "https://evil.good.org/a.wasm", False),
    ("https://good.org", "https://good.orgevil/a.wasm", False),
    ("https://good.org", "https://good.org:8443/a.wasm", False),
    ("https://good.org:8443", "https://good.org/a.wasm", False),
    ("https://good.org", "http://good.org/a.wasm", False),
    ("http://good.org", "https://good.org/a.wasm", False),
    ("https://good.org", "oci://good.org/a:1", False),
    ("https://good.org/codecs", "https://good.org/codecs-evil/a.wasm", False),
    ("https://good.org/codecs", "https://good.org/Codecs/a.wasm", False),
    ("https://good.org/codecs", "https://good.org/a.wasm", False),
    ("https://good.org/codecs", "https://good.org/other/codecs/a.wasm", False),
    ("https://good.org", "https://good.org/a.wasm?who=me", False),
    ("https://good.org/a.wasm?v=1", "https://good.org/a.wasm?v=1", True),
    ("https://good.org/a.wasm?v=1", "https://good.org/a.wasm?v=2", False),
    ("https://good.org/a.wasm?v=1", "https://good.org/a.wasm", False),
    ("file:///data/codecs", "file:///data/codecs/a.wasm", True),
    ("file:///data/codecs", "file://localhost/data/codecs/a.wasm", True),
    ("file:///", "file:///data/a.wasm", True),
    ("file:///data/codecs", "file:///data/codecs2/a.wasm", False),
    ("file:///data/codecs", "file:///data/a.wasm", False),
    ("oci://ghcr.io/org", "oci://ghcr.io/org/zlib:1.0", True),
    ("oci://ghcr.io/org/zlib", "oci://ghcr.io/org/zlib:1.0", True),
    ("oci://ghcr.io/org/zlib:1.0", "oci://ghcr.io/org/zlib:1.0", True),
    ("oci://localhost:5000", "oci://localhost:5000/zlib:1.0", True),
    ("oci://ghcr.io/org/zlib:1.0", "oci://ghcr.io/org/zlib:2.0", False),
    ("oci://ghcr.io/org/zlib", "oci://ghcr.io/org/zlib2:1.0", False),
    ("oci://ghcr.io/org", "oci://ghcr.io/other/zlib:1.0", False),
    ("oci://ghcr.io", "oci://ghcr.io.evil/zlib:1.0", False),
]


@pytest.mark.parametrize(("prefix", "address", "is_allowed"), RULES)
def test_rules(prefix: str, address: str, is_allowed: bool) -> None:
    with zarr.config.set({"wazarr.wasm.allow": ["https://elsewhere.org/x", prefix]}):
        parsed = Address.parse(address)
        if is_allowed:
            assert require_allowed(parsed, address) == Address.parse(prefix)
        else:
            with pytest.raises(SourceError, match="not allowed"):
                require_allowed(parsed, address)


def test_nothing_is_allowed_before_the_user_says_so() -> None:
    for _, address, _ in RULES:
        with pytest.raises(SourceError, match="not allowed"):
            require_allowed(Address.parse(address), address)


TRICKS = [
    "https://good.org@evil.org/a.wasm",
    "https://good.org:x@evil.org/a.wasm",
    "https://good.org%40evil.org/a.wasm",
    "https://good.org\\@evil.org/a.wasm",
    "https://good.org\\.evil.org/a.wasm",
    "https:\\\\good.org/a.wasm",
    "https:/good.org/a.wasm",
    "https:good.org/a.wasm",
    "//good.org/a.wasm",
    "https://good.org#@evil.org/a.wasm",
    "https://good.org/a.wasm#fragment",
    "https://good.org?/a.wasm#x",
    "https:///good.org/a.wasm",
    "https://good..org/a.wasm",
    "https://.good.org/a.wasm",
    "https://good.org./a.wasm",
    "https://good.org:99999/a.wasm",
    "https://good.org:80:80/a.wasm",
    "https://good.org/codecs/../a.wasm",
    "https://good.org/codecs/./a.wasm",
    "https://good.org/codecs/%2e%2e/a.wasm",
    "https://good.org/codecs/.%2E/a.wasm",
    "https://good.org/codecs%2f..%2fa.wasm",
    "https://good.org/codecs%2Fa.wasm",
    "https://good.org/codecs%5ca.wasm",
    "https://good.org/codecs\\..\\a.wasm",
    "https://good.org/codecs//a.wasm",
    "https://good.org/a%00.wasm",
    "https://good.org/a%0d%0aHost:evil.wasm",
    "https://good.org/a%ff.wasm",
    "https://good.org/a%zz.wasm",
    "https://good.org/a b.wasm",
    "https://good.org/a\t.wasm",
    "https://good.org/a\n.wasm",
    " https://good.org/a.wasm",
    "https://good.org\u3002evil/a.wasm",
    "https://g\u043e\u043ed.org/a.wasm",
    "file://evil.org/data/a.wasm",
    "file:///data/../etc/passwd",
    "file:///data/%2e%2e/etc/passwd",
    "file:data/a.wasm",
    "file:///data/a.wasm?x",
    "oci://ghcr.io/org/../other/zlib:1",
    "oci://ghcr.io/org/zlib:1:2",
    "oci://ghcr.io/org/zlib@sha256:00",
    "ftp://good.org/a.wasm",
    "javascript://good.org/a.wasm",
    "C:/data/a.wasm",
    "",
]


@pytest.mark.parametrize("address", TRICKS)
def test_tricks_are_refused_before_any_rule(address: str) -> None:
    allow = ["https://good.org/", "file:///", "oci://ghcr.io/", "https://evil.org"]
    with zarr.config.set({"wazarr.wasm.allow": allow}), pytest.raises(SourceError):
        require_allowed(Address.parse(address), address)


def test_the_error_says_what_to_set_and_that_works() -> None:
    for address in (
        "https://good.org/codecs/a.wasm",
        "https://good.org:8443/a.wasm",
        "file:///data/codecs/a.wasm",
        "oci://localhost:5000/org/zlib:1.0",
        "http://localhost:8000/a.wasm",
    ):
        parsed = Address.parse(address)
        with pytest.raises(SourceError) as caught:
            require_allowed(parsed, address)
        setting = str(caught.value).partition("zarr.config.set(")[2].rpartition(")")[0]
        with zarr.config.set(eval(setting)):  # what people will paste
            require_allowed(parsed, address)


def test_a_single_text_is_one_prefix() -> None:
    with zarr.config.set({"wazarr.wasm.allow": "https://good.org"}):
        require_allowed(Address.parse("https://good.org/a.wasm"), "")


@pytest.mark.parametrize("entry", ["*", "good.org", "https://*.good.org", "https://good.org/../", "https:"])
def test_an_entry_that_is_no_address_allows_nothing_and_is_reported(entry: str) -> None:
    with (
        zarr.config.set({"wazarr.wasm.allow": [entry]}),
        pytest.warns(UserWarning, match=r"wazarr\.wasm\.allow"),
        pytest.raises(SourceError),
    ):
        require_allowed(Address.parse("https://good.org/a.wasm"), "https://good.org/a.wasm")


@pytest.mark.parametrize("value", [7, [7], {"a": 1}])
def test_a_list_that_is_none_allows_nothing_and_is_reported(value: object) -> None:
    with (
        zarr.config.set({"wazarr.wasm.allow": value}),
        pytest.warns(UserWarning, match=r"wazarr\.wasm\.allow"),
        pytest.raises(SourceError),
    ):
        require_allowed(Address.parse("https://good.org/a.wasm"), "https://good.org/a.wasm")


def test_a_redirect_may_have_a_query_but_not_leave_the_list() -> None:
    with zarr.config.set({"wazarr.wasm.allow": ["https://cdn.good.org/files"]}):
        signed = "https://cdn.good.org/files/a.wasm?signature=x"
        require_allowed(Address.parse(signed), signed, is_redirect=True)
        for elsewhere in ("https://evil.org/files/a.wasm", "https://cdn.good.org/a.wasm"):
            with pytest.raises(SourceError, match="redirected"):
                require_allowed(Address.parse(elsewhere), elsewhere, is_redirect=True)


def test_loopback() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "[::1]"):
        assert Address.parse(f"http://{host}:80/a").is_loopback
    for host in ("example.org", "10.0.0.1", "localhost.evil.org", "0.0.0.0", "128.0.0.1"):
        assert not Address.parse(f"http://{host}:80/a").is_loopback
