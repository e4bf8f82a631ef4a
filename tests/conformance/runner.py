"""Run one operation under the oracle and under the pipeline under test, and compare."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import zarr
from zarr.core.sync import sync

from tests.conformance.comparison import Outcome, Raised, Value, differences, value_of
from tests.conformance.sabotage import sabotage
from tests.conformance.steps import Scene, Step
from tests.conformance.stores import STORE_KINDS, Location, StoreKind, is_metadata
from tests.pipelines import ORACLE_PATH, SUBJECT_IS_WAZARR, SUBJECT_PATH, ZARR_VERSION, pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from zarr.abc.store import Store


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    `array` holds the arguments of `zarr.create_array`; values that are functions without
    arguments are called first, so that no codec object is shared between runs. `initial` is
    written by the default pipeline before the steps; None leaves every chunk missing.
    """

    name: str
    array: Mapping[str, Any]
    steps: tuple[Step, ...]
    initial: Any = None
    store: str = "memory"
    config: Mapping[str, Any] = field(default_factory=dict)
    is_native: bool = True
    """Every codec and data type of the array has a native engine."""
    minimum_zarr: tuple[int, int] = (3, 1)
    needs: str | None = None
    is_state_compared: bool = True
    """False where the default pipeline's own state after an error is a matter of chance."""

    @property
    def store_kind(self) -> StoreKind:
        """The kind of store."""
        return STORE_KINDS[self.store]

    @property
    def is_fully_native(self) -> bool:
        """Whether no Python code may run for any chunk."""
        return self.is_native and self.store_kind.engine == "native"

    def skip_unless_possible(self) -> None:
        """Skip where zarr-python is too old or an optional package is missing."""
        if self.minimum_zarr > ZARR_VERSION:
            pytest.skip(f"needs zarr {'.'.join(map(str, self.minimum_zarr))}")
        for package in (self.needs, self.store_kind.needs):
            if package is not None:
                pytest.importorskip(package)


def _creation_arguments(operation: Operation) -> dict[str, Any]:
    return {
        name: value() if callable(value) and not isinstance(value, type) else copy.copy(value)
        for name, value in operation.array.items()
    }


def _close(store: Store) -> None:
    if type(store).__name__ == "ZipStore":
        store.close()


def _set_up(operation: Operation, location: Location) -> None:
    """Create the array, and write the initial values, with the default pipeline."""
    with pipeline(ORACLE_PATH, **operation.config):
        store = operation.store_kind.open(location, False)
        array = zarr.create_array(store, **_creation_arguments(operation))
        if operation.initial is not None:
            array[...] = operation.initial
        _close(store)


@contextlib.contextmanager
def _scene(operation: Operation, location: Location, path: str) -> Iterator[Scene]:
    """Open the array under the pipeline `path`."""
    opened: list[Store] = []

    def open_store(read_only: bool) -> Store:
        for store in opened:
            _close(store)
        opened.append(operation.store_kind.open(location, read_only))
        return opened[-1]

    def open_array(store: Store, mode: str) -> zarr.Array[Any]:
        return zarr.open_array(store, mode=mode, zarr_format=operation.array.get("zarr_format", 3))

    with pipeline(path, **operation.config):
        is_read_only = not operation.store_kind.is_rewritable and operation.initial is not None
        store = open_store(is_read_only)
        array = open_array(store, "r" if is_read_only else "r+")
        yield Scene(array, store, open_store, open_array)
        for store in opened:
            _close(store)


def _await_stragglers() -> None:
    """Wait for what the default pipeline goes on doing after it has raised."""

    async def stragglers() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    sync(stragglers())


def _attempt(action: Callable[[], Any]) -> Outcome:
    """Return what happened, exceptions included, as a comparable value."""
    try:
        return value_of(action())
    except Exception as exception:  # noqa: BLE001 - whatever is raised is the outcome
        return Raised(exception)


def _run_steps(operation: Operation, location: Location, path: str) -> list[Outcome]:
    with _scene(operation, location, path) as scene:
        return [_attempt(lambda step=step: step.run(scene)) for step in operation.steps]  # type: ignore[misc]


def _final_state(operation: Operation, location: Location, path: str) -> tuple[Outcome, set[str]]:
    """Read the whole array back under the pipeline `path`, and list the store's keys."""

    async def keys(store: Store) -> set[str]:
        return {key async for key in store.list()}

    with pipeline(path, **operation.config):
        store = operation.store_kind.open(location, True)
        zarr_format = operation.array.get("zarr_format", 3)
        array = zarr.open_array(store, mode="r", zarr_format=zarr_format)
        outcome = _attempt(lambda: array[...])
        state = outcome, sync(keys(store))
        _close(store)
        return state


def _has_data(outcome: Outcome) -> bool:
    return isinstance(outcome, Value) and bool(outcome.dtype) and 0 not in outcome.array_shape


def _check_counters(operation: Operation, outcomes: list[Outcome]) -> None:
    """Ask the engine what it did: nothing may have fallen back without a word."""
    import wazarr

    counters = wazarr.counters()
    chunks = counters["read"]["chunks"] + counters["write"]["chunks"]
    has_moved_data = operation.initial is not None and any(map(_has_data, outcomes))
    if has_moved_data:
        assert chunks > 0, f"our pipeline was not used: {counters}"
    if operation.is_native:
        assert counters["codec_steps"]["python"] == 0, counters
        assert counters["codec_steps"]["wasm"] == 0, counters
    elif has_moved_data:
        assert counters["codec_steps"]["python"] > 0, counters
    if operation.is_fully_native:
        assert counters["fallbacks"] == {}, counters
        assert counters["store_requests"]["python"] == 0, counters
    elif operation.store_kind.engine == "python" and has_moved_data:
        assert counters["store_requests"]["python"] > 0, counters


def _fail(operation: Operation, problems: list[str]) -> None:
    if problems:
        pytest.fail(f"{operation.name} ({operation.store})\n" + "\n".join(problems), pytrace=False)


def check(operation: Operation, folder: Path, *, is_sabotaged: bool = False) -> None:
    """Run `operation` under both pipelines, on a copy of the store each, and compare."""
    operation.skip_unless_possible()
    theirs, ours = Location(folder / "theirs"), Location(folder / "ours")
    for location in (theirs, ours):
        _set_up(operation, location)
    try:
        with _scene(operation, theirs, ORACLE_PATH):
            pass
    except Exception as refusal:  # noqa: BLE001 - whatever is raised is the outcome
        with pytest.raises(type(refusal)), _scene(operation, ours, SUBJECT_PATH):
            pass
        return

    expected = _run_steps(operation, theirs, ORACLE_PATH)
    if any(isinstance(outcome, Raised) for outcome in expected):
        _await_stragglers()
    if SUBJECT_IS_WAZARR:
        import wazarr

        wazarr.reset_counters()
    hits: list[str] = []
    breakage = sabotage(hits) if is_sabotaged else contextlib.nullcontext()
    with breakage:
        actual = _run_steps(operation, ours, SUBJECT_PATH)
    if SUBJECT_IS_WAZARR:
        _check_counters(operation, actual)

    problems = [
        f"step {position} {type(step).__name__}: {difference}"
        for position, step in enumerate(operation.steps)
        if (difference := differences(expected[position], actual[position])) is not None
    ]
    problems += [f"sabotaged call was made: {hit}" for hit in sorted(set(hits))]
    if operation.is_state_compared and not is_sabotaged:
        problems += _compare_states(operation, theirs, ours)
    _fail(operation, problems)


def _compare_states(operation: Operation, theirs: Location, ours: Location) -> list[str]:
    """Compare the stores: what each pipeline reads of the other's bytes, and the chunk keys."""
    expected, expected_keys = _final_state(operation, theirs, ORACLE_PATH)
    problems = []
    reread, keys = _final_state(operation, ours, ORACLE_PATH)
    if (difference := differences(expected, reread)) is not None:
        problems.append(f"our bytes, read by the default pipeline: {difference}")
    if keys != expected_keys:
        missing, extra = sorted(expected_keys - keys), sorted(keys - expected_keys)
        problems.append(f"keys in the store: missing {missing}, extra {extra}")
    crossread, _ = _final_state(operation, theirs, SUBJECT_PATH)
    if (difference := differences(expected, crossread)) is not None:
        problems.append(f"the default pipeline's bytes, read by ours: {difference}")
    return problems


def chunk_keys(store: Store) -> set[str]:
    """Return the keys of `store` that are not metadata."""

    async def keys() -> set[str]:
        return {key async for key in store.list() if not is_metadata(key)}

    result: set[str] = sync(keys())
    return result
