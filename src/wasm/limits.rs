//! What a guest may use at most.

use std::time::Duration;

/// Configuration key of [`Limits::memory_bytes`].
pub const MEMORY_OPTION: &str = "wazarr.wasm.memory_limit";
/// Configuration key of [`Limits::total_memory_bytes`].
pub const TOTAL_MEMORY_OPTION: &str = "wazarr.wasm.total_memory_limit";
/// Configuration key of [`Limits::timeout`].
pub const TIMEOUT_OPTION: &str = "wazarr.wasm.timeout_s";
/// Configuration key of the size of a module.
pub const MODULE_OPTION: &str = "wazarr.wasm.module_limit";

/// What a guest may use at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of one guest in bytes, its tables and its collected heap included.
    pub memory_bytes: usize,
    /// The same for all guests of the process together.
    pub total_memory_bytes: usize,
    /// Time of one call; only metered guests are stopped.
    pub timeout: Duration,
    /// Whether the guest runs without a meter: faster, and not to be stopped.
    pub is_trusted: bool,
    /// Whether whoever waits for the call has given up. Asked about twenty times a second, on the thread of
    /// the call.
    pub is_cancelled: fn() -> bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            total_memory_bytes: 4 << 30,
            timeout: Duration::from_mins(1),
            is_trusted: false,
            is_cancelled: || false,
        }
    }
}
