//! From a codec's name and configuration to something that runs.

use std::sync::Arc;

use serde_json::Value;

use super::native;
use super::{ArraySpec, Codec};

/// Why a codec could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No native engine for this codec, data type or setting: it runs through its Python class.
    #[error("{0}")]
    Unsupported(String),
    /// The configuration makes no sense for this array under any engine.
    #[error("{0}")]
    Invalid(String),
}

/// Choices that hold for every codec of a chain.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Whether decoding verifies checksums.
    pub validate_checksums: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { validate_checksums: true }
    }
}

/// A function that binds one codec: its configuration as JSON, the array it decodes to, the options.
pub type Bind = fn(&Value, &ArraySpec, BindOptions) -> Result<Arc<dyn Codec>, BindError>;

/// Binds the native codec called `name` (a name of the table in [`native`]).
///
/// # Errors
/// See [`BindError`].
pub fn bind(
    name: &str,
    configuration: &Value,
    decoded: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    match native::find(name) {
        Some(bind) => bind(configuration, decoded, options),
        None => Err(BindError::Unsupported(format!("codec {name:?} has no native engine"))),
    }
}
