//! What a codec knows of the array on its decoded side: shape and data type, in numpy's terms.

use super::registry::BindError;

/// numpy's `dtype.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `b`
    Bool,
    /// `i`
    Int,
    /// `u`
    UInt,
    /// `f`
    Float,
    /// `c`
    Complex,
    /// `m`
    Timedelta,
    /// `M`
    Datetime,
    /// `S`, zero-padded bytes
    Bytes,
    /// `U`, zero-padded UTF-32
    Unicode,
    /// `V`: raw bytes, structured types and anything else of a fixed size
    Void,
    /// `O` or numpy's `StringDType`: variable length
    Object,
}

/// Byte order of multi-byte words in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// This machine's order.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// A numpy data type of fixed size (or [`Kind::Object`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DataType {
    /// numpy's kind.
    pub kind: Kind,
    /// Bytes an element takes.
    pub item_size: usize,
    /// Order of the words in memory; `Little` where the type has no multi-byte words.
    pub byte_order: ByteOrder,
}

impl DataType {
    /// Parses numpy's `dtype.str`, for example `<f4`, `|b1`, `>i2`, `<M8[ns]`, `<U5`, `|V12`, `|O`.
    ///
    /// # Errors
    /// Anything that is not of this form.
    pub fn parse(dtype_str: &str) -> Result<Self, BindError> {
        let unknown = || BindError::Unsupported(format!("data type {dtype_str:?} is not known"));
        let mut characters = dtype_str.chars();
        let byte_order = match characters.next() {
            Some('<' | '|') => ByteOrder::Little,
            Some('>') => ByteOrder::Big,
            Some('=') => ByteOrder::NATIVE,
            _ => return Err(unknown()),
        };
        let kind = match characters.next() {
            Some('b') => Kind::Bool,
            Some('i') => Kind::Int,
            Some('u') => Kind::UInt,
            Some('f') => Kind::Float,
            Some('c') => Kind::Complex,
            Some('m') => Kind::Timedelta,
            Some('M') => Kind::Datetime,
            Some('S') => Kind::Bytes,
            Some('U') => Kind::Unicode,
            Some('V') => Kind::Void,
            Some('O' | 'T') => Kind::Object,
            _ => return Err(unknown()),
        };
        let digits: String = characters.take_while(char::is_ascii_digit).collect();
        let number: usize = match (digits.as_str(), kind) {
            ("", Kind::Object) => size_of::<usize>(),
            (digits, _) => digits.parse().map_err(|_| unknown())?,
        };
        let item_size =
            if kind == Kind::Unicode { number.checked_mul(4).ok_or_else(unknown)? } else { number };
        Ok(Self { kind, item_size, byte_order })
    }

    /// Width in bytes of the words that a change of byte order reverses (1: none).
    #[must_use]
    pub fn word_size(&self) -> usize {
        match self.kind {
            Kind::Bool | Kind::Bytes | Kind::Void | Kind::Object => 1,
            Kind::Complex => self.item_size / 2,
            Kind::Unicode => 4,
            Kind::Int | Kind::UInt | Kind::Float | Kind::Timedelta | Kind::Datetime => self.item_size,
        }
    }
}

/// Shape and data type of the array that a codec gets when it encodes and gives when it decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArraySpec {
    /// Elements along each axis.
    pub chunk_shape: Vec<usize>,
    /// Data type in memory.
    pub dtype: DataType,
}

impl ArraySpec {
    /// Number of elements.
    ///
    /// # Errors
    /// More than fit in memory.
    pub fn element_count(&self) -> Result<usize, BindError> {
        self.chunk_shape
            .iter()
            .try_fold(1_usize, |product, &len| product.checked_mul(len))
            .ok_or_else(|| BindError::Invalid(format!("chunk shape {:?} is too large", self.chunk_shape)))
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// More than fit in memory.
    pub fn len_bytes(&self) -> Result<usize, BindError> {
        self.element_count()?
            .checked_mul(self.dtype.item_size)
            .filter(|&len| isize::try_from(len).is_ok())
            .ok_or_else(|| BindError::Invalid(format!("chunk shape {:?} is too large", self.chunk_shape)))
    }
}
