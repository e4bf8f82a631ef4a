"""What would run where."""

from __future__ import annotations

from typing import Any

__all__ = ["explain"]


def explain(array: Any, selection: Any = ...) -> dict[str, Any]:
    """Explain a read."""
    raise NotImplementedError
