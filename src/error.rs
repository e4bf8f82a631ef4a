//! What can go wrong in a read or a write, with the place where it did.

use std::io;

use crate::codec::{CodecFault, Direction};
use crate::plan::PlanError;
use crate::strided::CopyError;

/// A failed read or write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A codec could not decode or encode a chunk.
    #[error("chunk {chunk_key:?}: codec {codec:?} could not {direction}: {fault}", direction = .direction.name())]
    Codec {
        /// Store key of the chunk, with the array's path in front.
        chunk_key: String,
        /// Name of the codec.
        codec: String,
        /// Which way it ran.
        direction: Direction,
        /// Why.
        #[source]
        fault: CodecFault,
    },
    /// The store failed.
    #[error("chunk {chunk_key:?}: could not {operation} {location}: {source}")]
    Store {
        /// Store key of the chunk, with the array's path in front.
        chunk_key: String,
        /// `get`, `set` or `delete`.
        operation: &'static str,
        /// File or address.
        location: String,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A store on the network failed.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(Box<RemoteError>),
    /// The request itself is at fault.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The caller gave up.
    #[error("cancelled")]
    Cancelled,
    /// Python code that we called for the request raised.
    #[error("{0}")]
    Python(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A bug of ours.
    #[error("{0}; this is a bug in wazarr, please report it")]
    Internal(String),
}

/// A failed request to a store on the network.
#[cfg(feature = "remote")]
#[derive(Debug, thiserror::Error)]
#[error("chunk {chunk_key:?}: could not {operation} {location}: {fault}{}", self.trailer())]
pub struct RemoteError {
    /// Store key of the chunk, with the array's path in front.
    pub chunk_key: String,
    /// `get`, `set` or `delete`.
    pub operation: &'static str,
    /// The key's address, without secrets.
    pub location: String,
    /// What the server answered.
    #[source]
    pub fault: crate::store::remote::RemoteFault,
    /// Of a write: keys of the chunks that were stored all the same.
    pub written: Option<Vec<String>>,
}

#[cfg(feature = "remote")]
impl RemoteError {
    /// So many keys stand in a message.
    const LISTED_KEYS: usize = 8;

    fn trailer(&self) -> String {
        let attempts = match self.fault.attempt {
            0 | 1 => String::new(),
            attempts => format!(" ({attempts} attempts)"),
        };
        let written = self.written.as_deref().map(|keys| match keys.split_at_checked(Self::LISTED_KEYS) {
            _ if keys.is_empty() => "; no chunk of this write was stored".to_owned(),
            Some((listed, others)) if !others.is_empty() => {
                format!("; of this write were stored: {} and {} more", listed.join(", "), others.len())
            }
            _ => format!("; of this write were stored: {}", keys.join(", ")),
        });
        attempts + &written.unwrap_or_default()
    }
}

#[cfg(feature = "remote")]
impl Error {
    /// The same failure of a write, with what was stored all the same.
    #[must_use]
    pub fn after_storing(mut self, keys: Vec<String>) -> Self {
        if let Self::Remote(error) = &mut self {
            error.written = Some(keys);
        }
        self
    }
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A codec step that failed, before the chunk key is known.
#[derive(Debug, thiserror::Error)]
#[error("codec {codec:?} could not {direction}: {fault}", direction = .direction.name())]
pub struct StepError {
    /// Name of the codec.
    pub codec: String,
    /// Which way it ran.
    pub direction: Direction,
    /// Why.
    #[source]
    pub fault: CodecFault,
}

impl StepError {
    /// Adds the chunk key.
    #[must_use]
    pub fn at(self, chunk_key: &str) -> Error {
        match self.fault {
            CodecFault::Cancelled => Error::Cancelled,
            fault => Error::Codec {
                chunk_key: chunk_key.to_owned(),
                codec: self.codec,
                direction: self.direction,
                fault,
            },
        }
    }
}
