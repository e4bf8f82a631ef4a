//! The ports of one codec, found out for a direction when it is first used: a reader needs no parameters of
//! the writer.

use serde_json::{Map, Value};

use super::Setup;
use crate::wasm::WasmError;
use crate::wasm::signature::{Ports, Signature};

/// A signature, where there is one, and the codec's parameters.
pub(super) struct PortSetup {
    signature: Option<Signature>,
    parameters: Map<String, Value>,
    decode: Option<Ports>,
    encode: Option<Ports>,
}

impl PortSetup {
    /// # Errors
    /// The signature is none.
    pub(super) fn new(signature: Option<&Value>, setup: &Setup) -> Result<Self, WasmError> {
        Ok(Self {
            signature: signature.map(Signature::parse).transpose()?,
            parameters: setup.parameters.clone(),
            decode: None,
            encode: None,
        })
    }

    /// # Errors
    /// See [`Signature::ports`].
    pub(super) fn of(&mut self, is_decoding: bool) -> Result<&Ports, WasmError> {
        let Self { signature, parameters, decode, encode } = self;
        let known = if is_decoding { decode } else { encode };
        if known.is_none() {
            *known = Some(match signature {
                Some(signature) => signature.ports(is_decoding, parameters)?,
                None => Ports::without_signature(parameters),
            });
        }
        known.as_ref().ok_or_else(|| WasmError::Host("the ports just made are gone".to_owned()))
    }
}

/// The signature that a guest's `signature` function answers.
///
/// # Errors
/// It is no JSON.
pub(super) fn parse_signature(text: &[u8]) -> Result<Value, WasmError> {
    serde_json::from_slice(text)
        .map_err(|error| WasmError::Invalid(format!("its signature is no JSON: {error}")))
}
