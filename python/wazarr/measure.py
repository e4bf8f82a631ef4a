"""How fast a codec module is, beside a native codec: ``wazarr codec bench``.

The contenders take turns, so that whatever else the machine does meets all of them, and the best time of
each counts. Every result is compared with what the module made of the chunk in the first place.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wazarr.check import MOST_BYTES, Trial
from wazarr.errors import CodecError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wazarr.check import Conditions

__all__ = ["Timing", "measure_module"]


@dataclass(frozen=True)
class Timing:
    """The best time of one contender for one direction.

    Parameters
    ----------
    direction : {"decode", "encode"}
        What was measured.
    contender : str
        The native codec's name, ``"wasm"``, or ``"wasm, with a time limit"``.
    best_s : float
        Seconds for one chunk.
    len_bytes : int
        Length of the decoded chunk.
    """

    direction: str
    contender: str
    best_s: float
    len_bytes: int


def measure_module(
    module: bytes,
    conditions: Conditions,
    *,
    against: dict[str, Any] | None = None,
    seconds: float = 1.0,
) -> list[Timing]:
    """Time a module on one chunk: the longest of those that it encodes.

    Parameters
    ----------
    module : bytes
        The module.
    conditions : Conditions
        How it is to be used.
    against : dict, optional
        A codec of numcodecs to compare with, as ``{"id": …}``. It decodes what the module encoded, and has
        to give the same values.
    seconds : float
        About how long to measure each direction.

    Returns
    -------
    list of Timing
        The native codec first.

    Raises
    ------
    InvalidInputError
        The module is none that can be measured, or the other codec gives something else.
    """
    trial = Trial(module, conditions)
    for name, prepare in (("module", trial.survey), ("samples", trial.encode)):
        finding = trial.attempt(name, prepare)
        if finding.outcome == "failed":
            raise InvalidInputError(f"there is nothing to measure: {finding.detail}")
    pair = max(trial.pairs, key=lambda pair: len(pair.decoded))
    decoded_len = len(pair.decoded)
    trusted, metered = trial.bind(is_trusted=True), trial.bind()
    decoders: dict[str, Callable[[], Any]] = {}
    encoders: dict[str, Callable[[], Any]] = {}
    if against is not None:
        native = _native_codec(against)
        array = np.frombuffer(pair.decoded, conditions.decoded.data_type)
        decoders[f"numcodecs {against['id']}"] = lambda: native.decode(pair.encoded)
        encoders[f"numcodecs {against['id']}"] = lambda: native.encode(array)
    for name, codec in (("wasm", trusted), ("wasm, with a time limit", metered)):
        decoders[name] = partial(codec.decode, pair.encoded, decoded_len, MOST_BYTES)
        encoders[name] = partial(codec.encode, pair.decoded)
    timings = []
    if trial.facts["has_decode"]:
        best = _take_turns(decoders, seconds, expected=pair.decoded)
        timings += [Timing("decode", name, best_s, decoded_len) for name, best_s in best.items()]
    if trial.facts["has_encode"]:
        # Two encoders may well disagree and both be right: their answers are not compared.
        best = _take_turns(encoders, seconds, expected=None)
        timings += [Timing("encode", name, best_s, decoded_len) for name, best_s in best.items()]
    return timings


def _native_codec(against: dict[str, Any]) -> Any:
    import numcodecs

    try:
        return numcodecs.get_codec(dict(against))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(f"numcodecs has no codec {against}: {error}") from error


def _take_turns(
    contenders: dict[str, Callable[[], Any]], seconds: float, expected: bytes | None
) -> dict[str, float]:
    for name, run in contenders.items():
        try:
            answer = np.ascontiguousarray(np.frombuffer(run(), np.uint8)).tobytes()
        except CodecError:
            raise
        except Exception as error:
            raise InvalidInputError(f"{name} failed on what the module made: {error}") from error
        if expected is not None and answer != expected:
            raise InvalidInputError(f"{name} gives something else than the module")
    best = dict.fromkeys(contenders, float("inf"))
    end = time.perf_counter() + seconds
    while True:
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
        if time.perf_counter() > end:
            return best
