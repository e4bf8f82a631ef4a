//! What can go wrong with a guest, kept apart by whose fault it is: the module's, the guest's while it ran,
//! the limits', the data's, or ours.

use wasmtime::{ThrownException, Trap};

/// Why a module could not be used, or a call of a guest failed.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// The bytes are no module that we run.
    #[error("the module cannot be used: {0}")]
    Invalid(String),
    /// The bytes are not the ones asked for.
    #[error("the module's bytes have the digest {actual} where {expected} was asked for")]
    Digest {
        /// What was asked for, as `sha256:…`.
        expected: String,
        /// What the bytes have.
        actual: String,
    },
    /// The module offers less than the codec needs.
    #[error("the module does not {0}")]
    Missing(String),
    /// The guest trapped.
    #[error("the guest trapped: {0}")]
    Trap(String),
    /// The guest answered what its interface does not allow: a pointer outside its memory, a length that lies.
    #[error("the guest broke its interface: {0}")]
    Broken(String),
    /// The guest, or the module before it ran, went over a limit.
    #[error("{what} is over the limit of {limit}; raise {option} if the module is sound")]
    Limit {
        /// What was over it.
        what: String,
        /// The limit, with its unit.
        limit: String,
        /// Configuration key that raises it.
        option: &'static str,
    },
    /// The module is larger or more involved than any codec has to be.
    #[error("the module has {actual} {what}, over the limit of {limit}")]
    TooComplex {
        /// Things that are counted.
        what: &'static str,
        /// How many there are, at least.
        actual: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The guest itself reported an error.
    #[error("the guest reported: {0}")]
    Guest(String),
    /// The data decodes to another length than the chunk has.
    #[error("the data decodes to {actual} bytes where {expected} were expected")]
    DecodedLength {
        /// Length asked for in bytes.
        expected: usize,
        /// Length found in bytes; where decoding stopped early, the least it can be.
        actual: usize,
    },
    /// There is no memory for the result.
    #[error("there is no memory for {len_bytes} bytes")]
    OutOfMemory {
        /// What was asked for, in bytes.
        len_bytes: usize,
    },
    /// The folder for modules is not safe to use.
    #[error("the cache folder {path} is not used: {problem}")]
    CacheFolder {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// What was to be decoded could not be put into the guest's memory; the guest was not called.
    #[error("there is nothing to decode")]
    NotFilled,
    /// The host could not do its part.
    #[error("the WebAssembly host failed: {0}")]
    Host(String),
}

impl WasmError {
    /// Whether the guest answered in an orderly way, so that it may be called again.
    #[must_use]
    pub fn leaves_guest_sound(&self) -> bool {
        matches!(self, Self::Guest(_) | Self::DecodedLength { .. } | Self::NotFilled)
    }
}

impl From<wasmtime::Error> for WasmError {
    /// Errors of host functions come back as they were; [`super::Session::run`] turns what the limits caused
    /// into [`WasmError::Limit`].
    fn from(error: wasmtime::Error) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        if error.is::<ThrownException>() {
            return Self::Trap("it threw an exception that nothing catches".to_owned());
        }
        match error.downcast_ref::<Trap>() {
            Some(trap) => Self::Trap(trap.to_string()),
            None => Self::Host(format!("{error:#}")),
        }
    }
}
