//! The system calls that a guest may make.

/// What they remember between calls of one guest.
#[derive(Debug, Default)]
pub struct WasiState {}
