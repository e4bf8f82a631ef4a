//! Integration tests of the engine without Python, as one binary.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod codec_vectors;
mod filters;
mod scatter_gather;
