"""Results of operations as plain values that can be compared bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Value:
    """What an operation returned: its kind, data type and shape, and its very bytes."""

    kind: str
    dtype: str
    array_shape: tuple[int, ...]
    content: object

    def __repr__(self) -> str:
        """Show enough of the content for a failure message."""
        content = self.content
        text = content.hex(" ", 4) if isinstance(content, bytes) else repr(content)
        return f"{self.kind}(dtype={self.dtype}, shape={self.array_shape}, content={text[:600]})"


@dataclass(frozen=True)
class Raised:
    """What an operation raised."""

    exception: Exception

    def __repr__(self) -> str:
        """Show class and text."""
        return f"raised {type(self.exception).__name__}: {str(self.exception)[:300]}"


Outcome = Value | Raised


def _plain(item: object) -> object:
    """Unwrap what zarr-python puts around a single variable-length value."""
    while isinstance(item, np.ndarray) and item.ndim == 0:
        item = item[()]
    return bytes(item) if isinstance(item, bytes) else item


def value_of(result: object) -> Value:
    """Take a comparable copy of `result` (array, scalar or plain Python object)."""
    kind = type(result).__name__
    if isinstance(result, np.ndarray | np.generic):
        array = np.asarray(result)
        content: object
        if array.dtype.kind in "OT":
            items = [_plain(item) for item in array.ravel().tolist()]
            content = [(type(item).__name__, item) for item in items]
        else:
            content = array.tobytes()
        return Value(kind, str(array.dtype), array.shape, content)
    return Value(kind, "", (), repr(result))


def differences(expected: Outcome, actual: Outcome) -> str | None:
    """Return what differs, or None.

    An exception of ours may be a subclass of the one that zarr-python raises.
    """
    if isinstance(expected, Raised) and isinstance(actual, Raised):
        if isinstance(actual.exception, type(expected.exception)):
            return None
    elif expected == actual:
        return None
    return f"expected {expected!r}\n but got {actual!r}"


def same_bits(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays agree in type, shape and every bit."""
    return value_of(np.asarray(left)) == value_of(np.asarray(right))
