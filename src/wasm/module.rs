//! A module's identity, and its code once it is compiled.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::{Interface, Survey, WasmError};

/// The SHA-256 of a module's bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    const PREFIX: &str = "sha256:";

    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses `sha256:` and 64 hexadecimal digits in lower case.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, WasmError> {
        let fail =
            || WasmError::Invalid(format!("{text:?} is no digest; it has to be sha256:<64 hex digits>"));
        let digits = text.strip_prefix(Self::PREFIX).filter(|digits| digits.len() == 64).ok_or_else(fail)?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(fail()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Ok(Self(bytes))
    }

    /// The 64 digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", Self::PREFIX, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Compiled code.
#[derive(Clone)]
pub enum Code {
    /// Of a core module.
    Core(Module),
    /// Of a component.
    Component(Component),
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Core(_) => "Core",
            Self::Component(_) => "Component",
        })
    }
}

/// A module that is ready to be instantiated.
#[derive(Debug)]
pub struct CompiledModule {
    digest: Digest,
    survey: Arc<Survey>,
    interface: Interface,
    code: Code,
    is_metered: bool,
}

impl CompiledModule {
    /// `code` has to be what `interface` calls, compiled from the module that was surveyed.
    pub(super) fn new(
        digest: Digest,
        survey: Arc<Survey>,
        interface: Interface,
        code: Code,
        is_metered: bool,
    ) -> Self {
        Self { digest, survey, interface, code, is_metered }
    }

    /// Digest of the module as a whole, also where only a part of it was compiled.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What is known of the module as a whole.
    #[must_use]
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The interface through which it is to be called.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// The code. With [`Interface::NumcodecsCore`] it is the first core module inside the component.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The code of a core module.
    ///
    /// # Errors
    /// It is a component.
    pub fn core(&self) -> Result<&Module, WasmError> {
        match &self.code {
            Code::Core(module) => Ok(module),
            Code::Component(_) => Err(WasmError::Invalid("it is a component, not a core module".to_owned())),
        }
    }

    /// The code of a component.
    ///
    /// # Errors
    /// It is a core module.
    pub fn component(&self) -> Result<&Component, WasmError> {
        match &self.code {
            Code::Component(component) => Ok(component),
            Code::Core(_) => Err(WasmError::Invalid("it is a core module, not a component".to_owned())),
        }
    }

    /// The engine that it was compiled on.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        match &self.code {
            Code::Core(module) => module.engine(),
            Code::Component(component) => component.engine(),
        }
    }

    /// Whether its code can be stopped.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.is_metered
    }
}
