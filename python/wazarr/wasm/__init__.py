"""Codecs that are WebAssembly modules: their metadata, where their modules are, and how they run.

Nothing here is imported by ``import wazarr``: only by arrays that have such a codec, and by programs that
make one (`wazarr.WasmCodec`).

::

    description.py  what metadata says of a codec
    codec.py        the classes that zarr-python and numcodecs see
    modules.py      from a digest to a module: caches, then sources in order
    sources.py      data:, file:, https:, and which of them the user allowed; oci.py: registries
    hierarchy.py    modules that travel with the data, in a group `wasm_codecs`
    engine.py       limits, native stand-ins, and the way into the engine
    steps.py        which codecs of a chain these are, and having their modules at hand for a batch
"""
