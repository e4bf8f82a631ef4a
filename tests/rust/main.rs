//! Integration tests of the engine without Python, as one binary.

mod codec_vectors;
