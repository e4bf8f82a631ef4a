//! The arrays of numcodecs: what goes to the guest in which direction, and what its answer is held against.
//!
//! An encoder gets the decoded array, of the chunk's data type and shape. A decoder gets the encoded array where
//! that is known, else a row of bytes. What comes back is taken for its bytes; where it has to be an array, its
//! data type must be the right one.

use super::{ArrayDescription, Kind, Room, Setup, Take};
use crate::wasm::WasmError;

/// Axes that an answer may have.
const AXES_MAX: usize = 64;

/// Type of an array's elements; the number is that of the case in the interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Element {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Element {
    /// In the order of their numbers, with numpy's names for them.
    const ALL: [(Self, &str, usize); 10] = [
        (Self::U8, "|u1", 1),
        (Self::U16, "<u2", 2),
        (Self::U32, "<u4", 4),
        (Self::U64, "<u8", 8),
        (Self::I8, "|i1", 1),
        (Self::I16, "<i2", 2),
        (Self::I32, "<i4", 4),
        (Self::I64, "<i8", 8),
        (Self::F32, "<f4", 4),
        (Self::F64, "<f8", 8),
    ];

    /// The type of that number.
    pub(super) fn from_number(number: u32) -> Result<Self, WasmError> {
        let element = Self::ALL.get(number as usize).map(|(element, ..)| *element);
        element
            .ok_or_else(|| WasmError::Broken(format!("its answer is an array of the unknown type {number}")))
    }

    /// The type by numpy's name. The order of bytes does not matter: in the guest it is always the same.
    fn from_data_type(data_type: &str) -> Result<Self, WasmError> {
        let same = |name: &str| name.get(1..) == data_type.get(1..);
        let element = Self::ALL.iter().find(|(_, name, _)| same(name)).map(|(element, ..)| *element);
        element.ok_or_else(|| {
            WasmError::Invalid(format!(
                "its interface knows integers and floating point numbers of 1 to 8 bytes, not the data type {data_type:?}"
            ))
        })
    }

    pub(super) fn number(self) -> u32 {
        u32::from(self as u8)
    }

    pub(super) fn data_type(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub(super) fn size(self) -> usize {
        Self::ALL[self as usize].2
    }
}

/// Data type and shape of one side of the codec.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) element: Element,
    pub(super) shape: Vec<u32>,
}

impl Side {
    fn of(description: &ArrayDescription) -> Result<Self, WasmError> {
        let element = Element::from_data_type(&description.data_type)?;
        let axis = |&len: &u64| {
            u32::try_from(len)
                .map_err(|_| WasmError::Invalid(format!("an axis of {len} elements is too long for it")))
        };
        Ok(Self { element, shape: description.shape.iter().map(axis).collect::<Result<_, _>>()? })
    }

    fn row(len_bytes: usize) -> Result<Self, WasmError> {
        Ok(Self { element: Element::U8, shape: vec![super::guest::length(len_bytes)?] })
    }

    fn len_bytes(&self) -> Option<usize> {
        let axes = self.shape.iter().map(|&axis| axis as usize);
        axes.clone().try_fold(self.element.size(), usize::checked_mul)
    }

    /// The same, for data of this length.
    fn for_data(&self, data: &[u8]) -> Result<Self, WasmError> {
        if self.len_bytes() != Some(data.len()) {
            let (data_type, shape) = (self.element.data_type(), &self.shape);
            return Err(WasmError::Host(format!(
                "{} bytes are no {data_type} array of shape {shape:?}",
                data.len()
            )));
        }
        Ok(self.clone())
    }
}

/// Both sides of one codec.
#[derive(Debug)]
pub(super) struct Sides {
    kind: Kind,
    /// `None`: bytes of any number.
    decoded: Option<Side>,
    /// `None`: bytes of any number.
    encoded: Option<Side>,
}

impl Sides {
    pub(super) fn of(setup: &Setup) -> Result<Self, WasmError> {
        let is_row = |description: &ArrayDescription| {
            setup.kind == Kind::BytesBytes && description.data_type == "|u1" && description.shape.len() < 2
        };
        let side = |description| if is_row(description) { Ok(None) } else { Side::of(description).map(Some) };
        Ok(Self {
            kind: setup.kind,
            decoded: side(&setup.decoded)?,
            encoded: if setup.kind == Kind::ArrayBytes { None } else { side(&setup.encoded)? },
        })
    }

    /// What the guest gets.
    pub(super) fn input(&self, is_decoding: bool, data: &[u8]) -> Result<Side, WasmError> {
        let side = if is_decoding { &self.encoded } else { &self.decoded };
        side.as_ref().map_or_else(|| Side::row(data.len()), |side| side.for_data(data))
    }

    /// What a decoder is told of the array to make. Bytes are decoded without being told.
    pub(super) fn prototype(&self) -> Option<&Side> {
        self.decoded.as_ref().filter(|_| self.kind != Kind::BytesBytes)
    }

    /// Checks the type of an answer.
    pub(super) fn check(&self, is_decoding: bool, answer: &Answer<'_>) -> Result<(), WasmError> {
        let side = if is_decoding { self.prototype() } else { self.encoded.as_ref() };
        match side {
            Some(side) if side.element != answer.element => Err(WasmError::Guest(format!(
                "an array of data type {} where {} was expected",
                answer.element.data_type(),
                side.element.data_type()
            ))),
            _ => Ok(()),
        }
    }
}

/// What a guest answered: an array whose bytes are still where the guest has put them.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) element: Element,
    pub(super) shape: Vec<u32>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Holds shape and bytes against each other.
    pub(super) fn new(element: Element, shape: Vec<u32>, bytes: &'a [u8]) -> Result<Self, WasmError> {
        let side = Side { element, shape };
        if side.shape.len() > AXES_MAX || side.len_bytes() != Some(bytes.len()) {
            return Err(WasmError::Broken(format!(
                "its answer has {} bytes and {} axes, which do not go together",
                bytes.len(),
                side.shape.len()
            )));
        }
        Ok(Self { element, shape: side.shape, bytes })
    }

    pub(super) fn description(&self) -> ArrayDescription {
        let shape = self.shape.iter().map(|&axis| u64::from(axis)).collect();
        ArrayDescription { data_type: self.element.data_type().to_owned(), shape }
    }
}

/// Hands an answer on, if there is room for it, and remembers what it was.
pub(super) fn hand_on<'a>(
    room: Room,
    take: &'a mut Take<'_>,
    last_answer: &'a mut Option<ArrayDescription>,
) -> impl FnMut(&Answer<'_>) -> Result<(), WasmError> + 'a {
    *last_answer = None;
    move |answer| {
        room.admit(answer.bytes.len())?;
        take(answer.bytes)?;
        *last_answer = Some(answer.description());
        Ok(())
    }
}

/// What a call answers that was made twice, the second time with more said: of two complaints of the guest's the one
/// about less.
pub(super) fn of_two(first: Result<(), WasmError>, second: Result<(), WasmError>) -> Result<(), WasmError> {
    match second {
        Err(WasmError::Guest(_)) => first,
        second => second,
    }
}

/// The configuration as the guest wants it: without the name, which it knows.
pub(super) fn configuration(setup: &Setup) -> String {
    let mut parameters = setup.parameters.clone();
    parameters.remove("id");
    serde_json::Value::Object(parameters).to_string()
}

/// An error with what caused it.
pub(super) fn with_causes(message: &[u8], causes: impl Iterator<Item = Vec<u8>>) -> WasmError {
    /// Causes that are told.
    const CAUSES_MAX: usize = 8;
    let mut text = message.to_vec();
    for cause in causes.take(CAUSES_MAX) {
        text.extend_from_slice(b": ");
        text.extend_from_slice(&cause);
    }
    super::guest::reported(&text)
}
