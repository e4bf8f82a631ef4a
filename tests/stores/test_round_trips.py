"""Everything that can be written and read again, in every kind of store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from tests.pipelines import SUBJECT_PATH, pipeline
from tests.stores.kinds import KINDS, Place
from tests.stores.layouts import ARRAY_SHAPE, LAYOUTS, check_reads, check_round_trip, values, write_all

if TYPE_CHECKING:
    from pathlib import Path

SLOW_KINDS = {
    "obstore s3",
    "obstore s3, prefix",
    "obstore azure",
    "obstore azure, prefix",
    "obstore gcs, prefix",
    "fsspec s3",
}
"""moto and Azurite take some milliseconds for each request."""

CASES = [
    (kind, layout)
    for kind in KINDS
    for layout in LAYOUTS
    if kind not in SLOW_KINDS or (layout == "v3, sharded" and not kind.endswith("prefix"))
]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request, tmp_path / "place")


@pytest.mark.parametrize(("kind", "layout"), CASES)
def test_round_trip(kind: str, layout: str, place: Place) -> None:
    check_round_trip(lambda read_only: KINDS[kind](place, read_only), layout)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_default_pipeline_wrote(kind: str, place: Place) -> None:
    expected = write_all(KINDS[kind](place, False), "v3, sharded")
    check_reads(lambda read_only: KINDS[kind](place, read_only), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "obstore http"])
def test_paths_with_characters_that_urls_escape(kind: str, place: Place) -> None:
    name = "a b/100%/ä+c"
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(
            KINDS[kind](place, False), name=name, shape=ARRAY_SHAPE, chunks=(9, 9), dtype="i4"
        )
        array[...] = values()
        read = zarr.open_array(KINDS[kind](place, True), path=name, mode="r")[...]
    assert np.array_equal(np.asarray(read), values())


@pytest.mark.parametrize("kind", KINDS)
def test_read_only_stores_refuse_as_zarr_does(kind: str, place: Place) -> None:
    expected = write_all(KINDS[kind](place, False), "v3")
    with pipeline(SUBJECT_PATH):
        array = zarr.open_array(KINDS[kind](place, True), mode="r")
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
        assert np.array_equal(np.asarray(array[...]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_variable_length(kind: str, place: Place) -> None:
    words = np.array([f"wört {'x' * (number % 9)}" for number in range(30)], dtype=object)
    with pipeline(SUBJECT_PATH):
        array = zarr.create_array(KINDS[kind](place, False), shape=(30,), chunks=(7,), dtype=str)
        array[...] = words
        again = zarr.open_array(KINDS[kind](place, True), mode="r")
        assert np.asarray(again[...]).tolist() == words.tolist()
        assert np.asarray(again[5:23:4]).tolist() == words[5:23:4].tolist()
