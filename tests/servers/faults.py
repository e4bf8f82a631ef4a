"""What can go wrong between a client and a server, and when.

A `Fault` says what happens to an answer; a `Schedule` says to which. Which request meets a fault depends
only on its key and on how many requests for that key came before, never on the order in which requests for
different keys arrive: runs with the same seed meet the same faults.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.servers.request import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fault", "Schedule", "at_random", "first", "whenever"]

Kind = Literal[
    "status",
    "reset before the head",
    "reset in mid-body",
    "short body",
    "fewer bytes than asked",
    "more bytes than asked",
    "other bytes than asked",
    "shorter than told",
    "longer than told",
    "drip",
    "silence",
]


@dataclass(frozen=True)
class Fault:
    """What happens to an answer.

    Attributes
    ----------
    kind : str
        ``"status"``: the status with a short text. ``"reset before the head"``, ``"reset in mid-body"``: the
        connection is reset (RST). ``"short body"``: the announced length is right, but the connection is
        closed in order (FIN) after half of it. ``"fewer bytes than asked"``, ``"more bytes than asked"``: a
        well-formed answer of a consistent length that is not the one asked for. ``"other bytes than asked"``:
        a well-formed answer with bytes from elsewhere, which its Content-Range admits.
        ``"shorter than told"``, ``"longer than told"``: a length other than its Content-Range says.
        ``"drip"``: the right answer in small pieces. ``"silence"``: nothing, until the client closes or the
        server stops.
    status : int
        For ``"status"``.
    headers : mapping
        Further headers, such as ``Location`` or ``Retry-After``.
    body : bytes
        For ``"status"``: the text.
    pause_s : float
        Between the pieces of a drip.
    piece_bytes : int
        Length of these pieces.
    """

    kind: Kind
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"a fault"
    pause_s: float = 0.005
    piece_bytes: int = 64


Schedule = Callable[[Request], Fault | None]
"""Which fault a request meets, if any."""


def first(count: int, fault: Fault, key: str = "") -> Schedule:
    """Let the first `count` requests for each key that contains `key` meet a fault."""
    seen: Counter[str] = Counter()

    def schedule(request: Request) -> Fault | None:
        if key not in request.key or request.is_metadata:
            return None
        seen[request.key] += 1
        return fault if seen[request.key] <= count else None

    return schedule


def whenever(fault: Fault, key: str = "", *, ranges_only: bool = False) -> Schedule:
    """Let all requests meet a fault, metadata excepted: those for keys that contain `key`."""

    def schedule(request: Request) -> Fault | None:
        if key not in request.key or request.is_metadata or (ranges_only and request.range is None):
            return None
        return fault

    return schedule


def at_random(seed: int, probability: float, faults: list[Fault], *, in_a_row: int = 2) -> Schedule:
    """Let requests meet faults at random, none of them more than `in_a_row` times in a row for one key."""
    seen: Counter[str] = Counter()
    row: Counter[str] = Counter()

    def schedule(request: Request) -> Fault | None:
        if request.is_metadata:
            return None
        number = seen[request.key]
        seen[request.key] += 1
        rng = random.Random(f"{seed} {request.key} {number}")
        if row[request.key] >= in_a_row or rng.random() >= probability:
            row[request.key] = 0
            return None
        row[request.key] += 1
        return rng.choice(faults)

    return schedule
