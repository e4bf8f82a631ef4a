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
    #[error("chunk {chunk_key:?}: could not {operation} {location}: {fault}{}", trailer(.fault.attempt, written.as_deref()))]
    Remote {
        /// Store key of the chunk, with the array's path in front.
        chunk_key: String,
        /// `get`, `set` or `delete`.
        operation: &'static str,
        /// The key's address, without secrets.
        location: String,
        /// What the server answered.
        #[source]
        fault: crate::store::remote::RemoteFault,
        /// Of a write: keys of the chunks that were stored all the same.
        written: Option<Vec<String>>,
    },
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

/// So many keys stand in a message.
#[cfg(feature = "remote")]
const LISTED_KEYS: usize = 8;

#[cfg(feature = "remote")]
fn trailer(attempt: usize, written: Option<&[String]>) -> String {
    let attempts = if attempt > 1 { format!(" ({attempt} attempts)") } else { String::new() };
    let written = written.map(|keys| match keys {
        [] => "; no chunk of this write was stored".to_owned(),
        keys if keys.len() <= LISTED_KEYS => format!("; of this write were stored: {}", keys.join(", ")),
        keys => {
            let (listed, others) = keys.split_at(LISTED_KEYS);
            format!("; of this write were stored: {} and {} more", listed.join(", "), others.len())
        }
    });
    attempts + &written.unwrap_or_default()
}

#[cfg(feature = "remote")]
impl Error {
    /// The same failure of a write, with what was stored all the same.
    #[must_use]
    pub fn after_storing(mut self, keys: Vec<String>) -> Self {
        if let Self::Remote { written, .. } = &mut self {
            *written = Some(keys);
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
