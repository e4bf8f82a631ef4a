"""The command ``wazarr``: codecs that are WebAssembly modules, from source to data.

Data go to stdout, messages to stderr. The exit code is 0, 1 when something failed or was found wanting, 2
for a command line that makes no sense.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from wazarr.errors import InvalidInputError, WazarrError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zarr

    from wazarr.check import Conditions
    from wazarr.wasm.description import Kind

__all__ = ["main"]

MODULE_MAGIC: Final = b"\0asm"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; that of the process when omitted.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (WazarrError, OSError) as error:
        _say(f"wazarr: {error}")
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wazarr", description="A Rust codec pipeline for zarr-python")
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    codec = groups.add_parser("codec", help="codecs that are WebAssembly modules")
    commands = codec.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser(
        "build", help="compile a codec in C, Zig or Rust to a module, and look it over"
    )
    build.add_argument("source", type=Path, help="its source; the suffix tells the language")
    build.add_argument("-o", "--output", type=Path, help="the module (SOURCE with the suffix .wasm)")
    build.add_argument(
        "-I", "--include", type=Path, action="append", default=[], help="a folder of headers (C)"
    )
    build.add_argument(
        "--with",
        dest="further",
        type=Path,
        action="append",
        default=[],
        metavar="SOURCE",
        help="more C sources",
    )
    build.add_argument("--flag", action="append", default=[], help="for the compiler, as in --flag=-DLEVEL=3")
    build.set_defaults(run=_build)

    inspect = commands.add_parser("inspect", help="what a module is, or the modules of an array or group are")
    inspect.add_argument("target", help="a module's file, or the address of an array or group")
    inspect.set_defaults(run=_inspect)

    check = commands.add_parser("check", help="does a module do what hosts and readers rely on?")
    _add_conditions(check)
    check.add_argument(
        "--lossy", action="store_true", help="decoding may give other values than were encoded"
    )
    check.set_defaults(run=_check)

    bench = commands.add_parser("bench", help="how fast a module is, against a native codec")
    _add_conditions(bench)
    bench.add_argument(
        "--against", metavar="JSON", help='a codec of numcodecs, such as {"id": "zlib"}, to compare with'
    )
    bench.add_argument("--seconds", type=float, default=1.0, help="how long to measure each way (1)")
    bench.set_defaults(run=_bench)

    embed = commands.add_parser("embed", help="store the modules of an array or group beside the data")
    embed.add_argument("target", help="address of an array or group that can be written")
    embed.set_defaults(run=_embed)

    fetch = commands.add_parser("fetch", help="put the modules of an array or group into the cache")
    fetch.add_argument("target", help="address of an array or group")
    fetch.set_defaults(run=_fetch)
    return parser


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    from wazarr.wasm.description import Kind

    parser.add_argument("module", type=Path, help="the module's file")
    parser.add_argument("--kind", choices=get_args(Kind), help="what it encodes, and what that becomes")
    parser.add_argument("--parameters", metavar="JSON", default="{}", help="its configuration")
    parser.add_argument("--data-type", metavar="DTYPE", help="of a chunk, as numpy has it, such as <u2")
    parser.add_argument("--shape", metavar="N,N,…", help="of a chunk")
    parser.add_argument(
        "--encoded-data-type", metavar="DTYPE", help="of what an array-array codec makes of it"
    )
    parser.add_argument("--encoded-shape", metavar="N,N,…", help="of what an array-array codec makes of it")
    parser.add_argument("--interface", help="how to call it, where its bytes leave that open")
    parser.add_argument(
        "--decoded", type=Path, action="append", default=[], metavar="FILE", help="a chunk's bytes, to try"
    )
    parser.add_argument(
        "--encoded", type=Path, action="append", default=[], metavar="FILE", help="an encoded chunk, to try"
    )


# --- the commands --------------------------------------------------------------------------------------


def _build(options: argparse.Namespace) -> int:
    from wazarr.build import BuildError, compile_module
    from wazarr.check import foreign_imports
    from wazarr.wasm import modules

    output = options.output or options.source.with_suffix(".wasm")
    compile_module(
        options.source, output, further_sources=options.further, include=options.include, flags=options.flag
    )
    content = output.read_bytes()
    facts = modules.survey(content)
    if facts["interface"] is None:
        exports = ", ".join(facts["exports"]) or "nothing"
        raise BuildError(
            f"{output} was compiled, but its exports are those of no codec: {exports}\n"
            "hint: see wazarr_codec.h, and docs/reference/wasm-abi.md for other languages"
        )
    if imports := foreign_imports(facts):
        raise BuildError(f"{output} was compiled, but imports {', '.join(imports)}, which no host has")
    if facts["imports"]:
        _say(f"wazarr: it asks for {len(facts['imports'])} system calls, and will be answered no each time")
    if not (facts["has_decode"] or facts["has_encode"]):
        raise BuildError(f"{output} was compiled, but has neither decode nor encode")
    _print_facts(facts, str(output))
    _say(f"hint: wazarr codec check {output}")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from wazarr.wasm import modules

    path = Path(options.target)
    if path.is_file() and (content := path.read_bytes()).startswith(MODULE_MAGIC):
        _print_facts(modules.survey(content), options.target)
        return 0
    import wazarr

    node = _open(options.target, mode="r")
    seen: set[str] = set()
    for used in wazarr.codecs_used(node):
        _print({"array": used.array or "/", "name": used.name, "engine": used.engine, "codec": used.codec})
        if used.module is None:
            continue
        _print({"  module": used.module, "  places": ", ".join(used.places)})
        if used.module not in seen:
            seen.add(used.module)
            if (found := _module_of(node, used.module)) is not None:
                facts = modules.survey(found)
                _print({f"  {key}": value for key, value in _facts(facts).items() if key != "digest"})
    return 0


def _module_of(node: zarr.Group | zarr.Array[Any], digest: str) -> bytes | None:
    """Return a module that is at hand or comes with the data."""
    import wazarr
    from wazarr.wasm import modules

    if not modules.has(digest):
        try:
            wazarr.fetch_codecs(node)
        except WazarrError as error:
            _say(f"wazarr: {error}")
    return modules.get_bytes(digest)


def _check(options: argparse.Namespace) -> int:
    from wazarr.check import check_module

    findings = check_module(options.module.read_bytes(), _conditions(options))
    for finding in findings:
        print(f"{finding.outcome:<8}{finding.name:<16}{finding.detail}")
    failed = [finding.name for finding in findings if finding.outcome == "failed"]
    if failed:
        _say(f"wazarr: {options.module} does not conform: {', '.join(failed)}")
    return 1 if failed else 0


def _bench(options: argparse.Namespace) -> int:
    from wazarr.measure import measure_module

    against = None if options.against is None else _json(options.against, "--against")
    timings = measure_module(
        options.module.read_bytes(), _conditions(options), against=against, seconds=options.seconds
    )
    print(f"{'':<10}{'':<24}{'ms':>10}{'MB/s':>10}{'ratio':>8}")
    for timing in timings:
        # Ratios are to the native codec where there is one, else to the module without a time limit.
        first = next(each for each in timings if each.direction == timing.direction)
        print(
            f"{timing.direction:<10}{timing.contender:<24}{timing.best_s * 1e3:>10.3f}"
            f"{timing.len_bytes / timing.best_s / 1e6:>10.0f}{timing.best_s / first.best_s:>8.2f}"
        )
    return 0


def _embed(options: argparse.Namespace) -> int:
    import wazarr

    changed = wazarr.embed_codecs(_open(options.target, mode="r+"))
    for used in changed:
        print(f"{used.array or '/'}\t{used.codec or used.name}\t{used.module}")
    _say(f"wazarr: {len(changed)} codecs changed")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    import wazarr

    digests = wazarr.fetch_codecs(_open(options.target, mode="r"))
    for digest in digests:
        print(digest)
    return 0


# --- in and out ----------------------------------------------------------------------------------------


def _conditions(options: argparse.Namespace) -> Conditions:
    from wazarr.check import Conditions
    from wazarr.wasm import modules
    from wazarr.wasm.engine import Layout

    def layout(data_type: str | None, shape: str | None) -> Layout:
        try:
            extents = tuple(int(each) for each in shape.split(",") if each) if shape is not None else (0,)
        except ValueError as error:
            raise InvalidInputError(f"a shape is numbers with commas between, not {shape!r}") from error
        return Layout(_dtype(data_type or "|u1"), extents)

    decoded = layout(options.data_type, options.shape)
    encoded = None
    if options.encoded_data_type is not None or options.encoded_shape is not None:
        encoded = layout(
            options.encoded_data_type or options.data_type, options.encoded_shape or options.shape
        )
    kind: Kind = options.kind or modules.survey(options.module.read_bytes())["kind"] or "bytes-bytes"
    if kind != "bytes-bytes" and options.shape is None:
        raise InvalidInputError(f"a codec of kind {kind} needs to know a chunk: --data-type and --shape")
    parameters = _json(options.parameters, "--parameters")
    return Conditions(
        kind=kind,
        parameters=parameters,
        decoded=decoded,
        encoded=encoded,
        interface=options.interface,
        samples=[path.read_bytes() for path in options.decoded],
        encoded_samples=[path.read_bytes() for path in options.encoded],
        is_lossy=getattr(options, "lossy", False),
    )


def _dtype(name: str) -> str:
    import numpy as np

    try:
        return np.dtype(name).newbyteorder("<").str
    except TypeError as error:
        raise InvalidInputError(f"{name!r} is no data type of numpy's") from error


def _json(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{option} is a JSON object, not {text}")
    return value


def _open(target: str, *, mode: Any) -> zarr.Group | zarr.Array[Any]:
    import zarr

    try:
        return zarr.open(target, mode=mode)
    except (FileNotFoundError, ValueError) as error:
        raise InvalidInputError(
            f"{target} is neither a module nor an array or group of Zarr: {error}"
        ) from error


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    memory = facts["memory"]
    sides = [side for side in ("decode", "encode") if facts[f"has_{side}"]]
    shown = {
        "digest": facts["digest"],
        "format": facts["format"],
        "interface": facts["interface"] or "none that is known",
        "kind": facts["kind"] or "as the metadata say",
        "sides": ", ".join(sides) or "none",
        "bytes": facts["len_bytes"],
        "imports": ", ".join(facts["imports"]) or "nothing",
        "exports": ", ".join(facts["exports"]) or "nothing",
    }
    if memory is not None:
        most = memory["maximum_pages"]
        shown["memory"] = f"{memory['initial_pages'] * 64} KiB, " + (
            "no maximum of its own" if most is None else f"at most {most * 64} KiB"
        )
    if facts["signature"]:
        shown["signature"] = json.dumps(facts["signature"])
    return shown


def _print_facts(facts: dict[str, Any], where: str) -> None:
    _print({"module": where, **_facts(facts)})


def _print(lines: dict[str, Any]) -> None:
    for name, value in lines.items():
        if value is not None:
            print(f"{name:<12}{value}")


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
