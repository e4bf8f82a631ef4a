"""Codecs that are WebAssembly modules."""
