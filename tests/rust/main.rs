//! Integration tests without Python, in one binary.

mod filters;
