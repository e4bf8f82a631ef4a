//! The interfaces that guests offer, behind one trait.
//!
//! One file per family; each has `instantiate`, which makes a [`Guest`] of a compiled module.

mod any_array;
mod chonkle_component;
mod chonkle_core;
mod component;
mod guest;
mod numcodecs_component;
pub(in crate::wasm) mod numcodecs_core;
#[cfg(test)]
mod numcodecs_tests;
mod ports;
#[cfg(test)]
pub(in crate::wasm) mod testing;
mod transform;
mod wazarr;

use std::ops::Range;

use serde_json::{Map, Value};

use super::{CompiledModule, Limits, Survey, WasmError};

/// Which interface a module offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// The core ABI of wazarr.
    WazarrCore,
    /// chonkle's older core modules: bytes and a configuration in, bytes out.
    ChonkleA,
    /// chonkle's short-lived components of the same form.
    ChonkleB,
    /// chonkle's components with port maps.
    ChonkleC,
    /// chonkle's core modules with port maps.
    ChonkleD,
    /// The same with a `signature` function.
    ChonkleECore,
    /// chonkle's components with a `signature` function.
    ChonkleEComponent,
    /// The core module inside a numcodecs component, called directly.
    NumcodecsCore,
    /// numcodecs components.
    NumcodecsComponent,
}

impl Interface {
    /// Every interface.
    pub const ALL: [Self; 9] = [
        Self::WazarrCore,
        Self::ChonkleA,
        Self::ChonkleB,
        Self::ChonkleC,
        Self::ChonkleD,
        Self::ChonkleECore,
        Self::ChonkleEComponent,
        Self::NumcodecsCore,
        Self::NumcodecsComponent,
    ];

    /// The name in metadata and in `wazarr codec inspect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WazarrCore => "wazarr",
            Self::ChonkleA => "chonkle-a",
            Self::ChonkleB => "chonkle-b",
            Self::ChonkleC => "chonkle-c",
            Self::ChonkleD => "chonkle-d",
            Self::ChonkleECore => "chonkle-e",
            Self::ChonkleEComponent => "chonkle-e-component",
            Self::NumcodecsCore => "numcodecs",
            Self::NumcodecsComponent => "numcodecs-component",
        }
    }

    /// The interface of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }
}

/// What a codec turns into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes to bytes.
    BytesBytes,
    /// An array to bytes.
    ArrayBytes,
    /// An array to an array.
    ArrayArray,
}

impl Kind {
    /// The name in metadata.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BytesBytes => "bytes-bytes",
            Self::ArrayBytes => "array-bytes",
            Self::ArrayArray => "array-array",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::BytesBytes, Self::ArrayBytes, Self::ArrayArray].into_iter().find(|kind| kind.name() == name)
    }
}

/// The array on one side of a codec. Bytes of any number have the data type `|u1` and the shape `[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayDescription {
    /// numpy's `dtype.str`; little-endian in the guest.
    pub data_type: String,
    /// Elements along each axis.
    pub shape: Vec<u64>,
}

impl ArrayDescription {
    /// Bytes of any number.
    #[must_use]
    pub fn any_bytes() -> Self {
        Self { data_type: "|u1".to_owned(), shape: vec![0] }
    }

    /// Whether it says no more than that there are bytes.
    #[must_use]
    pub fn is_any_bytes(&self) -> bool {
        self.data_type == "|u1" && self.shape == [0]
    }
}

/// What a guest is configured with, once.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it turns into what.
    pub kind: Kind,
    /// The codec's own parameters.
    pub parameters: Map<String, Value>,
    /// What it decodes to.
    pub decoded: ArrayDescription,
    /// What it encodes to.
    pub encoded: ArrayDescription,
    /// The array's fill value, as Zarr metadata spells it.
    pub fill_value: Option<Value>,
}

/// How long a result may be, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The only length that is right, where it is known.
    pub expected: Option<usize>,
    /// The longest allowed.
    pub limit: usize,
}

impl Room {
    /// Checks the length of a result before any of it is copied.
    ///
    /// # Errors
    /// Another length than expected, or one above the limit.
    pub fn admit(self, actual: usize) -> Result<(), WasmError> {
        match self.expected {
            Some(expected) if expected != actual => Err(WasmError::DecodedLength { expected, actual }),
            _ if actual > self.limit => Err(WasmError::DecodedLength { expected: self.limit, actual }),
            _ => Ok(()),
        }
    }
}

/// Puts what is to be decoded into memory of its length; `false` where that failed, which its owner knows more about.
pub type Fill<'a> = dyn FnMut(&mut [u8]) -> bool + 'a;

/// What a guest gets.
pub enum Input<'a, 'f> {
    /// In memory.
    Bytes(&'a [u8]),
    /// So many bytes, from wherever they are.
    Filled(usize, &'a mut Fill<'f>),
}

impl Input<'_, '_> {
    /// Its length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Filled(len_bytes, _) => *len_bytes,
        }
    }
}

/// Gets parts of a result, each with its number: views of guest memory.
pub type TakeRange<'a> = dyn FnMut(usize, &[u8]) -> Result<(), WasmError> + 'a;

/// Shows the parts of a whole result.
fn show(decoded: &[u8], ranges: &[Range<usize>], take: &mut TakeRange<'_>) -> Result<(), WasmError> {
    for (at, range) in ranges.iter().enumerate() {
        let outside = || WasmError::Invalid(format!("bytes {range:?} of {}", decoded.len()));
        take(at, decoded.get(range.clone()).ok_or_else(outside)?)?;
    }
    Ok(())
}

/// Gets the result: a view of guest memory.
pub type Take<'a> = dyn FnMut(&[u8]) -> Result<(), WasmError> + 'a;

/// An instance of a module, configured and ready for any number of calls, one at a time.
///
/// Each method hands the result to `take` exactly once, or each part of it, if it succeeds, and never a result that
/// [`Room::admit`] refuses.
pub trait Guest: Send {
    /// Decodes.
    ///
    /// # Errors
    /// Whatever the guest does wrong; see [`WasmError::leaves_guest_sound`].
    fn decode(&mut self, encoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError>;

    /// Decodes parts of what is `decoded_len` bytes long as a whole, and shows them in their order. Only a guest that
    /// says so ([`Interface::WazarrCore`]) takes input that is not in memory yet, and needs less time for a part.
    ///
    /// # Errors
    /// As [`Guest::decode`]; [`WasmError::NotFilled`] where the input could not be filled in. Some parts may have been
    /// shown.
    fn decode_ranges(
        &mut self,
        encoded: Input<'_, '_>,
        decoded_len: usize,
        ranges: &[Range<usize>],
        take: &mut TakeRange<'_>,
    ) -> Result<(), WasmError> {
        let Input::Bytes(encoded) = encoded else {
            return Err(WasmError::Missing("take its input from where it is".to_owned()));
        };
        let room = Room { expected: Some(decoded_len), limit: decoded_len };
        self.decode(encoded, room, &mut |decoded| show(decoded, ranges, take))
    }

    /// Encodes.
    ///
    /// # Errors
    /// As [`Guest::decode`].
    fn encode(&mut self, decoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError>;

    /// The longest encoding of so many bytes, where the guest can tell.
    ///
    /// # Errors
    /// As [`Guest::decode`].
    fn encoded_bound(&mut self, _decoded_len: usize) -> Result<Option<usize>, WasmError> {
        Ok(None)
    }

    /// Data type and shape of what the last call that succeeded answered, where the interface tells.
    fn last_answer(&self) -> Option<&ArrayDescription> {
        None
    }

    /// Bytes of memory that it holds, or so.
    fn memory_bytes(&self) -> usize;
}

/// The interface through which a module is called: the one it offers, or the one asked for.
///
/// # Errors
/// It offers none that we know, or not the one asked for.
pub fn choose(survey: &Survey, wanted: Option<Interface>) -> Result<Interface, WasmError> {
    let format = if survey.is_component { "component" } else { "core module" };
    let offered = survey.interface.ok_or_else(|| {
        WasmError::Invalid(format!("the {format} exports none of the codec interfaces that are known here"))
    })?;
    match wanted {
        None => Ok(offered),
        Some(wanted) if wanted == offered => Ok(offered),
        // The way around the short cut.
        Some(Interface::NumcodecsComponent) if offered == Interface::NumcodecsCore => {
            Ok(Interface::NumcodecsComponent)
        }
        Some(wanted) => Err(WasmError::Invalid(format!(
            "the {format} offers the interface {:?}, not {:?}",
            offered.name(),
            wanted.name()
        ))),
    }
}

/// Makes a guest of a compiled module.
///
/// # Errors
/// A module that lacks what its interface asks for, traps when it starts or goes over a limit.
pub fn instantiate(
    module: &CompiledModule,
    setup: &Setup,
    limits: &Limits,
) -> Result<Box<dyn Guest>, WasmError> {
    match module.interface() {
        Interface::WazarrCore => wazarr::instantiate(module, setup, limits),
        Interface::ChonkleA | Interface::ChonkleD | Interface::ChonkleECore => {
            chonkle_core::instantiate(module, setup, limits)
        }
        Interface::ChonkleB | Interface::ChonkleC | Interface::ChonkleEComponent => {
            chonkle_component::instantiate(module, setup, limits)
        }
        Interface::NumcodecsCore => numcodecs_core::instantiate(module, setup, limits),
        Interface::NumcodecsComponent => numcodecs_component::instantiate(module, setup, limits),
    }
}
