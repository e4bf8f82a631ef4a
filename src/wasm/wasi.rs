//! The system calls that a guest may make, and what they answer: no.
//!
//! Toolchains drag system calls into modules that never need one: to report a panic, to seed a hash map, to
//! look for files at start. So they are all there and none is real: there are no files, no arguments, no
//! environment, no network; clocks stand at 0; standard input is empty, standard output goes nowhere. What is
//! written to standard error or logged is kept for the caller, so much of it and no more. Random bytes are a
//! stream that starts anew with each call, so that one input has one result. To exit is to trap.
//!
//! [`preview1`] are the calls of core modules, [`preview2`] those of components.

mod preview1;
mod preview2;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Digest;
use crate::process::PerProcess;

pub use preview1::{define as define_core, is_answered as is_core_import_answered};
pub use preview2::define as define_component;

/// What a guest may write in one call; the rest is dropped.
const TEXT_MAX_BYTES: usize = 8 << 10;
/// Texts of guests that wait to be fetched; of more, the oldest are dropped.
const WAITING_TEXTS: usize = 256;
/// Start of the stream of random bytes.
const RANDOM_SEED: u64 = 0x7761_7a61_7272_0001;
/// So many random bytes are made in one system call; no hash seed is as long.
const RANDOM_MAX_BYTES: usize = 1 << 20;

/// Modules' digests and what their guests wrote, until [`take_texts`] fetches it.
static TEXTS: PerProcess<Mutex<VecDeque<(Digest, String)>>> = PerProcess::new(Mutex::default);

/// To be called in the child after a fork: the parent tells what its guests wrote.
pub fn after_fork_in_child() {
    TEXTS.forget_in_child();
}

/// What the system calls of one guest remember.
#[derive(Debug)]
pub struct WasiState {
    /// Whose guest it is.
    module: Option<Digest>,
    text: Vec<u8>,
    random: u64,
}

impl Default for WasiState {
    fn default() -> Self {
        Self { module: None, text: Vec::new(), random: RANDOM_SEED }
    }
}

impl WasiState {
    /// Says whose guest it is. What it writes is handed on under this name, and dropped without one.
    pub fn set_module(&mut self, module: Digest) {
        self.module = Some(module);
    }

    /// To be called before each call of the guest: no call shall depend on an earlier one.
    pub fn begin_call(&mut self) {
        self.random = RANDOM_SEED;
        self.text.clear();
    }

    /// To be called after each call of the guest: hands on what it wrote, and returns it.
    pub fn end_call(&mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&self.text).trim_end().to_owned();
        self.text.clear();
        if let Some(module) = self.module {
            let mut texts = TEXTS.get().lock().unwrap_or_else(PoisonError::into_inner);
            if texts.len() == WAITING_TEXTS {
                texts.pop_front();
            }
            texts.push_back((module, text.clone()));
        }
        Some(text)
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = TEXT_MAX_BYTES.saturating_sub(self.text.len());
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn log(&mut self, level: &str, context: &[u8], message: &[u8]) {
        for part in [level.as_bytes(), b" ", context, b": ", message, b"\n"] {
            self.write(part);
        }
    }

    /// The next eight random bytes: a counter, well stirred (splitmix64).
    fn random_u64(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn fill_random(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.random_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// What guests have written since this was last asked, with their modules' digests, oldest first.
#[must_use]
pub fn take_texts() -> Vec<(Digest, String)> {
    TEXTS.get().lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
}

/// Names of the levels of `wasi:logging`, in the order of their numbers.
const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// The interface that an import names, without its version.
fn without_version(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

#[cfg(test)]
#[path = "wasi_tests.rs"]
mod tests;
