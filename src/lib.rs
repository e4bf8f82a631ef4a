//! wazarr: a Rust codec pipeline for zarr-python.
pub mod codec;
