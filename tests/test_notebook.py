"""The progress bar in the kernel of a real notebook, with widgets and without tqdm."""

from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
import pytest

from tests.pipelines import SUBJECT_IS_WAZARR

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not SUBJECT_IS_WAZARR, reason="what only our pipeline has"),
    pytest.mark.filterwarnings("ignore"),  # of the client's own dependencies
]

CHUNKS = 400

CELL = f"""
import asyncio
import numpy as np
import zarr
import wazarr

class Slow(zarr.storage.WrapperStore):
    async def get(self, *args, **options):
        await asyncio.sleep(0.03)
        return await super().get(*args, **options)

wazarr.enable()
zarr.config.set({{"wazarr.progress": True, "wazarr.store_concurrency": 4}})
store = zarr.storage.MemoryStore()
zarr.create_array(store, shape=({CHUNKS * 10},), chunks=(10,), dtype="u2")[:] = 7
assert (np.asarray(zarr.open_array(Slow(store), mode="r")[:]) == 7).all()
"""


class Client(nbclient.NotebookClient):
    """Keeps what the kernel sends."""

    messages: list[dict[str, Any]]

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        self.messages.append({"type": msg["msg_type"], **msg["content"]})
        return super().process_message(msg, cell, cell_index)

    def of_widgets(self, name: str) -> list[Any]:
        """Return what one property of all widgets became, in turn."""
        states = [message.get("data", {}).get("state", {}) for message in self.messages]
        return [state[name] for state in states if name in state]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))

    async def executed(cells: list[str]) -> Client:
        make: Any = nbformat.v4
        notebook = make.new_notebook(cells=[make.new_code_cell(cell) for cell in cells])
        client = Client(notebook, timeout=120, kernel_name="python3")
        client.messages = []
        await client.async_execute()
        return client

    return lambda *cells: asyncio.run(executed([textwrap.dedent(cell) for cell in cells]))


def test_the_bar_of_a_notebook_moves_and_goes_away(run: Any) -> None:
    client = run(CELL)
    shown = [value for value in client.of_widgets("value") if isinstance(value, float)]
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] == CHUNKS
    assert len(shown) > 5
    assert client.of_widgets("max")[0] == CHUNKS
    assert any(message["type"] == "comm_close" for message in client.messages)
    streams = [message["text"] for message in client.messages if message["type"] == "stream"]
    assert not [text for text in streams if "chunk" in text], "nothing is drawn with characters beside it"


def test_without_tqdm_a_line_is_written_again_and_again(run: Any) -> None:
    client = run("import sys; sys.modules['tqdm'] = sys.modules['tqdm.auto'] = None", CELL)
    text = "".join(message["text"] for message in client.messages if message["type"] == "stream")
    lines = [line.rstrip() for line in text.split("\r") if f"of {CHUNKS} chunks" in line]
    done = [int(line.split()[1]) for line in lines]
    assert len(done) > 5
    assert done == sorted(done)
    assert text.endswith("\r")
    assert not text.split("\r")[-2].strip(), "the last line is wiped"
