"""The keys of the metadata: what is taken, what is refused, and the schema that says so to others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from wazarr.errors import InvalidInputError
from wazarr.wasm.description import Description, digest_of

DIGEST = digest_of(b"a module")
PLAIN: dict[str, Any] = {"codec": "predictor", "kind": "bytes-bytes", "module": DIGEST}
FULL: dict[str, Any] = {
    "codec": "bit-unpack",
    "kind": "array-array",
    "module": DIGEST,
    "sources": ["hierarchy", "data:application/wasm;base64,AGFzbQEAAAA=", "https://example.org/a.wasm"],
    "parameters": {"bits": 12, "nested": {"list": [1, 2.5, None, "x"]}},
    "fresh_instance": True,
    "interface": "wazarr",
    "encoded": {"data_type": "uint16", "shape": [4, 4]},
}

GOOD: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "everything": FULL,
    "no sources": {**PLAIN, "sources": []},
    "fixed size": {**PLAIN, "encoded": {"overhead_bytes": 4}},
    "array to bytes": {**PLAIN, "kind": "array-bytes", "encoded": {"overhead_bytes": 0}},
    "numpy's name": {**PLAIN, "kind": "array-array", "encoded": {"data_type": "<u2"}},
}

BAD: dict[str, dict[str, Any]] = {
    "no codec": {key: PLAIN[key] for key in PLAIN if key != "codec"},
    "no module": {key: PLAIN[key] for key in PLAIN if key != "module"},
    "kind is null": {**PLAIN, "kind": None},
    "empty name": {**PLAIN, "codec": ""},
    "long name": {**PLAIN, "codec": "x" * 201},
    "no such kind": {**PLAIN, "kind": "bytes-array"},
    "digest without its kind": {**PLAIN, "module": DIGEST.removeprefix("sha256:")},
    "digest in capitals": {**PLAIN, "module": DIGEST.upper().replace("SHA256", "sha256")},
    "digest with a line": {**PLAIN, "module": DIGEST + "\n"},
    "digest that is a path": {**PLAIN, "module": "sha256:../../" + "0" * 58},
    "sources is a text": {**PLAIN, "sources": "hierarchy"},
    "sources of numbers": {**PLAIN, "sources": [1]},
    "too many sources": {**PLAIN, "sources": ["hierarchy"] * 33},
    "parameters is a list": {**PLAIN, "parameters": [1]},
    "fresh_instance is a number": {**PLAIN, "fresh_instance": 1},
    "interface is a number": {**PLAIN, "interface": 1},
    "encoded is a list": {**PLAIN, "encoded": []},
    "encoded of another kind": {**PLAIN, "encoded": {"data_type": "uint8"}},
    "negative overhead": {**PLAIN, "encoded": {"overhead_bytes": -1}},
    "overhead is true": {**PLAIN, "encoded": {"overhead_bytes": True}},
    "shape of texts": {**FULL, "encoded": {"shape": ["4"]}},
    "data type is a number": {**FULL, "encoded": {"data_type": 2}},
    "unknown key": {**PLAIN, "options": {}},
}

SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "wasm-codec.schema.json"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_read_is_what_is_written(name: str, validator: Any) -> None:
    description = Description.from_json(GOOD[name])
    written = json.loads(json.dumps(description.to_json()))
    assert Description.from_json(written) == description
    assert hash(Description.from_json(written)) == hash(description)
    assert {key: written[key] for key in GOOD[name]} == GOOD[name]
    validator.validate({"name": "wazarr.wasm", "configuration": written})
    validator.validate({"id": "wazarr.wasm", **written})


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_refused(name: str, validator: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"wazarr\.wasm"):
        Description.from_json(BAD[name])
    assert not validator.is_valid({"name": "wazarr.wasm", "configuration": BAD[name]})
    assert not validator.is_valid({"id": "wazarr.wasm", **BAD[name]})


@pytest.mark.parametrize("configuration", [None, [], "text", 7])
def test_a_configuration_is_an_object(configuration: Any) -> None:
    with pytest.raises(InvalidInputError, match="not an object"):
        Description.from_json(configuration)


def test_messages_stay_short() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Description.from_json({**PLAIN, "parameters": ["x" * 10_000]})
    assert len(str(caught.value)) < 400


def test_places() -> None:
    description = Description.from_json(FULL)
    assert description.is_in_hierarchy
    assert description.is_inline
    assert description.hex == DIGEST[7:]
    elsewhere = description.with_sources("oci://example.org/a:1")
    assert not elsewhere.is_in_hierarchy
    assert not elsewhere.is_inline
    assert elsewhere.module == description.module
