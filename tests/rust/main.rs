//! Integration tests in Rust: one binary, one module a topic. No interpreter takes part.

mod codec_vectors;
mod filters;
