"""How numcodecs-wasm's modules are told of arrays, and what those become."""

from __future__ import annotations

import numpy as np
import pytest

from tests.wasm.foreign import needs_packages
from wazarr.errors import InvalidInputError, WasmModuleNotFoundError
from wazarr.wasm import modules, packages
from wazarr.wasm.engine import Layout, is_trusted
from wazarr.wasm.numcodecs_modules import BYTES, describe_module, encoded_of, layout, learn, not_found

pytestmark = needs_packages


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
def test_elements_of_the_interface(dtype: str) -> None:
    assert layout(np.dtype(dtype), (2, 3)) == Layout(np.dtype(dtype).str, (2, 3))


@pytest.mark.parametrize(
    "dtype", [">i2", ">f8", "f2", "?", "c8", "S3", "U2", "M8[ns]", "m8", "V2", "i4,i4", "O"]
)
def test_elements_that_the_interface_does_not_have(dtype: str) -> None:
    with pytest.raises(InvalidInputError, match="native byte order"):
        layout(np.dtype(dtype), (2, 3))


@pytest.mark.usefixtures("installed")
def test_module_of_an_installed_package_is_at_hand_and_trusted() -> None:
    description = describe_module(
        "zlib.rs", "array-bytes", {"id": "zlib.rs", "level": 3, "_version": "0.1.0"}
    )
    package = packages.find("zlib.rs")
    assert description is not None
    assert package is not None
    assert description.module == package.digest()
    assert description.parameters == {"level": 3, "_version": "0.1.0"}
    assert modules.has(description.module)
    assert is_trusted(description.module)


def test_module_of_a_fetched_hierarchy_is_not_trusted() -> None:
    digest = "sha256:" + "cd" * 32
    assert describe_module("lc.rs", "array-bytes", {}) is None
    learn("lc.rs", digest)
    description = describe_module("lc.rs", "array-bytes", {})
    assert description is not None
    assert description.module == digest
    assert not is_trusted(digest)


def test_missing_module_says_what_to_install() -> None:
    error = not_found("fourier-network.rs")
    assert isinstance(error, WasmModuleNotFoundError)
    assert "pip install numcodecs-wasm-fourier-network" in str(error)


ENCODED: dict[str, tuple[dict[str, object], str, str | None, tuple[int, ...] | None]] = {
    "round.rs": ({"precision": 0.5}, "<f4", "<f4", (5, 7)),
    "reinterpret.rs": ({"decode_dtype": "f32", "encode_dtype": "u8"}, "<f4", "|u1", (5, 28)),
    "linear-quantize.rs": ({"bits": 20, "dtype": "f64"}, "<f8", "<u4", None),
    "zlib.rs": ({"level": 1}, "<i2", "|u1", None),
}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("codec_id", ENCODED)
def test_what_arrays_become(codec_id: str) -> None:
    parameters, dtype, encoded_dtype, encoded_shape = ENCODED[codec_id]
    description = describe_module(codec_id, "array-array", parameters)
    assert description is not None
    encoded = encoded_of(description, Layout(dtype, (5, 7)))
    assert encoded.data_type == encoded_dtype
    assert encoded_shape in (None, encoded.shape)
    if encoded_shape is None:
        assert len(encoded.shape) == 1


def test_bytes_of_any_length() -> None:
    assert BYTES.is_bytes
