//! Counts of what ran where, for `wazarr.counters()`. Added to once per chunk or batch, never per element.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::chain::EngineCounts;

/// Chunks and bytes of one direction.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Chunks read or written, missing and deleted ones included.
    pub chunks: AtomicU64,
    /// Bytes on the store's side.
    pub bytes_encoded: AtomicU64,
    /// Bytes on the caller's side, in memory.
    pub bytes_decoded: AtomicU64,
}

impl Traffic {
    /// Counts bytes of a chunk that is counted already.
    pub fn add_bytes(&self, bytes_encoded: usize) {
        self.bytes_encoded.fetch_add(bytes_encoded as u64, Ordering::Relaxed);
    }

    /// Counts one chunk.
    pub fn add(&self, bytes_encoded: usize, bytes_decoded: usize) {
        self.chunks.fetch_add(1, Ordering::Relaxed);
        self.bytes_encoded.fetch_add(bytes_encoded as u64, Ordering::Relaxed);
        self.bytes_decoded.fetch_add(bytes_decoded as u64, Ordering::Relaxed);
    }
}

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads.
    pub read: Traffic,
    /// Writes.
    pub write: Traffic,
    /// Codec runs on the native engine.
    pub native_steps: AtomicU64,
    /// Codec runs in WebAssembly guests.
    pub wasm_steps: AtomicU64,
    /// Codec runs in Python.
    pub python_steps: AtomicU64,
    /// Requests to stores that we speak to ourselves.
    pub native_requests: AtomicU64,
    /// Requests through a store's Python methods.
    pub python_requests: AtomicU64,
    /// Bytes that came over the network.
    pub bytes_fetched: AtomicU64,
    /// Bytes of these that nobody asked for, between those that were fetched together.
    pub bytes_wasted: AtomicU64,
    /// Files opened for requests that pass by the page cache.
    pub direct: AtomicU64,
    /// Files that were to be, and refused.
    pub direct_refused: AtomicU64,
    /// Files that were still open from an earlier read.
    pub handles_reused: AtomicU64,
    /// Files that the system was asked to read before their turn.
    pub asked_ahead: AtomicU64,
    /// Temporary files made in another part of the disk.
    pub made_elsewhere: AtomicU64,
}

/// The process's counters.
pub static COUNTERS: Counters = Counters {
    read: Traffic {
        chunks: AtomicU64::new(0),
        bytes_encoded: AtomicU64::new(0),
        bytes_decoded: AtomicU64::new(0),
    },
    write: Traffic {
        chunks: AtomicU64::new(0),
        bytes_encoded: AtomicU64::new(0),
        bytes_decoded: AtomicU64::new(0),
    },
    native_steps: AtomicU64::new(0),
    wasm_steps: AtomicU64::new(0),
    python_steps: AtomicU64::new(0),
    native_requests: AtomicU64::new(0),
    python_requests: AtomicU64::new(0),
    bytes_fetched: AtomicU64::new(0),
    bytes_wasted: AtomicU64::new(0),
    direct: AtomicU64::new(0),
    direct_refused: AtomicU64::new(0),
    handles_reused: AtomicU64::new(0),
    asked_ahead: AtomicU64::new(0),
    made_elsewhere: AtomicU64::new(0),
};

impl Counters {
    /// Counts one run of a chain.
    pub fn add_steps(&self, engines: EngineCounts) {
        for (counter, count) in [
            (&self.native_steps, engines.native),
            (&self.wasm_steps, engines.wasm),
            (&self.python_steps, engines.python),
        ] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Counts `count` requests to a native store.
    pub fn add_native_requests(&self, count: u64) {
        self.native_requests.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a request through a store's Python methods.
    pub fn add_python_request(&self) {
        self.python_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that came over the network.
    pub fn add_fetched(&self, len_bytes: usize) {
        self.bytes_fetched.fetch_add(len_bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes of these that nobody asked for.
    pub fn add_wasted(&self, len_bytes: u64) {
        self.bytes_wasted.fetch_add(len_bytes, Ordering::Relaxed);
    }

    /// Counts a file whose requests were to pass by the page cache.
    pub fn add_direct(&self, does: bool) {
        let counter = if does { &self.direct } else { &self.direct_refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a file that was still open.
    pub fn add_reused_handle(&self) {
        self.handles_reused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a file that the system was asked to read before its turn.
    pub fn add_asked_ahead(&self) {
        self.asked_ahead.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a temporary file made in another part of the disk.
    pub fn add_made_elsewhere(&self) {
        self.made_elsewhere.fetch_add(1, Ordering::Relaxed);
    }

    /// Every counter, with where it stands.
    pub fn all(&self) -> [(&'static str, &AtomicU64); 18] {
        [
            ("read.chunks", &self.read.chunks),
            ("read.bytes_encoded", &self.read.bytes_encoded),
            ("read.bytes_decoded", &self.read.bytes_decoded),
            ("write.chunks", &self.write.chunks),
            ("write.bytes_encoded", &self.write.bytes_encoded),
            ("write.bytes_decoded", &self.write.bytes_decoded),
            ("codec_steps.native", &self.native_steps),
            ("codec_steps.wasm", &self.wasm_steps),
            ("codec_steps.python", &self.python_steps),
            ("store_requests.native", &self.native_requests),
            ("store_requests.python", &self.python_requests),
            ("store_requests.bytes_fetched", &self.bytes_fetched),
            ("store_requests.bytes_wasted", &self.bytes_wasted),
            ("files.direct", &self.direct),
            ("files.direct_refused", &self.direct_refused),
            ("files.reused", &self.handles_reused),
            ("files.asked_ahead", &self.asked_ahead),
            ("files.made_elsewhere", &self.made_elsewhere),
        ]
    }

    /// Sets every counter to zero.
    pub fn reset(&self) {
        for (_, counter) in self.all() {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
